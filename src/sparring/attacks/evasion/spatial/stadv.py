"""stAdv: move pixels a little, not their values."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.spatial.parameters import climb_parameters
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout


@attack(needs={"gradients", "scores"}, uses={"warped"}, cites="Xiao et al. 2018, arXiv:1801.02612")
def stadv(bout: Bout, *, steps: int = 50, restarts: int = 1, loss: str = "margin", smoothness: float = 0.05) -> Tensor:
    """Gradient ascent over a flow field: from which place near it every pixel is read.

    steps: gradient steps per restart. restarts: the first from no flow, later ones from random flows. loss: any registered one.
    smoothness: weight of the pull of every vector of the flow toward the mean of its neighbours, against a gradient of size 1.

    Where we differ: the flow is bounded by the radius of the space, so ascent is projected steps by sign with momentum instead of L-BFGS
    on loss plus penalty; the weight of smoothness therefore has no scale.
    """

    def start(live: Bout, restart: int) -> Tensor:
        flow = torch.zeros(len(live), 2, *live.x.shape[-2:], dtype=torch.float64, device=live.x.device)
        if restart:
            share = live.dice.draw(f"start {restart}").uniform(*flow.shape[1:], dtype=torch.float64) * 2 - 1
            flow = share * cast(Any, live.region).radius.reshape(-1, 1, 1, 1)
        return flow

    def pull(flow: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(flow, (1, 1, 1, 1), mode="replicate")
        mean = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
        return smoothness * (mean - flow).sign()

    return climb_parameters(
        bout,
        start,
        lambda live, flow: cast(Any, live.region).warped(flow),
        loss=loss_of(loss),
        steps=steps,
        restarts=restarts,
        pull=pull if smoothness else None,
    )
