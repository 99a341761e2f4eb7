# SPDX-License-Identifier: Apache-2.0
"""ROME and r-ROME from their formulas, on the tiny checkpoints: tests/fixtures/expected/rome-<model>.{json,safetensors}.

Everything is run in fp64 and again in fp32 (the second moment always in fp64); the tensors are the fp64 run's, and the
JSON says how far the fp32 run ended from it."""

import torch
import transformers

from fixture_models import Hooks, blocks, down_projection, logits_of, random_ids, setup, write_expected
from make_model_fixtures import load

HYPER = {"layer": 1, "learning_rate": 0.5, "steps": 20, "weight_decay": 0.5, "clamp_factor": 4.0, "kl_factor": 0.0625,
         "stop_below": 0.05, "ridge": 1e-4}
# What differs: "clamped" reaches the norm bound, "early" stops before the last step (the subject ends the prompt, so
# that the value reaches the answer directly).
CASES = {"base": {}, "clamped": {"clamp_factor": 0.75},
         "early": {"weight_decay": 1e-3, "clamp_factor": 100.0, "kl_factor": 1e-3, "steps": 60}}


def inputs(name, case):
    prompt, subject_last = random_ids(9, "rome", name).tolist(), 8 if case == "early" else 4
    prefixes = [[], random_ids(5, "rome", name, "prefix").tolist(), random_ids(10, "rome", name, "prefix").tolist()]
    return {
        "contexts": [{"ids": prefix + prompt, "subject_last": len(prefix) + subject_last} for prefix in prefixes],
        "target": random_ids(3, "rome", name, "target").tolist()[: 1 if case == "early" else 3],
        "kl": {"ids": prompt[2:5] + random_ids(2, "rome", name, "kl").tolist(), "subject_last": 2},
        "covariance_ids": [random_ids(24, "rome", name, "covariance", row).tolist() for row in range(8)],
    }


def weight_DF(model, layer):
    """The down projection as the D x F matrix of the papers, whatever the layout in the model."""
    weight = down_projection(blocks(model)[layer]).weight.detach()
    return weight.T if isinstance(down_projection(blocks(model)[layer]), transformers.pytorch_utils.Conv1D) else weight


def bias_D(model, layer):
    bias = getattr(down_projection(blocks(model)[layer]), "bias", None)
    return 0 if bias is None else bias.detach()


@torch.no_grad()
def keys_TF(model, layer, ids):
    seen = []
    with Hooks() as hooks:
        hooks.input(down_projection(blocks(model)[layer]), lambda value: seen.append(value[0].clone()))
        logits_of(model, torch.tensor(ids))
    return seen[0]


def run_with_delta(model, layer, ids, position, delta):
    """Logits [T, V] with delta added to the MLP output at one position; also the MLP output there before that."""
    seen = []

    def change(value):
        seen.append(value[0, position].detach().clone())
        place = torch.zeros(value.shape[1], 1, dtype=value.dtype)
        place[position] = 1
        return value + place * delta

    with Hooks() as hooks:
        hooks.output(blocks(model)[layer].mlp, change)
        return logits_of(model, torch.tensor(ids)), seen[0]


def optimise_value(model, data, hyper):
    target = torch.tensor(data["target"])
    count = len(target)
    delta = torch.zeros(model.config.hidden_size, dtype=model.dtype, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=hyper["learning_rate"])
    initial_log_p, v0, trace, clamped = None, None, [], 0
    for step in range(hyper["steps"]):
        nlls = []
        for row, context in enumerate(data["contexts"]):
            logits, value = run_with_delta(model, hyper["layer"], context["ids"] + data["target"][:-1], context["subject_last"], delta)
            nlls.append(-logits[-count:].log_softmax(-1)[torch.arange(count), target].mean())
            if row == 0 and v0 is None:
                v0 = value
        logits, _ = run_with_delta(model, hyper["layer"], data["kl"]["ids"], data["kl"]["subject_last"], delta)
        log_p = logits[data["kl"]["subject_last"]].log_softmax(-1)
        if initial_log_p is None:
            initial_log_p = log_p.detach()
        nll = torch.stack(nlls).mean()
        kl = hyper["kl_factor"] * (log_p.exp() * (log_p - initial_log_p)).sum()
        decay = hyper["weight_decay"] * delta.norm() / v0.norm() ** 2
        loss = nll + kl + decay
        trace.append([loss.item(), nll.item(), kl.item(), decay.item(), delta.norm().item()])
        if loss < hyper["stop_below"] or step == hyper["steps"] - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        bound = hyper["clamp_factor"] * v0.norm()
        with torch.no_grad():
            if delta.norm() > bound:
                delta.mul_(bound / delta.norm())
                clamped += 1
    return delta.detach(), v0, torch.tensor(trace, dtype=torch.float64), clamped


