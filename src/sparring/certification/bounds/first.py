"""The first rungs: intervals, then CROWN."""

from sparring.certification.bounds.crown import bounds_of_bends, lower, relaxations
from sparring.certification.bounds.interval import intervals, margins
from sparring.certification.docket import Docket
from sparring.certification.proof.write import plain_proofs
from sparring.certification.rung import rung


@rung("ibp", order=10, cites="Gowal et al. 2018, arXiv:1810.12715")
def ibp(docket: Docket) -> None:
    """Intervals with the last layer elided."""
    question = docket.question
    values = intervals(question.network, question.inputs, docket.bounds, docket.bands)
    docket.bounds = {before: values[before] for bend in question.network.bends for before in question.network.nodes[bend].inputs}
    last = len(question.network.nodes) - 1
    if not docket.bands or last not in docket.bands:
        docket.improve(margins(question.network, values, question.rows) + question.offset)


@rung("crown", order=20, cites="Zhang et al. 2018, arXiv:1811.00866")
def crown(docket: Docket) -> None:
    """Backward bounds of all bends, then of the rows."""
    question, network = docket.question, docket.question.network
    docket.bounds = bounds_of_bends(network, question.inputs, docket.bounds, docket.bands)
    rows = question.rows.reshape(*question.rows.shape[:2], *network.shapes[-1])
    found = lower(network, question.inputs, len(network.nodes) - 1, rows, relaxations(network, docket.bounds), None, docket.bands)
    docket.improve(found + question.offset, plain_proofs(question) if docket.proofs else None)
