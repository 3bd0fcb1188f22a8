"""Natural evolution strategies and SPSA: gradients estimated from scores at random points nearby."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.evasion.query.crowd import ask_crowd
from sparring.attacks.evasion.query.walk import coins
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.problem import Problem
from sparring.threats.balls import box


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. velocity: like x, the running mean of the estimates.
    """

    x: Tensor
    velocity: Tensor


@attack(
    needs={"scores"},
    uses={"ascend", "project"},
    cites="Ilyas et al. 2018, arXiv:1804.08598, algorithm 1; SPSA: Uesato et al. 2018, arXiv:1802.05666, algorithm 1",
)
def nes(
    problem: Problem,
    *,
    steps: int = 100,
    samples: int = 50,
    reach: float = 0.001,
    step_size: float = 0.1,
    directions: Literal["gaussian", "signs"] = "gaussian",
    momentum: float = 0.9,
    loss: str = "margin",
) -> Tensor:
    """Ascend gradients that are estimated from scores at pairs of points on both sides of x.

    Args:
        steps: Moves.
        samples: Points asked for one estimate, in pairs; each move costs one query more.
        reach: How far the points lie from x, in the units of the input (a standard deviation).
        step_size: As a share of the radius.
        directions: "gaussian" is NES, "signs" is SPSA.
        momentum: Share of the old direction in the new one.
        loss: What is climbed, the name of a registered one.

    Source: Ilyas et al. 2018, arXiv:1804.08598, algorithm 1; SPSA: Uesato et al. 2018, arXiv:1802.05666, algorithm 1.

    Differs from the paper: probes stay inside the bounds of the input; steps have a fixed size, and SPSA moves along its
    estimate as NES does, where the paper gives it to Adam; a sample that is broken stops.
    """
    climbed, pairs = loss_of(loss), max(samples // 2, 1)

    def start(live: Problem, restart: int) -> State:
        return State(live.x, torch.zeros_like(live.x))

    def step(live: Problem, state: State, k: int) -> State:
        rng = live.rng.draw(f"probes {k}")
        low, high = box(live.victim.domain, live.x)

        def noise(some: Problem, rows: Tensor, turn: int) -> Tensor:
            drawn = rng.take(rows).draw(turn)
            return drawn.normal(*live.x.shape[1:], dtype=live.x.dtype) if directions == "gaussian" else coins(drawn, live.x[rows])

        def points(some: Problem, rows: Tensor, turns: range) -> Tensor:
            moved = [state.x[rows] + (1 - 2 * (turn % 2)) * reach * noise(some, rows, turn // 2) for turn in turns]
            return torch.stack([one.clamp(low, high) for one in moved], 1)

        values = ask_crowd(live, 2 * pairs, points, value=climbed, probe=True)
        slopes = (values[:, ::2] - values[:, 1::2]).nan_to_num(0.0, 0.0, 0.0)
        open_ = live.unfinished().nonzero().squeeze(1)
        velocity = momentum * state.velocity
        if not len(open_):
            return State(state.x, velocity)
        some = live.take(open_)
        total = torch.zeros_like(state.x[open_])
        for pair in range(pairs):
            total += slopes[open_, pair].to(total.dtype).reshape(-1, *[1] * (total.ndim - 1)) * noise(some, open_, pair)
        length = total.flatten(1).abs().amax(1).clamp_min(torch.finfo(total.dtype).tiny).reshape(-1, *[1] * (total.ndim - 1))
        velocity[open_] += (1 - momentum) * total / length
        x = state.x.clone()
        x[open_] = along(some, state.x[open_], velocity[open_], step_size)
        some.scores(x[open_])
        return State(x, velocity)

    return iterate(problem, start, step, steps=steps)
