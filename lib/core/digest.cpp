// SPDX-License-Identifier: Apache-2.0
#include "core/digest.h"

#include <openssl/evp.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace suture {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->evp == nullptr || EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) != 1)
    fail(Code::kBug, "cannot start a SHA-256 digest");
}

Sha256::~Sha256() = default;

Sha256& Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) != 1) fail(Code::kBug, "cannot update a digest");
  return *this;
}

std::string Sha256::hex() {
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context_->evp, raw, &size) != 1) fail(Code::kBug, "cannot end a digest");
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", raw[i]);
  return text;
}

std::string sha256(std::string_view text) { return Sha256().update(text).hex(); }
std::string sha256(std::span<const std::byte> bytes) { return Sha256().update(bytes).hex(); }

std::string sha256_file(const std::filesystem::path& path) {
  constexpr size_t kWindow = size_t{64} << 20;  // a hashed file must not fill the process with its pages
  const MappedFile file(path);
  Sha256 whole;
  for (size_t start = 0; start < file.bytes().size(); start += kWindow) {
    whole.update(file.bytes().subspan(start, std::min(kWindow, file.bytes().size() - start)));
    file.forget_pages();
  }
  return whole.hex();
}

}  // namespace suture