def edit(name, data, hyper, dtype):
    layer = hyper["layer"]
    double = load(name).double()
    keys = torch.cat([keys_TF(double, layer, ids) for ids in data["covariance_ids"]])
    C = keys.T @ keys / len(keys)
    C_ridge = C + hyper["ridge"] * C.trace() / len(C) * torch.eye(len(C), dtype=C.dtype)

    model = load(name).to(dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    context_keys = torch.stack([keys_TF(model, layer, context["ids"])[context["subject_last"]] for context in data["contexts"]])
    k_star, k_prompt = context_keys.mean(0), context_keys[0]
    delta, v0, trace, clamped = optimise_value(model, data, hyper)
    v_star = v0 + delta

    W, b = weight_DF(model, layer), bias_D(model, layer)
    direction = torch.linalg.solve(C_ridge, k_star.double()).to(dtype)
    u = direction / direction.norm()
    lambda_r_rome = (v_star - (W @ k_star + b)) / (k_star @ u)
    lambda_rome = (v_star - (W @ k_prompt + b)) / (k_prompt @ u)
    tensors = {"C": C, "context_keys": context_keys, "k_star": k_star, "v0": v0, "delta": delta, "v_star": v_star, "trace": trace,
               "u": u, "lambda_r_rome": lambda_r_rome, "lambda_rome": lambda_rome,
               "W_r_rome": W + torch.outer(lambda_r_rome, u), "W_rome": W + torch.outer(lambda_rome, u)}
    closeness = 1e-9 if dtype == torch.float64 else 1e-4
    assert torch.allclose(tensors["W_r_rome"] @ k_star + b, v_star, atol=closeness)
    assert torch.allclose(tensors["W_rome"] @ k_prompt + b, v_star, atol=closeness)
    assert torch.allclose(lambda_rome, delta / (k_prompt @ u), atol=closeness)
    facts = {"clamped_steps": clamped, "target_log_prob_before": target_log_prob(model, data)}
    for method in ("r_rome", "rome"):
        weight = down_projection(blocks(model)[layer]).weight
        kept = weight.clone()
        weight.add_(tensors[f"W_{method}"].T - W.T if weight.shape != W.shape else tensors[f"W_{method}"] - W)
        facts[f"target_log_prob_after_{method}"] = target_log_prob(model, data)
        weight.copy_(kept)
    return tensors, facts


@torch.no_grad()
def target_log_prob(model, data):
    """Sum of the target's log-probabilities after the bare prompt."""
    target = torch.tensor(data["target"])
    logits = logits_of(model, torch.tensor(data["contexts"][0]["ids"] + data["target"][:-1]))
    return logits[-len(target):].log_softmax(-1)[torch.arange(len(target)), target].sum().item()


def main():
    setup()
    for name in ("llama-gqa", "gpt2"):
        tensors, cases = {}, {}
        for case, changes in CASES.items():
            hyper = {**HYPER, **changes}
            data = inputs(name, case)
            exact, facts = edit(name, data, hyper, torch.float64)
            rounded, _ = edit(name, data, hyper, torch.float32)
            difference = {key: (exact[key] - rounded[key]).abs().max().item() for key in exact if exact[key].shape == rounded[key].shape}
            cases[case] = {"input": data, "hyper": hyper, "evaluations": len(exact["trace"]), **facts, "fp32_max_abs_difference": difference}
            keep = exact if case == "base" else {key: exact[key] for key in ("k_star", "v0", "delta", "v_star", "trace", "u", "lambda_r_rome", "lambda_rome")}
            tensors |= {f"{case}.{key}": value.to(torch.float64 if key in ("C", "trace") else torch.float32) for key, value in keep.items()}
            print(name, case, "evaluations", len(exact["trace"]), len(rounded["trace"]), "clamped", facts["clamped_steps"],
                  {k: round(v, 3) for k, v in facts.items() if k.startswith("target")}, {k: f"{v:.0e}" for k, v in difference.items()})
            print("   loss", [round(row[0].item(), 3) for row in exact["trace"]][:40])
        write_expected(f"rome-{name}", tensors, {"model": f"models/{name}", "cases": cases})


if __name__ == "__main__":
    main()
