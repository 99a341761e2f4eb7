# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of `suture generate` and of transformers (eager attention), side by side.

Same checkpoint, same prompts, same dtype, same number of threads, greedy, one after the other on the same machine. Run by hand:

    pip install -r tests/oracle/requirements.txt
    python bench/generate.py --suture build/release/suture --model out/models/SmolLM2-135M-Instruct.Q4_1.gguf

The model's loading is not counted on either side. transformers runs once before it is timed; suture does not, since every
repetition is a process of its own. Tokens after a row's stop token are not counted. Output: one table, and JSON with --json.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suture", type=Path, default=ROOT / "build/release/suture")
    parser.add_argument("--model", type=Path, default=ROOT / "out/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--text", type=Path, default=ROOT / "configs/texts/neutral.txt", help="where the prompts are cut from")
    parser.add_argument("--dtypes", default="bf16,fp32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens of a completion")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write all measurements here")
    return parser.parse_args()


def cut_prompts(tokenizer, text, count, length):
    """`count` texts that the tokenizer turns into exactly `length` tokens each."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stride = max(1, (len(ids) - length) // (2 * count))  # they overlap when the text is short
    prompts = []
    for start in range(0, len(ids) - length + 1, stride):
        prompt = tokenizer.decode(ids[start : start + length], clean_up_tokenization_spaces=False)
        if len(tokenizer(prompt)["input_ids"]) == length and prompt not in prompts:
            prompts.append(prompt)
        if len(prompts) == count:
            return prompts
    raise SystemExit(f"cannot cut {count} prompts of {length} tokens from the text: only {len(prompts)} survive encoding")


def convert(args, dtype, folder):
    command = [args.suture, "convert", args.model, "--out", folder, "--dtype", dtype, "--quiet"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def run_suture(args, dtype, folder, prompts_file):
    command = [args.suture, "generate", folder, "--file", prompts_file, "--raw", "--max-new", args.new, "--batch", args.batch,
               "--dtype", dtype, "--threads", args.threads, "--json", "--quiet"]
    output = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout
    result = json.loads(output)
    return result["seconds"], [completion["ids"] for completion in result["completions"]]


def cut_at_stop(row, stops):
    for i, token in enumerate(row):
        if token in stops:
            return row[:i]
    return row


def load_transformers(args, dtype, folder):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind, attn_implementation="eager").eval()
    stops = model.generation_config.eos_token_id
    stops = set(stops if isinstance(stops, list) else [] if stops is None else [stops])
    return model, stops


def run_transformers(args, model, stops, tokenizer, prompts):
    import torch

    batch_ids = []
    start = time.perf_counter()
    for first in range(0, len(prompts), args.batch):
        batch = tokenizer(prompts[first : first + args.batch], return_tensors="pt")  # equal lengths: no padding
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=args.new, do_sample=False, pad_token_id=next(iter(stops), 0))
        batch_ids += output[:, batch["input_ids"].shape[1] :].tolist()
    return time.perf_counter() - start, [cut_at_stop(row, stops) for row in batch_ids]


def agreement(ours, theirs):
    """Share of rows that are equal, and of tokens before the first difference."""
    equal = sum(a == b for a, b in zip(ours, theirs))
    same = 0
    for a, b in zip(ours, theirs):
        same += next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return equal / len(ours), same / max(1, sum(len(row) for row in ours))


def measure(args, dtype, folder, tokenizer, prompts, prompts_file):
    ours, theirs = [], []
    model, stops = load_transformers(args, dtype, folder)
    run_transformers(args, model, stops, tokenizer, prompts[: args.batch])  # warm up
    for _ in range(args.repeats):  # in turn, so that a busy minute hits both
        seconds, ids = run_suture(args, dtype, folder, prompts_file)
        ids = [cut_at_stop(row, stops) for row in ids]
        ours.append(sum(map(len, ids)) / seconds)
        seconds, reference = run_transformers(args, model, stops, tokenizer, prompts)
        theirs.append(sum(map(len, reference)) / seconds)
    rows, tokens = agreement(ids, reference)
    return {"dtype": dtype, "batch": args.batch, "suture": ours, "transformers": theirs,
            "ratio": statistics.median(ours) / statistics.median(theirs), "rows_equal": rows, "tokens_equal": tokens}


def main():
    args = arguments()
    from transformers import AutoTokenizer
    import torch
    import transformers

    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for dtype in args.dtypes.split(","):
            folder = Path(scratch) / dtype
            convert(args, dtype, folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            prompts = cut_prompts(tokenizer, args.text.read_text(encoding="utf-8"), args.batch, args.prompt)
            prompts_file = Path(scratch) / "prompts.jsonl"
            prompts_file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
            results.append(measure(args, dtype, folder, tokenizer, prompts, prompts_file))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {args.threads} threads, batch {args.batch}, "
          f"{args.prompt} + {args.new} tokens, median of {args.repeats}")
    print(f"{'dtype':6} {'suture':>10} {'eager':>10} {'ratio':>7}   rows equal, tokens before a difference")
    for r in results:
        ours, theirs = statistics.median(r["suture"]), statistics.median(r["transformers"])
        print(f"{r['dtype']:6} {ours:10.1f} {theirs:10.1f} {r['ratio']:7.2f}   {r['rows_equal']:.2f}, {r['tokens_equal']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
