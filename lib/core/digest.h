// SPDX-License-Identifier: Apache-2.0
// SHA-256, as lower-case hexadecimal.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace suture {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  Sha256& update(std::span<const std::byte> bytes);
  Sha256& update(std::string_view text) { return update(std::as_bytes(std::span(text))); }
  std::string hex();  // ends the digest; call once

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256(std::string_view text);
std::string sha256(std::span<const std::byte> bytes);
std::string sha256_file(const std::filesystem::path& path);  // by mapping; memory stays flat

}  // namespace suture
