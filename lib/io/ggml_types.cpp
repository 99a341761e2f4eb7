// SPDX-License-Identifier: Apache-2.0
#include "io/ggml_types.h"

#include <c10/util/Half.h>

#include <array>
#include <cstring>

#include "io/ggml_iq.h"

namespace suture::io {
namespace {

constexpr int kSmall = 32;   // elements of a block of the older types
constexpr int kSuper = 256;  // elements of a block of the K types

float half_at(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
}

const uint8_t* octets(const std::byte* at) { return reinterpret_cast<const uint8_t*>(at); }
const int8_t* signed_octets(const std::byte* at) { return reinterpret_cast<const int8_t*>(at); }

// [d:f16][32 x int8]
void q8_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  const int8_t* q = signed_octets(block + 2);
  for (int i = 0; i < kSmall; ++i) out[i] = float(q[i]) * d;
}

// [d:f16][16 bytes: element i in the low, i+16 in the high nibble]
void q4_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint8_t* q = octets(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(int(q[i] & 15) - 8);
    out[i + 16] = d * float(int(q[i] >> 4) - 8);
  }
}

// [d:f16][m:f16][16 bytes as in Q4_0]
void q4_1(const std::byte* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  const uint8_t* q = octets(block + 4);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(q[i] & 15) + m;
    out[i + 16] = d * float(q[i] >> 4) + m;
  }
}

// Five-bit integer i of 32: nibbles as in Q4_0, fifth bits in a little-endian u32.
struct FiveBits {
  const uint8_t* nibbles;
  uint32_t high;
  FiveBits(const std::byte* high_at, const std::byte* nibbles_at) : nibbles(octets(nibbles_at)) {
    std::memcpy(&high, high_at, sizeof high);
  }
  int low_half(int i) const { return (nibbles[i] & 15) | int((high >> i & 1) << 4); }
  int high_half(int i) const { return (nibbles[i] >> 4) | int((high >> (i + 16) & 1) << 4); }
};

// [d:f16][4 bytes of fifth bits][16 bytes]
void q5_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  const FiveBits q(block + 2, block + 6);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(q.low_half(i) - 16);
    out[i + 16] = d * float(q.high_half(i) - 16);
  }
}

// [d:f16][m:f16][4 bytes of fifth bits][16 bytes]
void q5_1(const std::byte* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  const FiveBits q(block + 4, block + 8);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(q.low_half(i)) + m;
    out[i + 16] = d * float(q.high_half(i)) + m;
  }
}

// [16 bytes: 4-bit scale, 4-bit minimum of each 16 elements][64 bytes of 2-bit integers][d:f16][dmin:f16]
void q2_k(const std::byte* block, float* out) {
  const uint8_t *scales = octets(block), *q = octets(block + 16);
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int i = 0; i < kSuper; ++i) {
    const int group = i / 16, chunk = i / 128, plane = i / 32 % 4;
    const float scale = d * float(scales[group] & 15), minimum = dmin * float(scales[group] >> 4);
    out[i] = scale * float(q[chunk * 32 + i % 32] >> (2 * plane) & 3) - minimum;
  }
}

