"""Certificates for networks under Lp balls: the ladder of bounds, splits and programmes on the graph of the victim."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.certification.bounds.execution import bands
from sparring.certification.bounds.threat import input_set
from sparring.certification.certificate import FLOAT, REAL, Certificate, Verdict
from sparring.certification.certifier import certifier
from sparring.certification.decide import WORK, decide
from sparring.certification.docket import Answer
from sparring.certification.proof.file import kept
from sparring.certification.question import Question
from sparring.core.dice import Dice
from sparring.core.errors import PlanError
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.network.builder import Unsupported
from sparring.models.network.of_victim import network_of
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim
from sparring.threats.balls import Ball

EFFORTS: dict[str, dict[str, dict[str, Any]]] = {
    "bounds": {"ibp": {}, "crown": {}},
    "quick": {"ibp": {}, "crown": {}, "alpha": {"steps": 20}, "input_split": {"boxes": 2000}, "relu_split": {"domains": 100, "near": 0.5}},
    "thorough": {"attack": {}, "ibp": {}, "crown": {}, "alpha": {}, "input_split": {}, "relu_split": {}, "milp": {}},
}
"""Rungs and their settings by effort. The limits of "bounds" and "quick" are numbers of steps, so that their answers depend on no clock;
"thorough" attacks first and goes on until the time is up. "quick" splits ReLUs only of samples whose bound lacks at most half of the margin at the
middle: on the digits networks at radii 0.05 to 0.2 a hundred domains proved none that lacked more than 0.4 of it."""


def misfit(victim: Victim, threat: Threat) -> str:
    """Why not, or an empty string."""
    if not isinstance(threat.space, Ball):
        return "bounds of networks hold under linf, l2 and l1: for other threats see spar ls certifiers"
    if not isinstance(victim, TorchVictim | OnnxVictim):
        return "its layers are not open to us: give a torch module or an ONNX file"
    return ""


@certifier("network", misfit, cites="Zhang et al. 2018, arXiv:1811.00866; Wang et al. 2021, arXiv:2103.06624", order=20)
def network(
    victim: Victim, x: Tensor, y: Tensor, threat: Threat, dice: Dice, *, seconds: float | None = None,
    effort: str = "quick", rungs: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None, execution: str = "real", proofs: bool = False,
    batch: int = 100,
) -> list[Certificate]:  # fmt: skip
    """effort: "bounds", "quick" or "thorough", see `EFFORTS`. rungs: names or settings by name instead. execution: "real" for the network in
    real arithmetic, "float32" for what rounding in float32 may make of it as well. proofs: keep what
    proof files are made of. batch: samples decided together."""
    if effort not in EFFORTS:
        raise PlanError(f"effort={effort!r}: choose {', '.join(EFFORTS)}")
    if execution not in ("real", "float32"):
        raise PlanError(f'execution={execution!r}: choose "real" or "float32"')
    try:
        graph = network_of(victim)
    except Unsupported as error:
        return [Certificate(Verdict.UNKNOWN, reason=f"operator: {error}") for _ in range(len(x))]
    reference = threat.goal.reference(y, dice, victim.classes)
    found: list[Certificate] = []
    for rows in torch.arange(len(x)).split(batch):
        part, own, origin = threat.take(rows), reference.take(rows), x[rows]
        inputs = input_set(part.space, origin, victim.domain)
        ask = Question.robustness if bool((own.sign > 0).all()) else Question.reaching
        question = ask(graph, inputs, own.anchor)
        error_bands = bands(graph, inputs) if execution == "float32" else None
        replay = Replay(victim, origin, part, own.anchor, own.sign)
        answers = decide(
            question, seconds=None if seconds is None else seconds * len(rows), rungs=EFFORTS[effort] if rungs is None else rungs,
            replay=replay.unsafe, proofs=proofs, bands=error_bands, work=None if effort == "thorough" else WORK,
        )  # fmt: skip
        if proofs:
            answers = [kept(question, place, answer) for place, answer in enumerate(answers)]
        radii = part.space.radii(len(rows)).tolist()
        for row, (answer, radius) in enumerate(zip(answers, radii, strict=True)):
            found.append(_certificate(answer, radius, replay, row, FLOAT if error_bands else REAL, len(rows)))
    return found


class Replay:
    """Points written in their deployed form and put to the victim: what counts as a witness."""

    def __init__(self, victim: Victim, origin: Tensor, threat: Threat, anchor: Tensor, sign: Tensor):
        self.victim, self.origin, self.threat, self.anchor, self.sign = victim, origin, threat, anchor, sign

    def deployed(self, points: Tensor, rows: Tensor) -> Tensor:
        """As the model receives them: projected in its own type, then written in the form of the domain."""
        origin = self.origin[rows]
        region = self.threat.take(rows).space.around(origin, self.victim.domain)
        return self.victim.domain.deploy(region.project(points.to(origin.dtype)), origin)  # type: ignore[attr-defined]

    def unsafe(self, points: Tensor, rows: Tensor) -> Tensor:
        """bool [k]: allowed, and classified as the adversary wants."""
        shown = self.deployed(points, rows)
        region = self.threat.take(rows).space.around(self.origin[rows], self.victim.domain)
        valid = torch.as_tensor(self.victim.domain.valid(shown), device=rows.device)
        labels = self.victim.label(shown)
        return region.inside(shown) & valid & ((labels == self.anchor[rows]) == (self.sign[rows] < 0)) & (labels >= 0)


def _certificate(answer: Answer, radius: float, replay: Replay, row: int, guarantee: str, count: int) -> Certificate:
    witness = None
    if answer.witness is not None:
        witness = replay.deployed(answer.witness[None], torch.tensor([row]))[0]
    proved = radius if answer.verdict is Verdict.PROVED else 0.0
    return Certificate(answer.verdict, answer.rung, proved, answer.margin, answer.reason, guarantee, 1.0, answer.seconds / count, witness, answer.proof)
