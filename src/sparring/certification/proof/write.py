"""From what searches find to what a proof says."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparring.certification.bounds.crown import bounds_of_bends, lower, relaxations
from sparring.certification.bounds.interval import Interval
from sparring.certification.proof.form import Arrays, ReluLeaf, ReluProof, Tightening
from sparring.certification.question import Question

SLACK = 1e-6
"""A bound that goes into a proof is above this, in units of the rows: whoever checks it sums in another order, or rounds outward."""


class Tightened(NamedTuple):
    """How numbers of a node got their bounds: number `indices` (int64 [k], flattened) of sample `samples` (int64 [k]) times `signs` (+1: from below, -1:
    from above) at lower slopes [k, *shape] by bend."""

    node: int
    samples: Tensor
    indices: Tensor
    signs: Tensor
    slopes: dict[int, Tensor]


def arrays(values: Mapping[int, Tensor], row: int) -> Arrays:
    """Row `row` of values [k, *shape] by bend."""
    return {place: value[row].cpu().numpy() for place, value in values.items()}


def tightenings(how: Sequence[Tightened], sample: int) -> tuple[Tightening, ...]:
    """Those of one sample."""
    found = []
    for one in how:
        mine = one.samples == sample
        if bool(mine.any()):
            slopes = {place: slope[mine].cpu().numpy() for place, slope in one.slopes.items()}
            found.append(Tightening(one.node, one.indices[mine].cpu().numpy(), one.signs[mine].to(torch.int8).cpu().numpy(), slopes))
    return tuple(found)


def one_row(question: Question, sample: int, row: int, slopes: Arrays | None = None, tightened: int = 0) -> ReluLeaf:
    """A leaf without splits that rests on one row."""
    weights = np.zeros(question.rows.shape[1])
    weights[row] = 1.0
    return ReluLeaf(int(question.clause[sample, row]), weights, tightened=tightened, slopes=slopes or {})


def plain_leaves(question: Question, bounds: Mapping[int, Interval] | None = None) -> list[dict[int, ReluLeaf]]:
    """For each sample, by clause, what CROWN at default slopes proves; with bounds that a proof tells how to obtain, by default those of its root."""
    network = question.network
    known = bounds_of_bends(network, question.inputs) if bounds is None else bounds
    rows = question.rows.reshape(*question.rows.shape[:2], *network.shapes[-1])
    found = lower(network, question.inputs, len(network.nodes) - 1, rows, relaxations(network, known)) + question.offset
    leaves: list[dict[int, ReluLeaf]] = [{} for _ in range(len(question))]
    for sample, row in ((found > SLACK) & (question.clause >= 0)).nonzero().tolist():
        leaves[sample].setdefault(int(question.clause[sample, row]), one_row(question, sample, row))
    return leaves


def plain_proofs(question: Question) -> dict[int, ReluProof]:
    """By sample, proofs of those that CROWN at default slopes proves for all clauses."""
    return whole(question, plain_leaves(question))


def whole(question: Question, leaves: Sequence[Mapping[int, ReluLeaf]], how: Sequence[Tightened] = ()) -> dict[int, ReluProof]:
    """By sample, proofs of those whose clauses all have a leaf."""
    clauses = [set(clause[clause >= 0].tolist()) for clause in question.clause]
    return {sample: ReluProof(tuple(mine.values()), tightenings(how, sample)) for sample, mine in enumerate(leaves) if clauses[sample] == set(mine)}
