// SPDX-License-Identifier: Apache-2.0
// Writing: the schema of a type as commented YAML, and values as YAML.
#include <algorithm>
#include <charconv>
#include <sstream>

#include "config/fields.h"

namespace suture::config {
namespace {

constexpr size_t kCommentColumn = 40;

bool plain_text(std::string_view text) {
  static constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+";
  if (text.empty() || text.find_first_not_of(kSafe) != std::string_view::npos) return false;
  const std::string_view first = text.substr(0, 1);
  return first != "-" && text != "null" && text != "Null" && text != "NULL";
}

std::string scalar_yaml(const Json& value) {
  if (value.is_string() && plain_text(value.get_ref<const std::string&>())) return value.get<std::string>();
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_block(const Json& value) { return value.is_structured() && !value.empty(); }

bool all_scalars(const Json& list) {
  return std::none_of(list.begin(), list.end(), [](const Json& item) { return item.is_structured(); });
}

std::string flow_yaml(const Json& value) {
  if (!value.is_array()) return value.is_object() ? "{}" : scalar_yaml(value);
  std::string text;
  for (const Json& item : value) text += (text.empty() ? "" : ", ") + scalar_yaml(item);
  return "[" + text + "]";
}

void write_block(const Json& value, const std::string& indent, std::string& out);

// `lead` is what stands before the value on its line: "key:" or "-".
void write_item(const Json& value, const std::string& indent, const std::string& lead, std::string& out) {
  if (!is_block(value) || (value.is_array() && all_scalars(value))) {
    out += indent + lead + " " + flow_yaml(value) + "\n";
    return;
  }
  if (lead != "-") {
    out += indent + lead + "\n";
    return write_block(value, indent + "  ", out);
  }
  std::string inner;
  write_block(value, indent + "  ", inner);
  inner.replace(indent.size(), 1, "-");  // the first line of the block shares the dash's line
  out += inner;
}

void write_block(const Json& value, const std::string& indent, std::string& out) {
  if (value.is_array()) {
    for (const Json& item : value) write_item(item, indent, "-", out);
    return;
  }
  for (const auto& [key, item] : value.items()) write_item(item, indent, scalar_yaml(key) + ":", out);
}

class SchemaWriter final : public Visitor {
 public:
  explicit SchemaWriter(std::string indent) : indent_(std::move(indent)) {}
  std::string text;

 private:
  void field(const Field& field) override {
    const Type* type = field.type;
    while (type->shape() == Type::Shape::kOptional) type = type->item();
    const Json value = field.type->resolved(field.value);
    switch (type->shape()) {
      case Type::Shape::kStruct:
        line(field, "", field.type == type ? "" : "may be left out");
        return nested(*type, indent_ + "  ");
      case Type::Shape::kList:
        if (leaf(*type).shape() != Type::Shape::kStruct) break;
        line(field, "", "list of mappings");
        return items(*type->item());
      case Type::Shape::kMap:
        if (leaf(*type).shape() != Type::Shape::kStruct) break;
        line(field, "", "mapping of name to mapping");
        text += indent_ + "  <name>:\n";
        return nested(leaf(*type), indent_ + "    ");
      default:
        break;
    }
    const bool text_value = value.is_string() && value.get<std::string>().empty();
    line(field,
         field.required                                                 ? "<required>"
         : text_value                                                   ? "\"\""
         : is_block(value) && !(value.is_array() && all_scalars(value)) ? value.dump()
                                                                        : flow_yaml(value),
         type->noun());
  }

  static const Type& leaf(const Type& type) { return type.item() == nullptr ? type : leaf(*type.item()); }

  void nested(const Type& type, std::string indent) {
    SchemaWriter inner(std::move(indent));
    type.visit_default(inner);
    text += inner.text;
  }

  void items(const Type& type) {
    const size_t start = text.size() + indent_.size() + 2;
    nested(leaf(type), indent_ + "    ");
    if (start < text.size()) text.replace(start, 1, "-");
  }

  void line(const Field& field, const std::string& value, const std::string& noun) {
    std::string row = indent_ + std::string(field.key) + ":" + (value.empty() ? "" : " ") + value;
    row.resize(std::max(row.size() + 1, kCommentColumn), ' ');
    row += "# " + std::string(field.help);
    std::string facts = field.required && value.empty() ? "required" : "";
    for (const std::string& fact : {noun, field.limits.text()})
      if (!fact.empty()) facts += (facts.empty() ? "" : ", ") + fact;
    text += row + (facts.empty() ? "" : " (" + facts + ")") + "\n";
  }

  std::string indent_;
};

}  // namespace

std::string schema_of(const Type& type) {
  SchemaWriter writer("");
  type.visit_default(writer);
  return std::move(writer.text);
}

std::string to_yaml(const Json& value) {
  std::string out;
  write_block(value, "", out);
  return out.empty() ? "{}\n" : out;
}

}  // namespace suture::config
