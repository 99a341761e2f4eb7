# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/models/llama-fp8, gpt-oss-mxfp4 and llama-bin: the weights of llama-gqa and gpt-oss packed in 8 and 4
bits, and llama-gqa as pytorch_model.bin; and what transformers computes with the unpacked bf16 weights, in
tests/fixtures/expected/packed.safetensors.

Usage: python tests/oracle/make_packed_models.py   (after make_model_fixtures.py)
"""
import json
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from fixture_models import EXPECTED, MODELS, logits_of, random_ids, setup
from make_model_fixtures import fill

BLOCK = 16


def copy_config(source, target, quantised=None, **changes):
    folder = MODELS / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = json.loads((MODELS / source / "config.json").read_text())
    config |= {"dtype": "bfloat16", **changes}
    if quantised:
        config["quantization_config"] = quantised
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


def reference(model, changes):
    """Logits in fp32 of `model` with its weights replaced by bf16 ones, `changes` among them."""
    state = model.state_dict()
    for name, value in state.items():
        state[name] = changes.get(name, value.bfloat16()).float()
    model.load_state_dict(state)
    with torch.no_grad():
        return logits_of(model.eval(), random_ids(33, "packed"))


def fp8():
    folder = copy_config("llama-gqa", "llama-fp8", {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]})
    stored, changes = {}, {}
    for name, weight in load_file(MODELS / "llama-gqa" / "model.safetensors").items():
        if "_proj" not in name:
            stored[name] = weight.bfloat16()
            continue
        rows, columns = (-(-n // BLOCK) for n in weight.shape)
        padded = torch.zeros(rows * BLOCK, columns * BLOCK)
        padded[: weight.shape[0], : weight.shape[1]] = weight
        tiles = padded.reshape(rows, BLOCK, columns, BLOCK)
        scale = tiles.abs().amax(dim=(1, 3)) / 448
        spread = scale.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[: weight.shape[0], : weight.shape[1]]
        stored[name] = (weight / spread).to(torch.float8_e4m3fn)
        stored[name + "_scale_inv"] = scale
        changes[name] = (stored[name].float() * spread).bfloat16()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return reference(transformers.AutoModelForCausalLM.from_pretrained(
        MODELS / "llama-gqa", dtype=torch.float32, attn_implementation="eager"), changes)


def mxfp4():
    folder = copy_config("gpt-oss", "gpt-oss-mxfp4", {"quant_method": "mxfp4"}, hidden_size=32, intermediate_size=32)  # whole blocks
    config = transformers.AutoConfig.from_pretrained(MODELS / "gpt-oss", hidden_size=32, intermediate_size=32)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    fill(model, "gpt-oss-mxfp4")
    stored, changes = {}, {}
    stream = torch.Generator().manual_seed(11)
    for name, weight in model.state_dict().items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = weight.bfloat16()
            continue
        experts, inner, outer = weight.shape
        assert inner % 32 == 0, (name, weight.shape)
        blocks = torch.randint(0, 256, (experts, outer, inner // 32, 16), dtype=torch.uint8, generator=stream)
        scales = torch.randint(122, 126, (experts, outer, inner // 32), dtype=torch.uint8, generator=stream)
        stored[name + "_blocks"], stored[name + "_scales"] = blocks, scales
        changes[name] = convert_moe_packed_tensors(blocks, scales)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return reference(model, changes)


def pickled():
    folder = copy_config("llama-gqa", "llama-bin")
    shutil.copy(MODELS / "llama-gqa" / "config.json", folder / "config.json")
    torch.save(load_file(MODELS / "llama-gqa" / "model.safetensors"), folder / "pytorch_model.bin")


def main():
    setup()
    save_file({"ids": random_ids(33, "packed"), "llama-fp8": fp8(), "gpt-oss-mxfp4": mxfp4()}, EXPECTED / "packed.safetensors")
    pickled()


if __name__ == "__main__":
    main()
