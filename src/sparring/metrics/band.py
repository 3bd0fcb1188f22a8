"""The band: robust accuracy lies between what was proved and what was not broken.

Like `outcome`, everything counts rows of `Record.table()` of one case.
"""

from typing import NamedTuple

import pandas as pd

from sparring.core.rate import Rate
from sparring.metrics.metric import metric
from sparring.metrics.outcome import CLEAN, judged, outcomes, robust_accuracy

OF_CERTIFICATES = ("proved", "unknown")


class Band(NamedTuple):
    """Hold both ends of the band; the truth for these samples lies between the two values.

    Attributes:
        certified: The share that is right and certified.
        empirical: The share that is right and not broken.
    """

    certified: Rate
    empirical: Rate

    def __str__(self) -> str:
        return f"{self.certified.value:.1%} to {self.empirical.value:.1%} of {self.empirical.n}"


def certified_by(case: pd.DataFrame) -> list[str]:
    """Return the certifiers among the attacks of a case, in order."""
    return list(dict.fromkeys(case.attack[case.status.isin(OF_CERTIFICATES)]))


def proved(case: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of certificates that are proved, one per sample that is right.

    They are indexed by id, and `note` names the method. A sample that an attack broke all the same (statistical certificates err now
    and then) is not among them.
    """
    right = outcomes(case)
    broken = set(case.id[(case.status == "broken") & (case.attack != CLEAN)])
    found = case[(case.status == "proved") & case.id.isin(right.index[right.clean]) & ~case.id.isin(broken)]
    return found.drop_duplicates("id").set_index("id")


@metric("certified_accuracy")
def certified_accuracy(case: pd.DataFrame) -> Rate:
    """Return the share of samples that are right and certified."""
    return Rate.of(len(proved(case)), len(outcomes(case)))


def band(case: pd.DataFrame) -> Band:
    """Return both ends of the band."""
    return Band(certified_accuracy(case), robust_accuracy(case))


def proved_by(case: pd.DataFrame) -> dict[str, int]:
    """Return how many samples each method proved, in the order in which they were tried."""
    counts = proved(case).note.value_counts()
    return {str(method): int(count) for method, count in counts.items()}


def band_at(case: pd.DataFrame, radius: float) -> Band:
    """Return the band at a smaller radius than that of the case.

    It follows from certified radii and from the sizes of what broke. It is the tighter, the more the certificates searched for the
    largest radius and the attacks for the smallest change (`smallest`).
    """
    rows = judged(case)
    found = outcomes(case)
    right = set(found.index[found.clean])
    certificates = rows[rows.attack.isin(certified_by(rows)) & rows.id.isin(right)]
    held = set(certificates.id[(certificates["size"] >= radius) & certificates.status.isin(OF_CERTIFICATES)])
    attacked = rows[(rows.attack != CLEAN) & rows.id.isin(right)]
    fallen = set(attacked.id[(attacked.status == "broken") & (attacked["size"] <= radius)]) | set(attacked.id[attacked.status == "error"])
    return Band(Rate.of(len(held), len(found)), Rate.of(len(right - fallen), len(found)))
