// SPDX-License-Identifier: Apache-2.0
// What the io tests share: scratch folders, messages of errors, safetensors files written by hand.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"

namespace suture::io {

// "CODE: message" of the Error that `use` throws; "" when it throws none.
template <class Use>
std::string complaint(Use use) {
  try {
    use();
  } catch (const Error& error) {
    return fmt::format("{}: {}", int(error.code()), error.what());
  }
  return "";
}

// This process's folder, removed when it ends.
class ScratchRoot {
 public:
  ~ScratchRoot() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / fmt::format("suture-io.{}", ::getpid());
};

// An empty folder named after the running test.
inline std::filesystem::path scratch() {
  static const ScratchRoot root;
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const auto folder = root.path / test->test_suite_name() / test->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

inline void put_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

inline std::string get_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A safetensors file of the given header text and data, whatever they are.
inline std::string raw_safetensors(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes.append(header).append(data);
}

}  // namespace suture::io
