"""The state of a verification: the open queries, their bounds and the answers so far."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.interval import Interval, Rounding
from sparring.certification.networks.bounds.windows import rounding_rows
from sparring.certification.networks.query import Query

Replay = Callable[[Tensor, Tensor], Tensor]
"""(points [k, *in], places of their samples int64 [k]) -> bool [k]: whether the deployed model is unsafe at these points."""


class QueryAnswer(NamedTuple):
    """Hold the answer to one query.

    To one query. verifier: what decided it. margin: the greatest lower bound found on the whole set, NaN where it was
    proved in parts. counterexample: [*in], an unsafe input. proof: leaves, see `proof.form`.
    """

    verdict: Verdict
    verifier: str = ""
    margin: float = float("nan")
    reason: str = ""
    counterexample: Tensor | None = None
    proof: Any = None
    seconds: float = 0.0


@dataclass(eq=False)
class VerificationState:
    """Hold the open queries that the verifiers of the portfolio work on, and the answers so far.

    All fields but `answers` cover the open queries only, in the same order.

    query: the open ones, their rows less by `slack`, float64 [n], for rounding. places: int64 [n], where they stand in `answers`. bounds: by node, what goes
    into activations. lower: [n, r], the best lower bounds of the rows. deadline: by `time.monotonic`, None for none. replay: confirms counterexamples. proofs:
    are they wanted? seed: of random starts, drawn by place, so that chance does not depend on who else is open.
    """

    query: Query
    replay: Replay | None = None
    deadline: float | None = None
    proofs: bool = False
    rounding: Rounding | None = None
    seed: int = 0
    places: Tensor = field(init=False)
    answers: list[QueryAnswer | None] = field(init=False)
    lower: Tensor = field(init=False)
    slack: Tensor = field(init=False)
    bounds: dict[int, Interval] = field(init=False, default_factory=dict)
    verifier: str = field(init=False, default="")
    reasons: list[str] = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        count = len(self.query)
        self.places = torch.arange(count, device=self.query.constraints.device)
        self.answers = [None] * count
        self.reasons = [""] * count
        self.lower = torch.full_like(self.query.offset, -torch.inf)
        self.slack = self.query.slack()
        self.query = replace(self.query, offset=self.query.offset - self.slack[:, None])  # a safe point is safe by more than the slack

    def __len__(self) -> int:
        return len(self.places)

    @property
    def margin(self) -> Tensor:
        """Return the least that is known to be left, positive where nothing is open any more, [n]."""
        return self.query.margin(self.lower)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def improve(self, lower: Tensor, proofs: dict[int, Any] | None = None) -> None:
        """Take better lower bounds of the rows [n, r] and settle the queries they prove.

        What is not finite proves nothing. proofs: by place in the open ones; where proofs are wanted, queries without one stay
        open.
        """
        self.lower = torch.maximum(self.lower, torch.where(torch.isfinite(lower), lower, -torch.inf))
        proved = self.margin > 0
        if self.proofs:
            proved = proved & torch.tensor([place in (proofs or {}) for place in range(len(self))], dtype=torch.bool, device=proved.device)
        self.settle(proved, Verdict.PROVED, proofs)

    def prove(self, proved: Tensor, proofs: dict[int, Any] | None = None) -> None:
        """Settle the queries, bool [n], that a search has proved without bounds of the whole."""
        self.settle(proved, Verdict.PROVED, proofs)

    def refute(self, points: Tensor) -> None:
        """Settle the queries with unsafe points.

        Settle the queries for which points [n, *in] or [n, k, *in] hold an unsafe input: in the input set, in float64 and as deployed.
        """
        many = points if points.ndim > self.query.inputs.low.ndim else points[:, None]
        found: dict[int, Tensor] = {}
        for turn in range(many.shape[1]):
            x = many[:, turn]
            unsafe = (self.query.margin(self.query.at(x)) + self.slack <= 0) & self.query.inputs.contains(x)
            if self.replay is not None and bool(unsafe.any()):
                rows = unsafe.nonzero().squeeze(1)
                unsafe = unsafe.clone()
                unsafe[rows] = self.replay(x[rows], self.places[rows])
            for row in unsafe.nonzero().squeeze(1).tolist():
                found.setdefault(row, x[row])
        if found:
            hit = torch.zeros(len(self), dtype=torch.bool, device=self.places.device)
            hit[list(found)] = True
            self.settle(hit, Verdict.REFUTED, counterexamples=found)

    def note(self, reason: str, rows: Tensor | None = None) -> None:
        """Note why queries (all open ones, or bool [n]) remain open; a later note replaces it."""
        for place in (self.places if rows is None else self.places[rows]).tolist():
            self.reasons[place] = reason

    def note_each(self, reason: str, values: Tensor, rows: Tensor) -> None:
        """Note a reason for each of these queries, bool [n], with its own of values [n] put into it."""
        for row in rows.nonzero().squeeze(1).tolist():
            self.reasons[int(self.places[row])] = reason.format(float(values[row]))

    def without_reason(self, *kinds: str) -> Tensor:
        """Return queries without a reason so far, or without one of these kinds, bool [n]."""
        reasons = [self.reasons[place] for place in self.places.tolist()]
        return torch.tensor([not any(one.startswith(kind) for kind in kinds) if kinds else not one for one in reasons], dtype=torch.bool)

    @contextlib.contextmanager
    def subset(self, rows: Tensor) -> Iterator["VerificationState"]:
        """Return a state of some of the open queries, bool [n].

        What is found in it counts here as well when it is left.
        """
        if bool(rows.all()):
            yield self
            return
        part, chosen = copy.copy(self), rows.nonzero().squeeze(1)  # answers and reasons are shared
        part._keep(chosen)
        yield part
        still = torch.isin(self.places[chosen], part.places)
        self.lower[chosen[still]] = part.lower
        for node, bound in part.bounds.items():
            if node in self.bounds:
                low, high = (edge.clone() for edge in self.bounds[node])
                low[chosen[still]], high[chosen[still]] = bound
                self.bounds[node] = Interval(low, high)
        settled = torch.zeros_like(rows).index_fill(0, chosen[~still], True)
        self._keep((~settled).nonzero().squeeze(1))

    def _keep(self, rows: Tensor) -> None:
        self.query, self.places, self.lower = self.query.take(rows), self.places[rows], self.lower[rows]
        self.slack = self.slack[rows]
        self.bounds = {node: bound.take(rows) for node, bound in self.bounds.items()}
        if self.rounding is not None:
            self.rounding = {node: rounding_rows(self.query.network, node, error, rows) for node, error in self.rounding.items()}

    def settle(self, rows: Tensor, verdict: Verdict, proofs: dict[int, Any] | None = None, counterexamples: dict[int, Tensor] | None = None) -> None:
        """Settle these queries with a verdict."""
        if not bool(rows.any()):
            return
        margin, spent = self.margin, time.monotonic() - self.began
        for row in rows.nonzero().squeeze(1).tolist():
            proof = (proofs or {}).get(row)
            bound = float(margin[row]) if verdict is not Verdict.PROVED or margin[row] > 0 else float("nan")  # parts bound no whole
            self.answers[int(self.places[row])] = QueryAnswer(verdict, self.verifier, bound, "", (counterexamples or {}).get(row), proof, spent)
        self._keep((~rows).nonzero().squeeze(1))

    def close(self) -> list[QueryAnswer]:
        """Return answers to all queries; those still open are unknown, with the reason noted last."""
        spent, margin = time.monotonic() - self.began, self.margin
        for row, place in enumerate(self.places.tolist()):
            reason = self.reasons[place] or "bounds: the methods that ran are not tight enough"
            self.answers[place] = QueryAnswer(Verdict.UNKNOWN, "", float(margin[row]), reason, None, None, spent)
        return [one for one in self.answers if one is not None]
