// SPDX-License-Identifier: Apache-2.0
#include "io/ggml_iq.h"

#include <c10/util/Half.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "io/ggml_grids.h"

namespace suture::io::ggml {
namespace {

constexpr int kSuper = 256;  // elements of a block, but for IQ4_NL, MXFP4 and NVFP4
constexpr float kDelta = 0.125f;

template <class T>
T number_at(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float half(uint16_t bits) { return static_cast<float>(c10::Half(bits, c10::Half::from_bits())); }
float half_at(const std::byte* at) { return half(number_at<uint16_t>(at)); }
const uint8_t* octets(const std::byte* at) { return reinterpret_cast<const uint8_t*>(at); }
int nibble(const uint8_t* packed, int i) { return packed[i / 2] >> (i % 2 * 4) & 15; }

// Signs of eight values in seven bits: the number of minus signs is even, so the eighth follows.
uint32_t even_signs(uint32_t seven) { return seven | uint32_t(std::popcount(seven) & 1) << 7; }

// Writes scale times each value of the row, bit i of `signs` being the sign of value i.
template <size_t kColumns>
void put_signed(float scale, const std::array<int8_t, kColumns>& row, uint32_t signs, float* out) {
  for (size_t i = 0; i < kColumns; ++i) out[i] = scale * float(row[i]) * ((signs >> i & 1) != 0 ? -1.0f : 1.0f);
}

void put_shifted(float scale, const std::array<int8_t, 8>& row, bool minus, float* out) {
  const float delta = minus ? -kDelta : kDelta;
  for (size_t i = 0; i < row.size(); ++i) out[i] = scale * (float(row[i]) + delta);
}

constexpr std::array<int8_t, 16> kLevels4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the values of a 4-bit float (1 sign, 2 exponent, 1 mantissa bit); scales are halved.
constexpr std::array<int8_t, 16> kLevelsFloat4 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// `count` bytes: element i in the low, i + count in the high nibble.
void put_levels(float scale, const std::array<int8_t, 16>& levels, const uint8_t* q, int count, float* out) {
  for (int i = 0; i < count; ++i) {
    out[i] = scale * float(levels[q[i] & 15]);
    out[i + count] = scale * float(levels[q[i] >> 4]);
  }
}

// Half of 2^(e - 127).
float half_power(uint8_t e) { return std::bit_cast<float>(e < 2 ? uint32_t(0x00200000) << e : uint32_t(e - 1) << 23); }

// Half of an unsigned 8-bit float (4 exponent bits, bias 7, 3 mantissa bits); 0x7F stands for 0.
float half_float8(uint8_t x) {
  if (x == 0 || x == 0x7F) return 0;
  const int exponent = x >> 3 & 15, mantissa = x & 7;
  return 0.5f * (exponent == 0 ? std::ldexp(float(mantissa), -9) : std::ldexp(float(8 + mantissa), exponent - 10));
}

}  // namespace

// [d:f16][32 low index bytes][8 x u16: four times 3 high index bits, 3 scale bits, sign of the shift]
void iq1_s(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint8_t* q = octets(block + 2);
  for (int group = 0; group < 8; ++group) {
    const auto high = number_at<uint16_t>(block + 34 + 2 * group);
    const float scale = d * float(2 * (high >> 12 & 7) + 1);
    for (int k = 0; k < 4; ++k) {
      const int i = group * 4 + k, index = q[i] | (high >> (3 * k) & 7) << 8;
      put_shifted(scale, iq1_grid()[size_t(index)], (high & 0x8000) != 0, out + 8 * i);
    }
  }
}

// [32 low index bytes][16 bytes of nibbles: 3 high index bits, sign of the shift][4 x u16: four 3-bit scales, and in
// the top nibbles, lowest first, a quarter of d:f16]
void iq1_m(const std::byte* block, float* out) {
  const uint8_t *q = octets(block), *high = octets(block + 32);
  std::array<uint16_t, 4> scales;
  std::memcpy(scales.data(), block + 48, sizeof scales);
  uint16_t bits = 0;
  for (size_t i = 0; i < 4; ++i) bits = uint16_t(bits | (scales[i] >> 12) << (4 * i));
  const float d = half(bits);
  for (int i = 0; i < 32; ++i) {
    const int pair = i / 2, top = nibble(high, i);
    const float scale = d * float(2 * (scales[size_t(pair / 4)] >> (3 * (pair % 4)) & 7) + 1);
    put_shifted(scale, iq1_grid()[size_t(q[i] | (top & 7) << 8)], (top & 8) != 0, out + 8 * i);
  }
}

// [d:f16][8 times: 4 index bytes, u32 of four times 7 sign bits and a 4-bit scale]
void iq2_xxs(const std::byte* block, float* out) {
  const float d = half_at(block);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* q = octets(block + 2 + 8 * group);
    const auto signs = number_at<uint32_t>(block + 6 + 8 * group);
    const float scale = d * (0.5f + float(signs >> 28)) * 0.25f;
    for (int k = 0; k < 4; ++k)
      put_signed(scale, iq2_xxs_grid()[q[k]], even_signs(signs >> (7 * k) & 127), out + 32 * group + 8 * k);
  }
}

// [d:f16][32 x u16: 9 index bits, 7 sign bits][8 bytes of 4-bit scales, one for 16 elements]
void iq2_xs(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint8_t* scales = octets(block + 66);
  for (int i = 0; i < 32; ++i) {
    const auto q = number_at<uint16_t>(block + 2 + 2 * i);
    const float scale = d * (0.5f + float(nibble(scales, i / 2))) * 0.25f;
    put_signed(scale, iq2_xs_grid()[q & 511], even_signs(q >> 9), out + 8 * i);
  }
}

// [d:f16][32 low index bytes][32 sign bytes][8 bytes of 2 high index bits][8 bytes of scales as in IQ2_XS]
void iq2_s(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint8_t *q = octets(block + 2), *signs = octets(block + 34), *high = octets(block + 66);
  for (int i = 0; i < 32; ++i) {
    const int index = q[i] | (high[i / 4] >> (2 * (i % 4)) & 3) << 8;
    const float scale = d * (0.5f + float(nibble(octets(block + 74), i / 2))) * 0.25f;
    put_signed(scale, iq2_s_grid()[size_t(index)], signs[i], out + 8 * i);
  }
}

// [d:f16][64 index bytes][8 x u32 of signs and scale as in IQ2_XXS]
void iq3_xxs(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint8_t* q = octets(block + 2);
  for (int group = 0; group < 8; ++group) {
    const auto packed = number_at<uint32_t>(block + 66 + 4 * group);
    const float scale = d * (0.5f + float(packed >> 28)) * 0.5f;
    for (int k = 0; k < 8; ++k) {
      const uint32_t signs = even_signs(packed >> (7 * (k / 2)) & 127) >> (4 * (k % 2));
      put_signed(scale, iq3_xxs_grid()[q[8 * group + k]], signs, out + 32 * group + 4 * k);
    }
  }
}

// [d:f16][64 low index bytes][8 bytes of ninth index bits][32 sign bytes][4 bytes of 4-bit scales, one for 32 elements]
void iq3_s(const std::byte* block, float* out) {
  const float d = half_at(block);
  const uint8_t *q = octets(block + 2), *high = octets(block + 66), *signs = octets(block + 74);
  for (int i = 0; i < 64; ++i) {
    const int index = q[i] | (high[i / 8] >> (i % 8) & 1) << 8;
    const float scale = d * float(1 + 2 * nibble(octets(block + 106), i / 8));
    put_signed(scale, iq3_s_grid()[size_t(index)], uint32_t(signs[i / 2]) >> (4 * (i % 2)), out + 4 * i);
  }
}

// [d:f16][16 bytes of nibbles], 32 elements
void iq4_nl(const std::byte* block, float* out) { put_levels(half_at(block), kLevels4, octets(block + 2), 16, out); }

// [d:f16][u16 of 2 high scale bits][4 bytes of 4 low scale bits][128 bytes as in IQ4_NL]
void iq4_xs(const std::byte* block, float* out) {
  const float d = half_at(block);
  const auto high = number_at<uint16_t>(block + 2);
  for (int group = 0; group < 8; ++group) {
    const int scale = (nibble(octets(block + 4), group) | (high >> (2 * group) & 3) << 4) - 32;
    put_levels(d * float(scale), kLevels4, octets(block + 8 + 16 * group), 16, out + 32 * group);
  }
}

// [48 bytes of five ternary digits][4 bytes of four][d:f16]. A byte is its digits' fraction of 3^5, times 256: times a
// power of 3, modulo 256, leaves the digits from there on, and times 3, over 256, is the first of them.
void tq1_0(const std::byte* block, float* out) {
  const float d = half_at(block + 52);
  const uint8_t* q = octets(block);
  struct Run {
    int bytes, digits;
  };
  for (const auto& [bytes, digits] : {Run{32, 5}, Run{16, 5}, Run{4, 4}}) {
    uint8_t power = 1;
    for (int digit = 0; digit < digits; ++digit, power = uint8_t(power * 3))
      for (int i = 0; i < bytes; ++i) *out++ = d * float((int(uint8_t(q[i] * power)) * 3 >> 8) - 1);
    q += bytes;
  }
}

// [64 bytes of 2-bit integers, 128 elements each 32 bytes][d:f16]
void tq2_0(const std::byte* block, float* out) {
  const float d = half_at(block + 64);
  const uint8_t* q = octets(block);
  for (int i = 0; i < kSuper; ++i) out[i] = d * float((q[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3) - 1);
}

// [exponent byte][16 bytes of nibbles], 32 elements
void mxfp4(const std::byte* block, float* out) {
  put_levels(half_power(octets(block)[0]), kLevelsFloat4, octets(block + 1), 16, out);
}

// [4 scale bytes][4 times 8 bytes of nibbles], 64 elements
void nvfp4(const std::byte* block, float* out) {
  for (int group = 0; group < 4; ++group)
    put_levels(half_float8(octets(block)[group]), kLevelsFloat4, octets(block + 4 + 8 * group), 8, out + 16 * group);
}

}  // namespace suture::io::ggml
