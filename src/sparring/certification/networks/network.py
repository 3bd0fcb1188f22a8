"""Certify networks under Lp balls by a portfolio of bounds, splits and MILPs on their graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sparring.certification.certificate import FLOAT, REAL, Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.certification.networks.bounds.execution import rounding_errors
from sparring.certification.networks.bounds.threat import input_set
from sparring.certification.networks.decide import WORK, decide
from sparring.certification.networks.portfolio import at_effort
from sparring.certification.networks.proof.sample import kept
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import QueryAnswer
from sparring.core.errors import PlanError
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.graph.builder import Unsupported
from sparring.models.graph_of import network_of
from sparring.models.onnx import OnnxVictim
from sparring.models.torch import TorchVictim
from sparring.tasks.classes import of_classes
from sparring.threats.balls import Ball


@certifier(
    "network",
    spaces=Limit((Ball,), "bounds of networks certify linf, l2 and l1 only: for other threats see spar ls certifiers"),
    victims=Limit((TorchVictim, OnnxVictim), "it needs a white-box model: give a torch module or an ONNX file"),
    cites="Zhang et al. 2018, arXiv:1811.00866; Wang et al. 2021, arXiv:2103.06624",
    order=20,
    renamed={"rungs": "verifiers"},
)
def network(
    victim: Victim, x: Tensor, y: Tensor, threat: Threat, rng: Rng, *, seconds: float | None = None,
    effort: Literal["bounds", "quick", "thorough"] = "quick", verifiers: Mapping[str, Mapping[str, Any]] | Sequence[str] | None = None,
    execution: Literal["real", "float32"] = "real", proofs: bool = False,
    batch: int = 100,
) -> list[Certificate]:  # fmt: skip
    """Certify networks by the verifiers of the portfolio.

    Args:
        effort: "bounds" takes the cheapest verifiers, "quick" adds splits with counted limits, "thorough" goes on until the time is up.
        verifiers: Names of verifiers, or their settings by name, instead of an effort.
        execution: "real" for the network in real arithmetic, "float32" for whatever rounding in float32 may make of it as well.
        proofs: Keep what proof files are made of.
        batch: Samples decided together.
    """
    chosen = at_effort(effort)
    if execution not in ("real", "float32"):
        raise PlanError(f'execution={execution!r}: choose "real" or "float32"')
    try:
        graph = network_of(victim)
    except Unsupported as error:
        return [Certificate(Verdict.UNKNOWN, reason=f"operator: {error}") for _ in range(len(x))]
    criterion = of_classes(threat.goal.freeze(y, victim.task, rng))
    found: list[Certificate] = []
    for rows in torch.arange(len(x)).split(batch):
        part, own, origin = threat.take(rows), criterion.take(rows), x[rows]
        inputs = input_set(part.space, origin, victim.domain)
        ask = Query.robustness if bool((own.sign > 0).all()) else Query.reaching
        query = ask(graph, inputs, own.reference_class)
        rounding = rounding_errors(graph, inputs) if execution == "float32" else None
        replay = DeployedReplay(victim, origin, part, own.reference_class, own.sign)
        answers = decide(
            query, seconds=None if seconds is None else seconds * len(rows), verifiers=chosen if verifiers is None else verifiers,
            replay=replay.unsafe, proofs=proofs, rounding=rounding, work=None if effort == "thorough" else WORK,
        )  # fmt: skip
        if proofs:
            answers = [kept(query, place, answer) for place, answer in enumerate(answers)]
        radii = part.space.radii(len(rows)).tolist()
        for row, (answer, radius) in enumerate(zip(answers, radii, strict=True)):
            found.append(_certificate(answer, radius, replay, row, FLOAT if rounding else REAL, len(rows)))
    return found


@dataclass(frozen=True, eq=False)
class DeployedReplay:
    """Put points in their deployed form to the victim, to confirm counterexamples."""

    victim: Victim
    origin: Tensor
    threat: Threat
    reference_class: Tensor
    sign: Tensor

    def deployed(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return points as the model receives them.

        They are projected in its own type, then written in the form of the domain.
        """
        origin = self.origin[rows]
        region = self.threat.take(rows).space.around(origin, self.victim.domain)
        return self.victim.domain.deploy(region.project(points.to(origin.dtype)), origin)  # type: ignore[attr-defined]

    def unsafe(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return allowed, and classified as the adversary wants, bool [k]."""
        shown = self.deployed(points, rows)
        region = self.threat.take(rows).space.around(self.origin[rows], self.victim.domain)
        valid = torch.as_tensor(self.victim.domain.valid(shown), device=rows.device)
        labels = self.victim.label(shown)
        return region.inside(shown) & valid & ((labels == self.reference_class[rows]) == (self.sign[rows] < 0)) & (labels >= 0)


def _certificate(answer: QueryAnswer, radius: float, replay: DeployedReplay, row: int, guarantee: str, count: int) -> Certificate:
    counterexample = None
    if answer.counterexample is not None:
        counterexample = replay.deployed(answer.counterexample[None], torch.tensor([row]))[0]
    proved = radius if answer.verdict is Verdict.PROVED else 0.0
    return Certificate(
        answer.verdict, answer.verifier, proved, answer.margin, answer.reason, guarantee, 1.0, answer.seconds / count, counterexample, answer.proof
    )
