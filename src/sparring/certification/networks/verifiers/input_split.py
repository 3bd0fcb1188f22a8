"""Split the box of few inputs until every part is proved or one holds a counterexample.

Bounds of the parts: Singh et al. 2018 (DeepZ) and Zhang et al. 2018, arXiv:1811.00866 (CROWN). A part is cut across the input that accounts for
most of the looseness of its bounds, and shrunk to where all rows of a disjunct can still hold (clipping, Kotha et al. 2023,
arXiv:2302.01404 and later work).
"""

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sparring.certification.networks.bounds.inputs import ROUNDING, InputSet
from sparring.certification.networks.bounds.windows import rounding_rows
from sparring.certification.networks.exact.box_forms import Boxes, Crown, Former, Forms
from sparring.certification.networks.exact.zonotopes import Zonotopes, stack_of
from sparring.certification.networks.falsify import descend
from sparring.certification.networks.proof.form import BoxLeaf, InputProof
from sparring.certification.networks.proof.write import SLACK
from sparring.certification.networks.query import Query
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import Estimate, VerifierSchedule, verifier

MOST_INPUTS = 20
"""Largest number of inputs of nonzero width: with more, halving single inputs makes no progress."""
MOST_OPEN = 1 << 20
"""Largest number of open boxes per query."""
TRIES = 16
"""Number of points that the deployed model may fail to confirm before it is no longer queried."""
BEST = 16
"""Number of points per query from which descents start after each batch."""
REACH = (0.03, 0.1, 0.3)
"""How far descents reach, in turn, as shares of the whole box."""
GRID = 729
"""Number of points on a grid of low ends, middles and high ends that are tried first."""
STEPS = 10
"""Steps of a descent."""
OFTEN, SELDOM = 12, 4
"""Descents follow each of the first batches, then only some: counterexamples that are not found early are rare."""
POINTS = 1 << 20
"""Numbers that the largest value of the network may take for the points of that grid."""
SYMBOLS, MULTIPLY_ADDS = 40, 5e9
"""Symbols per box besides those of its inputs, and multiply-adds per second, as measured on ACAS Xu with one thread."""


def wide_inputs(state: VerificationState) -> Tensor:
    """Return inputs of nonzero width, bool [n, inputs]."""
    inputs = state.query.inputs
    return (inputs.high > inputs.low).flatten(1)


def _misfit(state: VerificationState) -> str:
    if not state.query.inputs.is_box:
        return "the input sets are not boxes"
    least = int(wide_inputs(state).sum(1).min()) if len(state) else 0
    return f"{least} inputs can change, the limit is {MOST_INPUTS}" if least > MOST_INPUTS else ""


def _estimate(state: VerificationState) -> Estimate:
    """Estimate the cost: 30 * 2^inputs boxes, each with its symbols through all weights, is about the median on ACAS Xu."""
    query = state.query
    wide = wide_inputs(state).sum(1).clamp_max(40).double()
    weights = sum(value.numel() for node in query.network.nodes for value in vars(node.operator).values() if isinstance(value, Tensor))
    seconds = 30 * 2**wide * weights * (wide + SYMBOLS) / MULTIPLY_ADDS
    within = (state.seconds_left() / len(state) / seconds.clamp_min(1e-6)).clamp_max(1.0)
    chance = torch.where(wide <= MOST_INPUTS, 0.95 * within, 0.0)
    return Estimate(float(chance.mean()), float(torch.where(wide <= MOST_INPUTS, seconds, 0.0).sum()))


@verifier(
    "input_split", order=50, cites="Wang et al. 2018, arXiv:1804.10829; Zhang et al. 2018, arXiv:1811.00866", misfit=_misfit,
    efforts={"quick": {"boxes": 2000}}, schedule=VerifierSchedule(after=("ibp",), anytime=True, divides_time=True, estimate=_estimate),
)  # fmt: skip
def input_split(state: VerificationState, *, boxes: int | None = 1 << 22, batch: int = 512, clip: bool = True, share: float | None = None) -> None:
    """Cut boxes of few inputs until all parts are decided.

    Args:
        boxes: How many a query may take, None for no cap; with a cap its verdict does not depend on the other queries.
        batch: Boxes of one query that are bounded before new ones are cut.
        clip: Shrink boxes to where disjuncts can hold; never done where proofs are wanted.
        share: Of the time left that may be spent; by default all of it up to 8 inputs and half of it beyond, where other methods have better chances.
    """
    wide = wide_inputs(state)
    fits = wide.sum(1) <= MOST_INPUTS
    state.note(f"input_split: more than {MOST_INPUTS} inputs can change", ~fits)
    if not bool(fits.any()):
        return
    most = int(wide[fits].sum(1).max())
    part = share if share is not None else 1.0 if most <= 8 else 0.5
    reserve = state.seconds_left() * (1 - part) if state.deadline is not None else 0.0
    Search(state, fits, boxes, batch, clip and not state.proofs, reserve).run()


