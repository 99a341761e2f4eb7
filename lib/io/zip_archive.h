// SPDX-License-Identifier: Apache-2.0
// Where the entries of a zip archive lie in a mapped file. Only stored (uncompressed, not encrypted) entries, which is
// how PyTorch writes checkpoints; ZIP64 included. Checked: signatures, every offset and size against the file, equal
// names in directory and entry, no name twice. CRCs are not: reading them would cost the whole file.
// Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"

namespace suture::io {

struct ZipEntry {
  std::string name;
  uint64_t begin = 0, end = 0;  // of its bytes in the file
};

// In the order of the directory. Error kFile for anything broken, kModel for a compressed or encrypted entry.
std::vector<ZipEntry> list_stored_zip(const MappedFile& map);

}  // namespace suture::io
