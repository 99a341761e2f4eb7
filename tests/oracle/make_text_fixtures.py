# SPDX-License-Identifier: Apache-2.0
"""Expected ids, offsets, decodings and rendered templates for tests/text.

Made with transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3, jinja2 3.1.6 (Python 3.11).
Run from anywhere; writes tests/fixtures/text/. The templates there are written by hand.
"""

import datetime
import io
import json
import pathlib

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.integrations.gguf import gguf_tokenizer_mapping
from transformers.utils import chat_template_utils

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "text"

CORPUS = """
The lighthouse keeper counts the ships that pass in the night, and writes their names in a book.
She said: "I'm here, you're there, we've met, they'll come, he'd gone." It's 12 o'clock; 345 days are left.
A model reads a text one token at a time and guesses the next one. Numbers such as 2024, 1000 and 3.14 are cut.
def add(a, b):
    return a + b  # the sum of two numbers

for i in range(10):
    print(f"{i}: {add(i, 1)}")
Der Leuchtturm steht am Meer, und die Möwen schreien über den Wellen. Größe und Straße sind Wörter.
Le gardien du phare écrit des lettres à sa sœur, l'été, près de la fenêtre.
El faro brilla en la noche y el niño duerme. ¿Dónde está la llave?
Маяк стоит у моря, и чайки кричат над волнами.
灯台は海のそばに立っています。 船は夜に通ります。
등대는 바다 옆에 서 있습니다.
المنارة تقف بجانب البحر
प्रकाशस्तंभ समुद्र के पास खड़ा है
The capital of the north is a small town; the capital of the south is a large town by the sea.
""".strip().split("\n")

TEXTS = [
    "", " ", "  ", "\n", "\t", "\r\n", " \n \n ", "a", "A", "Hello world", " Hello world", "Hello  world ",
    "The lighthouse keeper counts the ships.", "I'm here, you're there, we've met, they'll come, he'd gone.",
    "I'M HERE, YOU'RE THERE", "2024", "12345678", "3.14159, 1,000,000", "a1b22c333d4444", "x=1;y=22;z=333",
    "def add(a, b):\n    return a + b\n", "\tif (x) {\n\t\treturn;\n\t}\n", "https://example.org/a?b=c&d=e#f",
    "C:\\path\\to\\file", "{\"key\": [1, 2.5, null, true]}", "<b>bold</b> &amp; more", "snake_case camelCase PascalCase",
    "Möwen über Größe und Straße", "l'été près de la fenêtre", "¿Dónde está el niño?", "Маяк стоит у моря",
    "灯台は海のそばに立っています。", "등대는 바다 옆에 서 있습니다", "المنارة تقف بجانب البحر", "समुद्र के पास खड़ा है", "שלום עולם",
    "ไทยภาษา", "Ελληνικά γράμματα", "naïve cafe\u0301 e\u0301\u0302", "café", "ﬁne ½ Ⅷ ①",
    "😀", "😀😀 smile", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷 flags", "👍🏽 thumbs", "text😀text", "🦙.cpp",
    "zero\u200bwidth \u00a0nbsp \u2003em \u3000wide", "control\u0001\u0002\u001f\u007f", "nul\u0000inside",
    "\ufefftext after a mark", "rtl \u202eoverride\u202c", "replacement \ufffd char", "\U0010ffff\ue000 private",
    "<|im_start|>user\nhi<|im_end|>", "a<|im_end|>b <|im_end|> c", "<|endoftext|>", "<|im_start", "<tool>x</tool> <tool>",
    "<s>text</s>", "</s></s> <s>", "<unk> and <pad>", "<0x41><0xE4>", "▁already ▁marked", "Ġalready Ċmarked",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "!!!???...---===", "...   ...", "    indented\n\n\n\n    again",
]

# What the pre-tokenizers of the families cut differently.
PRE_TEXTS = ["HelloWorld's IT'S iPhone15Pro", "a1234567 12 345\u0663", "x==y!=z->w//c /path/", "e\u0301te\u0301 हिन्दी", "\n\n  x\n /\n", "日本語テスト123", "$5 + 7% ~ ^_^ `q`",
             "don't DON'T we'll'd", "  lead\ttab ", "…—“quoted”"]

