// SPDX-License-Identifier: Apache-2.0
// A configuration file as a tree with places, built from yaml-cpp's events (its own loader hides duplicate keys,
// anchors and further documents). Complaints are collected; report() shows them in the order of the text.
#pragma once
#include <string>

#include "config/fields.h"

namespace suture::config {

class Document {
 public:
  explicit Document(const Source& source);  // parses the text, then applies the overrides
  const Node& root() const { return root_; }
  Reader& reader() { return reader_; }
  bool readable() const { return readable_; }  // false after a syntax error: nothing can be bound
  bool ok() const { return reader_.complaints() == 0; }
  std::string report() const;

 private:
  void refuse_tabs();
  void apply(const std::string& override_text, int origin);
  std::string show(const Reader::Complaint& complaint) const;

  const Source& source_;
  Node root_;
  Reader reader_;
  bool readable_ = true;
};

}  // namespace suture::config
