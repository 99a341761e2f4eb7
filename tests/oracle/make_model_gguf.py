# SPDX-License-Identifier: Apache-2.0
"""Writes llama-gqa.gguf and gpt2.gguf: the weights of the two folders of that name, laid out as llama.cpp's converter
does, with a small byte-level tokenizer for ASCII text. The same tokenizer goes into the folder llama-gqa."""

import json

import gguf
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from fixture_models import BOS, EOS, MODELS, VOCAB, logits_of, random_ids, setup

MERGES = ["Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "n d", "Ġ w", "o u", "i s"]
SPECIAL = ["<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *map(chr, range(33, 127)), "Ġ", "Ċ", *(merge.replace(" ", "") for merge in MERGES)]
TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def write_tokenizer(folder):
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(TOKENS)},
                                     merges=[tuple(merge.split(" ")) for merge in MERGES]))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"bos_token": SPECIAL[BOS], "eos_token": SPECIAL[EOS], "chat_template": TEMPLATE,
              "clean_up_tokenization_spaces": False, "model_max_length": 2048, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def add_tokenizer(writer):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control] * len(SPECIAL) + [normal] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def interleave(weight, heads):
    """llama.cpp rotates neighbouring pairs, the folder's layout rotates halves: reorder the rows of each head."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def llama_tensors(config, weights):
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in names.items():
            weight = weights[f"model.layers.{layer}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                weight = interleave(weight, config["num_attention_heads" if ours == "attn_q" else "num_key_value_heads"])
            yield f"blk.{layer}.{ours}.weight", weight
    yield "output_norm.weight", weights["model.norm.weight"]
    yield "output.weight", weights["lm_head.weight"]


def gpt2_tensors(config, weights):
    names = {"attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
             "ln_1": "attn_norm", "ln_2": "ffn_norm"}
    yield "token_embd.weight", weights["transformer.wte.weight"]
    yield "position_embd.weight", weights["transformer.wpe.weight"]
    for layer in range(config["n_layer"]):
        for theirs, ours in names.items():
            weight = weights[f"transformer.h.{layer}.{theirs}.weight"]
            yield f"blk.{layer}.{ours}.weight", weight.T if weight.dim() == 2 else weight
            yield f"blk.{layer}.{ours}.bias", weights[f"transformer.h.{layer}.{theirs}.bias"]
    yield "output_norm.weight", weights["transformer.ln_f.weight"]
    yield "output_norm.bias", weights["transformer.ln_f.bias"]


def write(name, architecture, tensors):
    config = json.loads((MODELS / name / "config.json").read_text())
    writer = gguf.GGUFWriter(MODELS / f"{name}.gguf", architecture)
    writer.add_name(f"tiny {name}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(VOCAB)
    if architecture == "llama":
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
        writer.add_rope_dimension_count(config["head_dim"])
    else:
        writer.add_block_count(config["n_layer"])
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config["n_inner"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    add_tokenizer(writer)
    for key, value in tensors(config, load_file(MODELS / name / "model.safetensors")):
        writer.add_tensor(key, value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(name):
    """transformers reads the file back to the folder's logits. The config is the folder's: for gpt2, transformers 5.24
    does not read the file's context length and feed-forward width."""
    ids = random_ids(33, name)
    folder = transformers.AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32)
    file = transformers.AutoModelForCausalLM.from_pretrained(MODELS, gguf_file=f"{name}.gguf", dtype=torch.float32,
                                                             config=folder.config)
    with torch.no_grad():
        error = (logits_of(folder, ids) - logits_of(file, ids)).abs().max().item()
    print(f"{name}.gguf: max |difference| from the folder {error:.1e}")
    return error


def main():
    setup()
    assert len(TOKENS) == VOCAB
    write_tokenizer(MODELS / "llama-gqa")
    write("llama-gqa", "llama", llama_tensors)
    write("gpt2", "gpt2", gpt2_tensors)
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODELS / "llama-gqa")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "The cat is 12 on the mat, and in."}], tokenize=False)
    assert tokenizer.decode(tokenizer.encode(text)) == text and tokenizer.encode(text)[0] == BOS, tokenizer.tokenize(text)
    print(tokenizer.tokenize(text))
    assert max(check(name) for name in ("llama-gqa", "gpt2")) < 1e-6


if __name__ == "__main__":
    main()
