#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every fact of a file on its own: one edit of the unedited model each, then the sums of what the manifests measured.
#
#   bench/edit.sh [CONFIG [OUT]]       default: configs/demo/edit.yaml and out/bench-edit
#   SUTURE=build/release/suture        the program
#   SET="layer=9 method=rome"          further overrides for every edit
#
# Only manifests are kept (OUT/ID.json). A fact whose manifest is there is left alone, so a stopped run goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly suture="${SUTURE:-build/release/suture}"
readonly config="${1:-configs/demo/edit.yaml}"
readonly out="${2:-out/bench-edit}"
readonly facts="${FACTS:-configs/facts/demo.jsonl}"
command -v "$suture" >/dev/null || { echo "edit.sh: cannot run $suture: build it with 'make build' or set SUTURE" >&2; exit 2; }
mkdir -p "$out"

overrides=()
for pair in ${SET:-}; do overrides+=(--set "$pair"); done

mapfile -t ids < <(python3 -c '
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    if line.strip(): print(json.loads(line)["id"])' "$facts")
[ ${#ids[@]} -gt 0 ] || { echo "edit.sh: no facts in $facts" >&2; exit 4; }

for id in "${ids[@]}"; do
  [ ! -f "$out/$id.json" ] || continue
  "$suture" edit apply "$config" --set "facts=$facts" --set "only=[$id]" "${overrides[@]}" --out "$out/model" --force
  mv "$out/model/manifest.json" "$out/$id.json"
  rm -rf "$out/model"
done

manifests=()
for id in "${ids[@]}"; do manifests+=("$out/$id.json"); done
python3 -c '
import json, sys
totals = {key: [0, 0] for key in ("efficacy", "paraphrase", "neighbourhood")}
change, seconds = [], []
row = "{:<28}{:>10}{:>12}{:>15}{:>9}{:>9}"
print(row.format("fact", "efficacy", "paraphrase", "neighbourhood", "change", "seconds"))
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    shares = []
    for key, total in totals.items():
        measured = manifest["evaluation"][key]
        total[0] += measured["k"]
        total[1] += measured["n"]
        shares.append("{k}/{n}".format(**measured))
    change.append(max(tensor["relative_change"] for tensor in manifest["changed"]))
    seconds.append(manifest["seconds"]["edits"])
    name = ", ".join(fact["id"] for fact in manifest["facts"])
    print(row.format(name, *shares, "{:.3f}".format(change[-1]), "{:.1f}".format(seconds[-1])))
together = ["{}/{}".format(*total) for total in totals.values()]
print(row.format("together", *together, "{:.3f}".format(max(change)), "{:.1f}".format(sum(seconds))))' "${manifests[@]}"
