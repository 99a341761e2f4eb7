// SPDX-License-Identifier: Apache-2.0
// suture convert: any readable checkpoint as a Hugging Face folder.
#include <ATen/ops/isfinite.h>

#include "model/checkpoint.h"
#include "tensor/dtype.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

std::optional<at::ScalarType> target_dtype(const Invocation& invocation) {
  if (invocation.common.dtype == "auto") return std::nullopt;
  const at::ScalarType dtype = tensor::dtype_from_flag(invocation.common.dtype);
  if (dtype == at::kDouble) fail(Code::kUsage, "cannot convert to fp64: use fp32, bf16 or fp16");
  return dtype;
}

// fp16 ends at 65504; beyond it a weight would become infinite.
void require_finite(const model::Checkpoint& checkpoint, at::ScalarType dtype) {
  if (dtype != at::kHalf) return;
  for (const std::string& name : checkpoint.tensor_names())
    if (!at::isfinite(checkpoint.tensor(name).to(dtype)).all().item<bool>())
      fail(Code::kNumerics, "cannot convert '{}' to fp16: it holds numbers beyond 65504; use bf16 or fp32", name);
}

void require_new_folder(const fs::path& out, bool force) {
  if (fs::exists(out) && !force)
    fail(Code::kUsage, "cannot write {}: it exists; use --force to replace it", out.string());
}

int run(const Invocation& invocation) {
  require_no_set(invocation);
  const fs::path out = invocation.out();
  const std::optional<at::ScalarType> dtype = target_dtype(invocation);
  const auto source = model::Checkpoint::open(invocation.positional(0, "MODEL"));
  require_new_folder(out, invocation.common.force);
  if (invocation.common.check) return 0;
  if (dtype) require_finite(source, *dtype);
  Json json = {{"from", source.path().string()}, {"to", out.string()}, {"digest", nullptr}};
  if (!invocation.common.dry_run) {
    AtomicFolder folder(out, invocation.common.force);
    model::write_checkpoint(source, {}, folder.path(), dtype);
    const auto written = model::Checkpoint::open(folder.path());
    json["tensors"] = written.tensor_names().size();
    json["dtypes"] = written.dtypes();
    json["bytes"] = written.bytes();
    json["digest"] = written.digest();
    folder.commit();
  }
  if (invocation.common.json)
    emit(json);
  else if (invocation.common.dry_run)
    emit(fmt::format("would write {}", out.string()));
  else
    emit(fmt::format("wrote {}: {} ({} bytes), digest {}", out.string(), json["dtypes"].get<std::string>(),
                     json["bytes"].get<int64_t>(), json["digest"].get<std::string>()));
  return 0;
}

}  // namespace

const Command kConvert{.name = "convert",
                       .usage = "convert MODEL --out DIR [--dtype fp32|bf16|fp16] [--force]",
                       .summary = "write a checkpoint as a Hugging Face folder",
                       .run = run};

}  // namespace suture::cli
