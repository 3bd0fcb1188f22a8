"""Certify tree ensembles under Linf, L2 and L1, exactly where the search ends in time.

The smallest change is found by branch and bound over leaves (`search`), bounded from below by cliques of leaves (`clique`; Chen, Zhang, Si, Li, Boning,
Hsieh 2019, arXiv:1906.03849) where it does not end, and by a mixed-integer program (`milp`; Kantchelian, Tygar, Joseph 2016, arXiv:1509.07892) on demand.
"""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Limit, certifier
from sparring.certification.trees.clique import clique_bound, levels
from sparring.certification.trees.milp import solve
from sparring.certification.trees.parts import Parts, duel
from sparring.certification.trees.proof import TreeProof, prove
from sparring.certification.trees.search import search
from sparring.core.errors import LoadError
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.domains.table import Table
from sparring.models.estimator import EstimatorVictim
from sparring.models.trees.ensemble import Ensemble
from sparring.models.trees.estimators import read_estimator, readable
from sparring.models.trees.files import TreeVictim
from sparring.tasks.classes import ClassCriterion, of_classes
from sparring.threats.balls import L1, L2, Linf

SPACES = (Linf, L2, L1)

GUARANTEE = "all float64 rows, as the model is called with them; sums in any order and precision of the library"
"""What is proved: no rounding of inputs, thresholds or sums is left out (see `Ensemble`)."""

SHARE = 2e-9
"""By which a radius is widened before it is excluded: twice what the ball's own test of membership allows."""


def ensemble_of(victim: Victim) -> Ensemble:
    """Return the trees of a victim; LoadError where it is not made of them."""
    if isinstance(victim, TreeVictim):
        return victim.ensemble
    if isinstance(victim, EstimatorVictim):
        return read_estimator(victim.model).over(victim.places)
    raise LoadError(f"{victim.name} is not an ensemble of trees: give a fitted classifier of scikit-learn, XGBoost or LightGBM, or a file of trees")


def _misfit(victim: Victim, threat: Threat) -> str:
    if not isinstance(victim.domain, Table):
        return f"trees take table rows, but the inputs are {victim.domain}"
    if named := [column.name for column in victim.domain.columns if column.kind == "category" and column.dtype != "bool"]:
        return f"the categories of {', '.join(named[:3])} are given to the model as names: give them as whole numbers"
    return readable(victim.model) if isinstance(victim, EstimatorVictim) else ""


@dataclass
class _Known:
    """What is known of each row. proved: float64 [n], no input nearer meets the goal. distance: float64 [n], of the nearest found that may meet it.
    counterexample: float64 [n, features]. note: why proved and distance are apart. method, seconds: [n]."""

    proved: np.ndarray
    distance: np.ndarray
    counterexample: np.ndarray
    note: list[str]
    method: list[str]
    seconds: np.ndarray


class _Effort(NamedTuple):
    """seconds, states: where the search of one row ends. max_clique, max_level: of the clique bound. milp: ask the solver where the search did not end?"""

    seconds: float | None
    states: int
    max_clique: int
    max_level: int
    milp: bool


