# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/io/types.gguf and types.safetensors.

The first holds one tensor of each type that the reader converts, made of random block bytes with finite scales; the second
what the `gguf` package makes of them, as fp32 bits. Versions used: gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0.

Usage: python tests/oracle/make_gguf_fixtures.py
"""
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "io"
ROWS, BLOCKS = 2, 2

# Byte offsets of the fp16 numbers in a block: random bytes there would make infinities and NaN.
HALVES = {
    T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}


def random_blocks(rng, kind):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, size=(ROWS, BLOCKS, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scale = rng.normal(0, 0.02, size=(ROWS, BLOCKS, 1)).astype(np.float16)
        raw[:, :, at : at + 2] = scale.view(np.uint8)
    raw[0, 0, HALVES[kind][0] : HALVES[kind][0] + 2] = np.array([3], dtype=np.uint16).view(np.uint8)  # a subnormal scale
    return raw.reshape(ROWS, BLOCKS * size)


def q8_k_blocks(rng):
    """The package has no reader of Q8_K: value = scale (fp32) times int8, in fp32."""
    scale = rng.normal(0, 0.02, size=(ROWS, BLOCKS, 1)).astype(np.float32)
    values = rng.integers(-128, 128, size=(ROWS, BLOCKS, 256), dtype=np.int8)
    sums = rng.integers(0, 256, size=(ROWS, BLOCKS, 32), dtype=np.uint8)
    raw = np.concatenate([scale.view(np.uint8), values.view(np.uint8), sums], axis=-1)
    return raw.reshape(ROWS, -1), (scale * values.astype(np.float32)).reshape(ROWS, -1)


def main():
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(FOLDER / "types.gguf", "suture-test")
    expected = {}
    for kind in HALVES:
        raw = random_blocks(rng, kind)
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        expected[kind.name] = gguf.dequantize(raw, kind).astype(np.float32)
    raw, expected["Q8_K"] = q8_k_blocks(rng)
    writer.add_tensor("Q8_K", raw, raw_dtype=T.Q8_K)

    plain = rng.normal(size=(3, 5)).astype(np.float32)
    bf16 = (plain.view(np.uint32) >> 16).astype(np.uint16)
    writer.add_tensor("F32", plain)
    writer.add_tensor("F16", plain.astype(np.float16))
    writer.add_tensor("BF16", bf16.view(np.uint8).reshape(3, 10), raw_dtype=T.BF16)
    writer.add_tensor("IQ4_NL", rng.integers(0, 256, size=(1, 18), dtype=np.uint8), raw_dtype=T.IQ4_NL)
    expected["F32"] = plain
    expected["F16"] = plain.astype(np.float16).astype(np.float32)
    expected["BF16"] = gguf.dequantize(bf16.view(np.uint8).reshape(3, 10), T.BF16).astype(np.float32)

    writer.add_uint8("test.u8", 200)
    writer.add_int32("test.i32", -7)
    writer.add_uint64("test.u64", 2**64 - 1)
    writer.add_float32("test.f32", 0.5)
    writer.add_float64("test.f64", 1e-300)
    writer.add_bool("test.flag", True)
    writer.add_string("test.text", "naïve 🦙")
    writer.add_array("test.texts", ["a", "", "ü"])
    writer.add_array("test.integers", [1, -2, 3])
    writer.add_array("test.numbers", [0.25, -0.5])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({name: np.ascontiguousarray(value) for name, value in expected.items()}, FOLDER / "types.safetensors")


if __name__ == "__main__":
    main()
