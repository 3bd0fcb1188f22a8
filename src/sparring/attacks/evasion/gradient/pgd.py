"""Projected gradient descent: start anywhere in the region, climb the loss, project, repeat."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.loop import climb
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout


class State(NamedTuple):
    """x: [m, ...], where each row stands. velocity: like x, None without momentum."""

    x: Tensor
    velocity: Tensor | None


@attack(
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Madry et al. 2018, arXiv:1706.06083; momentum: Dong et al. 2018, arXiv:1710.06081",
)
def pgd(
    bout: Bout, *, steps: int = 40, step_size: float = 0.0, loss: str = "ce", restarts: int = 1, momentum: float = 0.0, random_start: bool = True
) -> Tensor:
    """Projected gradient descent.

    steps: gradient steps per restart. step_size: as a share of the radius; 0 means 2.5 / steps, as Madry et
    al. advise. loss: "ce", "margin", "dlr" or "pm". restarts: from new random points, for samples that still
    stand. momentum: decay of the velocity of MI-FGSM, 0 for none. random_start: begin at a random point of
    the region, else at the clean input.

    Where we differ: a sample that is broken stops, and of all points visited the best is returned, not the last.
    """
    climbed, share = loss_of(loss), step_size or 2.5 / max(steps, 1)

    def start(live: Bout, restart: int) -> State:
        x = cast(Any, live.region).sample(live.dice.draw(restart)) if random_start else live.x
        return State(x, torch.zeros_like(x) if momentum else None)

    def step(live: Bout, state: State, k: int) -> State:
        g, velocity = live.gradient(state.x, climbed).grad, None
        if state.velocity is not None:
            scale = g.abs().flatten(1).mean(1).clamp_min(1e-30).reshape(-1, *[1] * (g.ndim - 1))
            g = velocity = momentum * state.velocity + g / scale
        return State(along(live, state.x, g, share), velocity)

    return climb(bout, start, step, steps=steps, restarts=restarts, last_look=True)
