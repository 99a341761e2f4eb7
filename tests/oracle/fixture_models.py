# SPDX-License-Identifier: Apache-2.0
"""What the oracle scripts share: where fixtures live, how a tiny model is made, run and observed."""

import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

TESTS = pathlib.Path(__file__).resolve().parents[1]
MODELS = TESTS / "fixtures" / "models"
EXPECTED = TESTS / "fixtures" / "expected"

VOCAB = 112
BOS, EOS = 0, 1


def setup():
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)


def generator(*key):
    """A stream of its own for every use, so that adding a fixture leaves the others as they are."""
    seed = 1469598103934665603
    for byte in "/".join(map(str, key)).encode():  # FNV-1a
        seed = ((seed ^ byte) * 1099511628211) % 2**63
    return torch.Generator().manual_seed(seed)


def random_ids(length, *key):
    """Ids from 2: the begin and end tokens never appear in a prompt."""
    return torch.randint(2, VOCAB, (length,), generator=generator("ids", length, *key))


def base(model):
    return model.model if hasattr(model, "model") else model.transformer


def blocks(model):
    return base(model).layers if hasattr(base(model), "layers") else base(model).h


def attention_output(block):
    return block.self_attn.o_proj if hasattr(block, "self_attn") else block.attn.c_proj


def attention(block):
    return block.self_attn if hasattr(block, "self_attn") else block.attn


def down_projection(block):
    return block.mlp.down_proj if hasattr(block.mlp, "down_proj") else block.mlp.c_proj


def final_norm(model):
    return base(model).norm if hasattr(base(model), "norm") else base(model).ln_f


def first(value):
    return value[0] if isinstance(value, tuple) else value


class Hooks:
    """Forward hooks that are gone when the `with` block ends."""

    def __init__(self):
        self.handles = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def output(self, module, change):
        """change(output) returns the new output, or None to leave it."""

        def hook(_module, _inputs, output):
            changed = change(first(output))
            if changed is None:
                return None
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        self.handles.append(module.register_forward_hook(hook))

    def input(self, module, change):
        def hook(_module, inputs):
            changed = change(inputs[0])
            return None if changed is None else (changed, *inputs[1:])

        self.handles.append(module.register_forward_pre_hook(hook))


def logits_of(model, ids):
    """[T] ids -> [T, V] logits, one row, no cache."""
    return model(input_ids=ids[None], use_cache=False).logits[0]


def write_expected(name, tensors, facts):
    EXPECTED.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, EXPECTED / f"{name}.safetensors")
    facts["tensors"] = {key: [str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in tensors.items()}
    (EXPECTED / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
