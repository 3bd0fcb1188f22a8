"""The fixed split of the embedded sets."""

import numpy as np

from sparring.core.errors import UnknownName

EVERY = 3
"""Every third row is for testing: positions 2, 5, 8, ... in scikit-learn's order; all others are for training."""

SPLITS = ("train", "test", "all")


def rows_of(split: str, count: int) -> tuple[np.ndarray, list[str]]:
    """Return the positions [m] of a split of `count` rows, and for each "train" or "test".

    The split depends on positions alone, so it is the same everywhere and for ever.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    positions = np.arange(count)
    tested = positions % EVERY == EVERY - 1
    chosen = positions[{"train": ~tested, "test": tested, "all": positions >= 0}[split]]
    return chosen, ["test" if tested[place] else "train" for place in chosen]
