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


def part(module, *names):
    """The submodule that the family calls one of `names`; None when it has none of them."""
    return next((getattr(module, name) for name in names if isinstance(getattr(module, name, None), torch.nn.Module)), None)


def base(model):
    inner = part(model, "model", "transformer", "gpt_neox")
    return part(inner, "decoder") or inner


def blocks(model):
    return part(base(model), "layers", "h")


def attention(block):
    return part(block, "self_attn", "attn", "self_attention", "attention")


def attention_output(block):
    return part(attention(block), "o_proj", "c_proj", "out_proj", "dense")


def mlp(block):
    """The module whose output is the MLP's; OPT keeps its two layers in the block itself."""
    return part(block, "mlp", "fc2")


def down_projection(block):
    """None for a mixture of experts."""
    return part(part(block, "mlp") or block, "down_proj", "c_proj", "fc_out", "fc2", "dense_4h_to_h")


def final_norm(model):
    return part(base(model), "norm", "ln_f", "final_layer_norm", "final_layernorm")


def routers(model):
    return [module for module in model.modules() if hasattr(module, "top_k") and hasattr(module, "weight")]


def window(model):
    """The sliding window of a model that has one, else None."""
    return getattr(model.config, "sliding_window", None) or None


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


class Routing(Hooks):
    """The narrowest choice of any router in the `with` block: its last chosen logit less its first unchosen one."""

    def __init__(self, model):
        super().__init__()
        self.gap = float("inf")
        for router in routers(model):
            self.output(router, lambda logits, chosen=router.top_k: self.note(logits.topk(chosen + 1).values))

    def note(self, best):
        self.gap = min(self.gap, (best[..., -2] - best[..., -1]).min().item())

    @property
    def clear(self):
        return self.gap >= 1e-3


def logits_of(model, ids):
    """[T] ids -> [T, V] logits, one row, no cache."""
    return model(input_ids=ids[None], use_cache=False).logits[0]


def write_expected(name, tensors, facts):
    EXPECTED.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, EXPECTED / f"{name}.safetensors")
    facts["tensors"] = {key: [str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in tensors.items()}
    (EXPECTED / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
