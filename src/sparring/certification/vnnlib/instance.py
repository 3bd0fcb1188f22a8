"""One instance as in VNN-COMP: a network, a property and a time limit."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.portfolio import portfolio
from sparring.certification.networks.proof.sample import kept
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import QueryAnswer
from sparring.certification.proof.file import write_proof
from sparring.certification.vnnlib.counterexample import Counterexample, Deployed, Standing
from sparring.certification.vnnlib.parse import read_property
from sparring.certification.vnnlib.property import TOLERANCE, Case, Property
from sparring.core.errors import InputError
from sparring.graph.builder import Unsupported
from sparring.graph.from_onnx import import_onnx, read_content
from sparring.graph.onnx_session import Session

KEPT = 16
"""Networks and properties that are kept for the next instance."""
TOGETHER = 256
"""Cases that are asked together: look-up tables have thousands, and a counterexample to an early one spares the rest."""


@dataclass(frozen=True, eq=False)
class InstanceAnswer:
    """Hold the answer to an instance.

    result: "unsat" (no input of the property is unsafe: proved), "sat" (`counterexample` is one), "timeout", "unknown", or "error" in lists
    of instances. seconds: spent, reading included. verifier: the methods that decided. reason: why there is no answer. proof: the file that was written.
    """

    result: str
    seconds: float
    verifier: str = ""
    reason: str = ""
    counterexample: Counterexample | None = None
    proof: str = ""

    @property
    def decided(self) -> bool:
        """Return whether the answer is "sat" or "unsat"."""
        return self.result in ("sat", "unsat")


def decide_instance(network_path: str | Path, property_path: str | Path, seconds: float | None = None, *, proof: str | Path | None = None) -> InstanceAnswer:
    """Decide whether any input of the property gives an unsafe output.

    network_path: .onnx or .onnx.gz; property_path: .vnnlib or .vnnlib.gz; where only the one with .gz is there, it is taken. seconds: for all, None
    for no limit. Files are read once for many instances of a process. "sat" is only said of a counterexample whose outputs, as onnxruntime
    computes them, are unsafe without any tolerance. proof: where to write, for "unsat", a file that `spar check-proof` verifies; the solver of mixed-integer
    programs, which keeps no proofs, is then not asked. Raises LoadError and InputError for files that cannot be used, and for a property that
    does not fit the network.
    """
    began = time.monotonic()
    deployed, asked = load_network(there(network_path)), load_property(there(property_path))
    _check_fit(deployed, asked, network_path, property_path)
    nearly: list[Counterexample] = []

    def replay(points: Tensor, places: Tensor) -> Tensor:
        replayed = [deployed.replay(asked, point) for point in points.flatten(1).double().cpu().numpy()]
        nearly.extend(one for one in replayed if one.standing is Standing.NEARLY)
        return torch.tensor([one.standing is Standing.HOLDS for one in replayed], device=points.device)

    answers: list[QueryAnswer] = []
    verifiers = None if proof is None else [one.name for one, _ in portfolio() if one.keeps_proofs]
    for place in range(0, len(asked.cases), TOGETHER):
        left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
        now = query(deployed, asked.cases[place : place + TOGETHER])
        found = decide(now, seconds=left, replay=replay, verifiers=verifiers, proofs=proof is not None)
        answers += found if proof is None else [kept(now, row, one) for row, one in enumerate(found)]
        if any(answer.verdict is Verdict.REFUTED for answer in answers):
            break
    answer = _together(deployed, asked, answers, time.monotonic() - began, seconds, bool(nearly))
    return answer if proof is None or answer.result != "unsat" else _written(answer, answers, proof, there(network_path))


def _written(answer: InstanceAnswer, answers: list[QueryAnswer], path: str | Path, source: str) -> InstanceAnswer:
    """The answer with the proof in a file; without one, and why, where a method kept none."""
    bare = sorted({one.verifier for one in answers if one.proof is None})
    if bare:
        return replace(answer, reason=f"no proof was written: {', '.join(bare)} keeps no proofs")
    write_proof(path, [one.proof for one in answers], source)
    return replace(answer, proof=str(path))


def _together(deployed: Deployed, asked: Property, answers: list[QueryAnswer], spent: float, seconds: float | None, nearly: bool) -> InstanceAnswer:
    """One answer of those to the cases: one counterexample is enough, a proof needs all."""
    for answer in answers:
        if answer.verdict is Verdict.REFUTED and answer.counterexample is not None:
            found = deployed.replay(asked, answer.counterexample.double().flatten().cpu().numpy())
            if found.standing is Standing.HOLDS:
                return InstanceAnswer("sat", spent, answer.verifier, counterexample=found)
    if answers and all(answer.verdict is Verdict.PROVED for answer in answers):
        return InstanceAnswer("unsat", spent, "+".join(dict.fromkeys(answer.verifier for answer in answers)))
    reason = next(answer.reason or "bounds: a counterexample could not be confirmed" for answer in answers if answer.verdict is not Verdict.PROVED)
    late = reason.startswith("time") or (seconds is not None and spent >= seconds)
    if nearly:
        reason += f"; a counterexample was found that holds only within the tolerance {TOLERANCE:g}, which does not count"
    return InstanceAnswer("timeout" if late else "unknown", spent, reason=reason)


def query(deployed: Deployed, cases: Sequence[Case]) -> Query:
    """Return the cases of a property as queries of one network."""
    shape, outputs = deployed.network.input_shape, deployed.network.outputs
    most = max(sum(len(clause.rows) for clause in case.clauses) for case in cases)
    rows, offset, numbers = np.zeros((len(cases), most, outputs)), np.zeros((len(cases), most)), np.full((len(cases), most), -1)
    for place, case in enumerate(cases):
        written, limits, own = _rows(case)
        rows[place, : len(own)], offset[place, : len(own)], numbers[place, : len(own)] = written, -limits, own
    low, high = (torch.from_numpy(np.stack([getattr(case, side) for case in cases])).reshape(-1, *shape) for side in ("low", "high"))
    return Query(deployed.network, InputSet(low, high), torch.from_numpy(rows), torch.from_numpy(offset), torch.from_numpy(numbers))


def _rows(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, bounds, number of the clause of each row) of all clauses of a case."""
    numbers = [np.full(len(clause.rows), number) for number, clause in enumerate(case.clauses)]
    return np.concatenate([one.rows for one in case.clauses]), np.concatenate([one.bounds for one in case.clauses]), np.concatenate(numbers)


