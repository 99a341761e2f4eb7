# SPDX-License-Identifier: Apache-2.0
"""Compares a written checkpoint folder with transformers: every weight used, none missing, log-probabilities equal.

Usage: python check_folder.py FOLDER SCORE.json [--tolerance 1e-4]
SCORE.json is what `suture score FOLDER --json` printed. Ids and log-probabilities are looked for under the usual names
(ids, token_ids / log_probs, logprobs, log_probabilities), in the object itself or in each of a list of rows; the first
token has no log-probability (null, or absent)."""

import argparse
import json
import pathlib
import sys

import torch
import transformers

IDS = ("ids", "token_ids", "input_ids")
LOG_PROBS = ("log_probs", "logprobs", "log_probabilities", "log_prob", "logprob")


def pick(record, names):
    return next((record[name] for name in names if name in record), None)


def rows(value):
    """Every (ids, log-probabilities) pair in the document, wherever it is nested."""
    if isinstance(value, list):
        tokens = [item for item in value if isinstance(item, dict)]
        if tokens and len(tokens) == len(value) and all("id" in item for item in tokens):
            yield [item["id"] for item in tokens], [pick(item, LOG_PROBS) for item in tokens]
            return
        for item in value:
            yield from rows(item)
    elif isinstance(value, dict):
        ids, log_probs = pick(value, IDS), pick(value, LOG_PROBS)
        if isinstance(ids, list) and isinstance(log_probs, list):
            yield ids, log_probs
            return
        for item in value.values():
            yield from rows(item)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("score", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        arguments.folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            sys.exit(f"{problem}: {sorted(info[problem])[:10]}")
    worst, count = 0.0, 0
    for ids, log_probs in rows(json.loads(arguments.score.read_text())):
        log_probs = [value for value in log_probs if value is not None]
        if len(log_probs) == len(ids):  # a score for the first token too: it has no context to compare with
            log_probs = log_probs[1:]
        if len(log_probs) != len(ids) - 1:
            sys.exit(f"{len(ids)} ids but {len(log_probs)} log-probabilities")
        if len(ids) < 2:
            continue
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        theirs = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        worst = max(worst, (theirs - torch.tensor(log_probs)).abs().max().item())
        count += 1
    if not count:
        sys.exit("no ids with log-probabilities in the score file")
    print(f"{count} rows, max |difference of log-probabilities| {worst:.2e}")
    if not worst <= arguments.tolerance:  # also catches NaN
        sys.exit(f"above the tolerance {arguments.tolerance:g}")


if __name__ == "__main__":
    main()