// [32 bytes of third bits, inverted][64 bytes of 2-bit integers][12 bytes: sixteen 6-bit scales][d:f16]
void q3_k(const std::byte* block, float* out) {
  const uint8_t *high = octets(block), *q = octets(block + 32), *packed = octets(block + 96);
  const float d = half_at(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = packed[group % 8] >> (group < 8 ? 0 : 4) & 15;
    const int top = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
    const float scale = d * float((low | top << 4) - 32);
    for (int i = group * 16; i < group * 16 + 16; ++i) {
      const int value = q[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3;
      const int missing = (high[i % 32] >> (i / 32) & 1) ^ 1;
      out[i] = scale * float(value - (missing << 2));
    }
  }
}

// Eight 6-bit scales and eight 6-bit minima in 12 bytes: bytes 0-3 and 4-7 hold the first four of each, whose top two
// bits are the top bits of the last four; bytes 8-11 hold their low nibbles, scale low, minimum high.
struct ScaleAndMinimum {
  int scale, minimum;
};
ScaleAndMinimum six_bits(const uint8_t* packed, int i) {
  if (i < 4) return {packed[i] & 63, packed[4 + i] & 63};
  return {(packed[4 + i] & 15) | (packed[i - 4] >> 2 & 48), (packed[4 + i] >> 4) | (packed[i] >> 2 & 48)};
}

// [d:f16][dmin:f16][12 bytes: scales and minima of each 32 elements][128 bytes of nibbles, 64 elements each 32 bytes]
void q4_k(const std::byte* block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t* q = octets(block + 16);
  for (int group = 0; group < 8; ++group) {
    const auto [scale, minimum] = six_bits(octets(block + 4), group);
    const float step = d * float(scale), offset = dmin * float(minimum);
    for (int i = 0; i < 32; ++i)
      out[group * 32 + i] = step * float(q[group / 2 * 32 + i] >> (group % 2 * 4) & 15) - offset;
  }
}

// [d:f16][dmin:f16][12 bytes as in Q4_K][32 bytes of fifth bits, plane by group][128 bytes of nibbles as in Q4_K]
void q5_k(const std::byte* block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t *high = octets(block + 16), *q = octets(block + 48);
  for (int group = 0; group < 8; ++group) {
    const auto [scale, minimum] = six_bits(octets(block + 4), group);
    const float step = d * float(scale), offset = dmin * float(minimum);
    for (int i = 0; i < 32; ++i) {
      const int low = q[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
      out[group * 32 + i] = step * float(low | (high[i] >> group & 1) << 4) - offset;
    }
  }
}

// [128 bytes of nibbles][64 bytes of fifth and sixth bits][16 x int8 scale of each 16 elements][d:f16]
void q6_k(const std::byte* block, float* out) {
  const uint8_t *low = octets(block), *high = octets(block + 128);
  const int8_t* scales = signed_octets(block + 192);
  const float d = half_at(block + 208);
  for (int i = 0; i < kSuper; ++i) {
    const int half = i / 128, within = i % 128;
    const int nibble = low[half * 64 + within % 64] >> (within / 64 * 4) & 15;
    const int top = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
    out[i] = d * float(scales[i / 16]) * float((nibble | top << 4) - 32);
  }
}

// [d:f32][256 x int8][16 x int16 sums, not needed here]
void q8_k(const std::byte* block, float* out) {
  float d;
  std::memcpy(&d, block, sizeof d);
  const int8_t* q = signed_octets(block + 4);
  for (int i = 0; i < kSuper; ++i) out[i] = d * float(q[i]);
}

constexpr std::array kTypes = {
    GgmlType{0, "F32", 1, 4, nullptr},
    GgmlType{1, "F16", 1, 2, nullptr},
    GgmlType{2, "Q4_0", 32, 18, q4_0},
    GgmlType{3, "Q4_1", 32, 20, q4_1},
    GgmlType{6, "Q5_0", 32, 22, q5_0},
    GgmlType{7, "Q5_1", 32, 24, q5_1},
    GgmlType{8, "Q8_0", 32, 34, q8_0},
    GgmlType{9, "Q8_1", 32, 36, nullptr},
    GgmlType{10, "Q2_K", 256, 84, q2_k},
    GgmlType{11, "Q3_K", 256, 110, q3_k},
    GgmlType{12, "Q4_K", 256, 144, q4_k},
    GgmlType{13, "Q5_K", 256, 176, q5_k},
    GgmlType{14, "Q6_K", 256, 210, q6_k},
    GgmlType{15, "Q8_K", 256, 292, q8_k},
    GgmlType{16, "IQ2_XXS", 256, 66, ggml::iq2_xxs},
    GgmlType{17, "IQ2_XS", 256, 74, ggml::iq2_xs},
    GgmlType{18, "IQ3_XXS", 256, 98, ggml::iq3_xxs},
    GgmlType{19, "IQ1_S", 256, 50, ggml::iq1_s},
    GgmlType{20, "IQ4_NL", 32, 18, ggml::iq4_nl},
    GgmlType{21, "IQ3_S", 256, 110, ggml::iq3_s},
    GgmlType{22, "IQ2_S", 256, 82, ggml::iq2_s},
    GgmlType{23, "IQ4_XS", 256, 136, ggml::iq4_xs},
    GgmlType{24, "I8", 1, 1, nullptr},
    GgmlType{25, "I16", 1, 2, nullptr},
    GgmlType{26, "I32", 1, 4, nullptr},
    GgmlType{27, "I64", 1, 8, nullptr},
    GgmlType{28, "F64", 1, 8, nullptr},
    GgmlType{29, "IQ1_M", 256, 56, ggml::iq1_m},
    GgmlType{30, "BF16", 1, 2, nullptr},
    GgmlType{34, "TQ1_0", 256, 54, ggml::tq1_0},
    GgmlType{35, "TQ2_0", 256, 66, ggml::tq2_0},
    GgmlType{39, "MXFP4", 32, 17, ggml::mxfp4},
    GgmlType{40, "NVFP4", 64, 36, ggml::nvfp4},
    GgmlType{41, "Q1_0", 128, 18, nullptr},
};

}  // namespace

const GgmlType* find_ggml_type(uint32_t id) {
  for (const GgmlType& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

}  // namespace suture::io
