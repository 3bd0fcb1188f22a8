"""Square attack for L1: random search over windows with a sharp bump in the middle, each paid for by another."""

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.square_l2 import bumpy_search
from sparring.core.bout import Bout


@attack(
    needs={"scores"},
    uses={"sparse"},  # what only the L1 ball offers
    cites="Croce, Hein 2021, arXiv:2103.01208, appendix; Andriushchenko et al. 2020, arXiv:1912.00049; github.com/fra31/auto-attack",
)
def square_l1(bout: Bout, *, queries: int = 5000, share: float = 0.8, restarts: int = 1, warm: bool = False) -> Tensor:
    """Random search for L1: move the length that two windows hold into the first, in the shape of two sharp opposite bumps.

    queries: per restart and sample. share: part of the pixels in a window at first. restarts: new tiles and windows,
    for samples that still stand. warm: begin at the best point that is known, if any was asked about, and not with
    tiles. Inputs without height and width are taken as one row of pixels.

    Where we differ: as in `square_l2`; so each point has the full radius, where the original projects onto ball and box and
    makes up later for what they cut, and channels share what is unused evenly (the original gives it to each in full, and projects).
    """
    return bumpy_search(bout, 1, 4, queries, share, restarts, warm)
