# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/io/types.gguf, types.safetensors, lattices.gguf, the three parts of split and split.safetensors.

types.gguf holds one tensor of each older type, made of random block bytes with finite scales, and of each plain type;
types.safetensors what the `gguf` package makes of them, as fp32 bits (integers and F64 as they are). lattices.gguf holds the
newer types: every index of every grid, every scale byte of the 4-bit floats, the rest random; its values sha256.TYPE are
the digests of the fp32 bytes that the package makes of them. split is what the package's own splitting writes for five F32 tensors t0 to t4, two in a
part; split.safetensors the same tensors. Versions used: gguf 0.19.0, numpy 2.4.6, safetensors 0.8.0.

Usage: python tests/oracle/make_gguf_fixtures.py
"""
import hashlib
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


def set_bits(raw, at, shift, values, width):
    """Puts one value of `width` bits into byte `at` of each block."""
    mask = np.uint8(((1 << width) - 1) << shift)
    raw[:, at] = (raw[:, at] & ~mask) | ((values.astype(np.uint8) << np.uint8(shift)) & mask)


def iq1_indices(raw, i, index, high_at, step):
    """Byte i of the low indices; the three high bits of index i follow in nibbles or in threes of a u16."""
    raw[:, i + (2 if step == 3 else 0)] = index & 255
    if step == 4:
        set_bits(raw, high_at + i // 2, 4 * (i % 2), index >> 8, 3)
        return
    words = raw[:, high_at + i // 4 * 2 : high_at + i // 4 * 2 + 2].copy().view(np.uint16)[:, 0]
    words = (words & ~np.uint16(7 << 3 * (i % 4))) | ((index >> 8).astype(np.uint16) << np.uint16(3 * (i % 4)))
    raw[:, high_at + i // 4 * 2 : high_at + i // 4 * 2 + 2] = words.reshape(-1, 1).view(np.uint8)


def set_index(kind, raw, i, index):
    if kind == T.IQ1_S:
        iq1_indices(raw, i, index, 34, 3)
    elif kind == T.IQ1_M:
        iq1_indices(raw, i, index, 32, 4)
    elif kind == T.IQ2_XXS:
        raw[:, 2 + i // 4 * 8 + i % 4] = index
    elif kind == T.IQ2_XS:
        raw[:, 2 + 2 * i] = index & 255
        set_bits(raw, 3 + 2 * i, 0, index >> 8, 1)
    elif kind == T.IQ2_S:
        raw[:, 2 + i] = index & 255
        set_bits(raw, 66 + i // 4, 2 * (i % 4), index >> 8, 2)
    elif kind == T.IQ3_XXS:
        raw[:, 2 + i] = index
    elif kind == T.IQ3_S:
        raw[:, 2 + i] = index & 255
        set_bits(raw, 66 + i // 8, i % 8, index >> 8, 1)


# Blocks, and indices in each, so that their product is the size of the grid.
LATTICES = {T.IQ1_S: (64, 32), T.IQ1_M: (64, 32), T.IQ2_XXS: (8, 32), T.IQ2_XS: (16, 32), T.IQ2_S: (32, 32),
            T.IQ3_XXS: (4, 64), T.IQ3_S: (8, 64), T.IQ4_NL: (8, 0), T.IQ4_XS: (8, 0), T.TQ1_0: (8, 0), T.TQ2_0: (4, 0),
            T.MXFP4: (256, 0), T.NVFP4: (64, 0)}


def lattice_blocks(rng, kind):
    blocks, indices = LATTICES[kind]
    raw = rng.integers(0, 256, size=(blocks, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    order = rng.permutation(blocks * indices).reshape(indices, blocks)
    for i in range(indices):
        set_index(kind, raw, i, order[i])
    scale = rng.normal(0, 0.02, size=(blocks, 1)).astype(np.float16)
    if kind == T.IQ1_M:  # a nibble of the scale in each of four words
        for i in range(4):
            set_bits(raw, 49 + 2 * i, 4, (scale.view(np.uint16)[:, 0] >> 4 * i) & 15, 4)
    elif kind == T.MXFP4:
        raw[:, 0] = np.arange(256)
    elif kind == T.NVFP4:
        raw[:, :4] = np.arange(256).reshape(64, 4)
    else:
        at = {T.TQ1_0: 52, T.TQ2_0: 64}.get(kind, 0)
        raw[:, at : at + 2] = scale.view(np.uint8)
    return raw.reshape(1, -1)


def write_lattices():
    rng = np.random.default_rng(8)
    writer = gguf.GGUFWriter(FOLDER / "lattices.gguf", "suture-test")
    for kind in LATTICES:
        raw = lattice_blocks(rng, kind)
        values = gguf.dequantize(raw, kind).astype(np.float32)
        assert not np.isnan(values).any()
        writer.add_tensor(kind.name, raw, raw_dtype=kind)
        writer.add_string("sha256." + kind.name, hashlib.sha256(values.tobytes()).hexdigest())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_split():
    rng = np.random.default_rng(9)
    tensors = {f"t{i}": rng.normal(size=(2, 3 + i)).astype(np.float32) for i in range(5)}
    writer = gguf.GGUFWriter(FOLDER / "split.gguf", "suture-test", split_max_tensors=2)
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.add_string("test.text", "in the first part")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(tensors, FOLDER / "split.safetensors")


def main():
    write_lattices()
    write_split()
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
    writer.add_tensor("Q1_0", rng.integers(0, 256, size=(1, 18), dtype=np.uint8), raw_dtype=T.Q1_0)
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.float64):
        name = np.dtype(dtype).kind.upper() + str(8 * np.dtype(dtype).itemsize)
        expected[name] = (100 * rng.normal(size=(3, 5))).astype(dtype)
        writer.add_tensor(name, expected[name])
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
