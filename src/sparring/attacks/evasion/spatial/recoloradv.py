"""ReColorAdv: change colours through one map for the whole image."""

from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.spatial.parameters import climb_parameters
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout


@attack(
    needs={"gradients", "scores"}, uses={"recoloured", "kept", "still"}, cites="Laidlaw, Feizi 2019, arXiv:1906.00001; github.com/cassidylaidlaw/ReColorAdv"
)
def recoloradv(bout: Bout, *, steps: int = 100, restarts: int = 1, loss: str = "margin") -> Tensor:
    """Gradient ascent over the map of colours of every image.

    steps: gradient steps per restart. restarts: the first from the map that changes nothing, later ones from random maps. loss: any
    registered one.

    Where we differ: channels of the input (RGB), not CIELUV, with one radius for all; smoothness comes from how few nodes the space gives
    the map, so there is no smoothness term; steps by sign with momentum instead of Adam.
    """

    def start(live: Bout, restart: int) -> Tensor:
        region = cast(Any, live.region)
        moves = region.still()
        if restart:
            share = live.dice.draw(f"start {restart}").uniform(*moves.shape[1:], dtype=torch.float64) * 2 - 1
            moves = share * region.radius.reshape(-1, 1, 1)
        return moves

    def make(live: Bout, moves: Tensor) -> Tensor:
        return cast(Any, live.region).recoloured(moves)

    return climb_parameters(bout, start, make, loss=loss_of(loss), steps=steps, restarts=restarts)
