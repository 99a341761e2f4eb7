# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/io/fp8.safetensors and mxfp4.safetensors.

fp8: every finite 8-bit float of both kinds as a [15, 18] weight, scales for blocks of 4 x 8, for rows and for all, and what
torch makes of weight times scale in fp32, and rounded to bf16. mxfp4: blocks and scales, every scale byte among them, and
what transformers (5.x, convert_moe_packed_tensors) makes of them.

Usage: python tests/oracle/make_packed_fixtures.py
"""
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "io"
ROWS, COLUMNS, BLOCK = 15, 18, (4, 8)


def finite_weight(dtype):
    codes = torch.arange(256, dtype=torch.uint8).view(dtype)
    finite = codes[torch.isfinite(codes.float())].view(torch.uint8)
    return torch.cat([finite, finite])[: ROWS * COLUMNS].reshape(ROWS, COLUMNS).view(dtype)


def spread(scale, rows, columns):
    return scale.float().repeat_interleave(rows, 0).repeat_interleave(columns, 1)[:ROWS, :COLUMNS]


def fp8():
    torch.manual_seed(3)
    grid = (-(-ROWS // BLOCK[0]), -(-COLUMNS // BLOCK[1]))
    scales = {
        "block": torch.rand(grid) * 0.01,
        "block_bf16": (torch.rand(grid) * 0.01).bfloat16(),
        "row": torch.rand(ROWS, 1) * 0.01,
        "one": torch.tensor(0.0123),
    }
    sizes = {"row": (1, COLUMNS), "one": (ROWS, COLUMNS)}
    tensors = {"scale." + name: scale for name, scale in scales.items()}
    for short, dtype in {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}.items():
        tensors[short] = finite_weight(dtype)
        for name, scale in scales.items():
            exact = tensors[short].float() * spread(scale.reshape(1, 1) if name == "one" else scale, *sizes.get(name, BLOCK))
            tensors[f"{short}.{name}.fp32"] = exact
            tensors[f"{short}.{name}.bf16"] = exact.bfloat16()
    save_file(tensors, FOLDER / "fp8.safetensors")


def mxfp4():
    torch.manual_seed(4)
    blocks = torch.randint(0, 256, (2, 64, 2, 16), dtype=torch.uint8)
    scales = torch.randperm(256).to(torch.uint8).reshape(2, 64, 2)
    values = convert_moe_packed_tensors(blocks, scales)
    save_file({"blocks": blocks, "scales": scales, "values": values}, FOLDER / "mxfp4.safetensors")


if __name__ == "__main__":
    fp8()
    mxfp4()