BYTE_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_json(name, value, indent=None):
    text = json.dumps(value, ensure_ascii=True, indent=indent, separators=None if indent else (",", ":"))
    (FIXTURES / name).write_text(text + "\n", encoding="utf-8")


def one_a_line(values):
    return "[\n" + ",\n".join(json.dumps(value, ensure_ascii=True, separators=(",", ":")) for value in values) + "\n]\n"


def expected(tokenizer, texts):
    rows = []
    for text in texts:
        tokenizer.encode_special_tokens = False
        plain, with_special = tokenizer.encode(text, add_special_tokens=False), tokenizer.encode(text)
        tokenizer.encode_special_tokens = True
        unparsed = tokenizer.encode(text, add_special_tokens=False)
        tokenizer.encode_special_tokens = False
        rows.append({
            "text": text, "ids": plain.ids, "offsets": plain.offsets, "with_special": with_special.ids,
            "unparsed": unparsed.ids, "unparsed_offsets": unparsed.offsets,
            "decoded": tokenizer.decode(with_special.ids), "decoded_all": tokenizer.decode(with_special.ids, skip_special_tokens=False),
        })
    return rows


def byte_level():
    """Byte-level BPE as SmolLM2's, plus a BOS, an added token that is not special, truncation and padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=BYTE_SPECIALS, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", pair="<|endoftext|> $A $B:1", special_tokens=[("<|endoftext|>", 0)])
    (FIXTURES / "bytelevel_expected.json").write_text(one_a_line(expected(tokenizer, TEXTS)))
    plain = json.loads(tokenizer.to_str())
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=12)
    (FIXTURES / "bytelevel_tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n", encoding="utf-8")
    return plain


def gguf_of_byte_level(plain):
    """The same vocabulary as a GGUF file would list it, and ids for every pre-tokenizer name."""
    vocab = dict(plain["model"]["vocab"])
    vocab.update({token["content"]: token["id"] for token in plain["added_tokens"]})
    tokens = sorted(vocab, key=vocab.get)
    kinds = {token["content"]: 3 if token["special"] else 4 for token in plain["added_tokens"]}
    merges = [" ".join(pair) for pair in plain["model"]["merges"]]
    write_json("bytelevel_gguf.json", {"tokens": tokens, "types": [kinds.get(t, 1) for t in tokens], "merges": merges})

    def split(regex):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), behavior="isolated"),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    plain_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pre = {
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain_bytes]),
        "gpt-2": plain_bytes,
        "llama-bpe": split(gguf_tokenizer_mapping._LLAMA3_SPLIT),
        "qwen2": split(gguf_tokenizer_mapping._QWEN2_SPLIT),
        "qwen35": split(gguf_tokenizer_mapping._QWEN35_SPLIT),
        "tekken": split(gguf_tokenizer_mapping._TEKKEN_SPLIT),
        "gpt-4o": split(gguf_tokenizer_mapping._GPT4O_SPLIT),
        "dbrx": split(gguf_tokenizer_mapping._LLAMA3_SPLIT),
        "stablelm2": split(gguf_tokenizer_mapping._QWEN2_SPLIT),
        "olmo": plain_bytes,
        "command-r": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain_bytes]),
        # The steps of these models' own files.
        "falcon": pre_tokenizers.Sequence([
            pre_tokenizers.Punctuation(behavior="contiguous"), plain_bytes, pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), behavior="isolated")]),
        "deepseek-coder": pre_tokenizers.Sequence([
            *(pre_tokenizers.Split(Regex(part), behavior="isolated") for part in (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+")),
            pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
        "deepseek-v3": pre_tokenizers.Sequence([
            *(pre_tokenizers.Split(Regex(part), behavior="isolated") for part in (
                r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
    }
    result = {}
    for name, pre_tokenizer in pre.items():
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges],
                                         ignore_merges=name in ("llama-bpe", "tekken")))
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoders.ByteLevel()
        if name in ("qwen2", "qwen35", "olmo", "command-r"):
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_special_tokens(BYTE_SPECIALS)
        tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
        texts = TEXTS if name in ("smollm", "gpt-2", "llama-bpe", "qwen2") else TEXTS[::2] + PRE_TEXTS
        result[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    write_json("bytelevel_gguf_expected.json", {"texts": TEXTS, "more_texts": TEXTS[::2] + PRE_TEXTS, "ids": result})


def sentencepiece_model():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, model_type="bpe", vocab_size=640, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, character_coverage=0.985,
        split_digits=True, num_threads=1, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def llama_like():
    """A SentencePiece vocabulary as a GGUF file would list it; ids from the sentencepiece library itself."""
    processor = sentencepiece_model()
    size = processor.vocab_size()
    tokens = [processor.id_to_piece(i) for i in range(size)]
    kinds = [6 if processor.is_byte(i) else 2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 1 for i in range(size)]
    write_json("spm_gguf.json", {"tokens": tokens, "scores": [processor.get_score(i) for i in range(size)], "types": kinds})
    texts = [text for text in TEXTS if text and "\x00" not in text]
    write_json("spm_gguf_expected.json", [{"text": text, "ids": processor.encode(text)} for text in texts])
    vocab = {token: index for index, token in enumerate(tokens)}
    usable = {token: index for token, index in vocab.items() if kinds[index] == 1}
    scores = {token: processor.get_score(index) for token, index in usable.items()}
    merges = gguf_tokenizer_mapping.generate_merges(usable, scores)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    (FIXTURES / "spm_expected.json").write_text(one_a_line(expected(tokenizer, TEXTS)))
    (FIXTURES / "spm_tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n", encoding="utf-8")


class FixedClock(datetime.datetime):
    moment = None

    @classmethod
    def now(cls, tz=None):
        return cls.moment


TALK = [{"role": "user", "content": " What is a lighthouse? "}, {"role": "assistant", "content": "A tower\nwith a light."},
        {"role": "user", "content": "Thanks 😀"}]
SYSTEM = [{"role": "system", "content": "  Speak like a sailor.\n"}]
FACTS = {"name": "Größe \u2028 <x>", "small": 1e-07, "big": 1e22, "half": 0.5, "whole": 3.0, "n": -12, "none": None, "yes": True,
         "nested": {"z": 1, "a": {"list": [1, [], {}, "two"]}}, "empty": []}
LONG = TALK + [{"role": "tool", "content": "42"}, {"role": "user", "content": "please stop"}, {"role": "user", "content": "never seen"}]


def render(name, messages, date="2026-01-01T00:00:00", prompt=True, bos="", eos="", extra=None):
    source = (FIXTURES / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    FixedClock.moment = FixedClock.fromisoformat(date)
    chat_template_utils.datetime = FixedClock
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1}, merges=[])),
                                        **{k: v for k, v in {"bos_token": bos, "eos_token": eos}.items() if v})
    case = {"template": name, "messages": messages, "date": date, "add_generation_prompt": prompt, "bos_token": bos,
            "eos_token": eos, "extra": extra or {}}
    try:
        case["rendered"] = tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False,
                                                         add_generation_prompt=prompt, **(extra or {}))
    except chat_template_utils.jinja2.exceptions.TemplateError as error:
        case["refused"] = str(error)
    return case


def templates():
    cases = [
        render("chatml", TALK), render("chatml", SYSTEM + TALK), render("chatml", TALK, prompt=False),
        render("inst", TALK, bos="<s>", eos="</s>"), render("inst", SYSTEM + TALK, bos="<s>", eos="</s>"),
        render("inst", TALK[1:], bos="<s>", eos="</s>"), render("inst", TALK + TALK, bos="<s>", eos="</s>"),
        render("headers", TALK, bos="<s>"), render("headers", SYSTEM + TALK, date="2024-07-26T23:59:58", bos="<s>"),
        render("headers", TALK, prompt=False, bos="<s>", extra={"date_string": "26 Jul 2024"}), render("headers", TALK),
        render("generation", TALK), render("generation", TALK, prompt=False), render("json", TALK, extra={"facts": FACTS}),
        render("loops", LONG), render("loops", TALK), render("whitespace", TALK), render("methods", TALK),
    ]
    cases += [render("dates", TALK, date=date) for date in
              ("2026-01-01T00:00:00", "2024-02-29T13:05:09", "2023-12-31T12:00:59", "1999-11-08T23:59:00", "2000-03-01T01:01:01")]
    (FIXTURES / "templates_expected.json").write_text(one_a_line(cases))


if __name__ == "__main__":
    gguf_of_byte_level(byte_level())
    llama_like()
    templates()
