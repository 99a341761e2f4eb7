# SPDX-License-Identifier: Apache-2.0
"""Writes the tiny checkpoints in tests/fixtures/models and what transformers computes with them, in
tests/fixtures/expected. README.md beside this file lists every tensor and key."""

import argparse
import json
import shutil

import torch
import transformers
from transformers import (
    FalconForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM, GemmaForCausalLM, Glm4ForCausalLM, GPT2Config,
    GPT2LMHeadModel, GPTJForCausalLM, GPTNeoXForCausalLM, GptOssForCausalLM, GraniteForCausalLM, LlamaConfig,
    LlamaForCausalLM, MistralConfig, MistralForCausalLM, MixtralForCausalLM, Olmo2ForCausalLM, Olmo3ForCausalLM,
    OlmoForCausalLM, OPTForCausalLM, Phi3ForCausalLM, PhiForCausalLM, Qwen2ForCausalLM, Qwen2MoeForCausalLM,
    Qwen3ForCausalLM, Qwen3MoeForCausalLM, SmolLM3ForCausalLM, StableLmForCausalLM, Starcoder2ForCausalLM)

from fixture_models import (BOS, EOS, MODELS, VOCAB, Hooks, Routing, attention, attention_output, blocks,
                            down_projection, final_norm, generator, logits_of, mlp, random_ids, routers, setup, window,
                            write_expected)

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

# What the families below share; GROUPED is for those that know key-value heads.
SMALL = dict(vocab_size=VOCAB, hidden_size=24, num_hidden_layers=3, max_position_embeddings=2048, bos_token_id=BOS,
             eos_token_id=EOS, pad_token_id=None)
THREE = dict(num_attention_heads=3, intermediate_size=40)
GROUPED = dict(num_attention_heads=4, num_key_value_heads=2, intermediate_size=40)
EXPERTS = dict(GROUPED, hidden_size=16, num_experts_per_tok=2)
SLIDING, FULL = "sliding_attention", "full_attention"


