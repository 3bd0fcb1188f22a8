"""How long the next step is, from whether the last one helped."""

from torch import Tensor

SHORTER = 0.5


def next_share(share: Tensor, better: Tensor) -> Tensor:
    """Return the shares of the radius for the next steps, [n]: the same after a step that helped, else half of it."""
    return share.where(better, SHORTER * share)
