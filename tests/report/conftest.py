"""Records of runs that never took place, for the report to draw."""

import uuid

import numpy as np
import pytest
import torch

from sparring.domains.image import image
from sparring.domains.table import Column, table
from sparring.domains.text import text
from sparring.records.record import Points, Record
from sparring.records.store import Store

HOSTILE = '<script>alert("x")</script>'

CHECKS = [
    {"code": "D1", "name": "zero_gradients", "title": "Gradients are not zero", "value": 0.004, "threshold": 0.01, "verdict": "ok",
     "finding": "0.4 % of the gradients are zero.", "cure": "Nothing to do."},
    {"code": "D2", "name": "random_outputs", "title": "The model answers the same twice", "value": 3, "threshold": 0, "verdict": "caution",
     "finding": "3 of 64 predictions differ when asked twice.", "cure": "Average the scores over several draws."},
    {"code": "D3", "name": "saturation", "title": "Scores are logits", "value": None, "threshold": None, "verdict": "not applicable",
     "finding": "This victim exposes labels only.", "cure": ""},
]  # fmt: skip


def inputs(kind, n, rng):
    """(domain, before, after) of one kind of input."""
    if kind == "image":
        grid = torch.linspace(0, 1, 8)
        before = (grid[:, None] * grid[None]).repeat(n, 1, 1, 1) * torch.rand(n, 1, 1, 1, generator=torch.Generator().manual_seed(1))
        return image(8, 8), before, (before + 0.1 * torch.from_numpy(rng.choice([-1.0, 1.0], (n, 1, 8, 8))).float()).clamp(0, 1)
    if kind == "table":
        domain = table([Column("age", "integer", 18, 99, "years"), Column("income", "real", 0, 1e6, "euro"), Column(HOSTILE, "category", levels=("a", "<b>"))])
        before = torch.tensor([[40.0, 30000.0, 0.0]], dtype=torch.float64).repeat(n, 1)
        return domain, before, before + torch.tensor([[2.0, -120.5, 1.0]], dtype=torch.float64)
    before = np.array(["a dull <b>film</b> with no heart"] * n, dtype=object)
    return text(), before, np.array(["a dreary <b>film</b> with no heart"] * n, dtype=object)


def column(n, **more):
    """Rows of one cell: everything held, unless said otherwise."""
    rows = {
        "id": [f"data/{place:05d}" for place in range(n)], "position": list(range(n)), "wanted": ["0"] * n, "given": ["0"] * n, "aimed": [None] * n,
        "status": ["held"] * n,
        "quality": [1.0] * n, "margin": [1.0] * n, "size": [0.0] * n, "radius": [0.1] * n, "queries": [0] * n, "forwards": [1] * n,
        "backwards": [0] * n, "seconds": [0.001] * n, "note": [""] * n,
    }  # fmt: skip
    return rows | more


def add_case(record, *, name, n=60, kind="image", radius=0.1, space="linf", model="cnn", classes=None,
             attacks=("pgd(steps=40)", "square", "noise"), fall=(0.5, 0.1, 0.0),
             checks=CHECKS, ran=None, points=True, seed=0):  # fmt: skip
    """A case whose samples fall to the attacks in turn, with the given chances; `ran` are the attacks that have rows (None: all)."""
    rng, classes = np.random.default_rng(seed), classes or [f"class {number}" for number in range(4)]
    domain, before, after = inputs(kind, n, rng)
    label = rng.integers(len(classes), size=n)
    order = ["clean", *attacks]
    described = [
        {"name": said.split("(")[0], "say": said, "settings": {"steps": 40}, "cites": "Someone 2020", "control": said.startswith("noise")} for said in order
    ]
    cells = [{"key": f"{name}-{place}".encode().hex(), "attack": attack} for place, attack in enumerate(described)]
    source = {"name": "digits", "n": n, "sha256": "ab" * 32, "licence": "CC BY 4.0", "source": "given in Python"}
    record.header["cases"].append(
        {
            "name": name,
            "model": {"name": model, "sha256": model.encode().hex() * 4, "adapter": "TorchVictim", "exposes": ["gradients", "labels", "scores"],
                      "task": {"kind": "classes", "classes": len(classes)}},
            "data": {**source, "classes": classes, "domain": domain.describe()},
            "threat": {"space": {"kind": space, "radius": radius}, "goal": {"kind": "untargeted"}, "access": "gradients",
                       "budget": {"queries": 5000}, "channel": None, "say_short": f"{space} {radius:g}",
                       "say": f"any change of {space} size at most {radius}, inside the bounds of the input"},
            "checks": checks,
            "cells": cells,
        }
    )  # fmt: skip
    standing = [""] * n
    for place, cell in enumerate(cells):
        said = cell["attack"]["say"]
        chance = 0.05 if place == 0 else fall[place - 1]
        fell = [not note and rng.random() < chance for note in standing]
        size = rng.uniform(0.3 * radius, radius, n)
        rows = column(
            n, wanted=[str(one) for one in label], radius=[radius] * n,
            status=["skipped" if note else "broken" if hit else "held" for note, hit in zip(standing, fell, strict=True)],
            given=[None if note else str((one + hit) % len(classes)) for note, hit, one in zip(standing, fell, label, strict=True)],
            quality=[None if note else float(not hit) for note, hit in zip(standing, fell, strict=True)],
            margin=[None if note else (-0.4 if hit else 1.2) for note, hit in zip(standing, fell, strict=True)],
            size=[None if note else float(one) if place else 0.0 for note, one in zip(standing, size, strict=True)],
            forwards=[0 if note else 40 for note in standing], backwards=[0 if note or not place else 40 for note in standing], note=list(standing),
        )  # fmt: skip
        if ran is None or said in ran:
            chosen = [turn for turn in range(n) if not standing[turn]][:8]
            kept = Points([rows["id"][turn] for turn in chosen], domain.pack(before[chosen]), domain.pack(after[chosen]))
            record.add_part(cell["key"], "part-0", rows, kept if points and place else None)
        standing = [note or ((f"broken by {said}" if place else "wrong without attack") if hit else "") for note, hit in zip(standing, fell, strict=True)]


@pytest.fixture
def blank():
    """Makes records without cases, in memory."""

    def make(**header):
        packages = {"sparring": "0.1.0", "torch": "2.13.0", "onnxruntime": None}
        machine = {"system": "Linux x86_64", "processor": "A processor", "cores": 2, "threads": 2, "device": "cpu"}
        environment = {"python": "3.11.9", "packages": packages, "commit": "abc+", **machine}
        start = {
            "schema": 1, "id": "7f3a0c12de", "status": "done", "started": "2026-03-01T10:00:00+00:00", "ended": "2026-03-01T10:05:00+00:00",
            "resumed": 0, "command": "spar run model=cnn.pt", "plan": {"model": "cnn.pt", "threat": "linf 0.1", "seed": 0},
            "environment": environment, "cases": [], "gate": [], "warnings": [],
        }  # fmt: skip
        return Record(Store(f"memory://report-{uuid.uuid4().hex}"), start | header)

    return make


@pytest.fixture
def full(blank):
    """Makes a record of one finished case."""

    def make(header=None, **case):
        record = blank(**(header or {}))
        add_case(record, **({"name": "cnn on digits, linf 0.1"} | case))
        record.save_header()
        return record

    return make


@pytest.fixture
def adder():
    """`add_case` for tests, which cannot import this file."""
    return add_case


@pytest.fixture
def rows():
    """`column` for tests."""
    return column


@pytest.fixture
def hostile():
    return HOSTILE
