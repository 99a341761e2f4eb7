# SPDX-License-Identifier: Apache-2.0
"""Causal indirect effects of heads and the safety vector on llama-gqa, and guided decoding in closed form:
tests/fixtures/expected/heads-llama-gqa.{json,safetensors} and guide.json. All in fp64."""

import json

import torch

from fixture_models import EXPECTED, Hooks, attention_output, blocks, generator, logits_of, random_ids, setup, write_expected
from make_model_fixtures import load

NAME, TOP = "llama-gqa", 3
LAMBDAS = [0.0, 0.5, 0.9, 0.99]


def head_activations_LHd(model, ids):
    """Input of the output projection at the last token, a row a query head."""
    seen = []
    with Hooks() as hooks:
        for block in blocks(model):
            hooks.input(attention_output(block), lambda value: seen.append(value[0, -1].clone()))
        logits_of(model, ids)
    return torch.stack(seen).reshape(len(seen), model.config.num_attention_heads, -1)


def refusal_probability(model, ids, refusal, layer=None, head=None, value_d=None):
    def change(heads):
        heads = heads.clone()
        width = len(value_d)
        heads[0, -1, head * width:(head + 1) * width] = value_d
        return heads

    with Hooks() as hooks:
        if layer is not None:
            hooks.input(attention_output(blocks(model)[layer]), change)
        return logits_of(model, ids)[-1].softmax(-1)[refusal].sum()


@torch.no_grad()
def heads():
    model = load(NAME).double()
    clean = [random_ids(length, "heads", "clean") for length in (11, 14)]
    corrupted = [random_ids(length, "heads", "corrupted") for length in (9, 16)]
    refusal = torch.tensor([12, 40, 93])
    mean_LHd = torch.stack([head_activations_LHd(model, ids) for ids in clean]).mean(0)
    L, H, d = mean_LHd.shape
    P0_T = torch.stack([refusal_probability(model, ids, refusal) for ids in corrupted])
    P_TLH = torch.tensor([[[refusal_probability(model, ids, refusal, layer, head, mean_LHd[layer, head]) for head in range(H)]
                           for layer in range(L)] for ids in corrupted], dtype=torch.float64)
    AIE_LH = (P_TLH - P0_T[:, None, None]).mean(0)
    order = AIE_LH.flatten().argsort(descending=True)
    values = AIE_LH.flatten()[order]
    assert (values[:TOP] - values[1:TOP + 1]).min() > 1e-5, values  # the ranking survives fp32
    top = [[int(index) // H, int(index) % H] for index in order[:TOP]]
    SV_D = sum(attention_output(blocks(model)[l]).weight[:, h * d:(h + 1) * d] @ mean_LHd[l, h] for l, h in top)
    # The same by zeroing all other heads and calling the projection, as upstream does.
    padded = torch.zeros(L, H, d, dtype=torch.float64)
    for l, h in top:
        padded[l, h] = mean_LHd[l, h]
    assert torch.allclose(SV_D, sum(attention_output(blocks(model)[l])(padded[l].flatten()) for l in range(L)))
    tensors = {"mean_heads": mean_LHd, "P0": P0_T, "P": P_TLH, "AIE": AIE_LH, "safety_vector": SV_D}
    write_expected(f"heads-{NAME}", tensors, {
        "model": f"models/{NAME}", "clean": [ids.tolist() for ids in clean], "corrupted": [ids.tolist() for ids in corrupted],
        "refusal": refusal.tolist(), "top_heads": top, "top_effects": values[:TOP].tolist()})
    print("P0", P0_T.tolist(), "top", top, values[:4].tolist(), "least", values[-1].item())


def guide():
    """log s = log p + lambda/(1-lambda) * min(0, log p - log u), normalised; checked against the two-step definition."""
    stream = generator("guide")
    V, rows = 16, []
    for spread in (0.5, 2.0, 6.0, 0.0):
        log_p = (2 * torch.randn(V, generator=stream, dtype=torch.float64)).log_softmax(-1)
        log_u = (log_p + spread * torch.randn(V, generator=stream, dtype=torch.float64)).log_softmax(-1) if spread else log_p
        log_s = {}
        for weight in LAMBDAS:
            value = (log_p + weight / (1 - weight) * (log_p - log_u).clamp(max=0)).log_softmax(-1)
            union = torch.maximum(log_p, log_u).log_softmax(-1)
            assert torch.allclose(value, ((log_p - weight * union) / (1 - weight)).log_softmax(-1), atol=1e-11)
            log_s[str(weight)] = value.tolist()
        rows.append({"log_p": log_p.tolist(), "log_u": log_u.tolist(), "log_s": log_s})
    (EXPECTED / "guide.json").write_text(json.dumps({"lambdas": LAMBDAS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    setup()
    heads()
    guide()
