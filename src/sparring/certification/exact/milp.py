"""Linear and mixed-integer programmes through HiGHS: what bounds and splits leave open, sample by sample."""

import logging
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from sparring.certification.bounds.interval import Interval
from sparring.certification.docket import Docket
from sparring.certification.rung import rung

if TYPE_CHECKING:
    from sparring.certification.programme import Programme

log = logging.getLogger(__name__)

Bounds = dict[int, Interval]

DEEPER = 1e-4
"""By how much, as a share of what is summed, a second point is to be beyond the border of what is unsafe."""


def misfit(docket: Docket) -> str:
    """Why not, or an empty string."""
    if not docket.question.network.relus_only:
        return "programmes are written for networks of ReLUs"
    if not docket.question.inputs.is_box:
        return "programmes are written for boxes"
    return "rounding of the executed network has no place in a programme" if docket.bands else ""


@rung("milp", order=70, cites="Tjeng, Xiao, Tedrake 2019, arXiv:1711.07356", misfit=misfit)
def milp(docket: Docket, *, tighten: int = 400, most: int = 4000, seconds: float | None = None) -> None:
    """Per sample: open ReLUs of the later layers bounded by linear programmes, rows by the relaxation, and clauses that remain by the exact programme.

    tighten: only where at most so many signs are open after the first layer. most: samples with more open signs are left alone.
    seconds: limit a sample, besides the limit of the docket. Only "infeasible" proves, on an unsafe set widened by more than the tolerance of HiGHS.
    """
    for place in docket.places[docket.margin.argsort(descending=True)].tolist():
        left = min(docket.seconds_left(), float("inf") if seconds is None else seconds)
        if left <= 0:
            docket.note("time: the limit was reached before the exact programme")
            return
        (found,) = (docket.places == place).nonzero(as_tuple=True)
        if not len(found):  # refuted with another
            continue
        here = int(found)
        deadline = time.monotonic() + left
        only = torch.zeros(len(docket), dtype=torch.bool, device=docket.places.device)
        only[here] = True
        count = sum(int(((bound.low < 0) & (bound.high > 0)).sum()) for bound in (bound.take(torch.tensor([here])) for bound in docket.bounds.values()))
        if count > most or not docket.bounds:
            docket.note(f"size: {count} signs are open, more than the {most} that the exact programme is tried on", only)
            continue
        _decide(docket, here, only, deadline, tighten)


def _decide(docket: Docket, here: int, only: torch.Tensor, deadline: float, tighten: int) -> None:
    """One sample: settled, or a note why not."""
    from sparring.certification.programme import programme  # brings scipy with it: a second that questions settled earlier need not wait for

    question, row = docket.question, torch.tensor([here])
    network, inputs = question.network, question.inputs.take(row)
    bounds = {place: bound.take(row) for place, bound in docket.bounds.items()}
    bounds = tightened(docket, here, bounds, deadline, tighten)
    exact = programme(network, inputs.low[0], inputs.high[0], bounds)
    last = len(network.nodes) - 1
    open_ = ~question.settled_rows(docket.lower)[here]
    for clause in sorted(set(question.clause[here][open_].tolist())):
        rows = (question.clause[here] == clause).nonzero().squeeze(1)
        goals = [exact.objective(network, last, question.rows[here, one].numpy()) for one in rows.tolist()]
        offsets = question.offset[here][rows].numpy()
        left = deadline - time.monotonic()
        if left <= 0:
            docket.note("time: the limit was reached in the exact programme", only)
            return
        if any(exact.least(costs, left)[0] + constant + offset > 0 for (costs, constant), offset in zip(goals, offsets, strict=True)):
            continue
        conditions = np.stack([costs for costs, _ in goals])
        limits = -np.array([constant for _, constant in goals]) - offsets
        empty, point = exact.empty(conditions, limits, deadline - time.monotonic())
        if empty:
            continue
        if empty is None or point is None:
            docket.note(f"time: the exact programme with {int(exact.binary.sum())} open signs did not end", only)
            return
        before = len(docket)
        docket.refute(_near(docket, here, point))
        if len(docket) == before:  # the point lies on the border of what is unsafe: is there one beyond it?
            _, point = exact.empty(conditions, limits, deadline - time.monotonic(), -DEEPER)
            if point is not None:
                docket.refute(_near(docket, here, point))
        if len(docket) == before:
            docket.note("numerics: the exact programme found a point that the network does not confirm", only)
        return
    docket.prove(only)


def _near(docket: Docket, here: int, point: np.ndarray) -> torch.Tensor:
    """[n, 1, *in]: for one question the point of a programme; for the others their middles."""
    inputs = docket.question.inputs
    guesses = inputs.middle.clone()
    x = torch.from_numpy(point[: inputs.low[here].numel()]).reshape(inputs.low[here].shape)
    guesses[here] = torch.minimum(torch.maximum(x, inputs.low[here]), inputs.high[here])
    return guesses[:, None]


def tightened(docket: Docket, here: int, bounds: Bounds, deadline: float, most: int) -> Bounds:
    """The bounds of one sample with open signs behind the first ReLUs bounded by linear programmes, layer by layer, where there are at most `most`."""
    from sparring.certification.programme import affine_map, programme

    question = docket.question
    network, inputs = question.network, question.inputs.take(torch.tensor([here]))
    later = [bend for bend in network.bends if set(affine_map(network, network.nodes[bend].inputs[0]).matrices) - {0}]
    total = sum(int(((bounds[network.nodes[bend].inputs[0]].low < 0) & (bounds[network.nodes[bend].inputs[0]].high > 0)).sum()) for bend in later)
    if total > most:
        return bounds
    for bend in later:
        (before,) = network.nodes[bend].inputs
        low, high = (edge.flatten().clone() for edge in bounds[before])
        relaxed: Programme = programme(network, inputs.low[0], inputs.high[0], bounds, bend)
        for place in ((low < 0) & (high > 0)).nonzero().squeeze(1).tolist():
            if time.monotonic() > deadline - 1:
                return bounds
            weights = np.zeros(len(low))
            weights[place] = 1.0
            costs, constant = relaxed.objective(network, before, weights)
            low[place] = max(float(low[place]), relaxed.least(costs)[0] + constant)
            if low[place] < 0:
                high[place] = min(float(high[place]), constant - relaxed.least(-costs)[0])
        shape = bounds[before].low.shape
        bounds = {**bounds, before: Interval(low.reshape(shape), high.reshape(shape))}
    return bounds
