"""Projected gradient descent: start anywhere in the region, climb the loss, project, repeat."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.loop import climb
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout, Loss
from sparring.core.threat import Reference


class State(NamedTuple):
    """x: [m, ...], where each row stands. aim: what the loss is measured against. velocity: like x, None without momentum."""

    x: Tensor
    aim: Reference
    velocity: Tensor | None


@attack(
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Madry et al. 2018, arXiv:1706.06083; momentum: Dong et al. 2018, arXiv:1710.06081",
)
def pgd(
    bout: Bout,
    *,
    steps: int = 40,
    step_size: float = 0.0,
    loss: str = "ce",
    restarts: int = 1,
    momentum: float = 0.0,
    random_start: bool = True,
    decay: Literal["none", "cosine"] = "none",
) -> Tensor:
    """Projected gradient descent.

    steps: gradient steps per restart. step_size: as a share of the radius; 0 means 2.5 / steps, as Madry et
    al. advise. loss: "ce", "margin", "dlr" or "pm". restarts: from new random points, for samples that still
    stand. momentum: decay of the velocity of MI-FGSM, 0 for none. random_start: begin at a random point of
    the region, else at the clean input. decay: of the step over the restart, "none" or "cosine" down to nothing.

    Where we differ: a sample that is broken stops, and of all points visited the best is returned, not the last.
    """
    climbed, first = loss_of(loss), step_size or 2.5 / max(steps, 1)

    def share(k: int) -> float:
        return first if decay == "none" else first * cosine(k, steps)

    def start(live: Bout, restart: int) -> Tensor:
        return cast(Any, live.region).sample(live.dice.draw(restart)) if random_start else live.x

    return descend(bout, lambda restart, k: climbed, share, start, steps=steps, restarts=restarts, momentum=momentum)


def descend(
    bout: Bout,
    loss: Callable[[int, int], Loss],
    share: Callable[[int], float],
    start: Callable[[Bout, int], Tensor],
    aim: Callable[[Bout, int], Reference] | None = None,
    *,
    steps: int,
    restarts: int,
    momentum: float = 0.0,
) -> Tensor:
    """The bare search: climb `loss(restart, k)` against what `aim(live bout, restart)` says (the goal, if left out),
    from `start(live bout, restart)`, by steps of `share(k)` of the radius."""

    def begin(live: Bout, restart: int) -> State:
        nonlocal turn
        turn = restart
        x = start(live, restart)
        return State(x, aim(live, restart) if aim else live.reference, torch.zeros_like(x) if momentum else None)

    def step(live: Bout, state: State, k: int) -> State:
        g, velocity = live.gradient(state.x, loss(turn, k), state.aim).grad, None
        if state.velocity is not None:
            scale = g.abs().flatten(1).mean(1).clamp_min(1e-30).reshape(-1, *[1] * (g.ndim - 1))
            g = velocity = momentum * state.velocity + g / scale
        return State(along(live, state.x, g, share(k)), state.aim, velocity)

    turn = 0
    return climb(bout, begin, step, steps=steps, restarts=restarts, last_look=True)


def cosine(k: int, steps: int) -> float:
    """From 1 at the first of so many steps down to 0 after the last."""
    return (1 + math.cos(math.pi * k / max(steps, 1))) / 2
