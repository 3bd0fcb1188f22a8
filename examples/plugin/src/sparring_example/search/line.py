"""The length of the next step, depending on the success of the last one."""

from torch import Tensor

SHORTER = 0.5


def next_share(share: Tensor, better: Tensor) -> Tensor:
    """Return the length of the next steps as shares of the radius, [n].

    It is that of the last step where this helped, else half of it.
    """
    return share.where(better, SHORTER * share)