@certifier(
    "trees",
    _misfit,
    spaces=Limit(SPACES, f"trees are certified under {', '.join(space.kind for space in SPACES)}"),
    victims=Limit((EstimatorVictim, TreeVictim), "it is no ensemble of trees: give a classifier of scikit-learn, XGBoost or LightGBM, or a file of trees"),
    cites="Chen et al. 2019, arXiv:1906.03849; Kantchelian et al. 2016, arXiv:1509.07892",
    order=10,
)
def trees(
    victim: Victim,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: Rng,
    *,
    seconds: float | None = None,
    minimal: bool = True,
    states: int = 20_000,
    max_clique: int = 2,
    max_level: int = 1,
    milp: bool = False,
    proofs: bool = False,
) -> list[Certificate]:
    """Certify rows x (float64 [n, columns]) of classes y (int64 [n]) of a tree ensemble.

    proved: no row of the domain's box within the radius meets the goal, and none in which scores are equal up to the library's rounding; `radius` is
    the largest distance that is proved, infinite where no row at all meets the goal. refuted: the counterexample was asked of the victim; `radius` is
    still the distance below which nothing meets the goal. unknown: the search did not end, or scores tie. With a target, what is
    excluded is that its score reaches that of the true class.

    Args:
        minimal: For proved rows, go on to the smallest change; else stop at the radius asked.
        states: The most states of the search per row.
        max_clique: Trees per clique of the clique bound, which is used where the search does not end.
        max_level: Levels of that bound.
        milp: Whether to ask the solver where neither ends.
        proofs: Keep what proof files are made of, for rows proved under Linf (boxes; a search of their own, which may give up).
    """
    ensemble = ensemble_of(victim)
    rows = x.detach().cpu().double().numpy()
    radii = threat.space.radii(len(x)).double().cpu().numpy()
    order = threat.space.region.order  # type: ignore[attr-defined]
    criterion = of_classes(threat.goal.freeze(y, victim.task, rng))
    effort = _Effort(seconds, states, max_clique, max_level, milp)
    usable = np.isfinite(rows).all(1) & np.asarray(victim.domain.valid(x.detach().cpu().double()))
    whom = _Duels(ensemble, cast(Table, victim.domain), order, effort)
    reach = np.where(usable, widened(radii, rows, order), -1.0)
    known = whom.run(rows, criterion, reach)
    if minimal:
        again = np.flatnonzero(usable & ~np.isfinite(known.distance) & (known.proved >= reach))
        _further(whom, known, rows, criterion, again)
    found = _Verdicts(victim, threat, ensemble, whom, x, criterion, radii, reach).certificates(known, rows, usable)
    if not proofs or order != np.inf:
        return found
    return [replace(one, proof=_proof(whom, rows[row], reach[row], whom.rivals(criterion, row))) if one.proved else one for row, one in enumerate(found)]


def _proof(whom: "_Duels", row: np.ndarray, reach: float, rivals: tuple[int, list[int]]) -> TreeProof | None:
    """That no row of the table's box within `reach` in every column lets a rival come near."""
    low, high, whole = whom.box
    right, others = rivals
    return prove(
        whom.ensemble, right, others, np.maximum(row - reach, low), np.minimum(row + reach, high), whole, margin=2 * whom.ensemble.slack
    )  # fmt: skip


def widened(radius: np.ndarray, x: np.ndarray, order: float) -> np.ndarray:
    """Return a radius that covers rounding.

    float64 [n]: no point that the ball of this radius ([n]) counts as inside is further from x ([n, columns]) than this.
    """
    ones = x.shape[1] ** (0.0 if np.isinf(order) else 1.0 / order)
    with np.errstate(invalid="ignore"):
        slack = 4 * np.finfo(np.float64).eps * (np.abs(x).max(1) + radius) * ones
    return np.where(radius > 0, radius * (1 + SHARE) + slack, 0.0)


def narrowed(distance: np.ndarray, x: np.ndarray, order: float) -> np.ndarray:
    """Return a radius that is proved if everything nearer than `distance` is.

    At least 0, float64 [n].
    """
    ones = x.shape[1] ** (0.0 if np.isinf(order) else 1.0 / order)
    with np.errstate(invalid="ignore"):
        slack = 8 * np.finfo(np.float64).eps * (np.abs(x).max(1) + distance) * ones
        return np.where(np.isinf(distance), np.inf, np.maximum((distance - slack) / (1 + 2 * SHARE), 0.0))


