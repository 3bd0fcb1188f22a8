"""Networks with few inputs: the box of inputs is cut until every part is proved or one holds a counterexample.

Bounds of the parts: Singh et al. 2018 (DeepZ) and Zhang et al. 2018, arXiv:1811.00866 (CROWN). A part is cut across the input on which most of what its
bounds lose hangs, and shrunk to where all rows of a clause can still hold (clipping, Kotha et al. 2023, arXiv:2302.01404 and later work).
"""

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sparring.certification.bounds.inputs import ROUNDING, InputSet
from sparring.certification.bounds.windows import band_rows
from sparring.certification.docket import Docket
from sparring.certification.exact.box_forms import Boxes, Crown, Former, Forms
from sparring.certification.exact.zonotopes import Zonotopes, stack_of
from sparring.certification.falsify import descend
from sparring.certification.proof.form import BoxLeaf, InputProof
from sparring.certification.proof.write import SLACK
from sparring.certification.question import Question
from sparring.certification.rung import Outlook, rung

MOST_INPUTS = 20
"""Of nonzero width: with more, halving inputs one by one gets nowhere."""
MOST_OPEN = 1 << 20
"""Open boxes that are kept for one question."""
TRIES = 16
"""Points that the model as deployed may refuse to confirm before we stop asking it."""
BEST = 16
"""Points of one question from which descents start after each batch."""
REACH = (0.03, 0.1, 0.3)
"""How far descents go, in shares of the whole box, in turn."""
GRID = 729
"""Points on a grid of low ends, middles and high ends that are tried first."""
STEPS = 10
"""Of a descent."""
OFTEN, SELDOM = 12, 4
"""Descents follow each of the first batches, then only every few: what was not found early is rarely there."""
POINTS = 1 << 20
"""Numbers that the largest value of the network may take for the points of that grid."""
SYMBOLS, MULTIPLY_ADDS = 40, 5e9
"""What a box carries besides its inputs, and what is done a second, as measured on ACAS Xu with one thread."""


def wide_inputs(docket: Docket) -> Tensor:
    """bool [n, inputs]: inputs of nonzero width."""
    inputs = docket.question.inputs
    return (inputs.high > inputs.low).flatten(1)


def _misfit(docket: Docket) -> str:
    if not docket.question.inputs.is_box:
        return "the input sets are no boxes"
    least = int(wide_inputs(docket).sum(1).min()) if len(docket) else 0
    return f"{least} inputs can change, {MOST_INPUTS} at most may" if least > MOST_INPUTS else ""


def _outlook(docket: Docket) -> Outlook:
    """Few inputs: soon done. 30 * 2^inputs boxes, each with so many symbols through all weights, is about what ACAS Xu takes at the median."""
    question = docket.question
    wide = wide_inputs(docket).sum(1).clamp_max(40).double()
    weights = sum(value.numel() for node in question.network.nodes for value in vars(node.operator).values() if isinstance(value, Tensor))
    seconds = 30 * 2**wide * weights * (wide + SYMBOLS) / MULTIPLY_ADDS
    within = (docket.seconds_left() / len(docket) / seconds.clamp_min(1e-6)).clamp_max(1.0)
    chance = torch.where(wide <= MOST_INPUTS, 0.95 * within, 0.0)
    return Outlook(float(chance.mean()), float(torch.where(wide <= MOST_INPUTS, seconds, 0.0).sum()))


@rung("input_split", order=50, cites="Wang et al. 2018, arXiv:1804.10829; Zhang et al. 2018, arXiv:1811.00866", misfit=_misfit, outlook=_outlook)
def input_split(docket: Docket, *, boxes: int | None = 1 << 22, batch: int = 512, clip: bool = True, share: float | None = None) -> None:
    """Cut boxes of few inputs until all parts are decided.

    boxes: how many a question may take, None for no cap; with a cap its verdict does not depend on who else is asked. batch: boxes of one
    question that are bounded before new ones are cut. clip: shrink boxes to where clauses can hold; never done where proofs are wanted.
    share: of the time left that may be spent, by default all of it up to 8 inputs and half of it beyond, where other methods have better chances.
    """
    wide = wide_inputs(docket)
    fits = wide.sum(1) <= MOST_INPUTS
    docket.note(f"input_split: more than {MOST_INPUTS} inputs can change", ~fits)
    if not bool(fits.any()):
        return
    most = int(wide[fits].sum(1).max())
    part = share if share is not None else 1.0 if most <= 8 else 0.5
    reserve = docket.seconds_left() * (1 - part) if docket.deadline is not None else 0.0
    Search(docket, fits, boxes, batch, clip and not docket.proofs, reserve).run()


