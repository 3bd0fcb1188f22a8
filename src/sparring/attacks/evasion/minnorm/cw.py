"""Carlini and Wagner's L2 attack: least squared size plus a weighted lack of margin, and a search for the weight."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.adam import Adam
from sparring.attacks.evasion.minnorm.constant import Constant, turn
from sparring.attacks.evasion.minnorm.shrinking import free, gap, length, met, wide_as
from sparring.attacks.loop import iterate
from sparring.attacks.losses import margin
from sparring.core.problem import Problem
from sparring.threats.balls import box

LEAST_RATE = 0.02
"""Final learning rate, as a share of the first."""

ENOUGH = 2.0
"""The constant after the first success, as a multiple of the constant that balances size and margin there."""

FASTER = 2.0
"""Factor on the learning rate after each constant that fails, before the first success."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. rate: float64 [m], by how much Adam moves a coordinate before the first success.
    found: bool [m], has there been one?
    """

    x: Tensor
    adam: Adam
    rate: Tensor
    constant: Constant
    found: Tensor


@attack(needs={"gradients", "scores"}, uses={"onto"}, cites="Carlini, Wagner 2017, arXiv:1608.04644, section VI-A; github.com/carlini/nn_robust_attacks")
def cw(problem: Problem, *, steps: int = 90000, turns: int = 9, step_size: float = 3.0, start: float = 40.0) -> Tensor:
    """Minimise the squared L2 size plus a weighted lack of margin, with a search for the weight.

    The optimiser is Adam; the weight (the constant) is searched for each sample.

    Args:
        steps: Gradients in all, at most; the paper has 10,000 for each of its 9 constants, and rows leave a constant early. The set `minimum` has
            200.
        turns: Constants tried, at least; 9 in the paper. The set `minimum` has 4.
        step_size: First rate of Adam, as a multiple of the root mean square change at the boundary as the clean
            gradient has it.
        start: First constant, as a multiple of the one that reaches that boundary.

    Source: Carlini, Wagner 2017, arXiv:1608.04644, section VI-A; github.com/carlini/nn_robust_attacks.

    Differs from the paper: rate and first constant come from the clean gradient (the usual 0.01 and 0.001 fail on most models). That
    gradient may mislead, so from the first success on the rate is the root mean square of the smallest change, falling to a
    fiftieth, and the constant twice the one that holds the balance at that success; until then the rate doubles with each
    constant that fails. The variable is clipped to the box instead of going through tanh, so that the box may be unbounded; a new
    constant goes on from the smallest success so far, else from where the row stands; no confidence is demanded; the length
    never exceeds the radius of the threat; each row leaves a constant on its own, once its loss stalls.
    """
    total = problem.steps(steps)
    most = max(total // max(turns, 1), 1)

    def begin(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), dtype=torch.float64, device=live.x.device)
        return State(live.x, Adam.like(live.x), zeros, Constant.of(zeros), zeros.bool())

    def step(live: Problem, state: State, k: int) -> State:
        region, root = cast(Any, live.region), state.x[0].numel() ** 0.5
        graded = live.gradient(state.x, margin)
        hit, lack = met(live, graded.scores), gap(live, graded.scores)
        steep, size = length(graded.grad).clamp_min(1e-30), region.size(state.x)
        rate, constant = state.rate, state.constant
        if k == 0:
            rate, constant = step_size * lack / steep / root, Constant.of(start * 2 * lack / steep.square())
        change = state.x - live.x
        adam = state.adam.seen(-free(live, state.x, graded.grad * wide_as(constant.value * ~hit, change) - 2 * change))
        smallest = live.smallest()
        found = smallest.isfinite()
        pace = torch.where(found, smallest / root * LEAST_RATE ** (k / max(total, 1)), rate)
        x = (state.x - adam.direction() * wide_as(pace, change)).clamp(*box(live.victim.domain, change))
        constant, anew = turn(constant, hit, size.square() + constant.value * lack * ~hit, most=most, patience=max(most // 3, 1))
        rate = torch.where(anew, rate * FASTER, rate)
        first = hit & ~state.found
        balanced = Constant.of(ENOUGH * 2 * size / steep)
        constant = Constant(*(torch.where(first, new, now) for new, now in zip(balanced, constant, strict=True)))
        anew = anew | first
        x = torch.where(wide_as(anew & found, x).bool(), live.best(), x)
        far = region.size(x) > region.radius
        x = torch.where(wide_as(far, x).bool(), region.onto(x, region.radius), x) if bool(far.any()) else x
        return State(x, adam.without(anew), rate, constant, state.found | hit)

    return iterate(problem, begin, step, steps=steps, last_look=True)
