// SPDX-License-Identifier: Apache-2.0
// The family table as Markdown: docs/families.md is this text, and a test compares the two.
#pragma once
#include <string>

namespace suture::model {

std::string families_markdown();

}  // namespace suture::model
