"""Runs that are killed with `kill -9` or disturbed in a search, and what is compared with runs that nobody touched."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparring.attacks.attack import Attack

NURSERY = Path(__file__).with_name("nursery.py")
SOURCES = NURSERY.parents[1] / "src"


def parts(folder: Path) -> int:
    """How many parts of runs below a folder are written, or are being written."""
    return len({(path.parent, path.name.partition(".")[0]) for path in folder.glob("*/cells/*/part-*")})


def content(run: Any) -> pd.DataFrame:
    """The table without what may differ between equal runs."""
    return run.table().drop(columns="seconds").sort_values(["case", "attack", "position"], ignore_index=True)


@contextlib.contextmanager
def killer(plan: dict[str, Any], cwd: Path | None = None) -> Iterator[Callable[[Path, int], None]]:
    """A function (folder, parts): it begins the run of the plan below the folder, and kills it when so many parts have appeared."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, NURSERY, json.dumps(plan)], env=environment, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asking, answers = process.stdin, process.stdout
        assert asking
        assert answers

        def ask(line: str) -> str:
            asking.write(line + "\n")
            asking.flush()
            return answers.readline()

        def kill(folder: Path, enough: int) -> None:
            child = int(ask(str(folder)))
            while parts(folder) < enough:
                time.sleep(0.001)
            os.kill(child, signal.SIGKILL)
            assert ask("wait") == "gone\n"

        assert answers.readline() == "ready\n"
        yield kill
        asking.close()


def assert_same(run: Any, whole: Any) -> None:
    """The same rows, and the same points."""
    pd.testing.assert_frame_equal(content(run), content(whole))
    for cell in set(run.table().cell):
        mine, other = run.record.points(cell), whole.record.points(cell)
        assert mine.ids == other.ids
        assert np.array_equal(mine.after, other.after)


@contextlib.contextmanager
def before_search(name: str, call: Callable[[Any], Any]) -> Iterator[None]:
    """Call a function with every problem before the attack of this name searches it. The code on disk, so every cell's key, stays the same."""
    run = Attack.run

    def called(attack: Attack, problem: Any) -> Any:
        if attack.name == name:
            call(problem)
        return run(attack, problem)

    Attack.run = called  # type: ignore[method-assign]
    try:
        yield
    finally:
        Attack.run = run  # type: ignore[method-assign]
