# SPDX-License-Identifier: Apache-2.0
"""Folders without tokenizer.json, and a set of awkward texts: ids as transformers gives them.

Writes tests/fixtures/text/folders/. Made with transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3, protobuf.
"""

import io
import json
import os
import pathlib
import random
import shutil
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from make_text_fixtures import CORPUS

FOLDERS = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "text" / "folders"

PARTS = [
    "the sea", "lighthouse keeper", "I'M HERE", "don't", "we've", " x", "Größe", "l'été", "Маяк", "灯台は海の", "등대는", "المنارة",
    "समुद्र", "שלום", "ไทย", "Ωμέγα", "e\u0301", "ﬁ", "½", "①", "😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "🦙", "1", "42", "2024", "3.14",
    "1,000", "٣٤", "def f(x):\n    return x\n", "\tif (a) {\n\t\tb();\n\t}\n", "a->b[i]++;", "</div>", "\\n", "{\"k\": [1]}",
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u200b", "\u3000", "\u2028", "\x01", "\x1b[0m", "\x7f",
    "\ufeff", "\ufffd", "\U0010ffff", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool>", "[CTRL]",
    "<0x41>", "<mark>", "<start_of_turn>", "<bos>", "▁", "▁▁", "Ġ", "<s", "|>", "!!!", "...", "--", "_", "#", "@", "$", "%",
]


def texts():
    draw = random.Random(20240607)
    made = ["", " ", "the sea", " the sea", "the sea ", "  the  sea  ", "\nthe sea", "▁the sea", "a" * 70, "!" * 33,
            "supercalifragilistic" * 6, "Hey</s> I'm", "x <|im_end|> y", "<s> [INST] hi [/INST]", "<|im_start|>user\nhi<|im_end|>\n"]
    made += ["".join(draw.choice(PARTS) + draw.choice(["", "", " "]) for _ in range(draw.randint(2, 7))) for _ in range(45)]
    return made


TEXTS = texts()


def train(name, **options):
    out = io.BytesIO()
    arguments = dict(sentence_iterator=iter(CORPUS), model_writer=out, num_threads=1, minloglevel=2, hard_vocab_limit=False,
                     normalization_rule_name="identity", character_coverage=0.985)
    arguments.update(options)
    if "normalization_rule_tsv" in arguments:
        del arguments["normalization_rule_name"]
    sentencepiece.SentencePieceTrainer.train(**arguments)
    model = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
    model.trainer_spec.ClearField("input")
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    (FOLDERS / name).write_bytes(model.SerializeToString(deterministic=True))


def vocabularies():
    train("llama.model", model_type="bpe", vocab_size=520, byte_fallback=True, remove_extra_whitespaces=False,
          split_digits=True, control_symbols=["[CTRL]"])
    train("gemma.model", model_type="bpe", vocab_size=540, byte_fallback=True, remove_extra_whitespaces=False,
          add_dummy_prefix=False, split_digits=True, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>",
          bos_piece="<bos>", user_defined_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "▁▁", "▁▁▁▁"],
          allow_whitespace_only_pieces=True)
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("FB01\t66 69\nBD\t31 2F 32\n2460\t31\nA0\t20\n3000\t20\n200B\t\n65 301\tE9\n9\t20\n")
        train("unigram.model", model_type="unigram", vocab_size=300, normalization_rule_tsv=str(rules),
              user_defined_symbols=["<mark>"])
    train("bytes.model", model_type="unigram", vocab_size=520, byte_fallback=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=520, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.model.save(str(FOLDERS))


def token(content, **changes):
    return dict(dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True), **changes)


