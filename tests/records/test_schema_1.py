"""A run written by the first schema is read as one of the second."""

import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparring.bench.run import Run
from sparring.records.record import ROW, Record
from sparring.records.store import Store

FIRST = pa.schema(
    [
        ("id", pa.string()),
        ("position", pa.int64()),
        ("label", pa.int64()),
        ("target", pa.int64()),
        ("status", pa.string()),
        ("predicted", pa.int64()),
        ("margin", pa.float64()),
        ("size", pa.float64()),
        ("radius", pa.float64()),
        ("queries", pa.int64()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
        ("note", pa.string()),
    ]
)
"""The columns as that version wrote them."""

RATE = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 2}
LOOK = {"plain": "pgd", "clean": RATE, "claimed": RATE, "best_known": RATE, "remedies": [], "verdict": "caution"}


def part(**columns):
    count = len(columns["id"])
    rest = {"target": [None] * count, "size": [0.0] * count, "radius": [0.1] * count, "seconds": [0.0] * count, "note": [""] * count}
    rest |= {name: [1] * count for name in ("queries", "forwards", "backwards")}
    written = io.BytesIO()
    pq.write_table(pa.table({**rest, "position": list(range(count)), **columns}, schema=FIRST), written)
    return written.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Three samples: one is proved, one is broken toward class 2, one gets no answer."""
    ids = ["a", "b", "c"]
    cells = {
        "k0": ("clean", {}, part(id=ids, label=[0, 1, 2], status=["held"] * 3, predicted=[0, 1, 2], margin=[-1.0, -2.0, -3.0])),
        "k1": (
            "network", {"certificate": True},
            part(id=ids, label=[0, 1, 2], status=["proved", "unknown", "skipped"], predicted=[None] * 3, margin=[0.5, -0.25, None]),
        ),
        "k2": (
            "pgd", {},
            part(id=ids, label=[0, 1, 2], target=[None, 2, None], status=["held", "broken", "error"], predicted=[0, 2, -1], margin=[-0.5, 0.75, None]),
        ),
    }  # fmt: skip
    store = Store(tmp_path / "run")
    for key, (_, _, content) in cells.items():
        store.write(f"cells/{key}/part-0.parquet", content)
    described = [{"key": key, "attack": {"name": name, "say": name, "settings": {}, **more}} for key, (name, more, _) in cells.items()]
    case = {
        "name": "net", "model": {"name": "net", "classes": 3}, "data": {"name": "d", "n": 3, "classes": ["x", "y", "z"]},
        "threat": {"say_short": "linf 0.1"}, "checks": [], "second_look": LOOK, "cells": described,
    }  # fmt: skip
    header = {"schema": 1, "id": "r", "status": "done", "started": "", "ended": "", "resumed": 0, "cases": [case], "gate": [], "plan": {}, "warnings": []}
    store.write("run.json", json.dumps(header).encode())
    return tmp_path / "run"


def test_columns_and_signs(folder):
    """The margin of an attack changes its sign, that of a certificate was positive for a right answer already."""
    table = Run.open(folder).table()
    assert list(table.columns)[6:] == ROW.names
    rows = {attack: table[table.attack == attack].reset_index(drop=True) for attack in ("clean", "network", "pgd")}
    assert rows["clean"].margin.tolist() == [1.0, 2.0, 3.0]
    assert rows["network"].margin[:2].tolist() == [0.5, -0.25]
    assert rows["pgd"].margin[:2].tolist() == [0.5, -0.75]
    assert pd.isna(rows["pgd"].margin[2])
    assert rows["pgd"].wanted.tolist() == ["0", "1", "2"]
    assert rows["pgd"].given.tolist() == ["0", "2", ""]
    assert [None if pd.isna(one) else one for one in rows["pgd"].aimed] == [None, "2", None]
    assert rows["pgd"].quality[:2].tolist() == [1.0, 0.0]


def test_rates_are_those_of_the_run(folder):
    run = Run.open(folder)
    assert run.clean_accuracy.value == 1.0
    assert run.robust_accuracy.value == pytest.approx(1 / 3)
    assert run.certified_accuracy.value == pytest.approx(1 / 3)


def test_the_header_speaks_the_new_words(folder):
    (case,) = Record.open(folder).header["cases"]
    assert case["model"]["task"] == case["data"]["task"] == {"kind": "classes", "classes": 3}
    assert case["reevaluation"] == LOOK
