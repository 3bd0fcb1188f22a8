"""One attack against one batch: the victim as the threat allows it, metered, remembering the best."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.core.dice import Dice
from sparring.core.domain import Batch
from sparring.core.errors import AccessError
from sparring.core.threat import Reference, Region, Threat
from sparring.core.victim import Graded, Victim, label_of, say_set

Loss = Callable[[Tensor, Reference], Tensor]
"""(scores [n, C], reference) to values [n] that grow as the goal comes nearer."""


class Cost(NamedTuple):
    """Passes per sample, int64 [n] each. queries: answers of any kind; forwards and backwards: passes."""

    queries: Tensor
    forwards: Tensor
    backwards: Tensor


class Left(NamedTuple):
    """What a search leaves to the next: per row the best point so far and its margin, float64 [n]."""

    points: Batch
    margin: Tensor


@dataclass
class Ledger:
    """What all views of one bout share: the only thing here that is written to."""

    best: Batch
    margin: Tensor  # float64 [n], of the best point; -inf before the first answer
    size: Tensor  # float64 [n], of the best point where it met the goal; inf before
    broken: Tensor  # bool [n]
    spent: Tensor  # bool [n], refused for want of budget
    cost: Cost
    deadline: float | None


@dataclass(frozen=True)
class Bout:
    """What an attack gets to work with. Rows of x, region, allowed, enough, reference and dice belong together.

    region: where the search goes. allowed: where a success counts; the same, unless the bout is seen `at`
    other radii. enough: float64 [m], a change so small ends the search where the smallest is wanted.

    A row that is `broken` or `spent` is finished; where the threat asks for the smallest change, a broken
    row goes on. A spent row gets no more answers: NaN scores, label -1 and a zero gradient; so a budget
    is never exceeded, whatever an attack does.
    """

    victim: Victim
    x: Batch
    region: Region
    allowed: Region
    enough: Tensor
    reference: Reference
    threat: Threat
    dice: Dice
    rows: Tensor  # int64 [m], places in the ledger
    ledger: Ledger
    elsewhere: bool = False  # the search goes at other radii than the threat's: only successes are kept

    @classmethod
    def open(cls, victim: Victim, x: Batch, reference: Reference, threat: Threat, dice: Dice, left: Left | None = None) -> "Bout":
        """A bout over all rows of x, with nothing spent. left: what earlier attacks found without breaking the row."""
        count, device = len(x), reference.anchor.device
        zeros = [torch.zeros(count, dtype=torch.int64, device=device) for _ in Cost._fields]
        seconds = threat.budget.seconds
        nothing = Left(x, torch.full((count,), -torch.inf, dtype=torch.float64, device=device))
        points, margin = left or nothing
        ledger = Ledger(
            best=points.clone() if isinstance(points, Tensor) else points.copy(),
            margin=margin.clone(),
            size=torch.full((count,), torch.inf, dtype=torch.float64, device=device),
            broken=torch.zeros(count, dtype=torch.bool, device=device),
            spent=torch.zeros(count, dtype=torch.bool, device=device),
            cost=Cost(*zeros),
            deadline=None if seconds is None else time.monotonic() + seconds * count,
        )
        region = threat.space.around(x, victim.domain)
        nought = torch.zeros(count, dtype=torch.float64, device=device)
        return cls(victim, x, region, region, nought, reference, threat, dice, torch.arange(count, device=device), ledger)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: Tensor) -> "Bout":
        """The bout for some of its rows (index tensor or bool mask); the ledger is shared."""
        return Bout(
            self.victim,
            self.x[keep],
            self.region.take(keep),
            self.allowed.take(keep),
            self.enough[keep],
            self.reference.take(keep),
            self.threat,
            self.dice.take(keep),
            self.rows[keep],
            self.ledger,
            self.elsewhere,
        )

    def at(self, radius: Tensor) -> "Bout":
        """The same rows searched at other radii (float64 [m]); the ledger is shared. A success counts inside the radius of
        the threat, as ever; where the smallest change is wanted, a row is finished here once it is within these radii."""
        region = self.threat.space.with_radius(radius).around(self.x, self.victim.domain)
        return dataclasses.replace(self, region=region, enough=radius, elsewhere=True)

    def unfinished(self) -> Tensor:
        """bool [m]: rows on which the search goes on: neither met nor out of budget."""
        ledger, rows = self.ledger, self.rows
        met = ledger.size[rows] <= self.enough * (1 + 1e-6) if self.threat.minimal else ledger.broken[rows]
        return ~(met | ledger.spent[rows])

    def smallest(self) -> Tensor:
        """float64 [m]: size of the smallest change so far that met the goal; inf where none did."""
        return self.ledger.size[self.rows]

    def left(self) -> Tensor:
        """int64 [m]: questions each row may still ask; a huge number where there is no limit."""
        limit = self.threat.budget.queries
        limit = 2**62 if limit is None else limit
        return (limit - self.ledger.cost.queries[self.rows]) // self.victim.price

    def steps(self, wanted: int) -> int:
        """The number of steps an attack may take when it wants so many."""
        limit = self.threat.budget.steps
        return wanted if limit is None else min(wanted, limit)

    def best(self) -> Batch:
        """The best point of each row so far: the first that met the goal (the smallest, where the threat wants that),
        else that of highest margin."""
        return self.ledger.best[self.rows]

    def scores(self, x: Batch, owner: Tensor | None = None, *, probe: bool = False) -> Tensor:
        """Ask for scores [k, C]. `owner` (int64 [k]) says which row of the bout each point belongs
        to; without it point i belongs to row i. `probe`: the points may lie outside the region."""
        return self._scored(x, owner, probe)[0]

    def _scored(self, x: Batch, owner: Tensor | None, probe: bool) -> tuple[Tensor, Tensor]:
        """Scores and the margins of the goal."""
        self._require("scores")
        allowed = self._charge(owner, len(x), backwards=0)
        scores = self._ask(self.victim.search_scores, x, allowed, self.victim.classes)
        return scores, self._remember(x, owner, label_of(scores), scores, probe)

    def labels(self, x: Batch, owner: Tensor | None = None, *, probe: bool = False) -> Tensor:
        """Ask for predicted classes, int64 [k]; `owner` and `probe` as in `scores`."""
        self._require("labels")
        allowed = self._charge(owner, len(x), backwards=0)
        labels = self._ask(self.victim.label, x, allowed, None)
        self._remember(x, owner, labels, None, probe)
        return labels

    def margins(self, x: Batch, owner: Tensor | None = None, *, probe: bool = False) -> Tensor:
        """How far each point is past the goal, float [k]: from scores where they may be asked for,
        else +1 or -1 from the label. NaN where the victim refused."""
        if "scores" in self.victim.exposes & self.threat.grants:
            return self._scored(x, owner, probe)[1]
        reference = self.reference if owner is None else self.reference.take(owner)
        labels = self.labels(x, owner, probe=probe)
        signs = self.threat.goal.done(labels, reference).double() * 2 - 1
        return signs.where(labels >= 0, torch.nan)

    def gradient(self, x: Tensor, loss: Loss, reference: Reference | None = None, *, probe: bool = False) -> Graded:
        """Ask for scores, loss values and gradients at one point a row. `reference` aims the loss
        at something else than the goal (a target class, say); success is still the goal's. `probe` as in `scores`."""
        aim = self.reference if reference is None else reference
        allowed = self._charge_gradients(x, 1)
        if bool(allowed.all()):
            answer = self.victim.gradient(x, lambda scores: loss(scores, aim))
        else:
            some = aim.take(allowed)
            answer = self._spread(x, allowed, (), lambda part: self.victim.gradient(part, lambda scores: loss(scores, some)))
        self._remember(x, None, label_of(answer.scores), answer.scores, probe)
        return answer

    def gradients(self, x: Tensor, classes: Tensor, *, probe: bool = False) -> Graded:
        """Ask for the scores of several classes and their gradients at one point a row, in one graph: a single forward and
        a backward for each class. classes: int64 [m, k]. Answers value [m, k] and grad [m, k, ...]."""
        count = classes.shape[1]
        allowed = self._charge_gradients(x, count)
        if bool(allowed.all()):
            answer = self.victim.gradients(x, classes)
        else:
            answer = self._spread(x, allowed, (count,), lambda part: self.victim.gradients(part, classes[allowed]))
        self._remember(x, None, label_of(answer.scores), answer.scores, probe)
        return answer

    def _charge_gradients(self, x: Tensor, backwards: int) -> Tensor:
        self._require("gradients")
        return self._charge(None, len(x), backwards=backwards)

    def _spread(self, x: Tensor, allowed: Tensor, width: tuple[int, ...], question: Callable[[Tensor], Graded]) -> Graded:
        """The answer about the allowed rows; NaN and zero gradients for the others."""
        nothing = x.new_full((len(x), self.victim.classes), torch.nan)
        value = x.new_full((len(x), *width), torch.nan)
        answer = Graded(nothing, value, x.new_zeros(len(x), *width, *x.shape[1:]))
        if bool(allowed.any()):
            for whole, piece in zip(answer, question(x[allowed]), strict=True):
                whole[allowed] = piece.to(whole.dtype)
        return answer

    def _require(self, what: str) -> None:
        if what not in self.threat.grants:
            raise AccessError(f"the threat grants {self.threat.access}; this attack asked for {what}")
        if what not in self.victim.exposes:
            raise AccessError(f"{self.victim.name} exposes {say_set(self.victim.exposes)}, not {what}")

    def _charge(self, owner: Tensor | None, count: int, *, backwards: int) -> Tensor:
        """Write the price of one question a point, with so many backwards; bool [k]: which points may be asked."""
        ledger, rows = self.ledger, self.rows if owner is None else self.rows[owner]
        if len(rows) != count:
            raise ValueError(f"{count} points for {len(rows)} rows: pass `owner`")
        limit, price = self.threat.budget.queries, self.victim.price
        allowed = ~ledger.spent[rows]
        if ledger.deadline is not None and time.monotonic() > ledger.deadline:
            allowed = torch.zeros_like(allowed)
        if limit is not None:
            allowed &= ledger.cost.queries[rows] + price * (turn_of(rows) + 1) <= limit
        ledger.spent[rows[~allowed]] = True
        paid = rows[allowed]
        for meter, due in zip(ledger.cost, (1, 1, backwards), strict=True):
            if due:
                meter.index_add_(0, paid, torch.full_like(paid, due * price))
        return allowed

    def _ask(self, question: Callable[[Batch], Tensor], x: Batch, allowed: Tensor, width: int | None) -> Tensor:
        if bool(allowed.all()):
            return question(x)
        device = allowed.device
        if width is None:
            answer = torch.full((len(x),), -1, dtype=torch.int64, device=device)
        else:
            answer = torch.full((len(x), width), torch.nan, device=device)
        if bool(allowed.any()):
            part = question(x[allowed])
            answer = answer.to(part.dtype)
            answer[allowed] = part
        return answer

    def _remember(self, x: Batch, owner: Tensor | None, labels: Tensor, scores: Tensor | None, probe: bool) -> Tensor:
        """Keep the best point of every row; success counts only inside the region. Returns the margins of the goal."""
        ledger, goal = self.ledger, self.threat.goal
        rows = self.rows if owner is None else self.rows[owner]
        reference = self.reference if owner is None else self.reference.take(owner)
        done = goal.done(labels, reference)
        seen = done.double() * 2 - 1 if scores is None else goal.margin(scores.detach(), reference)
        margin = seen.double().where(labels >= 0, -torch.inf)
        if bool(done.any()):
            hits = done.nonzero().squeeze(1)
            if not self.threat.minimal:
                hits = hits[~ledger.broken[rows[hits]]]
            size = torch.full_like(margin, torch.inf)
            if len(hits):
                points, region = x[hits], self.allowed.take(hits if owner is None else owner[hits])
                size[hits] = region.size(points).to(size.device)
                smaller = (size[hits] < ledger.size[rows[hits]]).nonzero().squeeze(1)
                if len(smaller) < len(hits):
                    hits, points, region = hits[smaller], points[smaller], region.take(smaller)
                hits = hits[region.inside(points)] if len(hits) else hits
            if not self.victim.exact and len(hits):
                close = margin[hits] <= self.victim.slack * (1.0 if scores is None else scores[hits].abs().amax(1))
                hits = torch.cat([hits[~close], self._confirm(x, rows, reference, hits[close])])
            written = self._write(x, rows, margin, hits, -size if self.threat.minimal else margin)
            ledger.size[rows[written]] = size[written]
            ledger.broken[rows[written]] = True
        if not probe and not self.elsewhere:
            better = (margin > ledger.margin[rows]) & ~done & ~ledger.broken[rows]
            self._write(x, rows, margin, better.nonzero().squeeze(1), margin)
        return seen

    def _confirm(self, x: Batch, rows: Tensor, reference: Reference, hits: Tensor) -> Tensor:
        """Of the successes of the search copy, those of the deployed model; each costs a query."""
        limit, price = self.threat.budget.queries, self.victim.price
        if limit is not None:
            hits = hits[self.ledger.cost.queries[rows[hits]] + price * (turn_of(rows[hits]) + 1) <= limit]
        if not len(hits):
            return hits
        one = torch.full_like(hits, price)
        self.ledger.cost.queries.index_add_(0, rows[hits], one)
        self.ledger.cost.forwards.index_add_(0, rows[hits], one)
        return hits[self.threat.goal.done(self.victim.label(x[hits]), reference.take(hits))]

    def _write(self, x: Batch, rows: Tensor, margin: Tensor, chosen: Tensor, rank: Tensor) -> Tensor:
        """Write the chosen points, of several for one row that of highest rank; returns those written."""
        if not len(chosen):
            return chosen
        if len(x) != len(self) or rows is not self.rows:  # several points may belong to one row: the best comes last
            chosen = chosen[rank[chosen].argsort(stable=True)]
            last = {row: place for place, row in enumerate(rows[chosen].tolist())}
            chosen = chosen[torch.tensor(list(last.values()), device=chosen.device)]
        places = rows[chosen]
        self.ledger.margin[places] = margin[chosen]
        if isinstance(x, Tensor):
            self.ledger.best.index_copy_(0, places, x.detach().index_select(0, chosen))
        else:
            self.ledger.best[places] = x[chosen]
        return chosen


def turn_of(rows: Tensor) -> Tensor:
    """int64 [k]: how many earlier entries are the same row."""
    order = rows.argsort(stable=True)
    ordered = rows[order]
    starts = torch.searchsorted(ordered, ordered)
    turn = torch.empty_like(rows)
    turn[order] = torch.arange(len(rows), device=rows.device) - starts
    return turn
