"""The questions that are still open, what is known of each, and how they are settled."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparring.certification.bounds.interval import Bands, Interval
from sparring.certification.bounds.windows import band_rows
from sparring.certification.certificate import Verdict
from sparring.certification.question import Question

Replay = Callable[[Tensor, Tensor], Tensor]
"""(points [k, *in], places of their samples int64 [k]) -> bool [k]: does the model as it is deployed do at these points what is unsafe?"""


class Answer(NamedTuple):
    """To one question. rung: what decided it. margin: the greatest lower bound found on the whole set, NaN where it was
    proved in parts. witness: [*in], an unsafe input. proof: leaves, see `proof.form`."""

    verdict: Verdict
    rung: str = ""
    margin: float = float("nan")
    reason: str = ""
    witness: Tensor | None = None
    proof: Any = None
    seconds: float = 0.0


@dataclass(eq=False)
class Docket:
    """What the rungs of the ladder work on. Everything but `answers` speaks of the open questions only, in the same order.

    question: the open ones, their rows less by `slack`, float64 [n], for rounding. places: int64 [n], where they stand in `answers`. bounds: by node,
    what goes into bends. lower: [n, r], the best lower bounds of the rows. deadline: by `time.monotonic`, None for none. replay: confirms witnesses.
    proofs: are they wanted? seed: of random starts, drawn by place, so that chance does not depend on who else is open.
    """

    question: Question
    replay: Replay | None = None
    deadline: float | None = None
    proofs: bool = False
    bands: Bands | None = None
    seed: int = 0
    places: Tensor = field(init=False)
    answers: list[Answer | None] = field(init=False)
    lower: Tensor = field(init=False)
    slack: Tensor = field(init=False)
    bounds: dict[int, Interval] = field(init=False, default_factory=dict)
    rung: str = field(init=False, default="")
    reasons: list[str] = field(init=False)
    began: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        count = len(self.question)
        self.places = torch.arange(count, device=self.question.rows.device)
        self.answers = [None] * count
        self.reasons = [""] * count
        self.lower = torch.full_like(self.question.offset, -torch.inf)
        self.slack = self.question.slack()
        self.question = self.question.lowered(self.slack)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def margin(self) -> Tensor:
        """[n]: the least that is known to be left, positive where nothing is open any more."""
        return self.question.margin(self.lower)

    def seconds_left(self) -> float:
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def improve(self, lower: Tensor, proofs: dict[int, Any] | None = None) -> None:
        """Take better lower bounds of the rows [n, r] and settle the questions they prove. What is not finite proves nothing. proofs: by
        place in the open ones; where proofs are wanted, questions without one stay open."""
        self.lower = torch.maximum(self.lower, torch.where(torch.isfinite(lower), lower, -torch.inf))
        proved = self.margin > 0
        if self.proofs:
            proved = proved & torch.tensor([place in (proofs or {}) for place in range(len(self))], dtype=torch.bool, device=proved.device)
        self.settle(proved, Verdict.PROVED, proofs)

    def prove(self, proved: Tensor, proofs: dict[int, Any] | None = None) -> None:
        """Settle the questions, bool [n], that a search has proved without bounds of the whole."""
        self.settle(proved, Verdict.PROVED, proofs)

    def refute(self, points: Tensor) -> None:
        """Settle the questions for which points [n, *in] or [n, k, *in] hold an unsafe input: in the input set, in float64 and as deployed."""
        many = points if points.ndim > self.question.inputs.low.ndim else points[:, None]
        found: dict[int, Tensor] = {}
        for turn in range(many.shape[1]):
            x = many[:, turn]
            unsafe = (self.question.margin(self.question.at(x)) + self.slack <= 0) & self.question.inputs.contains(x)
            if self.replay is not None and bool(unsafe.any()):
                rows = unsafe.nonzero().squeeze(1)
                unsafe = unsafe.clone()
                unsafe[rows] = self.replay(x[rows], self.places[rows])
            for row in unsafe.nonzero().squeeze(1).tolist():
                found.setdefault(row, x[row])
        if found:
            hit = torch.zeros(len(self), dtype=torch.bool, device=self.places.device)
            hit[list(found)] = True
            self.settle(hit, Verdict.REFUTED, witnesses=found)

    def note(self, reason: str, rows: Tensor | None = None) -> None:
        """Say why questions (all open ones, or bool [n]) remain open so far; the last word stands."""
        for place in (self.places if rows is None else self.places[rows]).tolist():
            self.reasons[place] = reason

    @contextlib.contextmanager
    def apart(self, rows: Tensor) -> Iterator["Docket"]:
        """A docket of some of the open questions, bool [n]; what is found in it counts here as well when it is left."""
        if bool(rows.all()):
            yield self
            return
        part, chosen = copy.copy(self), rows.nonzero().squeeze(1)  # answers and reasons are shared
        part._keep(chosen)
        yield part
        still = torch.isin(self.places[chosen], part.places)
        self.lower[chosen[still]] = part.lower
        for place, bound in part.bounds.items():
            if place in self.bounds:
                low, high = (edge.clone() for edge in self.bounds[place])
                low[chosen[still]], high[chosen[still]] = bound
                self.bounds[place] = Interval(low, high)
        settled = torch.zeros_like(rows).index_fill(0, chosen[~still], True)
        self._keep((~settled).nonzero().squeeze(1))

    def _keep(self, rows: Tensor) -> None:
        self.question, self.places, self.lower = self.question.take(rows), self.places[rows], self.lower[rows]
        self.slack = self.slack[rows]
        self.bounds = {place: bound.take(rows) for place, bound in self.bounds.items()}
        if self.bands is not None:
            self.bands = {place: band_rows(self.question.network, place, band, rows) for place, band in self.bands.items()}

    def settle(self, rows: Tensor, verdict: Verdict, proofs: dict[int, Any] | None = None, witnesses: dict[int, Tensor] | None = None) -> None:
        if not bool(rows.any()):
            return
        margin, spent = self.margin, time.monotonic() - self.began
        for row in rows.nonzero().squeeze(1).tolist():
            proof = (proofs or {}).get(row)
            bound = float(margin[row]) if verdict is not Verdict.PROVED or margin[row] > 0 else float("nan")  # a proof by parts bounds no whole
            self.answers[int(self.places[row])] = Answer(verdict, self.rung, bound, "", (witnesses or {}).get(row), proof, spent)
        self._keep((~rows).nonzero().squeeze(1))

    def close(self) -> list[Answer]:
        """Answers to all questions; those still open are unknown, with the reason noted last."""
        spent, margin = time.monotonic() - self.began, self.margin
        for row, place in enumerate(self.places.tolist()):
            reason = self.reasons[place] or "bounds: no method that was tried is tight enough"
            self.answers[place] = Answer(Verdict.UNKNOWN, "", float(margin[row]), reason, None, None, spent)
        return [one for one in self.answers if one is not None]
