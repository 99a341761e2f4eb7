// SPDX-License-Identifier: Apache-2.0
// How a vector store is shown: as text, and its head scores as CSV and picture beside it.
#pragma once
#include "io/vector_store.h"

namespace suture::cli {

std::string show_store(const io::VectorStore& store);

// <store>.heads.csv and <store>.heads.svg when the store has head scores.
void write_head_scores(const fs::path& store_path, const io::VectorStore& store);

}  // namespace suture::cli
