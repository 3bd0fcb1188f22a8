"""Square attack for L1: random search over windows with a sharp bump in the middle, each paid for by another."""

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.square_l2 import bumpy_search
from sparring.core.problem import Problem


@attack(
    needs={"scores"},
    uses={"sparse"},  # offered by the L1 ball only
    cites="Croce, Hein 2021, arXiv:2103.01208, appendix; Andriushchenko et al. 2020, arXiv:1912.00049; github.com/fra31/auto-attack",
)
def square_l1(problem: Problem, *, queries: int = 5000, share: float = 0.8, restarts: int = 1, warm: bool = False) -> Tensor:
    """Move the L1 length of two random windows into one, in the shape of two sharp bumps.

    Args:
        queries: Per restart and sample.
        share: Part of the pixels in a window at first.
        restarts: New tiles and windows, for samples that still stand.
        warm: Begin at the best point that is known, if any was asked about, and not with tiles. Inputs without height
            and width are taken as one row of pixels.

    Source: Croce, Hein 2021, arXiv:2103.01208, appendix; Andriushchenko et al. 2020, arXiv:1912.00049;
    github.com/fra31/auto-attack.

    Differs from the paper: as in `square_l2`; so each point has the full radius, where the original projects onto ball and box and
    makes up later for what they cut, and channels share what is unused evenly (the original gives it to each in full, and projects).
    """
    return bumpy_search(problem, 1, 4, queries, share, restarts, warm)
