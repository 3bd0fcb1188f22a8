"""Points that an attack finds on other networks, evaluated once on the victim."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.evasion.transfer.transfer import Transfer
from sparring.attacks.loop import iterate
from sparring.core.code import code_of
from sparring.core.errors import PlanError
from sparring.core.problem import Problem
from sparring.core.threat import Budget, Threat
from sparring.core.victim import Victim
from sparring.tasks.classes import of_classes


@dataclass(frozen=True)
class Crafted(Attack):
    """Evaluate the victim once on points that an attack finds on its sources.

    The points are computed once per sample and shared by all victims.
    """

    sources: tuple[Victim, ...] = ()
    inner: Attack = field(default=None)  # type: ignore[assignment]
    found: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def on(cls, attack: Attack, sources: tuple[Victim, ...], threat: Threat) -> "Crafted":
        """Return the attack on these sources.

        Raises:
            UsageError: where it does not fit them, or the threat.
        """
        first = sources[0]
        if isinstance(attack, Transfer) and (attack.surrogates or attack.settings.get("surrogate")):
            raise PlanError(f"{attack} has its own surrogate: leave it out, because a matrix uses the sources as surrogates")
        if len(sources) > 1 and not isinstance(attack, Transfer):
            names = " and ".join(one.name for one in sources)
            raise PlanError(f"{attack.name} attacks one network, but {names} are {len(sources)}: use transfer for an ensemble")
        _on_sources(attack, sources).check(first, threat.seeing("gradients"))
        needs, about = frozenset({"labels"}), (attack.cites, attack.control)
        return cls(attack.name, attack.search, needs, frozenset(), *about, nist=attack.nist, atlas=attack.atlas, sources=sources, inner=attack)

    @property
    def models(self) -> tuple[Victim, ...]:
        return self.sources

    @property
    def origin(self) -> str:
        """Return the names of the sources, joined by +."""
        return "+".join(one.name for one in self.sources)

    def __str__(self) -> str:
        return f"{self.inner} on {self.origin}"

    def describe(self) -> dict[str, Any]:
        hashes = [{"name": one.name, "sha256": one.fingerprint} for one in self.sources]
        return {**self.inner.describe(), "inner": str(self.inner), "sources": hashes, "code": code_of(self.inner, iterate, Problem)}

    def run(self, problem: Problem) -> Tensor:
        keys = [_key(problem, row) for row in range(len(problem))]
        rows = torch.tensor([row for row, key in enumerate(keys) if key not in self.found], dtype=torch.int64, device=problem.rows.device)
        if len(rows):
            for row, point in zip(rows.tolist(), self._search(problem, rows), strict=True):
                self.found[keys[row]] = point
        problem.answers(torch.stack([self.found[key] for key in keys]).to(problem.x))
        return problem.best()

    def _search(self, problem: Problem, rows: Tensor) -> Tensor:
        """Return the points found on the sources for these rows; the victim is not charged for them."""
        source, part = self.sources[0], problem.take(rows)
        threat = replace(problem.threat.take(part.rows), access="gradients", budget=Budget())
        with source.session():
            return _on_sources(self.inner, self.sources).run(Problem.open(source, part.x, part.criterion, threat, part.rng))


def _on_sources(attack: Attack, sources: tuple[Victim, ...]) -> Attack:
    """Return the attack with the sources in place of its surrogate, if it takes one."""
    return replace(attack, surrogates=sources, needs=frozenset({"labels"})) if isinstance(attack, Transfer) else attack


def _key(problem: Problem, row: int) -> str:
    """Return everything on which the point of a row depends: input, goal, radius and rng."""
    parts = [
        problem.x[row],
        problem.rng.keys[row],
        *(part[row] for part in of_classes(problem.criterion)),
        problem.threat.space.radii(len(problem.ledger.loss))[int(problem.rows[row])],
    ]
    return hashlib.sha256(b"".join(part.detach().cpu().contiguous().numpy().tobytes() for part in parts)).hexdigest()