def rope(theta=10000.0, kind="default", **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def family(kind, common, options=None, **changes):
    return kind, kind.config_class(**{**SMALL, **common, **changes}), options or {}


# name: (class, config, options). Options: `long` asks for the 1,100-token sequence, `dtype` and `shard` for how the
# weights are stored, `attention` for another implementation than eager.
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
    "llama-rope-yarn": (LlamaForCausalLM, llama(hidden_size=24, head_dim=8, rope_parameters=rope(
        kind="yarn", factor=8.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=1.0)), {"long": True}),
    "llama-rope-dynamic": (LlamaForCausalLM, llama(hidden_size=24, head_dim=8, max_position_embeddings=64, rope_parameters=rope(
        kind="dynamic", factor=2.0)), {"long": True}),
    "mistral-window": family(MistralForCausalLM, GROUPED, {"long": True}, head_dim=8, sliding_window=16),
    "qwen2": family(Qwen2ForCausalLM, GROUPED, rope_parameters=rope(1e6)),
    "qwen2-window": family(Qwen2ForCausalLM, GROUPED, {"long": True}, use_sliding_window=True, max_window_layers=1, sliding_window=16),
    "qwen3": family(Qwen3ForCausalLM, GROUPED, head_dim=8, rope_parameters=rope(1e6)),
    "gemma": family(GemmaForCausalLM, GROUPED, head_dim=8),
    "gemma2": family(Gemma2ForCausalLM, GROUPED, {"long": True}, head_dim=8, num_hidden_layers=4, sliding_window=16,
                     intermediate_size=28, query_pre_attn_scalar=12, attn_logit_softcapping=2.0, final_logit_softcapping=5.0),
    "gemma3": family(Gemma3ForCausalLM, GROUPED, {"long": True}, head_dim=8, sliding_window=16, layer_types=[SLIDING, FULL, SLIDING],
                     query_pre_attn_scalar=12, rope_parameters={SLIDING: rope(), FULL: rope(1e6, "linear", factor=8.0)}),
    "phi3": family(Phi3ForCausalLM, GROUPED, {"long": True}, sliding_window=16),
    "phi3-longrope": family(Phi3ForCausalLM, GROUPED, {"long": True}, original_max_position_embeddings=64, num_attention_heads=3,
                            num_key_value_heads=3, rope_parameters=rope(kind="longrope", partial_rotary_factor=0.75,
                            short_factor=[1.0, 1.25, 1.5], long_factor=[1.5, 4.0, 24.0])),
    "gptj": family(GPTJForCausalLM, {}, num_attention_heads=3, rotary_dim=4, n_inner=56),
    "gpt-neox": family(GPTNeoXForCausalLM, THREE, rope_parameters=rope(partial_rotary_factor=0.25)),
    "gpt-neox-sequential": family(GPTNeoXForCausalLM, THREE, use_parallel_residual=False, rope_parameters=rope(5000.0, partial_rotary_factor=0.5)),
    "olmo": family(OlmoForCausalLM, GROUPED, clip_qkv=1.2),
    "olmo2": family(Olmo2ForCausalLM, GROUPED),
    "olmo3": family(Olmo3ForCausalLM, GROUPED, {"long": True}, sliding_window=16, layer_types=[SLIDING, FULL, SLIDING], rope_parameters={
        SLIDING: rope(5e5), FULL: rope(5e5, "yarn", factor=8.0, original_max_position_embeddings=64, beta_fast=16.0, attention_factor=1.2)}),
    "mixtral": family(MixtralForCausalLM, EXPERTS, head_dim=8, num_local_experts=4, intermediate_size=16, rope_parameters=rope(1e6)),
    "qwen2-moe": family(Qwen2MoeForCausalLM, EXPERTS, num_experts=4, mlp_only_layers=[0], moe_intermediate_size=12,
                        shared_expert_intermediate_size=20),
    "qwen3-moe": family(Qwen3MoeForCausalLM, EXPERTS, head_dim=8, num_experts=4, moe_intermediate_size=16, norm_topk_prob=True),
    "gpt-oss": family(GptOssForCausalLM, EXPERTS, {"long": True}, head_dim=8, num_local_experts=4, intermediate_size=16, sliding_window=16,
                      swiglu_limit=2.0, rope_parameters=rope(150000.0, "yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
                                                             original_max_position_embeddings=64)),
    "phi": family(PhiForCausalLM, THREE, rope_parameters=rope(partial_rotary_factor=0.5)),
    # Narrow as gpt2 is, and for the same reason.
    "opt": family(OPTForCausalLM, {}, {"long": True}, hidden_size=12, num_attention_heads=2, ffn_dim=24, max_position_embeddings=1200),
    "falcon": family(FalconForCausalLM, {}, num_attention_heads=3, ffn_hidden_size=40),
    "falcon-new": family(FalconForCausalLM, {}, num_attention_heads=4, num_kv_heads=2, new_decoder_architecture=True, ffn_hidden_size=40),
    # Eager attention in transformers 5.24 adds the slopes twice (to the mask and to the scores); sdpa adds them once.
    "falcon-alibi": family(FalconForCausalLM, {}, {"long": True, "attention": "sdpa"}, num_attention_heads=6, alibi=True,
                           multi_query=False, parallel_attn=False, bias=True, ffn_hidden_size=40),
    "stablelm": family(StableLmForCausalLM, GROUPED, num_attention_heads=3, num_key_value_heads=3, use_qkv_bias=True,
                       rope_parameters=rope(partial_rotary_factor=0.5)),
    "stablelm-parallel": family(StableLmForCausalLM, THREE, num_key_value_heads=1, use_parallel_residual=True),
    "starcoder2": family(Starcoder2ForCausalLM, GROUPED, {"long": True}, sliding_window=16),
    "granite": family(GraniteForCausalLM, GROUPED, embedding_multiplier=3.0, attention_multiplier=0.25, residual_multiplier=0.6, logits_scaling=1.5),
    "smollm3": family(SmolLM3ForCausalLM, GROUPED, no_rope_layers=[1, 0, 1]),
    "glm4": family(Glm4ForCausalLM, GROUPED, head_dim=8),
}


def fill(model, name):
    """Weights that make every part of the forward pass visible in the logits: attention that looks somewhere, norms
    that scale, biases that are not zero, logits with a standard deviation above 1."""
    stream = generator("weights", name)
    tied = model.config.tie_word_embeddings
    hidden = model.config.hidden_size
    embedding_scale = getattr(model.get_input_embeddings(), "scalar_embed_scale", 1.0)  # gemma's
    shared = 1.8 if embedding_scale == 1 else 1.2  # a loud embedding makes a tied head repeat its input
    seen = set()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.data_ptr() in seen:
                continue
            seen.add(weight.data_ptr())
            noise = torch.randn(weight.shape, generator=stream)
            if key.endswith("bias"):
                weight.copy_(0.2 * noise)
            elif "norm" in key or ".ln_" in key:  # they start at 1, or at 0 where the norm multiplies by 1 + weight
                weight.copy_(weight[0].item() + 0.2 * noise)
            elif "embed" in key or "wte" in key or "wpe" in key:
                weight.copy_(noise * (shared / hidden**0.5 if tied else 1.0))
            elif "lm_head" in key:
                weight.copy_(noise * 1.8 / hidden**0.5)
            elif weight.ndim == 1:  # attention sinks
                weight.copy_(noise)
            else:
                transposed = isinstance(model, GPT2LMHeadModel) or (weight.ndim == 3 and isinstance(model, GptOssForCausalLM))
                fan_in = weight.shape[-2] if transposed else weight.shape[-1]
                weight.copy_(noise * gain(key, embedding_scale) / fan_in**0.5)


