"""alpha-CROWN: lower slopes of ReLUs optimised for each row, and for each number that goes into a ReLU of open sign.

Xu et al. 2021, arXiv:2011.13824. We differ in how bounds inside the network are optimised: node by node, each row to its own end, instead of all together for
the sake of the last rows: slopes of a row inside serve that row alone, so raising it raises what rests on it.
"""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sparring.certification.bounds.ascent import jobs_at_once, optimised
from sparring.certification.bounds.crown import bounds_of_bends
from sparring.certification.bounds.inputs import InputSet
from sparring.certification.bounds.interval import Bands, Interval
from sparring.certification.docket import Docket
from sparring.certification.proof.form import ReluLeaf
from sparring.certification.proof.write import SLACK, Tightened, arrays, one_row, plain_leaves, tightenings, whole
from sparring.certification.question import Question
from sparring.certification.rung import rung
from sparring.models.network.network import Network
from sparring.models.network.operators import Relu

Leaves = list[dict[int, ReluLeaf]]
"""For each sample, by clause."""


def tightened(
    network: Network, inputs: InputSet, bounds: Mapping[int, Interval], *, steps: int = 10, rate: float = 0.2, bands: Bands | None = None,
    seconds: float = math.inf,
) -> tuple[dict[int, Interval], list[Tightened]]:  # fmt: skip
    """Bounds of what goes into ReLUs with slopes optimised for every number of open sign, from below and from above, node by node: each node is bounded with
    the better bounds of those before. And how each was found. After `seconds` the rest stays as it is."""
    began = time.monotonic()
    found = dict(bounds)
    how: list[Tightened] = []
    fed = sorted({node.inputs[0] for place in network.bends if isinstance((node := network.nodes[place]).operator, Relu)})
    for place in fed:
        if not any(bend < place for bend in network.bends):
            continue
        value = found[place]
        low, high = value.low.flatten(1).clone(), value.high.flatten(1).clone()
        samples, indices = ((low < 0) & (high > 0)).nonzero(as_tuple=True)
        signs = torch.cat([torch.ones_like(indices), -torch.ones_like(indices)]).to(low.dtype)
        samples, indices = samples.repeat(2), indices.repeat(2)
        for piece in torch.arange(len(samples), device=samples.device).split(jobs_at_once(network, place)):
            if time.monotonic() - began > seconds:
                return found, how
            own, index, sign = samples[piece], indices[piece], signs[piece]
            rows = torch.zeros(len(piece), low.shape[1], dtype=low.dtype, device=low.device).scatter_(1, index[:, None], sign[:, None])
            done = optimised(network, inputs, place, rows.reshape(-1, *value.low.shape[1:]), found, samples=own, steps=steps, rate=rate, bands=bands)
            below = sign > 0
            low[own[below], index[below]] = torch.maximum(low[own[below], index[below]], done.lower[below])
            high[own[~below], index[~below]] = torch.minimum(high[own[~below], index[~below]], -done.lower[~below])
            how.append(Tightened(place, own, index, sign, done.slopes))
        found[place] = Interval(low.reshape(value.low.shape), high.reshape(value.high.shape))
    return found, how


@rung("alpha", order=30, cites="Xu et al. 2021, arXiv:2011.13824")
def alpha(docket: Docket, *, steps: int = 20, rate: float = 0.1, inner_steps: int = 10, inner_rate: float = 0.2) -> None:
    """Slopes of the rows first; for what that leaves open, slopes of every neuron of open sign (`inner_steps` 0: not), then of the rows again."""
    network = docket.question.network
    if docket.proofs:
        docket.bounds = bounds_of_bends(network, docket.question.inputs)  # those that a proof starts from
    leaves = plain_leaves(docket.question, docket.bounds) if docket.proofs else None
    leaves = _raise(docket, steps, rate, leaves)
    if not len(docket) or not inner_steps:
        return
    question, left = docket.question, docket.seconds_left()
    docket.bounds, how = tightened(network, question.inputs, docket.bounds, steps=inner_steps, rate=inner_rate, bands=docket.bands, seconds=left)
    _raise(docket, steps, rate, leaves, how)


def _raise(
    docket: Docket, steps: int, rate: float, leaves: list[dict[int, ReluLeaf]] | None, how: Sequence[Tightened] = ()
) -> list[dict[int, ReluLeaf]] | None:
    """Better bounds of the rows that are open. leaves: by sample what is proved in a way that proofs can tell; those of samples that remain."""
    question, network = docket.question, docket.question.network
    wanted = ~question.settled_rows(docket.lower) if leaves is None else _unproved(question, leaves)
    sample, row = wanted.nonzero(as_tuple=True)
    if not len(sample):
        if leaves is not None:
            proofs = whole(question, leaves, how)
            docket.prove(torch.tensor([place in proofs for place in range(len(docket))], dtype=torch.bool), proofs)
            leaves = [leaf for place, leaf in enumerate(leaves) if place not in proofs]
        return leaves
    slack = 0.0 if leaves is None else SLACK
    rows, offset = question.rows[sample, row].reshape(-1, *network.shapes[-1]), question.offset[sample, row]
    found = optimised(
        network, question.inputs, len(network.nodes) - 1, rows, docket.bounds, samples=sample, steps=steps, rate=rate, stop=slack - offset, bands=docket.bands
    )
    lower = torch.full_like(docket.lower, -math.inf)
    lower[sample, row] = found.lower + offset
    if leaves is None:
        docket.improve(lower)
        return None
    for job in (lower[sample, row] > slack).nonzero().squeeze(1).tolist():
        where, one = int(sample[job]), int(row[job])
        leaf = one_row(question, where, one, arrays(found.slopes, job), len(tightenings(how, where)))
        leaves[where].setdefault(leaf.clause, leaf)
    proofs = whole(question, leaves, how)
    before = docket.places
    proved = torch.tensor([place in proofs for place in range(len(docket))], dtype=torch.bool)
    docket.lower = torch.maximum(docket.lower, lower)
    docket.prove(proved, proofs)
    return [leaves[row] for row in torch.isin(before, docket.places).nonzero().squeeze(1).tolist()]


def _unproved(question: Question, leaves: Leaves) -> Tensor:
    """bool [n, r]: rows of clauses without a leaf."""
    wanted = question.clause >= 0
    for sample, mine in enumerate(leaves):
        for clause in mine:
            wanted[sample] &= question.clause[sample] != clause
    return wanted