LLAMA = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False)
GEMMA = dict(tokenizer_class="GemmaTokenizer", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>", add_bos_token=True)
LLAMA_ADDED = {"0": token("<unk>"), "1": token("<s>"), "2": token("</s>"), "520": token("<|im_start|>", rstrip=True, special=False),
               "521": token("<tool>", normalized=True, special=False), "522": token("<pad>")}
BPE = ["vocab.json", "merges.txt"]
SPM = "tokenizer.model"

# name, vocabulary files, JSON files by name without ending
CASES = [
    ("llama-new", ["llama.model"], dict(tokenizer_config=dict(LLAMA, legacy=False), config=dict(model_type="llama"))),
    ("llama-legacy", ["llama.model"], dict(tokenizer_config=dict(LLAMA, legacy=True, add_eos_token=True))),
    ("llama-silent", ["llama.model"], dict(tokenizer_config=dict(tokenizer_class="LlamaTokenizerFast"))),
    ("llama-no-prefix", ["llama.model"], dict(tokenizer_config=dict(LLAMA, add_prefix_space=False))),
    ("llama-added", ["llama.model"], dict(tokenizer_config=dict(LLAMA, pad_token="<pad>", added_tokens_decoder=LLAMA_ADDED))),
    ("llama-extra", ["llama.model"], dict(tokenizer_config=dict(LLAMA, additional_special_tokens=["<|im_start|>", "<|im_end|>"]))),
    ("llama-old-files", ["llama.model"], dict(tokenizer_config=LLAMA, special_tokens_map=dict(pad_token="<pad>", eos_token=token("<|im_end|>")),
                                             added_tokens={"<|im_end|>": 520, "<tool>": 521, "<pad>": 522})),
    ("mistral", ["llama.model"], dict(tokenizer_config=LLAMA, config=dict(model_type="mistral"))),
    ("mistral-new", ["llama.model"], dict(tokenizer_config=dict(LLAMA, legacy=False), config=dict(model_type="mistral"))),
    ("mistral-added", ["llama.model"], dict(tokenizer_config=dict(LLAMA, added_tokens_decoder=LLAMA_ADDED), config=dict(model_type="mistral"))),
    ("phi3-renamed", ["llama.model"], dict(tokenizer_config=dict(LLAMA, legacy=False, added_tokens_decoder={"3": token("<|placeholder|>", rstrip=True)}),
                                           config=dict(model_type="phi3"))),
    ("gemma", ["gemma.model"], dict(tokenizer_config=GEMMA, config=dict(model_type="gemma"))),
    ("gemma-generic", ["gemma.model"], dict(tokenizer_config=dict(GEMMA, tokenizer_class="PreTrainedTokenizerFast"))),
    ("gemma-as-llama", ["gemma.model"], dict(tokenizer_config=dict(tokenizer_class="LlamaTokenizer", bos_token="<bos>", eos_token="<eos>", add_prefix_space=False))),
    ("unigram", ["unigram.model"], dict(tokenizer_config=dict(tokenizer_class="PreTrainedTokenizerFast", add_bos_token=True))),
    ("unigram-new", ["unigram.model"], dict(tokenizer_config=dict(legacy=False), config=dict(model_type="mistral"))),
    ("unigram-bytes", ["bytes.model"], dict(config=dict(model_type="mistral"))),
    ("gpt2", BPE, dict(tokenizer_config=dict(tokenizer_class="GPT2Tokenizer"))),
    ("gpt2-by-model", BPE, dict(config=dict(model_type="gpt2"))),
    ("gpt2-prefix", BPE, dict(tokenizer_config=dict(tokenizer_class="GPT2Tokenizer", add_prefix_space=True, add_bos_token=True))),
    ("gpt2-old-files", BPE, dict(tokenizer_config=dict(tokenizer_class="GPT2Tokenizer", additional_special_tokens=["<|im_start|>"]),
                                 special_tokens_map=dict(bos_token=dict(content="<s>", lstrip=False, normalized=True, rstrip=False, single_word=False), pad_token="<pad>"),
                                 added_tokens={"<tool>": 520, "<s>": 521})),
    ("qwen2", BPE, dict(tokenizer_config=dict(tokenizer_class="Qwen2Tokenizer", eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                              additional_special_tokens=["<|im_start|>", "<|im_end|>"],
                                              added_tokens_decoder={"0": token("<|endoftext|>"), "520": token("<|im_start|>"), "521": token("<|im_end|>"),
                                                                    "522": token("<tool>", special=False)}), config=dict(model_type="qwen2"))),
    ("neox", BPE, dict(tokenizer_config=dict(tokenizer_class="GPTNeoXTokenizer", add_bos_token=True), config=dict(model_type="gpt_neox"))),
]
WHOLE = {"llama-new", "mistral", "gemma", "unigram", "unigram-bytes", "gpt2", "qwen2"}


def folder_case(name, vocabulary, files):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        for file in vocabulary:
            shutil.copy(FOLDERS / file, path / (SPM if file.endswith(".model") else file))
        for file, value in files.items():
            (path / f"{file}.json").write_text(json.dumps(value))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = range(len(TEXTS)) if name in WHOLE else range(0, len(TEXTS), 4)
    ids = [tokenizer.encode(TEXTS[row], add_special_tokens=False) for row in rows]
    special = [tokenizer.encode(TEXTS[row]) for row in (0, 2, 3)]
    added = [[i, t.content, t.special] for i, t in sorted(tokenizer.backend_tokenizer.get_added_tokens_decoder().items())]
    if name == "phi3-renamed":  # transformers adds the piece once more, under its old name and an id outside the vocabulary
        added = [row for row in added if row[1] != "[CTRL]"]
    return {"name": name, "vocabulary": vocabulary, "files": files, "step": 1 if name in WHOLE else 4, "ids": ids, "special": special,
            "added": added, "bos": tokenizer.bos_token or "", "eos": tokenizer.eos_token or "",
            "decoded": [tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in ids][:16]}


LLAMA3_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split_bytes(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), behavior="isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def fuzz_case(name, tokenizer, specials=(), plain=()):
    tokenizer.add_special_tokens(list(specials))
    tokenizer.add_tokens(list(plain))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    description = json.loads(tokenizer.to_str())
    shared = description["model"]["type"] == "BPE"
    if shared:  # the test puts vocab.json and merges.txt here
        description["model"]["vocab"], description["model"]["merges"] = {}, []
    return {"name": name, "tokenizer": description, "ids": [fast.encode(text, add_special_tokens=False) for text in TEXTS],
            "plain": [fast.encode(text, add_special_tokens=False, split_special_tokens=True) for text in TEXTS[11:15]]}


def fuzz():
    cases = []
    for name, pre_tokenizer, whole_words in (("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=False), False),
                                             ("llama3", split_bytes(LLAMA3_SPLIT), True)):
        tokenizer = Tokenizer(models.BPE.from_file(str(FOLDERS / "vocab.json"), str(FOLDERS / "merges.txt"), ignore_merges=whole_words))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
        cases.append(fuzz_case(name, tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"], ["<tool>"]))
    words = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words.decoder = decoders.WordPiece()
    words.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=260, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    cases.append(fuzz_case("wordpiece", words, ["<s>", "</s>"]))
    return cases


def write(name, head, cases):
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    text = "{" + "".join(f"\"{key}\":{json.dumps(value, ensure_ascii=True, separators=(',', ':'))},\n" for key, value in head.items())
    (FOLDERS / name).write_text(text + "\"cases\":[\n" + lines + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    FOLDERS.mkdir(exist_ok=True)
    vocabularies()
    write("expected.json", {"texts": TEXTS}, [folder_case(*case) for case in CASES])
    write("fuzz_expected.json", {}, fuzz())