class _Duels:
    """The right class against each rival, for rows that share them."""

    def __init__(self, ensemble: Ensemble, domain: Table, order: float, effort: _Effort):
        self.ensemble, self.order, self.effort = ensemble, order, effort
        self.box = domain.low.numpy(), domain.high.numpy(), domain.whole.numpy()
        self.made: dict[tuple[int, int, bool], Parts] = {}

    def parts(self, right: int, rival: int, *, strict: bool = False) -> Parts:
        if (right, rival, strict) not in self.made:
            self.made[right, rival, strict] = duel(self.ensemble, right, rival, *self.box, strict=strict)
        return self.made[right, rival, strict]

    def rivals(self, criterion: ClassCriterion, row: int) -> tuple[int, list[int]]:
        """The right class of a row and those it must not lose to."""
        right, reference_class = int(criterion.label[row]), int(criterion.reference_class[row])
        return right, [one for one in range(self.ensemble.classes) if one != right] if criterion.sign[row] > 0 else [
            one for one in [reference_class] if one != right
        ]

    def run(self, x: np.ndarray, criterion: ClassCriterion, reach: np.ndarray, *, strict: bool = False) -> _Known:
        """All rivals of all rows, each row up to its reach; rows of negative reach are left alone."""
        count = len(x)
        known = _Known(np.full(count, np.inf), np.full(count, np.inf), x.copy(), [""] * count, ["search"] * count, np.zeros(count))
        together: dict[tuple[int, int], list[int]] = {}
        for row in np.flatnonzero(reach >= 0).tolist():
            right, rivals = self.rivals(criterion, row)
            for rival in rivals:
                together.setdefault((right, rival), []).append(row)
        share = max((len({rival for first, rival in together if first == right}) for right, _ in together), default=1)
        for (right, rival), rows in together.items():
            self._duel(self.parts(right, rival, strict=strict), x, np.array(rows), reach, known, share)
        return known

    def _duel(self, parts: Parts, x: np.ndarray, rows: np.ndarray, reach: np.ndarray, known: _Known, share: int) -> None:
        limit = None if self.effort.seconds is None else self.effort.seconds / share
        near = np.minimum(reach[rows], known.distance[rows])
        found = search(parts, x[rows], self.order, reach=near, seconds=limit, states=self.effort.states)
        better = found.distance < known.distance[rows]
        known.distance[rows] = np.where(better, found.distance, known.distance[rows])
        known.counterexample[rows[better]] = found.counterexample[better]
        known.seconds[rows] += found.seconds
        proved = found.proved
        for place in np.flatnonzero(~found.done):
            proved[place] = max(proved[place], self._otherwise(parts, x, int(rows[place]), float(near[place]), known, found.states[place], limit))
        known.proved[rows] = np.minimum(known.proved[rows], proved)

    def _otherwise(self, parts: Parts, x: np.ndarray, row: int, reach: float, known: _Known, states: int, seconds: float | None) -> float:
        """What is proved of a row whose search did not end."""
        began = time.perf_counter()
        bound = float(clique_bound(levels(parts, self.effort.max_clique, self.effort.max_level), x[row : row + 1], self.order)[0])
        known.note[row], known.method[row] = f"the search stopped after {states} states: allow more states or seconds, or use milp=true", "search, clique"
        if bound <= reach and self.effort.milp:
            solved = solve(parts, x[row], self.order, reach=reach, seconds=seconds)
            bound = max(bound, solved.proved)
            known.note[row], known.method[row] = solved.reason or "the solver's bound and its answer differ", "search, clique, milp"
            if solved.counterexample is not None and solved.distance < known.distance[row] and solved.distance <= reach:
                known.distance[row], known.counterexample[row] = solved.distance, solved.counterexample
        known.seconds[row] += time.perf_counter() - began
        return bound


def _further(whom: _Duels, known: _Known, x: np.ndarray, criterion: ClassCriterion, rows: np.ndarray) -> None:
    """The smallest change of rows that are proved already, noted as what is proved of them."""
    if not len(rows):
        return
    index = torch.from_numpy(rows)
    more = whom.run(x[rows], criterion.take(index), np.full(len(rows), np.inf))
    known.proved[rows] = np.maximum(known.proved[rows], more.proved)
    known.seconds[rows] += more.seconds


