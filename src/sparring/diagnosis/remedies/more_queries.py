"""More queries: random search with ten times the queries of the check D22."""

from collections.abc import Iterator

from sparring.diagnosis.doctor import Subject
from sparring.diagnosis.probe import DRAWS, deployed, is_random, square
from sparring.diagnosis.remedy import Trying, remedy

QUERIES = 2000
"""Ten times the queries of the check D22."""


@remedy("ten times the queries", order=60, only_if_doubtful=True)
def more_queries(subject: Subject) -> Iterator[Trying]:
    """Try random search without gradients, with ten times the queries of the check D22."""
    loose = is_random(subject)
    one = square(subject, QUERIES // DRAWS if loose else QUERIES)
    if one is not None:
        yield Trying(str(one), one, deployed(subject) if loose else None)
