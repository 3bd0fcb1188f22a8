"""Decide the remaining queries with LPs and MILPs, one by one (HiGHS)."""

import logging
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from sparring.certification.networks.bounds.interval import Interval
from sparring.certification.networks.chances import complete
from sparring.certification.networks.cost_model import forward_cost
from sparring.certification.networks.state import VerificationState
from sparring.certification.networks.verifier import VerifierSchedule, verifier

if TYPE_CHECKING:
    from sparring.certification.networks.milp_encoding import MilpEncoding

log = logging.getLogger(__name__)

WRITING = 6e3
"""Cost of building the MILP, in passes of the network: measured on a convolutional network, 1.3 s for 6e5 multiply-adds."""

Bounds = dict[int, Interval]

DEEPER = 1e-4
"""Share of the summed magnitudes by which a second point must lie beyond the border of the unsafe set."""


def misfit(state: VerificationState) -> str:
    """Return why not, or an empty string."""
    if not state.query.network.relus_only:
        return "the MILP supports networks with ReLUs only"
    if not state.query.inputs.is_box:
        return "the MILP supports boxes only"
    return "the MILP does not model float32 rounding" if state.rounding else ""


def _least_cost(state: VerificationState) -> torch.Tensor:
    return torch.full((len(state),), WRITING * forward_cost(state.query.network), dtype=torch.float64)


@verifier(
    "milp", order=70, cites="Tjeng, Xiao, Tedrake 2019, arXiv:1711.07356", misfit=misfit, keeps_proofs=False,
    schedule=VerifierSchedule(after=("ibp", "crown", "alpha"), anytime=True, least_cost=_least_cost, chance=complete),
)  # fmt: skip
def milp(state: VerificationState, *, tighten: int = 400, most: int = 4000, seconds: float | None = None) -> None:
    """Decide one sample after the other by LPs and MILPs.

    Per sample: open ReLUs of the later layers bounded by linear programs, rows by the relaxation, and disjuncts that remain by the MILP.

    Args:
        tighten: Tighten bounds only where at most so many signs are open after the first layer.
        most: Samples with more open signs are left alone.
        seconds: Limit per sample, besides the limit of the state.

    Only "infeasible" proves, on an unsafe set widened by more than the tolerance of HiGHS.
    """
    for place in state.places[state.margin.argsort(descending=True)].tolist():
        left = min(state.seconds_left(), float("inf") if seconds is None else seconds)
        if left <= 0:
            state.note("time: the limit was reached before the MILP")
            return
        (found,) = (state.places == place).nonzero(as_tuple=True)
        if not len(found):  # refuted with another
            continue
        here = int(found)
        deadline = time.monotonic() + left
        only = torch.zeros(len(state), dtype=torch.bool, device=state.places.device)
        only[here] = True
        count = sum(int(((bound.low < 0) & (bound.high > 0)).sum()) for bound in (bound.take(torch.tensor([here])) for bound in state.bounds.values()))
        if count > most or not state.bounds:
            state.note(f"size: {count} ReLU signs are open, the limit for the MILP is {most}", only)
            continue
        _decide(state, here, only, deadline, tighten)


def _decide(state: VerificationState, here: int, only: torch.Tensor, deadline: float, tighten: int) -> None:
    """Decide one sample, or note why it stays open."""
    from sparring.certification.networks.milp_encoding import encode_milp  # imports scipy, which takes a second

    query, row = state.query, torch.tensor([here])
    network, inputs = query.network, query.inputs.take(row)
    bounds = {node: bound.take(row) for node, bound in state.bounds.items()}
    bounds = tightened(state, here, bounds, deadline, tighten)
    exact = encode_milp(network, inputs.low[0], inputs.high[0], bounds)
    last = len(network.nodes) - 1
    open_ = ~query.settled(state.lower)[here]
    for disjunct in sorted(set(query.disjunct[here][open_].tolist())):
        rows = (query.disjunct[here] == disjunct).nonzero().squeeze(1)
        goals = [exact.objective(network, last, query.constraints[here, one].numpy()) for one in rows.tolist()]
        offsets = query.offset[here][rows].numpy()
        left = deadline - time.monotonic()
        if left <= 0:
            state.note("time: the limit was reached in the MILP", only)
            return
        if any(exact.least(costs, left)[0] + constant + offset > 0 for (costs, constant), offset in zip(goals, offsets, strict=True)):
            continue
        conditions = np.stack([costs for costs, _ in goals])
        limits = -np.array([constant for _, constant in goals]) - offsets
        empty, point = exact.empty(conditions, limits, deadline - time.monotonic())
        if empty:
            continue
        if empty is None or point is None:
            state.note(f"time: the MILP with {int(exact.binary.sum())} open ReLU signs did not finish", only)
            return
        before = len(state)
        state.refute(_near(state, here, point))
        if len(state) == before:  # the point lies on the border of the unsafe set: is there one beyond it?
            _, point = exact.empty(conditions, limits, deadline - time.monotonic(), -DEEPER)
            if point is not None:
                state.refute(_near(state, here, point))
        if len(state) == before:
            state.note("numerics: the network does not confirm the point that the MILP found", only)
        return
    state.prove(only)


def _near(state: VerificationState, here: int, point: np.ndarray) -> torch.Tensor:
    """[n, 1, *in]: for one query the point of a MILP; for the others their middles."""
    inputs = state.query.inputs
    guesses = inputs.middle.clone()
    x = torch.from_numpy(point[: inputs.low[here].numel()]).reshape(inputs.low[here].shape)
    guesses[here] = torch.minimum(torch.maximum(x, inputs.low[here]), inputs.high[here])
    return guesses[:, None]


def tightened(state: VerificationState, here: int, bounds: Bounds, deadline: float, most: int) -> Bounds:
    """Return tighter bounds of one sample.

    The bounds of one sample with open signs behind the first ReLUs bounded by linear programs, layer by layer, where there are at most `most`.
    """
    from sparring.certification.networks.milp_encoding import affine_map, encode_milp

    query = state.query
    network, inputs = query.network, query.inputs.take(torch.tensor([here]))
    later = [activation for activation in network.nonlinearities if set(affine_map(network, network.nodes[activation].inputs[0]).matrices) - {0}]
    total = sum(
        int(((bounds[network.nodes[activation].inputs[0]].low < 0) & (bounds[network.nodes[activation].inputs[0]].high > 0)).sum()) for activation in later
    )
    if total > most:
        return bounds
    for activation in later:
        (before,) = network.nodes[activation].inputs
        low, high = (edge.flatten().clone() for edge in bounds[before])
        relaxed: MilpEncoding = encode_milp(network, inputs.low[0], inputs.high[0], bounds, activation)
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