class _Verdicts:
    """From what is known to certificates: what is found is asked of the victim before it counts."""

    def __init__(
        self, victim: Victim, threat: Threat, ensemble: Ensemble, whom: _Duels, x: Tensor, criterion: ClassCriterion, radii: np.ndarray, reach: np.ndarray
    ):
        self.victim, self.threat, self.ensemble, self.whom = victim, threat, ensemble, whom
        self.x, self.criterion, self.radii, self.reach = x, criterion, radii, reach

    def certificates(self, known: _Known, rows: np.ndarray, usable: np.ndarray) -> list[Certificate]:
        order = self.whom.order
        found = usable & np.isfinite(known.distance)
        broken = self.broken(known.counterexample, found)
        tied = found & ~broken & (known.distance <= self.reach)
        if tied.any():  # what is nearest only ties: is there anything within the radius that does more?
            index = torch.from_numpy(np.flatnonzero(tied))
            surely = self.whom.run(rows[tied], self.criterion.take(index), self.reach[tied], strict=True)
            known.counterexample[tied] = surely.counterexample
            known.seconds[tied] += surely.seconds
            sure = np.zeros_like(tied)
            sure[tied] = np.isfinite(surely.distance)
            broken |= sure & self.broken(known.counterexample, sure)
        proved = usable & (known.proved > self.reach) | (usable & ~found & (known.proved >= self.reach))
        radius = narrowed(known.proved, rows, order)
        agreed = self.agreed(usable)
        return [
            self.one(known, row, bool(usable[row]), bool(proved[row]), bool(broken[row]), float(radius[row]), bool(agreed[row])) for row in range(len(rows))
        ]

    def one(self, known: _Known, row: int, usable: bool, proved: bool, broken: bool, radius: float, agreed: bool) -> Certificate:
        seconds, method = float(known.seconds[row]), known.method[row]
        guarantee = GUARANTEE if self.ensemble.checked else f"{GUARANTEE}; the ensemble was not compared with its library"
        if not usable:
            return Certificate(
                Verdict.UNKNOWN, method, reason="the row has a missing or infinite value, or lies outside the bounds of the table", seconds=seconds
            )
        if self.criterion.sign[row] < 0 and self.criterion.label[row] == self.criterion.reference_class[row]:
            return Certificate(Verdict.UNKNOWN, method, reason="the target is the true class already", seconds=seconds)
        if not agreed:
            return Certificate(Verdict.UNKNOWN, method, reason="the trees as read and the model disagree on this row", seconds=seconds)
        if broken:
            counterexample = torch.from_numpy(known.counterexample[row].copy()).to(self.x.dtype)
            return Certificate(
                Verdict.REFUTED, method, min(radius, float(self.radii[row])), guarantee=guarantee, seconds=seconds, counterexample=counterexample
            )
        if proved:
            return Certificate(Verdict.PROVED, method, max(radius, float(self.radii[row])), guarantee=guarantee, seconds=seconds)
        tie = "two classes tie within the rounding of the library at some allowed input, and no clear counterexample was found"
        return Certificate(Verdict.UNKNOWN, method, min(radius, float(self.radii[row])), reason=known.note[row] or tie, guarantee=guarantee, seconds=seconds)

    def broken(self, counterexample: np.ndarray, which: np.ndarray) -> np.ndarray:
        """bool [n]: does the victim itself meet the goal at the counterexample, and does the threat allow it?"""
        result = np.zeros(len(counterexample), dtype=bool)
        if not which.any():
            return result
        index = torch.from_numpy(np.flatnonzero(which))
        points = torch.from_numpy(counterexample[which]).to(self.x.dtype)
        region = self.threat.take(index).space.around(self.x[index], self.victim.domain)
        with self.victim.session():
            met = self.criterion.take(index).met(self._labels(points))
        result[which] = (met & region.inside(points)).numpy() & np.asarray(self.victim.domain.valid(points))
        return result

    def agreed(self, usable: np.ndarray) -> np.ndarray:
        """bool [n]: does the victim predict on the row what the trees do (or tie)?"""
        result = np.ones(len(usable), dtype=bool)
        if usable.any():
            rows = self.x[torch.from_numpy(np.flatnonzero(usable))]
            scores = self.ensemble.scores(rows.double().numpy())
            ranked = np.sort(scores, 1)
            with self.victim.session():
                same = self._labels(rows).numpy() == scores.argmax(1)
            result[usable] = same | (ranked[:, -1] - ranked[:, -2] <= 2 * self.ensemble.slack)
        return result

    def _labels(self, points: Tensor) -> Tensor:
        return self.victim.decide(points, self.victim.scores(points)) if "scores" in self.victim.exposes else self.victim.label(points)
