"""EAD: the elastic net attack, Carlini and Wagner's objective with a share of the plain size beside the squared one."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.constant import Constant, turn
from sparring.attacks.evasion.minnorm.shrinking import free, gap, length, met, wide_as, within
from sparring.attacks.loop import iterate
from sparring.attacks.losses import margin
from sparring.core.problem import Problem


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x, before: [m, ...], where each row stands and stood. asked: like x, the point ahead of both. scale: float64 [m],
    largest coordinate of the shortest change to the boundary as the clean gradient has it.
    """

    x: Tensor
    before: Tensor
    asked: Tensor
    scale: Tensor
    constant: Constant


@attack(needs={"gradients", "scores"}, uses={"shrunk", "within"}, cites="Chen et al. 2018, arXiv:1709.04114; github.com/ysharma1126/EAD_Attack")
def ead(problem: Problem, *, steps: int = 9000, turns: int = 9, step_size: float = 0.1, elastic: float = 1.0, start: float = 4.0) -> Tensor:
    """Minimise squared length, weighted size and a weighted lack of margin by proximal descent.

    The descent is accelerated, and the constant is searched.

    Args:
        steps: Gradients in all, at most; the paper has 1,000 for each of its 9 constants. The set `minimum` has 200.
        turns: Constants tried, at least; 9 in the paper. The set `minimum` has 8.
        step_size: Of the descent, as a share of the step that lands on the minimum of the squared length; it falls with
            the root of what is left of the steps.
        elastic: Weight of the size, in units of the largest coordinate of the shortest change to the boundary as the
            clean gradient has it.
        start: First constant, as a multiple of the one that reaches that boundary.

    Source: Chen et al. 2018, arXiv:1709.04114; github.com/ysharma1126/EAD_Attack.

    Differs from the paper: constants and weights come from the clean gradient; a new constant goes on from the smallest success so far;
    the size is that of the threat, in L1 the paper's; the size never exceeds the radius of the threat.
    """
    total = problem.steps(steps)
    most = max(total // max(turns, 1), 1)

    def begin(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), dtype=torch.float64, device=live.x.device)
        return State(live.x, live.x, live.x, zeros, Constant.of(zeros))

    def step(live: Problem, state: State, k: int) -> State:
        region = cast(Any, live.region)
        graded = live.gradient(state.asked, margin)
        g, hit, lack = free(live, state.asked, graded.grad), met(live, graded.scores), gap(live, graded.scores)
        scale, constant = state.scale, state.constant
        if k == 0:
            square, steepest = length(g).square().clamp_min(1e-30), g.abs().flatten(1).amax(1).double()
            scale = lack * steepest / square
            constant = Constant.of(start * (lack / square + elastic * scale / steepest.clamp_min(1e-30)))
        change = state.asked - live.x
        pace = step_size * (1 - k / max(total, 1)) ** 0.5
        moved = state.asked + pace * (g * wide_as(constant.value * ~hit, g) - change)
        x = region.shrunk(moved, pace * elastic * scale)
        x = within(live, x, region.radius)
        loss = length(change).square() / 2 + elastic * scale * region.size(state.asked) + constant.value * lack * ~hit
        constant, anew = turn(constant, hit, loss, most=most, patience=max(most // 3, 1))
        again = wide_as(anew & live.smallest().isfinite(), x).bool()
        x = torch.where(again, live.best(), x)
        ahead = x + (x - state.x) * (constant.age.double() / (constant.age + 3)).to(x.dtype).reshape(wide_as(hit, x).shape)
        return State(x, state.x, torch.where(again, x, within(live, ahead, region.radius)), scale, constant)

    return iterate(problem, begin, step, steps=steps, last_look=True)
