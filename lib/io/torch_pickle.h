// SPDX-License-Identifier: Apache-2.0
// The pickle of a PyTorch checkpoint, read as data: nothing in it is executed.
//
// A pickle is a program for a stack machine that may import and call anything. This machine knows the opcodes that
// torch.save uses for dictionaries of tensors, and a short list of names (collections.OrderedDict, the functions that
// describe a tensor, storages, dtypes, torch.Size), to each of which it gives a fixed meaning; every other name or
// opcode ends it. Values are numbered in one array, so no depth of nesting costs stack; their number, the memo and the
// stack are bounded. Shapes, strides and storages are reported as they stand: the caller checks them.
// Source: CPython's pickletools (opcodes), torch/_utils.py of PyTorch 2.11 (argument order of the rebuild functions).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace suture::io {

struct PickledTensor {
  std::string name;
  std::string dtype;  // safetensors' spelling
  std::vector<int64_t> shape, stride;
  int64_t offset = 0;   // elements into the storage
  std::string storage;  // the entry data/<storage> of the archive
  std::string storage_dtype;
  int64_t storage_elements = 0;  // of storage_dtype
};

struct PickledTensors {
  std::vector<PickledTensor> tensors;  // in the order of the dictionary
  std::vector<std::string> others;     // keys whose value is not a tensor
};

// For messages: text of a pickle without what a terminal would obey, and not too long.
std::string printable(std::string_view text);

// Error kModel, naming it, for what is not allowed; kFile for a broken pickle. `path` is for messages.
PickledTensors read_torch_pickle(std::span<const std::byte> pickle, const fs::path& path);

}  // namespace suture::io
