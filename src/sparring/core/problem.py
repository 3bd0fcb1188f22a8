"""Runs one attack on one batch: controls access, counts queries, keeps the best points."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparring.core.domain import Batch
from sparring.core.errors import AccessError
from sparring.core.goal import Criterion
from sparring.core.rng import Rng
from sparring.core.space import Region
from sparring.core.threat import Threat
from sparring.core.victim import Graded, Victim, say_set

Loss = Callable[[Tensor, Any], Tensor]
"""(scores [n, ...], criterion) to values [n] that grow as the goal comes nearer."""


class Cost(NamedTuple):
    """Hold the passes that each sample has cost, int64 [n] each.

    queries: answers of any kind. forwards and backwards: passes through the model.
    """

    queries: Tensor
    forwards: Tensor
    backwards: Tensor


class Left(NamedTuple):
    """Hold the state that a search passes to the next one.

    points: the best point so far per row. loss: its loss, float64 [n].
    """

    points: Batch
    loss: Tensor


@dataclass
class Ledger:
    """Hold the results and costs that all views of one problem share and write to."""

    best: Batch
    loss: Tensor  # float64 [n], of the best point by the criterion; -inf before the first answer
    size: Tensor  # float64 [n], of the best point where it met the goal; inf before
    broken: Tensor  # bool [n]
    spent: Tensor  # bool [n], refused because the budget is exhausted
    cost: Cost
    deadline: float | None


@dataclass(frozen=True)
class Problem:
    """Offer an attack its inputs, metered access to the victim, and the best points so far.

    Rows of x, region, allowed, enough, criterion and rng belong together.

    region: the set that is searched. allowed: the set in which a success counts; the same, unless the problem is seen `at`
    other radii. enough: float64 [m], a change this small ends the search where the smallest change is wanted.

    A row that is `broken` or `spent` is finished; where the threat asks for the smallest change, a broken
    row goes on. A spent row gets no more answers, only NaN scores, no answer and a zero gradient. A budget
    is therefore never exceeded, whatever an attack does.
    """

    victim: Victim
    x: Batch
    region: Region
    allowed: Region
    enough: Tensor
    criterion: Criterion
    threat: Threat
    rng: Rng
    rows: Tensor  # int64 [m], places in the ledger
    ledger: Ledger
    elsewhere: bool = False  # the search goes at other radii than the threat's: only successes are kept

    @classmethod
    def open(cls, victim: Victim, x: Batch, criterion: Criterion, threat: Threat, rng: Rng, left: Left | None = None) -> "Problem":
        """Return a problem over all rows of x, with nothing spent.

        left: points that earlier attacks found without breaking the row.
        """
        count, device = len(x), rng.keys.device
        zeros = [torch.zeros(count, dtype=torch.int64, device=device) for _ in Cost._fields]
        seconds = threat.budget.seconds
        nothing = Left(x, torch.full((count,), -torch.inf, dtype=torch.float64, device=device))
        points, loss = left or nothing
        ledger = Ledger(
            best=points.clone() if isinstance(points, Tensor) else points.copy(),
            loss=loss.clone(),
            size=torch.full((count,), torch.inf, dtype=torch.float64, device=device),
            broken=torch.zeros(count, dtype=torch.bool, device=device),
            spent=torch.zeros(count, dtype=torch.bool, device=device),
            cost=Cost(*zeros),
            deadline=None if seconds is None else time.monotonic() + seconds * count,
        )
        region = threat.space.around(x, victim.domain)
        nought = torch.zeros(count, dtype=torch.float64, device=device)
        return cls(victim, x, region, region, nought, criterion, threat, rng, torch.arange(count, device=device), ledger)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: Tensor) -> "Problem":
        """Return the problem of some of its rows (index tensor or bool mask); the ledger is shared."""
        return Problem(
            self.victim,
            self.x[keep],
            self.region.take(keep),
            self.allowed.take(keep),
            self.enough[keep],
            self.criterion.take(keep),
            self.threat,
            self.rng.take(keep),
            self.rows[keep],
            self.ledger,
            self.elsewhere,
        )

    def at(self, radius: Tensor) -> "Problem":
        """Return the same rows, searched at other radii (float64 [m]); the ledger is shared.

        A success still counts only inside the radius of the threat. Where the smallest change is wanted, a row is
        finished here once it is within these radii.
        """
        region = self.threat.space.with_radius(radius).around(self.x, self.victim.domain)
        return dataclasses.replace(self, region=region, enough=radius, elsewhere=True)

    def unfinished(self) -> Tensor:
        """Return whether the search goes on, bool [m]: the row is neither broken nor out of budget."""
        ledger, rows = self.ledger, self.rows
        met = ledger.size[rows] <= self.enough * (1 + 1e-6) if self.threat.minimal else ledger.broken[rows]
        return ~(met | ledger.spent[rows])

    def smallest(self) -> Tensor:
        """Return the smallest change so far that met the goal, float64 [m]; inf without one."""
        return self.ledger.size[self.rows]

    def left(self) -> Tensor:
        """Return how many queries each row may still ask, int64 [m]; a huge number if unlimited."""
        limit = self.threat.budget.queries
        limit = 2**62 if limit is None else limit
        return (limit - self.ledger.cost.queries[self.rows]) // self.victim.price

    def steps(self, wanted: int) -> int:
        """Return how many of the wanted steps the budget allows."""
        limit = self.threat.budget.steps
        return wanted if limit is None else min(wanted, limit)

    def best(self) -> Batch:
        """Return the best point of each row so far.

        This is the first point that met the goal (the smallest change, where the threat wants that), else the point of highest loss.
        """
        return self.ledger.best[self.rows]

    def scores(self, x: Batch, owner: Tensor | None = None, *, probe: bool = False) -> Tensor:
        """Query the victim for scores [k, ...].

        Args:
            x: Points, [k, ...].
            owner: int64 [k], the row of the problem that each point belongs to; without it point i belongs to row i.
            probe: Allows points outside the region.
        """
        return self._scored(x, owner, probe)[0]

    def _scored(self, x: Batch, owner: Tensor | None, probe: bool) -> tuple[Tensor, Tensor]:
        """Return scores, and losses by the criterion."""
        allowed = self._charge("scores", owner, len(x))
        scores = self._ask(self.victim.search_scores, x, allowed, self._no_scores)
        return scores, self._remember(x, owner, self.victim.task.answer(scores), scores, probe)

    def answers(self, x: Batch, owner: Tensor | None = None, *, probe: bool = False) -> Tensor:
        """Query the victim for answers without scores, [k, ...] in the form of the task.

        `owner` and `probe` are as in `scores`.
        """
        allowed = self._charge("labels", owner, len(x))
        answers = self._ask(self.victim.answer, x, allowed, self.victim.task.no_answer)
        self._remember(x, owner, answers, None, probe)
        return answers

    def losses(self, x: Batch, owner: Tensor | None = None, *, probe: bool = False) -> Tensor:
        """Return how far each point is past the goal, float [k].

        The loss is computed from scores where the threat grants them, else it is +1 or -1 by the answer. It is NaN where the victim refused.
        """
        if "scores" in self.victim.exposes & self.threat.grants:
            return self._scored(x, owner, probe)[1]
        criterion = self.criterion if owner is None else self.criterion.take(owner)
        answers = self.answers(x, owner, probe=probe)
        signs = criterion.met(answers).double() * 2 - 1
        return signs.where(self.victim.task.answered(answers), torch.nan)

    def gradient(self, x: Tensor, loss: Loss, criterion: Criterion | None = None, *, probe: bool = False) -> Graded:
        """Query the victim for scores, loss values and gradients at one point per row.

        `criterion` aims the loss at something other than the goal (a target class, say); success is still the goal's. `probe` is as in `scores`.
        What is NaN in a gradient is returned as 0.
        """
        aim = self.criterion if criterion is None else criterion
        allowed = self._charge("gradients", None, len(x), backwards=1)
        if bool(allowed.all()):
            answer = self.victim.gradient(x, lambda scores: loss(scores, aim))
        else:
            some = aim.take(allowed)
            answer = self._spread(x, allowed, (), lambda part: self.victim.gradient(part, lambda scores: loss(scores, some)))
        self._remember(x, None, self.victim.task.answer(answer.scores), answer.scores, probe)
        return answer._replace(grad=_numbers(answer.grad))

    def gradients(self, x: Tensor, several: Loss, count: int, against: Any = None, *, probe: bool = False) -> Graded:
        """Query the victim for `count` values per row and their gradients, at one point per row.

        All values share one graph: a single forward pass and one backward pass per value.

        Args:
            x: One point per row, [m, ...].
            several: Maps (scores, against) to values [m, count].
            count: The number of values per row.
            against: Anything with `take`; the criterion if left out.
            probe: Allows points outside the region.

        Returns:
            The values [m, count] and gradients [m, count, ...].
        """
        aim = self.criterion if against is None else against
        allowed = self._charge("gradients", None, len(x), backwards=count)
        if bool(allowed.all()):
            answer = self.victim.gradients(x, lambda scores: several(scores, aim))
        else:
            some = aim.take(allowed)
            answer = self._spread(x, allowed, (count,), lambda part: self.victim.gradients(part, lambda scores: several(scores, some)))
        self._remember(x, None, self.victim.task.answer(answer.scores), answer.scores, probe)
        return answer._replace(grad=_numbers(answer.grad))

    def _spread(self, x: Tensor, allowed: Tensor, width: tuple[int, ...], question: Callable[[Tensor], Graded]) -> Graded:
        """Return the answer for the allowed rows; NaN and zero gradients for the others."""
        nothing = self._no_scores(x)
        value = x.new_full((len(x), *width), torch.nan)
        answer = Graded(nothing, value, x.new_zeros(len(x), *width, *x.shape[1:]))
        if bool(allowed.any()):
            for whole, piece in zip(answer, question(x[allowed]), strict=True):
                whole[allowed] = piece.to(whole.dtype)
        return answer

    def _no_scores(self, x: Batch) -> Tensor:
        """Return NaN, the scores of a refused point."""
        dtype = x.dtype if isinstance(x, Tensor) and x.is_floating_point() else None
        return torch.full((len(x), *self.victim.task.score_shape), torch.nan, dtype=dtype, device=self.rows.device)

    def _charge(self, what: str, owner: Tensor | None, count: int, *, backwards: int = 0) -> Tensor:
        """Write the price of one question a point about scores, labels or gradients; bool [k]: which points may be asked."""
        if what not in self.threat.grants:
            raise AccessError(f"the threat grants {self.threat.access}; this attack asked for {what}")
        if what not in self.victim.exposes:
            raise AccessError(f"{self.victim.name} exposes {say_set(self.victim.exposes)}, not {what}")
        ledger, rows = self.ledger, self.rows if owner is None else self.rows[owner]
        if len(rows) != count:
            raise ValueError(f"{count} points for {len(rows)} rows: pass `owner`, the row of each point")
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

    def _ask(self, question: Callable[[Batch], Tensor], x: Batch, allowed: Tensor, nothing: Callable[[Any], Tensor]) -> Tensor:
        """Query the victim about the allowed points, and return `nothing` for the others."""
        if bool(allowed.all()):
            return question(x)
        answer = nothing(x if isinstance(x, Tensor) else allowed)
        if bool(allowed.any()):
            part = question(x[allowed])
            answer = answer.to(part.dtype)
            answer[allowed] = part
        return answer

    def _remember(self, x: Batch, owner: Tensor | None, answers: Tensor, scores: Tensor | None, probe: bool) -> Tensor:
        """Keep the best point of every row and return the losses; success counts only inside the region, in the deployed form."""
        ledger = self.ledger
        rows = self.rows if owner is None else self.rows[owner]
        criterion = self.criterion if owner is None else self.criterion.take(owner)
        done = criterion.met(answers)
        seen = done.double() * 2 - 1 if scores is None else criterion.loss(scores.detach())
        loss = seen.double().where(self.victim.task.answered(answers), -torch.inf)
        if bool(done.any()):
            hits = done.nonzero().squeeze(1)
            if not self.threat.minimal:
                hits = hits[~ledger.broken[rows[hits]]]
            close = torch.zeros_like(done)
            if not self.victim.exact and len(hits):
                close[hits] = loss[hits] <= self.victim.slack * (1.0 if scores is None else scores[hits].abs().flatten(1).amax(1))
            owners = torch.arange(len(done), device=done.device) if owner is None else owner
            for points, tried, doubtful in self._deployed(x, hits, owners, close):
                size = torch.full_like(loss, torch.inf)
                met = self._successes(points, rows, criterion, tried, owners, doubtful, size)
                written = self._write(points, rows, loss, met, -size if self.threat.minimal else loss)
                ledger.size[rows[written]] = size[written]
                ledger.broken[rows[written]] = True
        if not probe and not self.elsewhere:
            better = (loss > ledger.loss[rows]) & ~done & ~ledger.broken[rows]
            self._write(x, rows, loss, better.nonzero().squeeze(1), loss)
        return seen

    def _deployed(self, x: Batch, hits: Tensor, owners: Tensor, close: Tensor) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Yield the points as the deployed model receives them, which of them to try, and which the model must confirm, bool [k].

        Where that form is coarser, it is the nearest one inside the region, and for what is still unbroken the next one away from the clean input.
        """
        points, origin, domain = x[hits], self.x[owners[hits]], self.victim.domain
        inward = domain.deploy(points, origin) if len(hits) else points
        moved = ((inward != points) & ~points.isnan()).flatten(1).any(1) if inward is not points and isinstance(inward, Tensor) else close[:0]
        if not bool(moved.any()):
            yield x, hits, close
            return
        outward = domain.deploy(points, 2 * points - origin)
        region = self.allowed.take(owners[hits])
        allowed = region.inside(outward) & torch.as_tensor(domain.valid(outward), device=hits.device)
        yield _replaced(x, hits, _nearest(points, inward, outward, region.inside)), hits, close.index_fill(0, hits[moved], True)
        rest = moved & allowed & ~self.ledger.broken[self.rows[owners[hits]]]
        yield _replaced(x, hits[rest], outward[rest]), hits[rest], torch.ones_like(close)

    def _successes(self, x: Batch, rows: Tensor, criterion: Criterion, hits: Tensor, owners: Tensor, doubtful: Tensor, size: Tensor) -> Tensor:
        """Return which of the hits count: smaller than the success so far, inside the region, and confirmed; `size` is filled in."""
        if len(hits):
            points, region = x[hits], self.allowed.take(owners[hits])
            size[hits] = region.size(points).to(size.device)
            smaller = (size[hits] < self.ledger.size[rows[hits]]).nonzero().squeeze(1)
            if len(smaller) < len(hits):
                hits, points, region = hits[smaller], points[smaller], region.take(smaller)
            hits = hits[region.inside(points)] if len(hits) else hits
        if bool((asked := doubtful[hits]).any()):
            hits = torch.cat([hits[~asked], self._confirm(x, rows, criterion, hits[asked])])
        return hits

    def _confirm(self, x: Batch, rows: Tensor, criterion: Criterion, hits: Tensor) -> Tensor:
        """Return which successes of the search the deployed model confirms; each costs a query."""
        limit, price = self.threat.budget.queries, self.victim.price
        if limit is not None:
            hits = hits[self.ledger.cost.queries[rows[hits]] + price * (turn_of(rows[hits]) + 1) <= limit]
        if not len(hits):
            return hits
        one = torch.full_like(hits, price)
        self.ledger.cost.queries.index_add_(0, rows[hits], one)
        self.ledger.cost.forwards.index_add_(0, rows[hits], one)
        return hits[criterion.take(hits).met(self.victim.answer(x[hits]))]

    def _write(self, x: Batch, rows: Tensor, loss: Tensor, chosen: Tensor, rank: Tensor) -> Tensor:
        """Write the chosen points, the highest-ranked one per row; return those written."""
        if isinstance(x, Tensor) and len(chosen):
            sums = x.detach().index_select(0, chosen).flatten(1).sum(1)
            if not bool(torch.isfinite(sums).all()):  # a point that is no number, whatever the model makes of it; but missing values stay missing
                points, gaps = x.detach()[chosen], self.ledger.best[rows[chosen]].isnan()
                chosen = chosen[torch.where(gaps, points.isnan(), torch.isfinite(points)).flatten(1).all(1)]
        if not len(chosen):
            return chosen
        if len(x) != len(self) or rows is not self.rows:  # several points may belong to one row: the best comes last
            chosen = chosen[rank[chosen].argsort(stable=True)]
            last = {row: place for place, row in enumerate(rows[chosen].tolist())}
            chosen = chosen[torch.tensor(list(last.values()), device=chosen.device)]
        places = rows[chosen]
        self.ledger.loss[places] = loss[chosen]
        if isinstance(x, Tensor):
            self.ledger.best.index_copy_(0, places, x.detach().index_select(0, chosen))
        else:
            self.ledger.best[places] = x[chosen]
        return chosen


