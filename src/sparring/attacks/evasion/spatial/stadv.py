"""stAdv: move pixels a little, not their values."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.spatial.parameters import climb_parameters
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem


@attack(needs={"gradients", "scores"}, uses={"warped"}, cites="Xiao et al. 2018, arXiv:1801.02612")
def stadv(problem: Problem, *, steps: int = 50, restarts: int = 1, loss: str = "margin", smoothness: float = 0.05) -> Tensor:
    """Move pixels a little along a flow field, found by gradient ascent.

    Args:
        steps: Gradient steps per restart.
        restarts: The first from no flow, later ones from random flows.
        loss: Any registered one.
        smoothness: Weight of the pull of every vector of the flow toward the mean of its neighbours, against a gradient
            of size 1.

    Source: Xiao et al. 2018, arXiv:1801.02612.

    Differs from the paper: the flow is bounded by the radius of the space, so ascent is projected steps by sign with momentum instead of L-BFGS
    on loss plus penalty; the weight of smoothness therefore has no scale.
    """

    def start(live: Problem, restart: int) -> Tensor:
        flow = torch.zeros(len(live), 2, *live.x.shape[-2:], dtype=torch.float64, device=live.x.device)
        if restart:
            share = live.rng.draw(f"start {restart}").uniform(*flow.shape[1:], dtype=torch.float64) * 2 - 1
            flow = share * cast(Any, live.region).radius.reshape(-1, 1, 1, 1)
        return flow

    def toward_neighbours(flow: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(flow, (1, 1, 1, 1), mode="replicate")
        mean = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
        return smoothness * (mean - flow).sign()

    return climb_parameters(
        problem,
        start,
        lambda live, flow: cast(Any, live.region).warped(flow),
        loss=loss_of(loss),
        steps=steps,
        restarts=restarts,
        regulariser=toward_neighbours if smoothness else None,
    )