@dataclass(eq=False)
class Open:
    """What is left of one question. stack: boxes to be bounded, the next ones last. taken: boxes bounded so far."""

    stack: list[Boxes]
    taken: int = 0
    tries: int = 0
    refused: float = 0.0
    turn: int = 0
    leaves: list[BoxLeaf] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(boxes.count for boxes in self.stack)

    def pop(self, most: int) -> Boxes:
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
    """One climb. Questions are numbered as the docket had them at the start; `keys` are their places in its answers."""

    def __init__(self, docket: Docket, fits: Tensor, most: int | None, batch: int, clip: bool, reserve: float):
        self.docket, self.most, self.batch, self.clip, self.reserve = docket, most, batch, clip, reserve
        self.chosen = chosen = fits.nonzero().squeeze(1)
        self.question, self.keys = docket.question.take(chosen), docket.places[chosen].tolist()
        self.axes = wide_inputs(docket)[chosen].any(0).nonzero().squeeze(1)
        self.former = self._former()
        self.index, self.within = clause_rows(self.question)
        low, high = (self.question.inputs.low.flatten(1)[:, self.axes], self.question.inputs.high.flatten(1)[:, self.axes])
        self.width = high - low
        owner = torch.arange(len(chosen), device=low.device)
        root = Boxes(low, high, owner, self.within.any(2))
        self.began = time.monotonic()
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self.open = {place: Open([root.take(slice(place, place + 1))]) for place in range(len(chosen))}

    def _former(self) -> Former:
        layers = None if self.docket.proofs or self.docket.bands else stack_of(self.question.network)
        if layers is None:
            network, bands = self.question.network, self.docket.bands or {}
            return Crown(self.question, self.axes, {place: band_rows(network, place, band, self.chosen) for place, band in bands.items()})
        return Zonotopes(self.question, self.axes, layers)

    def out_of_time(self) -> bool:
        return self.docket.seconds_left() <= self.reserve

    def run(self) -> None:
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
        """The next boxes of some questions, in turn."""
        picked, total = [], 0
        for place in list(self.open):
            state = self.open.pop(place)
            if self.most is not None and state.taken >= self.most:
                self._give_up(place, state, f"boxes: the cap of {self.most} was reached")
            elif state.count > MOST_OPEN:
                self._give_up(place, state, "memory: too many boxes are open")
            else:
                self.open[place] = state  # to the end of the line
                picked.append(state.pop(self.batch if self.most is None else min(self.batch, self.most - state.taken)))
                total += picked[-1].count
                if total >= self.batch:
                    break
        return picked

    def _finish(self) -> None:
        """Settle the questions that have no boxes left."""
        done = [place for place, state in self.open.items() if not state.stack]
        if done:
            rows = self._rows(done)
            proofs = {row: InputProof(tuple(self.open[place].leaves)) for place, row in rows.items()} if self.docket.proofs else None
            proved = torch.zeros(len(self.docket), dtype=torch.bool, device=self.docket.places.device)
            proved[list(rows.values())] = True
            self.docket.prove(proved, proofs)
            for place in done:
                del self.open[place]

    def _rows(self, places: list[int]) -> dict[int, int]:
        """Where questions stand in the docket now, of those that are still open there."""
        now = {key: row for row, key in enumerate(self.docket.places.tolist())}
        return {place: now[self.keys[place]] for place in places if self.keys[place] in now}

    def _bound(self, boxes: Boxes) -> None:
        """Bound boxes, drop what is proved, look for counterexamples, cut the rest."""
        rows, offset = self.question.rows[boxes.owner], self.question.offset[boxes.owner]
        forms = self.former.forms(boxes, rows, offset)
        index, within = self.index[boxes.owner], self.within[boxes.owner]
        lower = forms.lower.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
        best, which = torch.where(within, lower.gather(1, index.flatten(1)).reshape(index.shape), -torch.inf).max(2)
        row_of_clause = index.gather(2, which[:, :, None]).squeeze(2)
        closed = boxes.open_ & (best > (SLACK if self.docket.proofs else 0.0))
        if self.docket.proofs:
            self._keep_leaves(boxes, closed, row_of_clause)
        open_ = boxes.open_ & ~closed
        left = open_.any(1).nonzero().squeeze(1)
        if len(left):
            self._split(boxes._replace(open_=open_), forms, left, best, row_of_clause)

    def _split(self, boxes: Boxes, forms: Forms, left: Tensor, best: Tensor, row_of_clause: Tensor) -> None:
        middle, half = boxes.middle, boxes.half
        worst = torch.where(boxes.open_, best, torch.inf).argmin(1)
        row = row_of_clause.gather(1, worst[:, None]).squeeze(1)[left]
        steep = forms.slope[left, row]
        ends = torch.where(steep > 0, boxes.low[left], boxes.high[left])
        self._attack(torch.cat([boxes.owner[left]] * 2), torch.cat([ends, middle[left]]))
        if not len(self.axes):
            for place in boxes.owner[left].unique().tolist():
                if place in self.open:
                    self._give_up(place, self.open.pop(place), "bounds: no input can change, and the bounds of the one point do not decide")
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
        flat = (score <= 0).all(1)  # nothing says where: the widest in shares of the whole
        score = torch.where(flat[:, None] & ~thin, width / self.width[boxes.owner].clamp_min(1e-300), score)
        stuck = (score <= 0).all(1)
        for place in boxes.owner[stuck].unique().tolist():
            if place in self.open:
                self._give_up(place, self.open.pop(place), "numerics: what is left is at the border within rounding")
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
        most = max(1, min(GRID, POINTS // max(math.prod(shape) for shape in self.question.network.shapes)))
        shares = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, device=self.axes.device)
        if 3**d <= most:
            grid = torch.cartesian_prod(*[shares] * d).reshape(-1, d)
        else:
            dice = torch.Generator().manual_seed(self.docket.seed)
            grid = shares[torch.randint(3, (most, d), generator=dice).to(self.axes.device)]
        low, high = (side.flatten(1)[:, self.axes] for side in (self.question.inputs.low, self.question.inputs.high))
        for place in range(len(self.keys)):
            if self.out_of_time():
                return
            x = torch.where(grid == 1.0, high[place], low[place] + grid * self.width[place])
            self._attack(torch.full((len(grid),), place, device=x.device), x)

    def _descend(self) -> None:
        """Go down from the best points that were seen in the last batch."""
        if not self.seen:
            return
        owner, x, margin = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        self.seen = []
        starts: list[Tensor] = []
        reach: list[float] = []
        for place in owner.unique().tolist():
            state = self.open.get(place)
            if state is None:
                continue
            state.turn += 1
            if state.turn <= OFTEN or state.turn % SELDOM == 0:
                own = (owner == place).nonzero().squeeze(1)
                starts.append(own[margin[own].argsort()[:BEST]])
                reach += [REACH[state.turn % len(REACH)]] * len(starts[-1])
        if not starts:
            return
        chosen = torch.cat(starts)
        asked, owner, x = self.question.take(owner[chosen]), owner[chosen], x[chosen]
        points = self.former.points(owner, x)
        inputs = asked.inputs
        room = (inputs.high - inputs.low) * torch.tensor(reach, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (points.ndim - 1))
        near = InputSet(torch.maximum(inputs.low, points - room), torch.minimum(inputs.high, points + room))
        found = descend(Question(asked.network, near, asked.rows, asked.offset, asked.clause), points[:, None], STEPS)
        self._attack(owner, found.flatten(1)[:, self.axes], remember=False)

    def _attack(self, owner: Tensor, x: Tensor, remember: bool = True) -> None:
        """Are there counterexamples among points x [k, d] of the boxes?"""
        points = self.former.points(owner, x)
        values = self.question.network(points).flatten(1)
        values = torch.bmm(self.question.rows[owner], values[:, :, None]).squeeze(2) + self.question.offset[owner]
        margin = self.question.take(owner).margin(values)
        if remember:
            self.seen.append((owner, x, margin))
        for place in owner[margin <= 0].unique().tolist():
            own = (owner == place).nonzero().squeeze(1)
            self._confirm(place, points[own[margin[own].argmin()]], float(margin[own].min()))

    def _confirm(self, place: int, point: Tensor, margin: float) -> None:
        """Settle a question by a point [*in], unless points about as good were refused before."""
        state, rows = self.open.get(place), self._rows([place])
        if state is None or not rows or state.tries >= TRIES or margin > 2 * state.refused:
            return
        tried = self.docket.question.inputs.middle.clone()
        tried[rows[place]] = point
        self.docket.refute(tried)
        if self._rows([place]):
            state.tries, state.refused = state.tries + 1, margin
        else:
            del self.open[place]

    def _keep_leaves(self, boxes: Boxes, closed: Tensor, row_of_clause: Tensor) -> None:
        """Boxes on which clauses, bool [k, clauses], were settled just now are leaves of these clauses."""
        low, high = self.former.points(boxes.owner, boxes.low).cpu().numpy(), self.former.points(boxes.owner, boxes.high).cpu().numpy()
        for place in closed.any(1).nonzero().squeeze(1).tolist():
            state = self.open.get(int(boxes.owner[place]))
            if state is not None:
                unit = np.eye(self.question.rows.shape[1])
                weights = {clause: unit[int(row_of_clause[place, clause])] for clause in closed[place].nonzero().squeeze(1).tolist()}
                state.leaves.append(BoxLeaf(low[place], high[place], weights))

    def _give_up(self, place: int, state: Open, reason: str) -> None:
        rows = self._rows([place])
        if rows:
            chosen = torch.zeros(len(self.docket), dtype=torch.bool, device=self.docket.places.device)
            chosen[rows[place]] = True
            self.docket.note(f"{reason}; {self._left(place, state)}", chosen)

    def _note_all(self, reason: str) -> None:
        for place, state in self.open.items():
            self._give_up(place, state, reason)

    def _left(self, place: int, state: Open) -> str:
        """How much of the question is open."""
        volume = 0.0
        whole = self.width[place]
        wide = whole > 0
        for boxes in state.stack:
            volume += float(((boxes.high - boxes.low)[:, wide] / whole[wide]).prod(1).sum())
        spent = time.monotonic() - self.began
        return f"{state.taken} boxes taken in {spent:.3g} s, {state.count} open with {volume:.2g} of the volume"


def clause_rows(question: Question) -> tuple[Tensor, Tensor]:
    """(index int64 [n, clauses, most rows], bool of that shape): the rows of every clause, filled up with a row of the clause or 0 where False."""
    count, clauses = len(question), question.clauses
    member = question.clause[:, None, :] == torch.arange(clauses, device=question.clause.device)[None, :, None]
    most = int(member.sum(2).max()) if member.numel() else 0
    inside, index = member.to(torch.int8).topk(most, dim=2) if most else (member[:, :, :0], member[:, :, :0].long())
    within = inside > 0
    if most:
        index = torch.where(within, index, index[:, :, :1])
    return index.reshape(count, clauses, most), within.reshape(count, clauses, most)


def clipped(boxes: Boxes, slope: Tensor, constant: Tensor, middle: Tensor, half: Tensor, index: Tensor, turns: int = 2) -> tuple[Boxes, Tensor]:
    """Boxes shrunk to the hull of where, for some open clause, all its rows can be at most 0; clauses for which that is nowhere are closed.

    slope, constant, middle, half: the forms of the rows [k, r, d], [k, r], and the t they are in. Also the shares [k, d] of the sides that are left."""
    picked = index.flatten(1)
    k, clauses, most = index.shape
    slope = slope.gather(1, picked[:, :, None].expand(-1, -1, slope.shape[2])).reshape(k, clauses, most, -1)
    constant = constant.gather(1, picked).reshape(k, clauses, most)
    sound = torch.isfinite(constant) & torch.isfinite(slope).all(3)
    slope = torch.where(sound[..., None], slope, 0.0)  # says nothing about where
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
    """[2 k]: each box cut in the middle of one axis, int64 [k]; the halves share the cut and stand side by side."""
    here = axis[:, None]
    middle = (boxes.low.gather(1, here) + boxes.high.gather(1, here)) / 2
    low = torch.stack([boxes.low, boxes.low.scatter(1, here, middle)], 1).flatten(0, 1)
    high = torch.stack([boxes.high.scatter(1, here, middle), boxes.high], 1).flatten(0, 1)
    return Boxes(low, high, boxes.owner.repeat_interleave(2), boxes.open_.repeat_interleave(2, 0))
