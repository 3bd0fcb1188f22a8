"""Converts the results of searches to proofs."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sparring.certification.networks.bounds.alpha import Tightened
from sparring.certification.networks.bounds.crown import lower, preactivation_bounds, relaxations
from sparring.certification.networks.bounds.interval import Interval
from sparring.certification.networks.proof.form import Arrays, ReluLeaf, ReluProof, Tightening
from sparring.certification.networks.query import Query

SLACK = 1e-6
"""Smallest bound that is written to a proof, in units of the rows, because the checker sums in another order and rounds outward."""


def arrays(values: Mapping[int, Tensor], row: int) -> Arrays:
    """Return row `row` of values [k, *shape] by activation."""
    return {node: value[row].cpu().numpy() for node, value in values.items()}


def tightenings(how: Sequence[Tightened], sample: int) -> tuple[Tightening, ...]:
    """Return the tightenings of one sample."""
    found = []
    for one in how:
        mine = one.samples == sample
        if bool(mine.any()):
            slopes = {node: slope[mine].cpu().numpy() for node, slope in one.slopes.items()}
            found.append(Tightening(one.node, one.indices[mine].cpu().numpy(), one.signs[mine].to(torch.int8).cpu().numpy(), slopes))
    return tuple(found)


def one_row(query: Query, sample: int, row: int, slopes: Arrays | None = None, tightened: int = 0) -> ReluLeaf:
    """Return a leaf without splits that rests on one row."""
    weights = np.zeros(query.constraints.shape[1])
    weights[row] = 1.0
    return ReluLeaf(int(query.disjunct[sample, row]), weights, tightened=tightened, slopes=slopes or {})


def plain_leaves(query: Query, bounds: Mapping[int, Interval] | None = None) -> list[dict[int, ReluLeaf]]:
    """Return the leaves that CROWN proves at default slopes, per sample and disjunct.

    The bounds are those that a proof tells how to obtain, by default those of its root.
    """
    network = query.network
    known = preactivation_bounds(network, query.inputs) if bounds is None else bounds
    rows = query.constraints.reshape(*query.constraints.shape[:2], *network.shapes[-1])
    found = lower(network, query.inputs, len(network.nodes) - 1, rows, relaxations(network, known)) + query.offset
    leaves: list[dict[int, ReluLeaf]] = [{} for _ in range(len(query))]
    for sample, row in ((found > SLACK) & (query.disjunct >= 0)).nonzero().tolist():
        leaves[sample].setdefault(int(query.disjunct[sample, row]), one_row(query, sample, row))
    return leaves


def plain_proofs(query: Query) -> dict[int, ReluProof]:
    """Return proofs, by sample, where CROWN at default slopes proves all disjuncts."""
    return whole(query, plain_leaves(query))


def whole(query: Query, leaves: Sequence[Mapping[int, ReluLeaf]], how: Sequence[Tightened] = ()) -> dict[int, ReluProof]:
    """Return proofs, by sample, where all disjuncts have a leaf."""
    disjuncts = [set(disjunct[disjunct >= 0].tolist()) for disjunct in query.disjunct]
    return {sample: ReluProof(tuple(mine.values()), tightenings(how, sample)) for sample, mine in enumerate(leaves) if disjuncts[sample] == set(mine)}
