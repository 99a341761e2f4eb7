// SPDX-License-Identifier: Apache-2.0
// The tables of ggml's IQ types: the rows of 8 or 4 values that an index of a block stands for. Made on first use from
// a compact text (tests/oracle/make_ggml_grids.py); 50 KB in all.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace suture::io {

template <size_t kRows, size_t kColumns>
using GgmlGrid = std::array<std::array<int8_t, kColumns>, kRows>;

const GgmlGrid<256, 8>& iq2_xxs_grid();
const GgmlGrid<512, 8>& iq2_xs_grid();
const GgmlGrid<1024, 8>& iq2_s_grid();
const GgmlGrid<256, 4>& iq3_xxs_grid();
const GgmlGrid<512, 4>& iq3_s_grid();
const GgmlGrid<2048, 8>& iq1_grid();  // of IQ1_S and IQ1_M

}  // namespace suture::io
