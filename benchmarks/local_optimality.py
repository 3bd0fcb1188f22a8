"""How near a minimum-norm attack comes to the best that any attack found: AttackBench's local optimality."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparring.core.errors import InputError


def local_optimality(distances: ArrayLike, right: ArrayLike | None = None) -> NDArray[np.float64]:
    """float64 [attacks]: 1 where an attack is as good as the best of all on every sample, 0 where it finds nothing
    (Cinà, Rony et al. 2025, arXiv:2404.19460).

    distances: [attacks, n], the size of the smallest change each attack found, inf for none. right: bool [n], samples that are right
    without attack (default: all); the others count as distance 0.

    With rho(r) the share of samples whose change is larger than r, rho* the same for the smallest change of all attacks, and r0 the
    largest of these, it is 1 - (A - A*) / (rho(0) r0 - A*), A being the integral of rho from 0 to r0.

    Where we differ: the integral of the step function is exact, the mean of min(distance, r0); the official code applies the trapezoid
    rule from the smallest distance on. Samples that no attack breaks count as r0 for all alike. Where nothing can be told
    apart (no success at all, or all smallest changes equal), an attack scores 1 if it is as good as the best, else 0.

        >>> local_optimality([[1.0, 2.0], [np.inf, np.inf]])
        array([1., 0.])
        >>> local_optimality([[1.0, 2.0, 4.0], [1.5, 2.0, 4.0]]).round(3)
        array([1. , 0.9])
    """
    found = np.asarray(distances, dtype=np.float64)
    if found.ndim != 2 or np.isnan(found).any() or (found < 0).any():
        raise InputError(f"distances of shape {found.shape}: give [attacks, n], numbers of at least 0, inf where nothing was found")
    kept = np.ones(found.shape[1], dtype=bool) if right is None else np.asarray(right, dtype=bool)
    if kept.shape != found.shape[1:]:
        raise InputError(f"{kept.size} marks of what is right for {found.shape[1]} samples: give one a sample")
    found = np.where(kept, found, 0.0)
    best = found.min(axis=0, initial=np.inf)
    finite = best[np.isfinite(best)]
    furthest = finite.max(initial=0.0)
    area, least = np.minimum(found, furthest).sum(axis=1), np.minimum(best, furthest).sum()
    spread = kept.sum() * furthest - least
    if spread <= 0:
        return (found <= best).all(axis=1).astype(np.float64)
    return 1 - (area - least) / spread