def turn_of(rows: Tensor) -> Tensor:
    """Return how many earlier entries name the same row, int64 [k]."""
    order = rows.argsort(stable=True)
    ordered = rows[order]
    starts = torch.searchsorted(ordered, ordered)
    turn = torch.empty_like(rows)
    turn[order] = torch.arange(len(rows), device=rows.device) - starts
    return turn


def _numbers(grad: Tensor) -> Tensor:
    """A gradient with 0 where it is NaN."""
    return grad.nan_to_num(0.0, torch.inf, -torch.inf) if bool(grad.sum().isnan()) else grad


def _replaced(x: Tensor, places: Tensor, points: Tensor) -> Tensor:
    """A copy of a batch with other points at some places."""
    return x.detach().index_copy(0, places, points.detach().to(x.dtype))


def _nearest(points: Tensor, inward: Tensor, outward: Tensor, inside: Callable[[Tensor], Tensor]) -> Tensor:
    """The nearest rounding of each point that is inside: coordinates go outward from the middle, or from later on, or not at all."""
    part = ((points - inward) / (outward - inward)).nan_to_num(0.0, 0.0, 0.0)
    chosen = inward
    for share in (0.75, 0.6, 0.5):
        rounded = torch.where(part > share, outward, inward)
        chosen = torch.where(inside(rounded).view(-1, *[1] * (points.dim() - 1)), rounded, chosen)
    return chosen
