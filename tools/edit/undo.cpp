// SPDX-License-Identifier: Apache-2.0
// suture edit undo: put back the original bytes that an edit kept.
#include <ATen/ops/from_blob.h>

#include "core/digest.h"
#include "core/log.h"
#include "io/delta_file.h"
#include "io/tensor_folder.h"
#include "tensor/dtype.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

at::Tensor tensor_of(const io::OriginalTensor& original) {
  auto* data = const_cast<std::byte*>(original.bytes.data());
  return at::from_blob(data, original.shape, at::TensorOptions(tensor::dtype_from_file(original.dtype, Code::kData)));
}

void check_edited(const io::TensorFolder& folder, const io::DeltaFile& delta, const fs::path& path) {
  for (const io::OriginalTensor& original : delta.originals) {
    if (!folder.has(original.name))
      fail(Code::kData, "cannot undo: {} has no tensor '{}'", path.string(), original.name);
    const std::string now = sha256(folder.bytes(original.name));
    if (now == original.sha256_before)
      fail(Code::kData, "cannot undo: '{}' in {} already holds the original bytes", original.name, path.string());
    if (now != original.sha256_after)
      fail(Code::kData, "cannot undo: '{}' in {} is not what this edit wrote (sha256 {}, expected {})", original.name,
           path.string(), now.substr(0, 12), original.sha256_after.substr(0, 12));
  }
}

int run_undo(const Invocation& invocation) {
  const fs::path edited = invocation.positional(0, "MODEL");
  require_exists(edited, "model", Code::kModel);
  const fs::path delta_path = invocation.get<std::string>("delta", (edited / "edit.delta.h5").string());
  require_exists(delta_path, "delta", Code::kData);
  const io::DeltaFile delta = io::read_delta_file(delta_path);
  const io::TensorFolder folder = io::TensorFolder::open(edited);
  check_edited(folder, delta, edited);
  if (invocation.common.check) return 0;
  AtomicFolder out(invocation.out(), invocation.common.force);
  io::FolderChange change;
  for (const io::OriginalTensor& original : delta.originals) change.tensors[original.name] = tensor_of(original);
  change.files = delta.original_files;
  change.left_out = {"edit.delta.h5", "manifest.json"};
  io::rewrite_folder(edited, change, out.path());
  const io::TensorFolder restored = io::TensorFolder::open(out.path());
  for (const io::OriginalTensor& original : delta.originals)
    if (sha256(restored.bytes(original.name)) != original.sha256_before)
      fail(Code::kBug, "restored tensor '{}' differs from the original", original.name);
  if (invocation.common.dry_run) return 0;
  out.commit();
  for (const io::OriginalTensor& original : delta.originals)
    emit(fmt::format("restored {} sha256 {}", original.name, original.sha256_before));
  emit(fmt::format("wrote {}", out.target().string()));
  return 0;
}

void options(boost::program_options::options_description& o) {
  o.add_options()("delta", boost::program_options::value<std::string>(),
                  "delta file; MODEL/edit.delta.h5 when left out");
}

}  // namespace

const Command kEditUndo = {.name = "edit undo",
                           .usage = "edit undo MODEL --out DIR",
                           .summary = "give back the model before an edit, byte for byte",
                           .options = options,
                           .run = run_undo};

}  // namespace suture::cli
