# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/expected/smollm2.json: what transformers computes, in fp32, with the SmolLM2-135M-Instruct GGUF.

Usage: python make_smollm2_expected.py FILE.gguf   (README.md says where the file comes from)"""

import argparse
import hashlib
import json
import pathlib

import gguf
import numpy
import torch
import transformers
from tokenizers import pre_tokenizers

from fixture_models import EXPECTED, generator, logits_of, setup

TOP, FIXED, NEW_TOKENS = 20, 64, 32

PROSE = ("The old lighthouse stood at the end of the pier, and every evening its keeper climbed the narrow stairs to light "
         "the lamp. Ships far out at sea looked for that steady beam when the fog came in from the north, and")
CODE = '''def mean(values):
    """Arithmetic mean of a list of 3 or more numbers."""
    total = 0.0
    for value in values:
        total += value
    return total /'''
QUESTION = [{"role": "system", "content": "You answer in one short sentence."},
            {"role": "user", "content": "What is the capital of France, and on which river does it lie?"}]
USER_ONLY = [{"role": "user", "content": "Name 3 colours."}]
TOKENISED = ["", " ", "Hello", " Hello", "In 2024,  12 ships  3", "line one\n\n\tline 2\r\n", "it's we've I'LL", "naïve façade Größe 東京 🙂",
             "a<|im_end|>b", "x" * 40, "    return 10**6"]


def load_tokenizer(path):
    """transformers gives this file plain byte-level pre-tokenisation; the model's own tokenizer cuts single digits off
    first, which is also what the pre-tokenizer named in the file ("smollm") means."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    assert len(tokenizer) == 49152
    return tokenizer


def check_dequantised(path, model):
    """transformers keeps fp32, equal to the gguf package's numbers, with query and key rows put back in halves order."""
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    state = model.state_dict()
    names = {"token_embd.weight": "model.embed_tokens.weight", "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
             "blk.29.attn_output.weight": "model.layers.29.self_attn.o_proj.weight", "output_norm.weight": "model.norm.weight",
             "blk.3.attn_q.weight": "model.layers.3.self_attn.q_proj.weight", "blk.3.attn_k.weight": "model.layers.3.self_attn.k_proj.weight"}
    digests = {}
    for theirs, ours in names.items():
        values = torch.from_numpy(numpy.array(gguf.quants.dequantize(reader[theirs].data, reader[theirs].tensor_type), dtype=numpy.float32))
        if "attn_q" in theirs or "attn_k" in theirs:
            heads = model.config.num_attention_heads if "attn_q" in theirs else model.config.num_key_value_heads
            values = values.reshape(heads, values.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)
        assert state[ours].dtype == torch.float32 and torch.equal(values, state[ours]), theirs
        digests[ours] = hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()
    return digests


def numbers(tensor):
    return [round(value, 5) for value in tensor.tolist()]


@torch.no_grad()
def text_facts(model, tokenizer, text, fixed):
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]
    logits = logits_of(model, ids)
    top = logits.topk(TOP)
    log_p = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
    generated, margins = [], []
    cache_ids = ids
    for _ in range(NEW_TOKENS):
        best = logits_of(model, cache_ids)[-1].topk(2)
        margins.append((best.values[0] - best.values[1]).item())
        generated.append(best.indices[0].item())
        if generated[-1] == model.config.eos_token_id:
            break
        cache_ids = torch.cat([cache_ids, best.indices[:1]])
    return {"text": text, "ids": ids.tolist(), "top_ids": top.indices.tolist(), "top_logits": [numbers(row) for row in top.values],
            "logsumexp": numbers(logits.logsumexp(-1)), "fixed_logits": [numbers(row) for row in logits[:, fixed]],
            "log_probabilities": numbers(log_p), "mean_nll": -log_p.mean().item(), "generated": generated,
            "generated_text": tokenizer.decode(generated), "smallest_margin": round(min(margins), 5)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=pathlib.Path)
    path = parser.parse_args().file
    setup()
    tokenizer = load_tokenizer(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    render = lambda messages, prompt: tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    fixed = torch.randperm(49152, generator=generator("smollm2", "fixed"))[:FIXED]
    facts = {
        "file": {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "gguf": "0.19.0"},
        "weights_sha256": check_dequantised(path, model),
        "fixed_ids": fixed.tolist(),
        "texts": {"prose": text_facts(model, tokenizer, PROSE, fixed), "code": text_facts(model, tokenizer, CODE, fixed),
                  "chat": text_facts(model, tokenizer, render(QUESTION, True), fixed)},
        "templates": [{"messages": messages, "add_generation_prompt": prompt, "text": render(messages, prompt)}
                      for messages in (QUESTION, USER_ONLY) for prompt in (True, False)],
        "tokenised": [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)} for text in TOKENISED],
    }
    (EXPECTED / "smollm2.json").write_text(json.dumps(facts, separators=(",", ":"), ensure_ascii=True) + "\n")
    for name, text in facts["texts"].items():
        print(name, len(text["ids"]), "tokens, nll", round(text["mean_nll"], 4), "margin", text["smallest_margin"], repr(text["generated_text"]))


if __name__ == "__main__":
    main()
