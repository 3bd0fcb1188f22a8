"""Branch and bound over the signs of ReLUs with beta-CROWN.

Wang et al. 2021, arXiv:2103.06624; branching, see `exact.branching`. Every open disjunct of every sample is a job with a tree of its
own; the domains of all jobs are bounded together. A domain on which every sign is fixed is settled by a linear program, `exact.leaf`.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sparring.certification.networks.bounds.alpha import tightened
from sparring.certification.networks.bounds.ascent import Optimised, optimised, reading
from sparring.certification.networks.bounds.crown import preactivation_bounds
from sparring.certification.networks.bounds.interval import Interval
from sparring.certification.networks.bounds.windows import rounding_rows
from sparring.certification.networks.chances import by_remaining_loss, complete
from sparring.certification.networks.cost_model import row_cost
from sparring.certification.networks.exact.branching import BranchingInputs, candidates, favoured, scores
from sparring.certification.networks.exact.domains import Domains, Layout, Pool
from sparring.certification.networks.exact.leaf import settle_leaf
from sparring.certification.networks.falsify import brought_inside, descend
from sparring.certification.networks.proof.form import Arrays, ReluLeaf, ReluProof, Split
from sparring.certification.networks.proof.write import SLACK, arrays, plain_leaves, tightenings
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier

EACH = 4
"""Number of domains of each job in a round if it is limited."""

ROOT_STEPS = 30
"""Steps of the ascent with which a search begins."""


def _misfit(state: VerificationState) -> str:
    if not state.query.network.nonlinearities:
        return "the network is affine, so there are no ReLU signs to split"
    return "" if state.query.network.relus_only else "only ReLUs can be split, but the network has other nonlinearities"


def _cost(state: VerificationState, settings: Mapping[str, Any]) -> Tensor | None:
    if settings["domains"] is None:
        return None
    network = state.query.network
    row = row_cost(network, len(network.nodes) - 1)
    return torch.full((len(state),), 4.0 * settings["domains"] * settings["steps"] * row, dtype=torch.float64)


def _least_cost(state: VerificationState) -> Tensor:
    """Return the cost of the ascent at the root, for the rows that are not settled."""
    network, query = state.query.network, state.query
    rows = (~query.settled(state.lower)).sum(1).double()
    return rows * ROOT_STEPS * 2 * row_cost(network, len(network.nodes) - 1)


def _chance(state: VerificationState) -> Tensor:
    return torch.maximum(by_remaining_loss(0.6)(state), complete(state))


@verifier(
    "relu_split", order=60, cites="Wang et al. 2021, arXiv:2103.06624; De Palma et al. 2021, arXiv:2104.06718", misfit=_misfit,
    efforts={"quick": {"domains": 100, "near": 0.5}},
    schedule=VerifierSchedule(
        cost=_cost, after=("ibp", "crown", "alpha"), anytime=True, least_cost=_least_cost, chance=_chance,
        as_fast_as=("crown", 2.0),  # slopes are sought in float32
    ),
)  # fmt: skip
def relu_split(
    state: VerificationState, *, steps: int = 20, rate: float = 0.1, multiplier_rate: float = 0.05, filtered: int = 0, domains: int | None = None,
    batch: int = 128, memory: int = 2 << 30, again: int = 0, inner_steps: int = 3, inner_rate: float = 0.1, near: float | None = None,
) -> None:  # fmt: skip
    """Branch and bound over the signs of ReLUs.

    Branch and bound until all is settled, or time, `domains` (a sample) or `memory` (bytes of waiting domains) run out.

    Args:
        steps: Of the ascent on each pair of halves.
        rate: Of the slopes in this ascent.
        multiplier_rate: Of the multipliers in this ascent.
        filtered: Candidates of each score that are tried before a split; 0 takes the best of the first score.
        domains: The most domains per sample, None for no limit.
        batch: The most domains that are split together.
        memory: Bytes of waiting domains at which the search ends.
        again: After so many splits the bounds inside the network are computed anew; 0 for never, as it cost more than it saved on mnist_fc. It is
            never done where proofs are wanted.
        inner_steps: Steps with which they are computed anew.
        inner_rate: Of the multipliers in these steps.
        near: Only samples whose bound lacks at most so many times the margin at the middle of their set; None for all.
    """
    if not len(state):
        return
    hopeful = torch.ones(len(state), dtype=torch.bool, device=state.places.device)
    if near is not None:
        middle = state.query.margin(state.query.at(state.query.inputs.middle))
        hopeful = -state.margin <= near * middle
        state.note(f"bounds: the gap is more than {near:g} times the margin at the centre, too much for a few splits: use effort=thorough", ~hopeful)
    if not bool(hopeful.any()):
        return
    with state.subset(hopeful) as part:
        _Tree(part, steps, rate, multiplier_rate, filtered, domains, batch, memory, again, inner_steps, inner_rate).run()


@dataclass(eq=False)
class _Tree:
    state: VerificationState
    steps: int
    rate: float
    multiplier_rate: float
    filtered: int
    domains: int | None
    batch: int
    memory: int
    again: int
    inner_steps: int
    inner_rate: float

    def __post_init__(self) -> None:
        state = self.state
        self.query, self.places, self.rounding = state.query, state.places, state.rounding
        self.network = network = self.query.network
        self.last = len(network.nodes) - 1
        if not all(node in state.bounds for index in network.nonlinearities for node in network.nodes[index].inputs):
            state.bounds = preactivation_bounds(network, self.query.inputs, state.bounds, state.rounding)
        self.slack, self.slice = 0.0, 0.0
        self.leaves_of: list[list[ReluLeaf]] = [[] for _ in range(len(self.places))]
        done = self.query.settled(state.lower)
        if state.proofs:  # from bounds that a proof can reproduce
            state.bounds = preactivation_bounds(network, self.query.inputs)
            done = self._plain(plain_leaves(self.query, state.bounds))
            self.slack, self.again = SLACK, 0
            state.bounds, how = tightened(network, self.query.inputs, state.bounds, rounding=state.rounding, seconds=state.seconds_left() / 4)
            self.known = [tightenings(how, sample) for sample in range(len(self.places))]
        self.layout = layout = Layout.of(network)
        self.low = layout.flat({index: state.bounds[layout.feeding(index)].low for index in layout.begin})
        self.high = layout.flat({index: state.bounds[layout.feeding(index)].high for index in layout.begin})
        self.offset, self.constraints, self.disjunct = self.query.offset, self.query.constraints, self.query.disjunct
        self.sample, self.weights, self.target = self._jobs(done)
        self.columns = self._columns()
        count = len(self.sample)
        self.spent = torch.zeros(len(self.places), dtype=torch.int64)  # domains bounded so far, by sample
        self.waiting = torch.ones(count, dtype=torch.int64)  # domains of each job
        self.best = [[] for _ in range(len(self.places))]

    def _plain(self, leaves: list[dict[int, ReluLeaf]]) -> Tensor:
        """Return the rows of disjuncts that need no tree because these leaves prove them, bool [n, r]."""
        done = self.query.disjunct < 0
        for sample, mine in enumerate(leaves):
            self.leaves_of[sample] += mine.values()
            for disjunct in mine:
                done[sample] |= self.query.disjunct[sample] == disjunct
        return done

    def _jobs(self, done: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return for each open disjunct its sample int64 [o], the weights of its rows float64 [o, r], and its number int64 [o]."""
        query, known = self.query, self.state.lower
        samples, weights, target = [], [], []
        for disjunct in range(query.disjuncts):
            mine = query.disjunct == disjunct
            here = (mine & ~done).any(1).nonzero().squeeze(1)
            best = torch.where(mine[here], known[here].clamp_min(-1e300), -torch.inf).argmax(1)
            samples.append(here)
            target.append(torch.full_like(here, disjunct))
            weights.append(torch.zeros(len(here), known.shape[1], dtype=known.dtype, device=known.device).scatter_(1, best[:, None], 1.0))
        return torch.cat(samples), torch.cat(weights), torch.cat(target)

    def _columns(self) -> Tensor:
        """int64 [o, u]: the numbers of open sign at the root of each job, filled up with t."""
        open_ = ((self.low < 0) & (self.high > 0))[self.sample]
        most = max(1, int(open_.sum(1).max())) if len(open_) else 1
        column = torch.where(open_, torch.arange(self.layout.total, device=open_.device), self.layout.total)
        return column.sort(dim=1).values[:, :most] if self.layout.total else column.new_zeros(len(open_), 1)

    def _roots(self) -> Domains:
        count, width = self.columns.shape
        own = self.columns.clamp_max(self.layout.total - 1)
        real = self.columns < self.layout.total
        low = torch.where(real, self.low[self.sample].gather(1, own), 0.0)
        high = torch.where(real, self.high[self.sample].gather(1, own), 0.0)
        lower = torch.full((count,), -math.inf, dtype=low.dtype)
        slopes = (high >= -low).to(torch.float32)
        nothing = torch.zeros(count, width)
        return Domains(
            torch.arange(count), lower, torch.zeros(count, dtype=torch.int64), self.weights, low, high, nothing.to(torch.int8), slopes, nothing.clone()
        )

    def _spread(self, values: Tensor, owner: Tensor, base: Tensor) -> Tensor:
        """[k, t]: the numbers of the owners' columns [k, u] put into what is known of all of them."""
        wide = torch.cat([base, base.new_zeros(len(base), 1)], 1)
        return wide.scatter_(1, self.columns[owner], values.to(base.dtype))[:, :-1]

    def _gathered(self, flat: Tensor, owner: Tensor) -> Tensor:
        wide = torch.cat([flat, flat.new_zeros(len(flat), 1)], 1)
        return wide.gather(1, self.columns[owner])

    def _asked(self, domains: Domains) -> tuple[Tensor, Tensor]:
        """Rows [k, *out] and offsets [k]."""
        sample = self.sample[domains.owner]
        rows = torch.bmm(domains.weights[:, None], self.constraints[sample]).squeeze(1)
        return rows.reshape(-1, *self.network.shapes[-1]), (domains.weights * self.offset[sample]).sum(1)

    def _setting(self, domains: Domains) -> tuple[dict[int, Interval], dict[int, dict[int, Tensor]]]:
        owner, sample = domains.owner, self.sample[domains.owner]
        bounds = self.layout.intervals(self._spread(domains.low, owner, self.low[sample]), self._spread(domains.high, owner, self.high[sample]))
        empty = torch.zeros(len(owner), self.layout.total)
        parts = (self.layout.parts(self._spread(one, owner, empty.clone())) for one in (domains.slopes, domains.multipliers, domains.sign))
        slopes, multipliers, signs = parts
        return bounds, {0: slopes, 1: multipliers, 2: signs}

    def bounded(self, domains: Domains, steps: int) -> tuple[Domains, Tensor]:
        """The same domains with better bounds, slopes and multipliers; and points [k, *in]."""
        rows, offset = self._asked(domains)
        bounds, given = self._setting(domains)
        inputs = self.query.inputs.take(self.sample[domains.owner])
        found: Optimised = optimised(
            self.network, inputs, self.last, rows, bounds, steps=steps, rate=self.rate, multiplier_rate=self.multiplier_rate, slopes=given[0],
            multipliers=given[1], signs=given[2], stop=self.slack - offset, rounding=self._rounding(domains),
        )  # fmt: skip
        lower = (found.lower + offset).nan_to_num(nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
        better = replace(
            domains, lower=torch.maximum(domains.lower, lower), slopes=self._gathered(self.layout.flat(found.slopes), domains.owner),
            multipliers=self._gathered(self.layout.flat(found.multipliers), domains.owner),
        )  # fmt: skip
        return better, found.points

    def _rounding(self, domains: Domains) -> dict[int, Tensor] | None:
        if self.rounding is None:
            return None
        sample = self.sample[domains.owner]
        return {node: rounding_rows(self.network, node, error, sample) for node, error in self.rounding.items()}

    def renewed(self, domains: Domains) -> Domains:
        """Bounds inside the network computed again, with what the splits say, for domains that are another `again` splits deep; as many as time allows."""
        deep = (domains.depth % self.again == 0).nonzero().squeeze(1)
        low, high, lower, began = domains.low.clone(), domains.high.clone(), domains.lower.clone(), time.monotonic()
        for piece in deep.split(2):
            if time.monotonic() - began > self.slice or self.state.seconds_left() <= self.slice:
                break
            part = domains.take(piece)
            found = self._inside(part)
            empty = (found.low > found.high).any(1)  # no input is left
            low[piece], high[piece] = torch.minimum(found.low, found.high), torch.maximum(found.low, found.high)
            lower[piece] = torch.where(empty, torch.inf, part.lower)
        return replace(domains, low=low, high=high, lower=lower)

    def _inside(self, domains: Domains) -> Interval:
        """Return better bounds of the unstable neurons, node by node, [k, u]."""
        low, high = domains.low.clone(), domains.high.clone()
        domains = replace(domains, low=low, high=high)
        numbers, sample = self.columns[domains.owner], self.sample[domains.owner]
        for index, begin in self.layout.begin.items():
            node, size = self.layout.feeding(index), torch.Size(self.network.shapes[index]).numel()
            row, column = (domains.open_ & (numbers >= begin) & (numbers < begin + size)).nonzero(as_tuple=True)
            if not len(row) or not any(activation < node for activation in self.layout.begin):
                continue
            bounds, given = self._setting(domains)
            row, column, sign = row.repeat(2), column.repeat(2), torch.ones(2 * len(row), dtype=low.dtype)
            sign[len(sign) // 2 :] = -1
            unit = torch.zeros(len(row), size, dtype=low.dtype).scatter_(1, (numbers[row, column] - begin)[:, None], sign[:, None])
            found = optimised(
                self.network, self.query.inputs.take(sample), node, unit.reshape(-1, *self.network.shapes[node]), bounds, samples=row,
                steps=self.inner_steps, rate=0.3, multiplier_rate=self.inner_rate, signs={at: one[row] for at, one in given[2].items()},
                rounding=self._rounding(domains.take(row)),
            ).lower  # fmt: skip
            half = len(row) // 2
            low[row[:half], column[:half]] = torch.maximum(low[row[:half], column[:half]], found[:half])
            high[row[half:], column[half:]] = torch.minimum(high[row[half:], column[half:]], -found[half:])
        return Interval(low, high)

    def chosen(self, domains: Domains) -> Tensor:
        """int64 [k]: the column to split."""
        rows, offset = self._asked(domains)
        bounds, given = self._setting(domains)
        inputs = self.query.inputs.take(self.sample[domains.owner])
        seen = reading(self.network, inputs, self.last, rows, bounds, slopes=given[0], multipliers=given[1], signs=given[2])
        here = BranchingInputs(self._gathered(self.layout.flat(seen.slopes), domains.owner), self._gathered(self.layout.flat(seen.going_in), domains.owner))
        found = scores(domains.low, domains.high, domains.slopes, here)
        tried = candidates(found, max(1, self.filtered))
        if not self.filtered:
            return tried[:, 0]
        count, wide = tried.shape
        every = torch.arange(count).repeat_interleave(wide)
        halves = domains.take(every).split(tried.flatten())
        value = self.quick(halves).reshape(2, count, wide).permute(1, 2, 0)
        best = favoured(value + offset[:, None, None].to(value.dtype), torch.zeros(count))
        return tried.gather(1, best[:, None]).squeeze(1)

    def quick(self, domains: Domains) -> Tensor:
        """[k]: bounds without a search, in float32 and without offsets."""
        parts = []
        for piece in torch.arange(len(domains)).split(1024):
            part = domains.take(piece)
            rows, _ = self._asked(part)
            bounds, given = self._setting(part)
            inputs = self.query.inputs.take(self.sample[part.owner])
            parts.append(reading(self.network, inputs, self.last, rows, bounds, slopes=given[0], multipliers=given[1], signs=given[2]).value)
        return torch.cat(parts)

    # ------------------------------------------------------------------

    def run(self) -> None:
        state = self.state
        if not len(self.sample):
            self.finish()
            return
        roots, points = self.bounded(self._roots(), ROOT_STEPS)
        self.pool = Pool(roots)
        self.absorb(roots, points)
        batch, turn = min(self.batch, 8), 0
        self.slice = 0.03 * min(state.seconds_left(), 60.0)  # a step may overrun by as much
        while len(self.pool):
            left, began = state.seconds_left(), time.monotonic()
            if left <= 0:
                self.explain("time")
                return
            if self.domains is None:
                domains = self.pool.take(self.pool.worst(batch, self.spent[self.sample]))
                self.step(domains)
            else:
                self.round()
            turn += 1
            took = time.monotonic() - began
            if took > self.slice or took > left / 2:
                batch = max(1, batch // 2)
            elif took < self.slice / 3:
                batch = min(self.batch, 2 * batch)
            if self.pool.room > self.memory:
                self.explain("memory")
                return
            if turn & (turn - 1) == 0:
                self.attack()

    def round(self) -> None:
        """A few domains of every job, samples one after the other as a whole: what becomes of one depends neither on others nor on the clock."""
        slots = self.pool.each(EACH)
        sample = self.sample[self.pool.store.owner[slots]]
        order = sample.argsort(stable=True)
        domains, sample = self.pool.take(slots[order]), sample[order]
        begin = 0
        while begin < len(sample):
            end = min(begin + self.batch, len(sample))
            if end < len(sample):
                cut = int((sample < sample[end]).sum())  # where the sample that would be divided begins
                end = cut if cut > begin else int((sample <= sample[end]).sum())
            self.step(domains.take(torch.arange(begin, end)))
            begin = end

    def step(self, domains: Domains) -> None:
        """Split domains, bound the halves, keep those that are still open."""
        stuck = ~domains.open_.any(1)
        self.leaves(domains.take(stuck.nonzero().squeeze(1)))
        domains = domains.take((~stuck).nonzero().squeeze(1))
        if not len(domains):
            return
        halves = domains.split(self.chosen(domains))
        if self.again:
            halves = self.renewed(halves)
        halves, points = self.bounded(halves, self.steps)
        self.waiting.index_add_(0, domains.owner, -torch.ones_like(domains.owner))
        self.waiting.index_add_(0, halves.owner, torch.ones_like(halves.owner))
        self.absorb(halves, points)

    def absorb(self, domains: Domains, points: Tensor) -> None:
        """Count what is proved, look whether points are counterexamples, and put the rest into the pool."""
        sample = self.sample[domains.owner]
        self.spent.index_add_(0, sample, torch.ones_like(sample))
        proved = domains.lower > self.slack
        if self.state.proofs:
            for row in proved.nonzero().squeeze(1).tolist():
                self.write(domains, row)
        self.waiting.index_add_(0, domains.owner[proved], -torch.ones_like(domains.owner[proved]))
        rest = (~proved).nonzero().squeeze(1)
        self.pool.put(domains.take(rest))
        self.look(sample[rest], points[rest])
        self.finish()

    def look(self, sample: Tensor, points: Tensor) -> None:
        """Are points [k, *in] of samples int64 [k] counterexamples? The nearest of each is remembered."""
        if not len(sample):
            return
        asked = self.query.take(sample)
        x = brought_inside(asked.inputs, points.to(asked.inputs.low.dtype))
        margin = asked.margin(asked.at(x))
        self.refute(sample[margin <= 0], x[margin <= 0])
        for row in margin.argsort(stable=True)[: None if self.domains is not None else 64].tolist():
            kept = self.best[int(sample[row])]
            kept.append((float(margin[row]), x[row]))
            kept.sort(key=lambda pair: pair[0])
            del kept[4:]

    def refute(self, sample: Tensor, x: Tensor) -> None:
        state = self.state
        for one in sample.unique().tolist():
            here = (state.places == self.places[one]).nonzero().squeeze(1)
            if not len(here):
                continue
            given = state.query.inputs.middle.clone()[:, None].repeat(1, min(8, int((sample == one).sum())), *[1] * (x.ndim - 1))
            given[here] = x[sample == one][:8]
            state.refute(given)

    def attack(self) -> None:
        """Descent from the points nearest to being unsafe."""
        rows = [one for one, kept in enumerate(self.best) if len(kept) == 4 and bool((self.state.places == self.places[one]).any())]
        if rows:
            sample = torch.tensor(rows)
            starts = torch.stack([torch.stack([x for _, x in self.best[one]]) for one in rows])
            found = descend(self.query.take(sample), starts, 30)
            asked = self.query.take(sample.repeat_interleave(4))
            x = found.flatten(0, 1)
            hit = asked.margin(asked.at(x)) <= 0
            self.refute(sample.repeat_interleave(4)[hit], x[hit])
            self.finish()

    def finish(self) -> None:
        """Settle the samples that have no open domain left; forget the domains of those settled."""
        busy = torch.zeros(len(self.places), dtype=torch.bool)
        busy[self.sample[self.waiting > 0]] = True
        row_of = {place: row for row, place in enumerate(self.state.places.tolist())}
        proved = torch.zeros(len(self.state), dtype=torch.bool)
        for one, place in enumerate(self.places.tolist()):
            if place in row_of and not bool(busy[one]):
                proved[row_of[place]] = True
        proofs = {}
        if self.state.proofs:
            for one, place in enumerate(self.places.tolist()):
                if place in row_of and bool(proved[row_of[place]]):
                    proofs[row_of[place]] = ReluProof(tuple(self.leaves_of[one]), self.known[one])
        self.state.prove(proved, proofs)
        gone = ~torch.isin(self.places, self.state.places)
        if self.domains is not None:
            over = (self.spent >= self.domains) & ~gone
            for one in over.nonzero().squeeze(1).tolist():
                self.explain("domains", one)
            gone |= over
        if hasattr(self, "pool"):
            self.pool.drop(gone[self.sample])

    def leaves(self, domains: Domains) -> None:
        """Domains on which every sign is fixed."""
        if not len(domains):
            return
        bounds, given = self._setting(domains)
        for row in range(len(domains)):
            one = torch.tensor([row])
            owner = int(domains.owner[row])
            sample = int(self.sample[owner])
            rows = (self.disjunct[sample] == self.target[owner]).nonzero().squeeze(1)
            inputs = self.query.inputs.take(self.sample[owner : owner + 1])
            known, signs = {node: bound.take(one) for node, bound in bounds.items()}, {node: sign[one] for node, sign in given[2].items()}
            asked = self.constraints[sample, rows].reshape(-1, *self.network.shapes[-1])
            solved = settle_leaf(self.network, inputs, asked, self.offset[sample, rows], known, signs)
            if solved.lower > self.slack:
                self.waiting[owner] -= 1
                if self.state.proofs:
                    weights = torch.zeros_like(domains.weights[row]).scatter_(0, rows, solved.weights)
                    self.write(domains, row, weights, arrays(solved.multipliers, 0))
                continue
            if solved.point is not None:
                self.refute(self.sample[owner : owner + 1], brought_inside(inputs, solved.point))
            self.state.note("numerics: a part with all ReLU signs fixed could not be decided in float64", self.state.places == self.places[sample])
        self.finish()

    def write(self, domains: Domains, row: int, weights: Tensor | None = None, multipliers: Arrays | None = None) -> None:
        """Keep a proved domain for the proof; weights, multipliers: instead of its own."""
        one = domains.take(torch.tensor([row]))
        owner = int(one.owner)
        numbers = one.sign[0].nonzero().squeeze(1)
        splits = tuple(Split(*self.layout.locate(int(self.columns[owner, number])), int(one.sign[0, number])) for number in numbers.tolist())
        _, given = self._setting(one)
        own = multipliers if multipliers is not None else (arrays(given[1], 0) if splits else {})
        sample = int(self.sample[owner])
        leaf = ReluLeaf(
            int(self.target[owner]), (one.weights[0] if weights is None else weights).numpy(), splits, len(self.known[sample]), arrays(given[0], 0), own
        )
        self.leaves_of[sample].append(leaf)

    def explain(self, what: str, one: int | None = None) -> None:
        """Why samples remain open."""
        slots = self.pool.slots()
        owner = self.pool.store.owner[slots]
        for sample in range(len(self.places)) if one is None else [one]:
            mine = self.sample[owner] == sample
            if not bool(mine.any()):
                continue
            mean = float(self.pool.store.lower[slots][mine].mean())
            limits = {
                "time": "the limit was reached",
                "memory": f"the domains took more than {self.memory >> 20} MiB",
                "domains": f"{self.domains} domains were bounded",
            }
            reason = f"{what}: {limits[what]}; {int(mine.sum())} domains open with a mean bound of {mean:.4g} after {int(self.spent[sample])}"
            self.state.note(reason, self.state.places == self.places[sample])
