# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/tools/vectors.h5, a vector store for the tiny llama-gqa checkpoint (width 32), through h5py.

Usage: python tests/oracle/make_tool_fixtures.py
"""
import json
from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "tools"


def add(vectors, order, name, value, site, layer, scale, where, method, attributes):
    group = vectors.create_group(name)
    group.attrs.create("order", order, dtype="<i8")
    group.attrs.create("layer", layer, dtype="<i8")
    group.attrs.create("scale", scale, dtype="<f8")
    for key, text in {"site": site, "where": where, "method": method, "source_dtype": "float32"}.items():
        group.attrs[key] = text
    group.create_dataset("value", data=value.astype("<f4"))
    group.create_dataset("attributes", data=json.dumps(attributes))


def main():
    rng = np.random.default_rng(7)
    with h5py.File(FOLDER / "vectors.h5", "w") as file:
        file.attrs["schema"] = "suture.vectors"
        file.attrs.create("version", 1, dtype="<i8")
        file.create_dataset("provenance", data=json.dumps({"model": {"digest": "0" * 64}}))
        vectors = file.create_group("vectors")
        file.create_group("tables")
        add(vectors, 0, "steer", rng.normal(size=32), "resid_out", 1, 1.5, "last", "made up", {})
        add(vectors, 1, "gate", rng.normal(size=32), "resid_out", 0, 1.0, "last", "made up", {"bias": 0.0, "threshold": -1e6})
        add(vectors, 2, "wide", rng.normal(size=40), "mlp_key", 1, 1.0, "all", "made up", {})


main()