def there(path: str | Path) -> str:
    """Return the path, or the same with .gz where only that is there."""
    given = Path(path)
    packed = given.with_name(given.name + ".gz")
    return str(packed if not given.exists() and packed.exists() else given)


def load_network(path: str) -> Deployed:
    """Load the network of an ONNX file, compared with onnxruntime when it is read.

    The file is read again only if it has changed.
    """
    return _network(path, _stamp(path))


def load_property(path: str) -> Property:
    """Return the property of a file; read again only if the file has changed."""
    return _property(path, _stamp(path))


def _stamp(path: str) -> tuple[int, int]:
    """Time of change and size; zeros where there is no file, which reading it will say."""
    file = Path(path)
    return (file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else (0, 0)


@lru_cache(KEPT)
def _network(path: str, stamp: tuple[int, int]) -> Deployed:
    content = read_content(path)
    runtime = Session(content, Path(path).name)
    built = import_onnx(content, runtime=runtime)
    if built.head:
        raise Unsupported(f"{path} ends in {built.head}, whose outputs cannot be bounded: remove the last operator")
    return Deployed(built.network, runtime)


@lru_cache(KEPT)
def _property(path: str, stamp: tuple[int, int]) -> Property:
    return read_property(path)


def _check_fit(deployed: Deployed, asked: Property, network_path: str | Path, property_path: str | Path) -> None:
    for what, has, says in (("inputs", deployed.inputs, asked.inputs), ("outputs", deployed.network.outputs, asked.outputs)):
        if has != says:
            raise InputError(f"{network_path} has {has} {what}, but {property_path} declares {says}: give a property for this network")
