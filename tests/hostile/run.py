"""Opens each hostile file in a process of its own: `python tests/hostile/run.py FOLDER [PATTERN]` prints what every file did, and counts.

A file may be refused by a sentence (an error of Sparring) or be read. It may not end in another error, a signal, or more than `SECONDS` or `MEMORY`, and
nothing in it may run: no file CANARY may appear. The processes are forked from one that has imported everything and started no threads.
"""

import fnmatch
import json
import os
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

SECONDS = 10.0
GRACE = 5.0
MEMORY = 2 << 30
ROOM = 12 << 30
"""Bytes of address space that a process may take beyond what it begins with, so that a failure here does not take the machine with it."""


def warm() -> None:
    """Import what the readers need, so that each process begins at once."""
    import lightgbm  # noqa: F401
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import skops.io  # noqa: F401
    import torch
    import torch.export.pt2_archive._package
    import vnnlib  # noqa: F401
    import xgboost  # noqa: F401
    from hostile import doors  # noqa: F401

    import sparring.bench.plan
    import sparring.models.load  # noqa: F401
    from sparring.core.registry import everything

    for kind in ("reader", "adapter", "attack", "space", "goal", "task", "aim", "dataset", "model"):
        everything(kind)
    torch.set_num_threads(1)


def opened(path: Path, folder: Path) -> dict[str, Any]:
    """Return what one file did: its outcome, seconds, and bytes at the peak."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.chdir(folder)
        with os.fdopen(writing, "w") as out:
            json.dump(_try(path), out)
            out.flush()
            os._exit(0)
    os.close(writing)
    status = None
    while status is None and time.monotonic() - began < SECONDS + GRACE:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        if status is None:
            time.sleep(0.005)
    seconds = time.monotonic() - began
    if status is None:
        os.kill(child, 9)
        os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        text = said.read()
    told = json.loads(text) if text else {"outcome": "hang" if status is None else f"signal {os.waitstatus_to_exitcode(status)}", "said": "", "peak": 0}
    canaries = [one for place in {folder, folder.parent, path.parent, Path.cwd()} for one in place.glob("CANARY*")]
    for one in canaries:
        one.unlink()
    outcome = "code ran" if canaries else told["outcome"]
    if outcome in ("read", "refused"):
        outcome = "slow" if seconds > SECONDS else "large" if told["peak"] > MEMORY else outcome
    return {"file": path.name, "outcome": outcome, "said": told["said"], "seconds": round(seconds, 2), "peak": told["peak"]}


def _try(path: Path) -> dict[str, Any]:
    from hostile.doors import door

    from sparring.core.errors import SparringError

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    base = _bytes("VmRSS")
    limit = _bytes("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    try:
        door(path.name)(path)
        outcome, said = "read", ""
    except SparringError as error:
        outcome, said = "refused", f"{type(error).__name__}: {error}"
    except BaseException:
        outcome, said = "other error", traceback.format_exc()[-3000:]
    return {"outcome": outcome, "said": said[:3000], "peak": max(0, _bytes("VmHWM") - base)}


def _bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    return 0


def run(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return what the files of these names did."""
    warm()
    here = folder / "here"
    here.mkdir(exist_ok=True)
    for name in ("pipe.csv", "pipe.onnx"):
        if not (here / name).exists():
            os.mkfifo(here / name)
    return [opened(folder / name, here) for name in names]


GOOD = ("read", "refused")


def main() -> int:
    """Run the command; the exit code is 1 where a file did what none may."""
    folder, pattern = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else "*"
    names = sorted(one.name for one in folder.iterdir() if "--" in one.name and fnmatch.fnmatch(one.name, pattern))
    found = run(folder, names)
    if os.environ.get("HOSTILE_JSON"):
        print(json.dumps(found))
        return 0
    for one in found:
        if one["outcome"] not in GOOD or os.environ.get("HOSTILE_ALL"):
            said = one["said"].strip()[-int(os.environ.get("HOSTILE_WIDTH", "300")) :]
            print(f"{one['outcome']:12} {one['seconds']:6.2f} s {one['peak'] >> 20:6} MB  {one['file']}  {said}")
    readers: dict[str, Counter[str]] = {}
    for one in found:
        readers.setdefault(one["file"].split("--")[0], Counter())[one["outcome"]] += 1
    for reader, counts in sorted(readers.items()):
        print(f"{reader:24} {sum(counts.values()):4}  {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}")
    slowest, largest = max((one["seconds"] for one in found), default=0), max((one["peak"] for one in found), default=0)
    print(f"{'together':24} {len(found):4}  slowest {slowest:.1f} s, largest {largest >> 20} MB")
    return int(any(one["outcome"] not in GOOD for one in found))


if __name__ == "__main__":
    sys.exit(main())
