// SPDX-License-Identifier: Apache-2.0
// suture extract show: what a vector store holds.
#include "io/moments_store.h"
#include "tools/commands.h"
#include "tools/extract/head_scores.h"

namespace suture::cli {
namespace {

Json store_json(const io::VectorStore& store) {
  Json vectors = Json::array();
  for (const io::StoredVector& v : store.vectors)
    vectors.push_back({{"name", v.name},
                       {"site", v.site},
                       {"layer", v.layer},
                       {"scale", v.scale},
                       {"tokens", v.where},
                       {"method", v.method},
                       {"width", v.value_D.numel()},
                       {"norm", v.value_D.norm().item<double>()},
                       {"source_dtype", v.source_dtype},
                       {"attributes", v.attributes}});
  return {{"vectors", vectors}, {"provenance", store.provenance}};
}

int run_show(const Invocation& invocation) {
  const fs::path path = invocation.positional(0, "FILE.h5");
  require_exists(path, "vector store", Code::kData);
  const io::VectorStore store = io::read_vector_store(path);
  if (invocation.common.json)
    emit(store_json(store));
  else
    emit(show_store(store));
  return 0;
}

}  // namespace

const Command kExtractShow = {.name = "extract show",
                              .usage = "extract show FILE.h5",
                              .summary = "print what a vector store holds",
                              .run = run_show};

}  // namespace suture::cli
