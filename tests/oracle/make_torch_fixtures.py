# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/io/torch-types.bin, torch-protocol4.bin, torch-legacy.bin and torch-types.safetensors.

The .bin files are what torch.save makes of one dictionary of tensors: all dtypes, views that share a storage, strides that
are not row-major, parameters, empty tensors and scalars; with pickle protocol 2 (the default) and 4, and in the format
before 1.6. The .safetensors holds the same tensors as torch.load gives them back, made contiguous.

Usage: python tests/oracle/make_torch_fixtures.py
"""
import collections
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "io"

PLAIN = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
         torch.complex64]


def tensors():
    torch.manual_seed(11)
    state = collections.OrderedDict()
    for dtype in PLAIN:
        state[str(dtype).removeprefix("torch.")] = torch.arange(6).reshape(2, 3).to(dtype)
    base = torch.randn(4, 6)
    state["embed"] = base
    state["head"] = base
    state["rows"] = base[1:3]
    state["window"] = base[1:3, 2:5]
    state["transposed"] = base.t()
    state["steps"] = base[::2, ::3]
    state["cube"] = torch.randn(2, 3, 4).permute(2, 0, 1)
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    state["empty"] = torch.zeros(0, 3)
    state["scalar"] = torch.tensor(3)
    state["expanded_once"] = torch.arange(5).expand(1, -1)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return state


def main():
    state = tensors()
    torch.save(state, FOLDER / "torch-types.bin")
    torch.save(dict(embed=state["embed"], head=state["head"], transposed=state["transposed"], steps_taken=7),
               FOLDER / "torch-protocol4.bin", pickle_protocol=4)
    torch.save(dict(scalar=state["scalar"]), FOLDER / "torch-legacy.bin", _use_new_zipfile_serialization=False)
    loaded = torch.load(FOLDER / "torch-types.bin", weights_only=True)
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in loaded.items()},
              FOLDER / "torch-types.safetensors")


if __name__ == "__main__":
    main()
