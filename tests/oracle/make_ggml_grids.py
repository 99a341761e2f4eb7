# SPDX-License-Identifier: Apache-2.0
"""Prints the texts of lib/io/ggml_grids.cpp from the grids of the `gguf` package (0.19.0).

A row of a grid is a number whose digits, element 0 the lowest, are the indices of the row's values among the grid's levels.
In every grid these numbers rise from 0, so a text holds the steps: one character for a step below 91, '#' being 0, after a
'~' for each 91 in it.

Usage: python tests/oracle/make_ggml_grids.py
"""
import gguf.quants
import numpy as np

WIDTH = 104


def text_of(kind):
    kind.init_grid()
    levels = list(kind.grid_map)
    rows = np.vectorize(levels.index)(kind.grid.reshape(kind.grid_shape))
    codes = (rows * len(levels) ** np.arange(rows.shape[1])).sum(axis=1)
    steps = np.diff(codes, prepend=0)
    assert codes[0] == 0 and (steps[1:] > 0).all()
    return "".join("~" * (step // 91) + chr(ord("#") + step % 91) for step in steps)


for name in ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S"]:
    text = text_of(getattr(gguf.quants, name))
    assert ")_" not in text
    print(f"constexpr std::string_view k{name.title().replace('_', '')}Steps =")
    lines = [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]
    print("\n".join(f'    R"_({line})_"' for line in lines) + ";\n")
