"""Lists of instances as in VNN-COMP, in one or several processes; runs can be resumed."""

import csv
import io
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparring.core.errors import LoadError, SparringError
from sparring.core.files import decoded, read_file

if TYPE_CHECKING:
    from sparring.certification.vnnlib.instance import InstanceAnswer

COLUMNS = ("onnx", "vnnlib", "result", "seconds", "verifier")


EARLIER = ("onnx", "vnnlib", "result", "seconds", "rung")
"""Former names of columns."""


@dataclass(frozen=True)
class Instance:
    """Hold one instance.

    A line of instances.csv: two paths as written, relative to the file, and the limit in seconds (None: no limit).
    """

    network: str
    asked: str
    seconds: float | None

    @property
    def name(self) -> str:
        """Return the instance as a file name: mnist-net_256x2.prop_0_0.03."""
        parts = [Path(path).name.removesuffix(".gz").rsplit(".", 1)[0] for path in (self.network, self.asked)]
        return ".".join(parts)


class Row(NamedTuple):
    """Represent a line of the results.

    reason: why there is no answer; it is told and not written.
    """

    network: str
    asked: str
    result: str
    seconds: float
    verifier: str
    reason: str = ""


def read_instances(path: str | Path) -> list[Instance]:
    """Read the instances of a file of lines `network,property,seconds`; seconds may be missing.

    Raises:
        LoadError: Names the line that cannot be read.
    """
    text = decoded(read_file(Path(path)), str(path))
    try:
        rows = enumerate(csv.reader(text.splitlines(keepends=True)), 1)
        lines = [(number, [word.strip() for word in line]) for number, line in rows if any(word.strip() for word in line)]
    except csv.Error as error:
        raise LoadError(f"{path} is not a list of instances ({error}): write lines network.onnx,property.vnnlib,seconds") from error
    if not lines:
        raise LoadError(f"{path} has no instances: write lines network.onnx,property.vnnlib,seconds")
    return [_instance(path, number, words) for number, words in lines]


def _instance(path: str | Path, number: int, words: list[str]) -> Instance:
    try:
        network, asked, *rest = words
        seconds = float(rest[0]) if rest and rest[0] else None
    except ValueError as error:
        raise LoadError(f"{path}, line {number}: {','.join(words)!r} is not network.onnx,property.vnnlib,seconds") from error
    if not network or not asked or len(rest) > 1 or not (seconds is None or 0 < seconds < float("inf")):
        raise LoadError(f"{path}, line {number}: {','.join(words)!r} is not network.onnx,property.vnnlib,seconds with positive seconds")
    return Instance(network, asked, seconds)


def read_results(path: str | Path) -> list[Row]:
    """Read the results of an earlier run; empty if there is no such file.

    A last line that was cut off by an interruption is left out.
    """
    if not Path(path).exists():
        return []
    text = decoded(read_file(Path(path)), str(path)) if Path(path).stat().st_size else ""
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    if lines and tuple(lines[0]) not in (COLUMNS, EARLIER):
        raise LoadError(f"{path} is not a table of results ({','.join(COLUMNS)}): write to another file")
    try:
        return [Row(line[0], line[1], line[2], float(line[3]), line[4]) for line in lines[1:]]
    except (IndexError, ValueError) as error:
        raise LoadError(f"{path} has a line that is not a result ({error}): correct it or write to another file") from error


def run_instances(
    path: str | Path, out: str | Path, *, seconds: float | None = None, counterexamples: str | Path | None = None, proofs: str | Path | None = None,
    workers: int = 1, listen: Callable[[Row], None] = lambda row: None,
) -> list[Row]:  # fmt: skip
    """Decide the instances of a file that have no result yet, and write each result at once.

    Results go to `out`. Returns all rows, old and new.

    seconds: instead of the limits in the file. counterexamples: a folder for counterexamples in the competition's format. proofs: a folder for proof files of
    "unsat". workers: processes; each reads a network once. An instance that cannot be used becomes a row "error" and the others go on. listen: hears of every
    new row.
    """
    instances, done = read_instances(path), read_results(out)
    open_ones = _left(instances, done)
    if counterexamples is not None:
        Path(counterexamples).mkdir(parents=True, exist_ok=True)
    if proofs is not None:
        Path(proofs).mkdir(parents=True, exist_ok=True)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    whole = "\n".join([",".join(COLUMNS), *map(_line, done)]) + "\n"
    temporary = Path(out).with_name(f"{Path(out).name}.{os.getpid()}")
    temporary.write_text(whole, encoding="utf-8")
    temporary.replace(out)  # a run that is interrupted here has lost nothing
    with Path(out).open("a", encoding="utf-8") as file:
        for row in _decided(Path(path).parent, open_ones, seconds, counterexamples, proofs, workers):
            file.write(_line(row) + "\n")
            file.flush()
            done.append(row)
            listen(row)
    return done


def _left(instances: list[Instance], done: list[Row]) -> list[Instance]:
    """Those without a row; an instance that is listed twice needs two rows."""
    rows = Counter((row.network, row.asked) for row in done)
    found = []
    for one in instances:
        if rows[one.network, one.asked] > 0:
            rows[one.network, one.asked] -= 1
        else:
            found.append(one)
    return found


def _line(row: Row) -> str:
    """One line of the table, quoted where a path has a comma."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow((row.network, row.asked, row.result, f"{row.seconds:.4f}", row.verifier))
    return text.getvalue()


def _decided(
    folder: Path, instances: list[Instance], seconds: float | None, counterexamples: str | Path | None, proofs: str | Path | None, workers: int
) -> Iterator[Row]:  # fmt: skip
    """Rows as they come: in the order of the list, or with several processes as they are done."""
    if workers <= 1 or len(instances) <= 1:
        yield from (decide_one(folder, one, seconds, counterexamples, proofs) for one in instances)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)
    try:
        waiting = [pool.submit(decide_one, folder, one, seconds, counterexamples, proofs) for one in instances]
        yield from (future.result() for future in as_completed(waiting))
    except BrokenProcessPool as error:
        raise SparringError("a worker process died, perhaps for lack of memory: run the same command again, with fewer --workers if needed") from error
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()  # else they would end their instances first
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def decide_one(folder: Path, instance: Instance, seconds: float | None, counterexamples: str | Path | None, proofs: str | Path | None = None) -> Row:
    """Return the row of one instance."""
    from sparring.certification.vnnlib.instance import decide_instance

    limit = instance.seconds if seconds is None else seconds
    try:
        proof = None if proofs is None else Path(proofs) / f"{instance.name}.proof"
        answer = decide_instance(folder / instance.network, folder / instance.asked, limit, proof=proof)
    except SparringError as error:
        return Row(instance.network, instance.asked, "error", 0.0, "", str(error))
    except Exception as error:  # a slip of ours costs this instance, not the thousands after it
        return Row(instance.network, instance.asked, "error", 0.0, "", f"{type(error).__name__}: {error}")
    if counterexamples is not None:
        write_answer(Path(counterexamples) / f"{instance.name}.txt", answer)
    return Row(instance.network, instance.asked, answer.result, answer.seconds, answer.verifier, answer.reason)


def write_answer(path: str | Path, answer: "InstanceAnswer") -> None:
    """Write the result file of the competition: the word, and for "sat" the counterexample."""
    text = answer.result + "\n" + (answer.counterexample.text() if answer.counterexample else "")
    temporary = Path(path).with_name(f"{Path(path).name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
