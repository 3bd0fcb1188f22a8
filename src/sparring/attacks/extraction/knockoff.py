"""Knockoff: ask the model about inputs at hand, and train a copy on its answers."""

from sparring.attacks.extraction.probe import ExtractionProbe
from sparring.attacks.method import method
from sparring.core.taxonomy import EXTRACTION
from sparring.core.victim import Victim


@method(aim="extraction", cites="Orekondy, Schiele, Fritz 2019, arXiv:1812.02766, github.com/tribhuvanesh/knockoffnets", taxonomy=EXTRACTION)
def knockoff(probe: ExtractionProbe, *, queries: int = 1000) -> Victim:
    """Ask for answers to random inputs of the pool and train on them as if they were true.

    Args:
        probe: The model and the pool.
        queries: Answers that may be asked for; the whole pool where it is smaller.

    Returns:
        The copy.

    Differs from the paper: it trains on answers, not on scores, so that it works against models that return labels only.
    """
    rows = probe.order()[:queries].sort().values
    answers = probe.ask(rows)
    return probe.train(probe.pool.rows(rows).derived(y=answers.to(probe.pool.y)))


@method(aim="extraction", cites="", control=True)
def no_victim(probe: ExtractionProbe) -> Victim:
    """Train on the true answers of the whole pool, without a query.

    Anyone gets that far who has such data and no model to copy.

    Args:
        probe: The pool with its true answers.

    Returns:
        A model that owes the victim nothing.
    """
    return probe.train(probe.pool)
