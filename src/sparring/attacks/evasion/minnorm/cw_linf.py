"""Carlini and Wagner's Linf attack: changes beyond a size are penalised, and the size shrinks after every success."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.minnorm.adam import Adam
from sparring.attacks.evasion.minnorm.shrinking import free, gap, met, wide_as
from sparring.attacks.loop import iterate
from sparring.attacks.losses import margin
from sparring.core.problem import Problem

LEAST_RATE = 0.02
"""Final learning rate, as a share of the first."""

LATER = 0.1
"""Rate of Adam after the first success, as a share of the smallest size."""

GROWTH = 2.0
"""Factor on the constant after a failure, and on the learning rate as well before the first success."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. rate: float64 [m], by how much Adam moves a coordinate before the first success.
    constant: float64 [m], the weight of the margin. free_size: float64 [m], the size that costs nothing. cut: float64 [m],
    by what share it is below the smallest success. age: int64 [m], steps since that became smaller. size: float64 [m], of
    that success.
    """

    x: Tensor
    adam: Adam
    rate: Tensor
    constant: Tensor
    free_size: Tensor
    cut: Tensor
    age: Tensor
    size: Tensor


@attack(
    needs={"gradients", "scores"},
    uses={"excess", "project", "dual"},
    cites="Carlini, Wagner 2017, arXiv:1608.04644, section VI-C; github.com/carlini/nn_robust_attacks",
)
def cw_linf(problem: Problem, *, steps: int = 200, patience: int = 20, step_size: float = 1.0, start: float = 0.3, cut: float = 0.1) -> Tensor:
    """Minimise the excess over a size tau plus a weighted lack of margin; successes lower tau.

    The optimiser is Adam, in Linf.

    Args:
        steps: Gradients in all.
        patience: Steps without a smaller success after which a constant is given up.
        step_size: First rate of Adam, as a multiple of the distance to the boundary as the clean gradient has it.
        start: First constant, as a multiple of the one at which the coordinate of largest clean gradient is worth its
            penalty.
        cut: Share by which tau is put below the smallest success.

    Source: Carlini, Wagner 2017, arXiv:1608.04644, section VI-C; github.com/carlini/nn_robust_attacks.

    Differs from the paper: tau begins at the radius of the threat and follows every success at once, a row at a time, while the walk goes on (the
    paper starts anew from each solution); a constant tried in vain doubles and halves the cut, and the row goes on from its
    smallest success; rates and the first constant come from the model, not from images in [0, 1]: after the first success the rate
    is a tenth of the smallest size, falling to a fiftieth of that; before it the rate doubles with the constant. The variable is
    clipped to box and radius instead of going through tanh; no confidence is demanded.
    """
    total = problem.steps(steps)

    def begin(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), dtype=torch.float64, device=live.x.device)
        return State(live.x, Adam.like(live.x), zeros, zeros, cast(Any, live.region).radius, zeros + cut, zeros.long(), zeros + torch.inf)

    def step(live: Problem, state: State, k: int) -> State:
        region = cast(Any, live.region)
        graded = live.gradient(state.x, margin)
        hit = met(live, graded.scores)
        rate, constant = state.rate, state.constant
        if k == 0:
            rate = step_size * gap(live, graded.scores) / region.dual(graded.grad).clamp_min(1e-30)
            constant = start / graded.grad.flatten(1).abs().amax(1).double().clamp_min(1e-30)
        penalty = region.excess(state.x, state.free_size).sign()
        adam = state.adam.seen(-free(live, state.x, graded.grad * wide_as(constant * ~hit, penalty) - penalty))
        smallest = live.smallest()
        found, better = smallest.isfinite(), smallest < state.size * (1 - 1e-3)
        pace = torch.where(found, LATER * smallest * LEAST_RATE ** (k / max(total, 1)), rate)
        x = region.project(state.x - adam.direction() * wide_as(pace, penalty))
        late = ~better & (state.age + 1 >= patience)
        share = torch.where(late & found, state.cut / 2, state.cut)
        constant, rate = torch.where(late, constant * GROWTH, constant), torch.where(late, rate * GROWTH, rate)
        anew = late | (better & state.size.isinf())
        x = torch.where(wide_as(anew & found, x).bool(), live.best(), x)
        return State(
            x,
            adam.without(anew),
            rate,
            constant,
            free_size=torch.where(better | (late & found), smallest * (1 - share), state.free_size),
            cut=share,
            age=torch.where(better | late, 0, state.age + 1),
            size=torch.where(better, smallest, state.size),
        )

    return iterate(problem, begin, step, steps=steps, last_look=True)
