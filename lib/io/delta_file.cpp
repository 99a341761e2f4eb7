// SPDX-License-Identifier: Apache-2.0
#include "io/delta_file.h"

#include <ATen/ops/tensor.h>

#include "core/digest.h"
#include "core/error.h"
#include "io/hdf5.h"
#include "io/safetensors.h"
#include "tensor/shape.h"

namespace suture::io {
namespace {

constexpr const char* kSchema = "suture.delta";
constexpr int64_t kVersion = 1;

void check_factor(const LowRankFactor& factor, const fs::path& path, Code code) {
  const std::string what = fmt::format("factor of '{}' in {}", factor.weight, path.string());
  tensor::require_shape(factor.left_OR, {{"O"}, {"R"}}, what, code);
  tensor::require_shape(factor.right_IR, {{"I"}, {"R", factor.left_OR.size(1)}}, what, code);
  if (!factor.left_OR.is_floating_point() || factor.left_OR.scalar_type() != factor.right_IR.scalar_type())
    fail(code, "cannot use {}: expected two tensors of one float dtype", what);
}

void check_original(const OriginalTensor& original, const fs::path& path, Code code) {
  const std::string what = fmt::format("original of tensor '{}' in {}", original.name, path.string());
  uint64_t bits = uint64_t(safetensors_bits(original.dtype));
  for (const int64_t size : original.shape)
    if (size < 0 || __builtin_mul_overflow(bits, uint64_t(size), &bits))
      fail(code, "cannot use {}: its shape overflows", what);
  if (safetensors_bits(original.dtype) == 0 || bits % 8 != 0 || original.bytes.size() != bits / 8)
    fail(code, "cannot use {}: {} {} needs {} bytes, it has {}", what, original.dtype,
         tensor::shape_text(original.shape), bits / 8, original.bytes.size());
  if (const std::string digest = sha256(std::span(original.bytes)); digest != original.sha256_before)
    fail(code, "cannot use {}: its bytes have SHA-256 {}, the file says {}", what, digest, original.sha256_before);
}

void check(const DeltaFile& delta, const fs::path& path, Code code) {
  for (const LowRankFactor& factor : delta.factors) check_factor(factor, path, code);
  for (const OriginalTensor& original : delta.originals) check_original(original, path, code);
}

// Names of tensors and files may hold anything, so members are numbered and carry the name as an attribute.
std::string number_text(size_t i) { return fmt::format("{:06}", i); }

void write_factor(Hdf5Group group, const LowRankFactor& factor) {
  group.set_text("weight", factor.weight);
  group.write("left", factor.left_OR);
  group.write("right", factor.right_IR);
  group.write_json("record", factor.record);
}

void write_original(Hdf5Group group, const OriginalTensor& original) {
  group.set_text("name", original.name);
  group.set_text("dtype", original.dtype);
  group.set_text("sha256_before", original.sha256_before);
  group.set_text("sha256_after", original.sha256_after);
  group.write("shape", at::tensor(original.shape, at::kLong));
  group.write_bytes("bytes", original.bytes);
}

OriginalTensor read_original(const Hdf5Group& group) {
  const at::Tensor shape = group.read("shape");
  if (shape.scalar_type() != at::kLong || shape.dim() != 1)
    fail(Code::kFile, "cannot read original '{}': its shape is not a row of int64", group.text("name"));
  const int64_t* sizes = shape.const_data_ptr<int64_t>();
  return {group.text("name"),        group.text("dtype"),         {sizes, sizes + shape.numel()},
          group.read_bytes("bytes"), group.text("sha256_before"), group.text("sha256_after")};
}

}  // namespace

void write_delta_file(const fs::path& path, const DeltaFile& delta) {
  check(delta, path, Code::kBug);
  Hdf5File::write(path, [&](Hdf5Group& root) {
    write_schema(root, kSchema, kVersion);
    root.write_json("record", delta.record);
    Hdf5Group factors = root.create_group("factors"), originals = root.create_group("originals"),
              files = root.create_group("files");
    for (size_t i = 0; i < delta.factors.size(); ++i)
      write_factor(factors.create_group(number_text(i)), delta.factors[i]);
    for (size_t i = 0; i < delta.originals.size(); ++i)
      write_original(originals.create_group(number_text(i)), delta.originals[i]);
    size_t i = 0;
    for (const auto& [name, text] : delta.original_files) {
      Hdf5Group file = files.create_group(number_text(i++));
      file.set_text("name", name);
      file.write_bytes("bytes", std::as_bytes(std::span(text)));
    }
  });
}

DeltaFile read_delta_file(const fs::path& path) {
  const Hdf5Group root = Hdf5File::open(path);
  require_schema(root, path, kSchema, kVersion);
  DeltaFile delta;
  delta.record = root.read_json("record");
  const Hdf5Group factors = root.group("factors"), originals = root.group("originals"), files = root.group("files");
  for (const std::string& name : factors.names()) {
    const Hdf5Group group = factors.group(name);
    delta.factors.push_back({group.text("weight"), group.read("left"), group.read("right"), group.read_json("record")});
  }
  for (const std::string& name : originals.names()) delta.originals.push_back(read_original(originals.group(name)));
  for (const std::string& name : files.names()) {
    const Hdf5Group group = files.group(name);
    const auto bytes = group.read_bytes("bytes");
    delta.original_files[group.text("name")] = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  check(delta, path, Code::kFile);
  return delta;
}

}  // namespace suture::io
