"""ReColorAdv: change colours through one map for the whole image."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.spatial.parameters import climb_parameters
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem


@attack(
    needs={"gradients", "scores"}, uses={"recoloured", "kept", "still"}, cites="Laidlaw, Feizi 2019, arXiv:1906.00001; github.com/cassidylaidlaw/ReColorAdv"
)
def recoloradv(problem: Problem, *, steps: int = 100, restarts: int = 1, loss: str = "margin") -> Tensor:
    """Change the colours of an image through one map, found by gradient ascent.

    Args:
        steps: Gradient steps per restart.
        restarts: The first from the map that changes nothing, later ones from random maps.
        loss: Any registered one.

    Source: Laidlaw, Feizi 2019, arXiv:1906.00001; github.com/cassidylaidlaw/ReColorAdv.

    Differs from the paper: channels of the input (RGB), not CIELUV, with one radius for all; smoothness comes from how few nodes the space gives
    the map, so there is no smoothness term; steps by sign with momentum instead of Adam.
    """

    def start(live: Problem, restart: int) -> Tensor:
        region = cast(Any, live.region)
        moves = region.still()
        if restart:
            share = live.rng.draw(f"start {restart}").uniform(*moves.shape[1:], dtype=torch.float64) * 2 - 1
            moves = share * region.radius.reshape(-1, 1, 1)
        return moves

    def make(live: Problem, moves: Tensor) -> Tensor:
        return cast(Any, live.region).recoloured(moves)

    return climb_parameters(problem, start, make, loss=loss_of(loss), steps=steps, restarts=restarts)