@dataclass(eq=False)
class Open:
    """Hold the rest of one query.

    What is left of one query. stack: boxes to be bounded, the next ones last. taken: boxes bounded so far.
    """

    stack: list[Boxes]
    taken: int = 0
    tries: int = 0
    refused: float = 0.0
    turn: int = 0
    leaves: list[BoxLeaf] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Return the number of boxes that are left."""
        return sum(boxes.count for boxes in self.stack)

    def pop(self, most: int) -> Boxes:
        """Return the boxes to bound next, at most so many, and remove them."""
        found: list[Boxes] = []
        while self.stack and most > 0:
            last = self.stack.pop()
            if last.count > most:
                self.stack.append(last.take(slice(0, last.count - most)))
                last = last.take(slice(last.count - most, last.count))
            found.append(last)
            most -= last.count
        self.taken += sum(boxes.count for boxes in found)
        return Boxes.joined(found)


class Search:
    """Represent one run.

    Queries are numbered as the state had them at the start; `keys` are their places in its answers.
    """

    def __init__(self, state: VerificationState, fits: Tensor, most: int | None, batch: int, clip: bool, reserve: float):
        self.state, self.most, self.batch, self.clip, self.reserve = state, most, batch, clip, reserve
        self.chosen = chosen = fits.nonzero().squeeze(1)
        self.query, self.keys = state.query.take(chosen), state.places[chosen].tolist()
        self.axes = wide_inputs(state)[chosen].any(0).nonzero().squeeze(1)
        self.former = self._former()
        self.index, self.within = disjunct_rows(self.query)
        low, high = (self.query.inputs.low.flatten(1)[:, self.axes], self.query.inputs.high.flatten(1)[:, self.axes])
        self.width = high - low
        owner = torch.arange(len(chosen), device=low.device)
        root = Boxes(low, high, owner, self.within.any(2))
        self.began = time.monotonic()
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self.open = {place: Open([root.take(slice(place, place + 1))]) for place in range(len(chosen))}

    def _former(self) -> Former:
        layers = None if self.state.proofs or self.state.rounding else stack_of(self.query.network)
        if layers is None:
            network, rounding = self.query.network, self.state.rounding or {}
            return Crown(self.query, self.axes, {node: rounding_rows(network, node, error, self.chosen) for node, error in rounding.items()})
        return Zonotopes(self.query, self.axes, layers)

    def out_of_time(self) -> bool:
        """Return whether the time left is at most the reserve."""
        return self.state.seconds_left() <= self.reserve

    def run(self) -> None:
        """Split boxes until every query is settled or the limits are reached."""
        if len(self.axes):
            self._first_points()
        while self.open:
            picked = self._picked()
            if not picked:
                return
            rest: Boxes | None = Boxes.joined(picked)
            while rest is not None:
                if self.out_of_time():
                    for place in rest.owner.unique().tolist():
                        if place in self.open:
                            self.open[place].stack.append(rest.take(rest.owner == place))
                    self._note_all("time: the limit was reached")
                    return
                size = self.former.piece
                now, rest = rest.take(slice(0, size)), rest.take(slice(size, rest.count)) if rest.count > size else None
                self._bound(now)
            self._descend()
            self._finish()

    def _picked(self) -> list[Boxes]:
        """Return the next boxes of some queries, in turn."""
        picked, total = [], 0
        for place in list(self.open):
            pending = self.open.pop(place)
            if self.most is not None and pending.taken >= self.most:
                self._give_up(place, pending, f"boxes: the limit of {self.most} was reached")
            elif pending.count > MOST_OPEN:
                self._give_up(place, pending, "memory: too many boxes are open")
            else:
                self.open[place] = pending  # to the end of the line
                picked.append(pending.pop(self.batch if self.most is None else min(self.batch, self.most - pending.taken)))
                total += picked[-1].count
                if total >= self.batch:
                    break
        return picked

    def _finish(self) -> None:
        """Settle the queries that have no boxes left."""
        done = [place for place, pending in self.open.items() if not pending.stack]
        if done:
            rows = self._rows(done)
            proofs = {row: InputProof(tuple(self.open[place].leaves)) for place, row in rows.items()} if self.state.proofs else None
            proved = torch.zeros(len(self.state), dtype=torch.bool, device=self.state.places.device)
            proved[list(rows.values())] = True
            self.state.prove(proved, proofs)
            for place in done:
                del self.open[place]

    def _rows(self, places: list[int]) -> dict[int, int]:
        """Return the positions in the state of the queries that are still open there."""
        now = {key: row for row, key in enumerate(self.state.places.tolist())}
        return {place: now[self.keys[place]] for place in places if self.keys[place] in now}

    def _bound(self, boxes: Boxes) -> None:
        """Bound boxes, drop what is proved, look for counterexamples, cut the rest."""
        rows, offset = self.query.constraints[boxes.owner], self.query.offset[boxes.owner]
        forms = self.former.forms(boxes, rows, offset)
        index, within = self.index[boxes.owner], self.within[boxes.owner]
        lower = forms.lower.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
        best, which = torch.where(within, lower.gather(1, index.flatten(1)).reshape(index.shape), -torch.inf).max(2)
        row_of_disjunct = index.gather(2, which[:, :, None]).squeeze(2)
        closed = boxes.open_ & (best > (SLACK if self.state.proofs else 0.0))
        if self.state.proofs:
            self._keep_leaves(boxes, closed, row_of_disjunct)
        open_ = boxes.open_ & ~closed
        left = open_.any(1).nonzero().squeeze(1)
        if len(left):
            self._split(boxes._replace(open_=open_), forms, left, best, row_of_disjunct)

    def _split(self, boxes: Boxes, forms: Forms, left: Tensor, best: Tensor, row_of_disjunct: Tensor) -> None:
        middle, half = boxes.middle, boxes.half
        worst = torch.where(boxes.open_, best, torch.inf).argmin(1)
        row = row_of_disjunct.gather(1, worst[:, None]).squeeze(1)[left]
        steep = forms.slope[left, row]
        ends = torch.where(steep > 0, boxes.low[left], boxes.high[left])
        self._attack(torch.cat([boxes.owner[left]] * 2), torch.cat([ends, middle[left]]))
        if not len(self.axes):
            for place in boxes.owner[left].unique().tolist():
                if place in self.open:
                    self._give_up(place, self.open.pop(place), "bounds: no input can change, and the bounds at the single point do not decide")
            return
        loss = forms.loss(left, row)
        boxes, value = boxes.take(left), torch.where(boxes.open_, best, torch.inf).amin(1)[left]
        if self.clip:
            boxes, share = clipped(boxes, forms.slope[left], forms.constant[left], middle[left], half[left], self.index[boxes.owner])
            loss, steep = loss * share, steep * share
            some = boxes.open_.any(1).nonzero().squeeze(1)
            boxes, loss, steep, value = boxes.take(some), loss[some], steep[some], value[some]
        if not boxes.count:
            return
        width = boxes.high - boxes.low
        thin = width <= 8 * ROUNDING * torch.maximum(boxes.low.abs(), boxes.high.abs())
        exact = loss.sum(1) <= 1e-9 * steep.abs().sum(1)
        score = torch.where(exact[:, None], steep.abs(), loss)
        score = torch.where(thin, -1.0, score.nan_to_num(nan=0.0, posinf=0.0))
        flat = (score <= 0).all(1)  # no input stands out: the widest one, as a share of the whole box
        score = torch.where(flat[:, None] & ~thin, width / self.width[boxes.owner].clamp_min(1e-300), score)
        stuck = (score <= 0).all(1)
        for place in boxes.owner[stuck].unique().tolist():
            if place in self.open:
                self._give_up(place, self.open.pop(place), "numerics: the remaining boxes lie at the border within rounding")
        going = (~stuck).nonzero().squeeze(1)
        if len(going):
            going = going[value[going].argsort(descending=True)]  # the worst on top
            self._push(halves(boxes.take(going), score[going].argmax(1)))

    def _push(self, boxes: Boxes) -> None:
        if len(self.keys) == 1:
            if 0 in self.open and boxes.count:
                self.open[0].stack.append(boxes)
            return
        for place in boxes.owner.unique().tolist():
            if place in self.open:
                self.open[place].stack.append(boxes.take(boxes.owner == place))

    def _first_points(self) -> None:
        """Try corners, middles of edges and the like: counterexamples are often at the ends of inputs."""
        d = len(self.axes)
        most = max(1, min(GRID, POINTS // max(math.prod(shape) for shape in self.query.network.shapes)))
        shares = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, device=self.axes.device)
        if 3**d <= most:
            grid = torch.cartesian_prod(*[shares] * d).reshape(-1, d)
        else:
            rng = torch.Generator().manual_seed(self.state.seed)
            grid = shares[torch.randint(3, (most, d), generator=rng).to(self.axes.device)]
        low, high = (side.flatten(1)[:, self.axes] for side in (self.query.inputs.low, self.query.inputs.high))
        for place in range(len(self.keys)):
            if self.out_of_time():
                return
            x = torch.where(grid == 1.0, high[place], low[place] + grid * self.width[place])
            self._attack(torch.full((len(grid),), place, device=x.device), x)

    def _descend(self) -> None:
        """Descend from the best points of the last batch."""
        if not self.seen:
            return
        owner, x, margin = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        self.seen = []
        starts: list[Tensor] = []
        reach: list[float] = []
        for place in owner.unique().tolist():
            pending = self.open.get(place)
            if pending is None:
                continue
            pending.turn += 1
            if pending.turn <= OFTEN or pending.turn % SELDOM == 0:
                own = (owner == place).nonzero().squeeze(1)
                starts.append(own[margin[own].argsort()[:BEST]])
                reach += [REACH[pending.turn % len(REACH)]] * len(starts[-1])
        if not starts:
            return
        chosen = torch.cat(starts)
        asked, owner, x = self.query.take(owner[chosen]), owner[chosen], x[chosen]
        points = self.former.points(owner, x)
        inputs = asked.inputs
        room = (inputs.high - inputs.low) * torch.tensor(reach, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (points.ndim - 1))
        near = InputSet(torch.maximum(inputs.low, points - room), torch.minimum(inputs.high, points + room))
        found = descend(Query(asked.network, near, asked.constraints, asked.offset, asked.disjunct), points[:, None], STEPS)
        self._attack(owner, found.flatten(1)[:, self.axes], remember=False)

    def _attack(self, owner: Tensor, x: Tensor, remember: bool = True) -> None:
        """Look for counterexamples among points x [k, d] of the boxes."""
        points = self.former.points(owner, x)
        values = self.query.network(points).flatten(1)
        values = torch.bmm(self.query.constraints[owner], values[:, :, None]).squeeze(2) + self.query.offset[owner]
        margin = self.query.take(owner).margin(values)
        if remember:
            self.seen.append((owner, x, margin))
        for place in owner[margin <= 0].unique().tolist():
            own = (owner == place).nonzero().squeeze(1)
            self._confirm(place, points[own[margin[own].argmin()]], float(margin[own].min()))

    def _confirm(self, place: int, point: Tensor, margin: float) -> None:
        """Settle a query by a point [*in], unless points about as good were refused before."""
        pending, rows = self.open.get(place), self._rows([place])
        if pending is None or not rows or pending.tries >= TRIES or margin > 2 * pending.refused:
            return
        tried = self.state.query.inputs.middle.clone()
        tried[rows[place]] = point
        self.state.refute(tried)
        if self._rows([place]):
            pending.tries, pending.refused = pending.tries + 1, margin
        else:
            del self.open[place]

    def _keep_leaves(self, boxes: Boxes, closed: Tensor, row_of_disjunct: Tensor) -> None:
        """Boxes on which disjuncts, bool [k, disjuncts], were settled just now are leaves of these disjuncts."""
        low, high = self.former.points(boxes.owner, boxes.low).cpu().numpy(), self.former.points(boxes.owner, boxes.high).cpu().numpy()
        for place in closed.any(1).nonzero().squeeze(1).tolist():
            pending = self.open.get(int(boxes.owner[place]))
            if pending is not None:
                unit = np.eye(self.query.constraints.shape[1])
                weights = {disjunct: unit[int(row_of_disjunct[place, disjunct])] for disjunct in closed[place].nonzero().squeeze(1).tolist()}
                pending.leaves.append(BoxLeaf(low[place], high[place], weights))

    def _give_up(self, place: int, pending: Open, reason: str) -> None:
        rows = self._rows([place])
        if rows:
            chosen = torch.zeros(len(self.state), dtype=torch.bool, device=self.state.places.device)
            chosen[rows[place]] = True
            self.state.note(f"{reason}; {self._left(place, pending)}", chosen)

    def _note_all(self, reason: str) -> None:
        for place, pending in self.open.items():
            self._give_up(place, pending, reason)

    def _left(self, place: int, pending: Open) -> str:
        """Return the share of the query that is open."""
        volume = 0.0
        whole = self.width[place]
        wide = whole > 0
        for boxes in pending.stack:
            volume += float(((boxes.high - boxes.low)[:, wide] / whole[wide]).prod(1).sum())
        spent = time.monotonic() - self.began
        return f"{pending.taken} boxes processed in {spent:.3g} s, {pending.count} still open with {volume:.2g} of the volume"


def disjunct_rows(query: Query) -> tuple[Tensor, Tensor]:
    """Return the rows of every disjunct.

    (index int64 [n, disjuncts, most rows], bool of that shape): the rows of every disjunct, filled up with a row of the disjunct or 0 where False.
    """
    count, disjuncts = len(query), query.disjuncts
    member = query.disjunct[:, None, :] == torch.arange(disjuncts, device=query.disjunct.device)[None, :, None]
    most = int(member.sum(2).max()) if member.numel() else 0
    inside, index = member.to(torch.int8).topk(most, dim=2) if most else (member[:, :, :0], member[:, :, :0].long())
    within = inside > 0
    if most:
        index = torch.where(within, index, index[:, :, :1])
    return index.reshape(count, disjuncts, most), within.reshape(count, disjuncts, most)


def clipped(boxes: Boxes, slope: Tensor, constant: Tensor, middle: Tensor, half: Tensor, index: Tensor, turns: int = 2) -> tuple[Boxes, Tensor]:
    """Shrink boxes to the part that can be unsafe.

    Boxes shrunk to the hull of where, for some open disjunct, all its rows can be at most 0; disjuncts for which that is nowhere are closed.

    slope, constant, middle, half: the forms of the rows [k, r, d], [k, r], and the t they are in. Also the shares [k, d] of the sides that are left.
    """
    picked = index.flatten(1)
    k, disjuncts, most = index.shape
    slope = slope.gather(1, picked[:, :, None].expand(-1, -1, slope.shape[2])).reshape(k, disjuncts, most, -1)
    constant = constant.gather(1, picked).reshape(k, disjuncts, most)
    sound = torch.isfinite(constant) & torch.isfinite(slope).all(3)
    slope = torch.where(sound[..., None], slope, 0.0)  # gives no direction
    constant = torch.where(sound, constant - ROUNDING * (constant.abs() + slope.abs().sum(3)), -torch.inf)
    low, high = torch.full_like(slope[:, :, 0], -1.0), torch.ones_like(slope[:, :, 0])
    for _ in range(turns):
        for turn in range(most):
            steep = slope[:, :, turn]
            least = torch.minimum(steep * low, steep * high)
            rest = constant[:, :, turn, None] + least.sum(2, keepdim=True) - least  # steep t + rest <= 0 is needed
            edge = -rest / torch.where(steep == 0, 1.0, steep)
            edge = edge + ROUNDING * edge.abs() * steep.sign()
            high = torch.where(steep > 0, torch.minimum(high, edge), high)
            low = torch.where(steep < 0, torch.maximum(low, edge), low)
    open_ = boxes.open_ & ~(low > high).any(2)
    low = torch.where(open_[:, :, None], low, torch.inf).amin(1).clamp(-1, 1)
    high = torch.where(open_[:, :, None], high, -torch.inf).amax(1).clamp(-1, 1)
    slack = torch.maximum(boxes.low.abs(), boxes.high.abs()) * ROUNDING
    new_low = torch.maximum(boxes.low, middle + half * low - slack)
    new_high = torch.minimum(boxes.high, middle + half * high + slack)
    return Boxes(new_low, new_high, boxes.owner, open_), ((high - low) / 2).clamp_min(0)


def halves(boxes: Boxes, axis: Tensor) -> Boxes:
    """Return each box cut in the middle of one axis, int64 [k].

    The halves share the cut and stand side by side, [2 k].
    """
    here = axis[:, None]
    middle = (boxes.low.gather(1, here) + boxes.high.gather(1, here)) / 2
    low = torch.stack([boxes.low, boxes.low.scatter(1, here, middle)], 1).flatten(0, 1)
    high = torch.stack([boxes.high.scatter(1, here, middle), boxes.high], 1).flatten(0, 1)
    return Boxes(low, high, boxes.owner.repeat_interleave(2), boxes.open_.repeat_interleave(2, 0))
