# SPDX-License-Identifier: Apache-2.0
"""Writes the tiny checkpoints in tests/fixtures/models and what transformers computes with them, in
tests/fixtures/expected. README.md beside this file lists every tensor and key."""

import argparse
import json
import shutil

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from fixture_models import (BOS, EOS, EXPECTED, MODELS, VOCAB, Hooks, attention_output, base, blocks, down_projection,
                            attention, final_norm, generator, logits_of, random_ids, setup, write_expected)

LONG = 1100
LONG_ROWS = [0, 1, 511, *range(1000, LONG, 9)]
RAGGED = [3, 9, 17]
NEW_TOKENS = 32
GRADIENT_LAYER, GRADIENT_POSITION, GRADIENT_TARGET = 1, 4, 77


def llama(**changes):
    values = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=False,
                  rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, bos_token_id=BOS, eos_token_id=EOS)
    return LlamaConfig(**{**values, **changes})


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "original_max_position_embeddings": 64,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0}

# name: (class, config, options). `seed` names the weight stream; `long` asks for the 1,100-token sequence.
FIXTURES = {
    "llama-gqa": (LlamaForCausalLM, llama(), {"long": True}),
    "llama-tied": (LlamaForCausalLM, llama(tie_word_embeddings=True), {}),
    "llama-head-dim": (LlamaForCausalLM, llama(hidden_size=24, head_dim=12, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}), {}),
    "llama-rope-llama3": (LlamaForCausalLM, llama(rope_parameters=LLAMA3_ROPE), {"long": True}),
    "llama-rope-linear": (LlamaForCausalLM, llama(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}), {"long": True}),
    "llama-bias": (LlamaForCausalLM, llama(attention_bias=True, mlp_bias=True), {}),
    "mistral": (MistralForCausalLM, MistralConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=2048, rms_norm_eps=1e-6, sliding_window=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, tie_word_embeddings=False,
        bos_token_id=BOS, eos_token_id=EOS), {}),
    # Narrower than the others: 1,200 learned positions are most of its file.
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=VOCAB, n_positions=1200, n_embd=16, n_layer=3, n_head=2, n_inner=48,
                                        bos_token_id=BOS, eos_token_id=EOS), {"long": True}),
    "llama-bf16": (LlamaForCausalLM, llama(), {"dtype": torch.bfloat16}),
    "llama-sharded": (LlamaForCausalLM, llama(), {"shard": "40KB"}),
}


def fill(model, name):
    """Weights that make every part of the forward pass visible in the logits: attention that looks somewhere, norms
    that scale, biases that are not zero, logits with a standard deviation above 1."""
    stream = generator("weights", name)
    tied = model.config.tie_word_embeddings
    hidden = model.config.hidden_size
    seen = set()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.data_ptr() in seen:
                continue
            seen.add(weight.data_ptr())
            noise = torch.randn(weight.shape, generator=stream)
            if key.endswith("bias"):
                weight.copy_(0.2 * noise)
            elif "norm" in key or ".ln_" in key:
                weight.copy_(1 + 0.2 * noise)
            elif "embed" in key or "wte" in key or "wpe" in key:
                weight.copy_(noise * (1.8 / hidden**0.5 if tied else 1.0))
            elif "lm_head" in key:
                weight.copy_(noise * 1.8 / hidden**0.5)
            else:
                conv1d = isinstance(model, GPT2LMHeadModel)
                fan_in = weight.shape[0] if conv1d else weight.shape[1]
                gain = 1.4 if any(part in key for part in ("q_proj", "k_proj", "c_attn")) else 1.0
                weight.copy_(noise * gain / fan_in**0.5)


