"""The reader that opens each file: what a user would call, and a use of what comes out."""

import contextlib
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def _images(count: int = 10) -> Any:
    import sparring as sp

    return sp.Data.of(torch.zeros(count, 1, 8, 8), [place % 10 for place in range(count)], sp.image(8, 8))


def _rows() -> Any:
    import pandas as pd

    import sparring as sp

    x = np.random.default_rng(0).random((200, 4))
    frame = pd.DataFrame(x, columns=list("abcd"))
    return sp.Data.of(frame, (x[:, 0] * 3).astype(int), sp.table(frame))


def _data(path: Path) -> None:
    from sparring.data.load import load

    load(path)


def _model(data: Callable[[], Any]) -> Callable[[Path], None]:
    def opened(path: Path) -> None:
        from sparring.models.load import load_model

        given = data()
        victim = load_model(str(path), given)
        victim.label(given.x[:5])

    return opened


def _onnx(path: Path) -> None:
    from sparring.models.load import load_model

    given = _rows()
    victim = load_model(str(path), given)
    victim.label(given.x[:5])
    victim.label(given.x[:1])


def _weights(path: Path) -> None:
    from torch import nn

    from sparring.models.weights_file import put_weights

    put_weights(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), path, "net")


def _picture(path: Path) -> None:
    folder = Path("pictures")
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name / "one.png")
    _data(folder)


def command(*words: str) -> None:
    """Run `spar` with these words; SystemExit carries its code, and a traceback is an error."""
    from sparring.cli.app import main

    said = io.StringIO()
    before, sys.argv = sys.argv, ["spar", *words]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            main()
    except SystemExit as end:
        if "Traceback" in said.getvalue():
            raise AssertionError(said.getvalue()[-1500:]) from end
        if end.code not in (0, 1, 2, 3):
            raise AssertionError(f"exit code {end.code}: {said.getvalue()[-500:]}") from end
    finally:
        sys.argv = before


def _plan(path: Path) -> None:
    command("run", str(path), "certify=none", "self_check=false", "--quiet")


def _rules(path: Path) -> None:
    from sparring.data.load import load
    from sparring.threats.rules import read_rules

    load("breast-cancer", take=4)
    read_rules(path)


def _neighbours(path: Path) -> None:
    from sparring.threats.words import read_neighbours

    read_neighbours(path)


def _members(path: Path) -> None:
    from sparring.data.members import read_members

    read_members(str(path), "digits")


def _property(path: Path) -> None:
    from sparring.certification.vnnlib.parse import read_property

    read_property(path)


def _instances(path: Path) -> None:
    from sparring.certification.vnnlib.instances import run_instances

    run_instances(path, "results.csv")


def _proof(path: Path) -> None:
    command("check-proof", str(path))


DOORS: dict[str, Callable[[Path], None]] = {
    "npz": _data,
    "idx": _data,
    "labels": lambda path: None,
    "csv": _data,
    "parquet": _data,
    "lines": _data,
    "picture": _picture,
    "plan": _plan,
    "rules": _rules,
    "neighbours": _neighbours,
    "members": _members,
    "vnnlib": _property,
    "instances": _instances,
    "trees": _model(_rows),
    "trees-json": _model(_rows),
    "trees-text": _model(_rows),
    "xgboost": _model(_rows),
    "lightgbm": _model(_rows),
    "dump": _model(_rows),
    "skops": _model(_rows),
    "weights": _weights,
    "weights-pth": _weights,
    "proof": _proof,
    "onnx": _onnx,
    "pt2": _model(_images),
    "refused": _model(_rows),
}


def door(name: str) -> Callable[[Path], None]:
    """Return what opens a file of this name."""
    reader = name.split("--")[0]
    return DOORS[reader] if reader in DOORS else DOORS[reader.split("-")[0]]