def gain(key, embedding_scale):
    if key.endswith((".gate.weight", "router.weight")):
        return 2.0  # routers that choose clearly
    if key.endswith(("o_proj.weight", "down_proj.weight")):
        return embedding_scale  # as loud beside the embedding as elsewhere
    return 1.4 if any(part in key for part in ("q_proj", "k_proj", "c_attn", "qkv_proj", "query_key_value")) else 1.0


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


def load(name, options):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        MODELS / name, dtype=torch.float32, attn_implementation=options.get("attention", "eager"), experts_implementation="eager",
        output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()


def clear_logits(model, ids):
    """logits_of, or None where a router's choice is narrow: another implementation's rounding could flip it."""
    with Routing(model) as routing:
        logits = logits_of(model, ids)
    return logits if routing.clear else None


def clear_ids(model, length, *key):
    """Random ids that every router is clear about, and their logits."""
    for attempt in range(500):
        ids = random_ids(length, *key, *([attempt] if attempt else []))
        logits = clear_logits(model, ids)
        if logits is not None:
            return ids, logits
    raise RuntimeError(f"{key}: no {length} ids with clear routing")


def greedy(model, ids, count):
    """One row, no padding, no cache. None unless every choice is clear (another implementation's rounding could flip a
    narrow one) and the text is not one token over and over (which would hide a wrong cache)."""
    generated = []
    for _ in range(count):
        logits = clear_logits(model, torch.cat([ids, torch.tensor(generated, dtype=torch.long)]))
        if logits is None:
            return None
        scores = logits[-1]
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
    if routers(model):  # no one input of the down projection
        del seen["mlp_key"]
    keep = lambda key: (lambda value: seen[key].append(value.flatten(0, -2)[-1].clone()))
    embedded, normed = [], []
    with Hooks() as hooks:
        hooks.input(blocks(model)[0], lambda value: embedded.append(value[0, -1].clone()))
        for block in blocks(model):
            hooks.input(attention_output(block), keep("head_out"))
            hooks.output(attention(block), keep("attn_out"))
            if "mlp_key" in seen:
                hooks.input(down_projection(block), keep("mlp_key"))
            hooks.output(mlp(block), keep("mlp_out"))
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
        place = torch.zeros(value.shape[-2], 1, dtype=value.dtype)
        place[GRADIENT_POSITION] = 1
        return value + place * vector

    with Hooks() as hooks, Routing(model) as routing:
        hooks.output(mlp(blocks(model)[GRADIENT_LAYER]), change)
        logits = logits_of(model, ids)
    assert routing.clear
    return -logits[-1].log_softmax(-1)[GRADIENT_TARGET]


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
    model = load(name, options)
    tensors = {}
    for length in (7, 33):
        tensors[f"ids.{length}"], tensors[f"logits.{length}"] = clear_ids(model, length, name)
    assert tensors["logits.33"].std() > 1, (name, tensors["logits.33"].std())
    if options.get("long"):
        ids, logits = clear_ids(model, LONG, name)
        tensors |= {"ids.1100": ids, "positions.1100": torch.tensor(LONG_ROWS), "logits.1100": logits[LONG_ROWS]}
    tensors |= ragged(model, name)
    tensors |= sites(model, tensors["ids.33"])
    with torch.enable_grad():
        more, gradient_facts = gradients(model, name, tensors["ids.7"])
    tensors |= more
    reference = load(name, options).double()
    error = (logits_of(reference, tensors["ids.33"]) - tensors["logits.33"]).abs().max().item()
    facts = {"model": f"models/{name}", "new_tokens": NEW_TOKENS, "gradient": gradient_facts,
             "max_abs_difference_from_fp64": error, "versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    if window(model):
        facts["window"] = window(model)
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
        model = kind._from_config(config, attn_implementation=options.get("attention", "eager"))
        fill(model, name)
        save(name, model, options)
        expected(name, options)
    if not chosen or "llama-old-config" in chosen:
        write_old_config()
        expected("llama-old-config", {"long": True})


if __name__ == "__main__":
    main()