def save(name, model, options):
    folder = MODELS / name
    for old in folder.glob("model*"):  # the tokenizer of make_model_gguf.py stays
        old.unlink()
    model.to(options.get("dtype", torch.float32)).save_pretrained(folder, max_shard_size=options.get("shard", "50GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)


def write_old_config():
    """llama-rope-llama3 with its config spelled as transformers 4 wrote it; the weights are the same file."""
    source, folder = MODELS / "llama-rope-llama3", MODELS / "llama-old-config"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.45.0"
    (folder / "config.json").write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def load(name):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        MODELS / name, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()


def greedy(model, ids, count):
    """One row, no padding, no cache. None unless every choice is clear (another implementation's rounding could flip a
    narrow one) and the text is not one token over and over (which would hide a wrong cache)."""
    generated = []
    for _ in range(count):
        scores = logits_of(model, torch.cat([ids, torch.tensor(generated, dtype=torch.long)]))[-1]
        best = scores.topk(2)
        if best.values[0] - best.values[1] < 2e-3 or best.indices[0] == EOS:
            return None
        generated.append(best.indices[0].item())
        if len(generated) == count // 2 and len(set(generated)) < 4:
            return None
    return torch.tensor(generated) if len(set(generated)) >= 6 else None


def ragged(model, name):
    tensors = {}
    for row, length in enumerate(RAGGED):
        for attempt in range(2000):
            prompt = random_ids(length, name, "ragged", attempt)
            generated = greedy(model, prompt, NEW_TOKENS)
            if generated is not None:
                break
        else:
            raise RuntimeError(f"{name}: no prompt of length {length} with clear choices")
        tensors[f"ragged.prompt.{row}"] = prompt
        tensors[f"ragged.generated.{row}"] = generated
        tensors[f"ragged.first_logits.{row}"] = logits_of(model, prompt)[-1]
    return tensors


def sites(model, ids):
    """Values at the last token at every hook site, and the residual stream between blocks."""
    seen = {"resid": [], "head_out": [], "attn_out": [], "mlp_key": [], "mlp_out": []}
    keep = lambda key: (lambda value: seen[key].append(value[0, -1].clone()))
    embedded, normed = [], []
    with Hooks() as hooks:
        hooks.input(blocks(model)[0], lambda value: embedded.append(value[0, -1].clone()))
        for block in blocks(model):
            hooks.input(attention_output(block), keep("head_out"))
            hooks.output(attention(block), keep("attn_out"))
            hooks.input(down_projection(block), keep("mlp_key"))
            hooks.output(block.mlp, keep("mlp_out"))
            hooks.output(block, keep("resid"))
        hooks.output(final_norm(model), lambda value: normed.append(value[0, -1].clone()))
        result = model(input_ids=ids[None], use_cache=False, output_hidden_states=True)
    seen["resid"] = embedded + seen["resid"]
    # transformers' own record agrees; its last entry is the normalised one.
    for mine, theirs in zip(seen["resid"][:-1], result.hidden_states[:-1], strict=True):
        assert torch.equal(mine, theirs[0, -1])
    assert torch.equal(normed[0], result.hidden_states[-1][0, -1])
    tensors = {f"site.{key}": torch.stack(values) for key, values in seen.items()}
    tensors["site.final_norm"] = normed[0]
    return tensors


def injected_loss(model, ids, vector):
    def change(value):
        place = torch.zeros(value.shape[1], 1, dtype=value.dtype)
        place[GRADIENT_POSITION] = 1
        return value + place * vector

    with Hooks() as hooks:
        hooks.output(blocks(model)[GRADIENT_LAYER].mlp, change)
        return -logits_of(model, ids)[-1].log_softmax(-1)[GRADIENT_TARGET]


def gradients(model, name, ids):
    width = model.config.hidden_size
    tensors, losses = {}, {}
    vectors = {"zero": torch.zeros(width), "vector": torch.randn(width, generator=generator("gradient", name))}
    for key, value in vectors.items():
        results = {}
        for dtype in (torch.float64, torch.float32):  # leaves the model in fp32
            model.to(dtype)
            leaf = value.to(dtype).requires_grad_()
            loss = injected_loss(model, ids, leaf)
            (gradient,) = torch.autograd.grad(loss, leaf)
            results[dtype] = loss.item(), gradient
        tensors[f"gradient.at_{key}"] = results[torch.float32][1]
        losses[f"loss_at_{key}"] = results[torch.float32][0]
        error = (results[torch.float32][1] - results[torch.float64][1]).abs().max().item()
        assert error < 1e-5 and results[torch.float32][1].abs().max() > 1e-4, (name, error)
    tensors["gradient.vector"] = vectors["vector"]
    facts = {"layer": GRADIENT_LAYER, "position": GRADIENT_POSITION, "target": GRADIENT_TARGET, **losses}
    return tensors, facts


@torch.no_grad()
def expected(name, options):
    model = load(name)
    tensors = {}
    for length in (7, 33):
        ids = random_ids(length, name)
        tensors[f"ids.{length}"] = ids
        tensors[f"logits.{length}"] = logits_of(model, ids)
    assert tensors["logits.33"].std() > 1, (name, tensors["logits.33"].std())
    if options.get("long"):
        ids = random_ids(LONG, name)
        tensors |= {"ids.1100": ids, "positions.1100": torch.tensor(LONG_ROWS), "logits.1100": logits_of(model, ids)[LONG_ROWS]}
    tensors |= ragged(model, name)
    tensors |= sites(model, tensors["ids.33"])
    with torch.enable_grad():
        more, gradient_facts = gradients(model, name, tensors["ids.7"])
    tensors |= more
    reference = load(name).double()
    error = (logits_of(reference, tensors["ids.33"]) - tensors["logits.33"]).abs().max().item()
    facts = {"model": f"models/{name}", "new_tokens": NEW_TOKENS, "gradient": gradient_facts,
             "max_abs_difference_from_fp64": error, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    write_expected(name, tensors, facts)
    size = sum(file.stat().st_size for file in (MODELS / name).iterdir())
    print(f"{name}: folder {size} bytes, logits std {tensors['logits.33'].std():.2f}, fp32-fp64 {error:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="fixtures to write (default: all)")
    chosen = parser.parse_args().names
    setup()
    for name, (kind, config, options) in FIXTURES.items():
        if chosen and name not in chosen:
            continue
        model = kind._from_config(config, attn_implementation="eager")
        fill(model, name)
        save(name, model, options)
        expected(name, options)
    if not chosen or "llama-old-config" in chosen:
        write_old_config()
        expected("llama-old-config", {"long": True})


if __name__ == "__main__":
    main()
