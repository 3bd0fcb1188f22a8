"""Sign flip: flip the signs of a few coordinates of the change, and shrink it."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.walk import asked, chances, coins, first_points, kept, to_boundary, walking
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.space import wide
from sparring.threats.balls import box

FACTOR = 1.5
"""Factor by which the shares grow if too many steps succeed."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], an adversarial point. size: float64 [m], its distance, 0 without one. shrink: float64 [m], next step as a
    share of the distance. flipped: float64 [m], share of the coordinates that are flipped.
    """

    x: Tensor
    size: Tensor
    shrink: Tensor
    flipped: Tensor


@attack(
    needs={"labels"},
    uses={"toward"},
    cites='Chen, Zhang, Hu, Wu 2020, "Boosting decision-based black-box adversarial attacks with random sign flip", ECCV, algorithm 1',
)
def sign_flip(problem: Problem, *, steps: int = 5000, shrink: float = 0.03, flipped: float = 0.01, start_tries: int = 100) -> Tensor:
    """Shrink an adversarial change and flip a few of its signs, while it stays adversarial.

    Each iteration adds a random sign vector and projects into a smaller ball, then flips some signs of the change; each step is kept
    if the point is still adversarial. It is made for Linf.

    Args:
        steps: Of two queries each.
        shrink: First step, as a share of the distance.
        flipped: First share of the coordinates whose sign is flipped.
        start_tries: Random inputs tried for a first adversarial point.

    Source: Chen, Zhang, Hu, Wu 2020, "Boosting decision-based black-box adversarial attacks with random sign flip", ECCV,
    algorithm 1.

    Differs from the paper: both shares follow the sample's own answers after each of them (the paper: after every 10), so that
    a quarter of the steps and half of the flips succeed; noise has the full resolution of the input; a sample within
    its radius stops.
    """

    def start(live: Problem, restart: int) -> State:
        first = first_points(live, start_tries)
        walk = to_boundary(live, first, first.size / 100)
        return State(*walk, torch.full_like(walk.size, shrink), torch.full_like(walk.size, flipped))

    def step(live: Problem, state: State, k: int) -> State:
        return walking(live, walking(live, state, lambda some, here: _shrunk(some, here, k)), lambda some, here: _flipped(some, here, k))

    return iterate(problem, start, step, steps=steps)


def _shrunk(problem: Problem, here: State, k: int) -> State:
    """Return a random step of every coordinate, projected to a smaller distance."""
    x = here.x
    length = here.shrink * here.size
    noise = coins(problem.rng.draw(f"step {k}"), x)
    guess = (x + wide(length.to(x.dtype), x) * noise).clamp(*box(problem.victim.domain, x))
    state, hit = _kept(problem, here, cast(Any, problem.region).toward(guess, here.size - length))
    return state._replace(shrink=(here.shrink * torch.where(hit, FACTOR, FACTOR ** (-1 / 3))).clamp(1e-6, 0.5))


def _flipped(problem: Problem, here: State, k: int) -> State:
    """Return the change with the signs of a few coordinates flipped, clipped to the box."""
    x = here.x
    least = 1 / x[0].numel()
    chosen = chances(problem.rng.draw(f"flip {k}"), here.flipped.clamp_min(least), x)
    guess = torch.where(chosen, 2 * problem.x - x, x).clamp(*box(problem.victim.domain, x))
    state, hit = _kept(problem, here, cast(Any, problem.region).toward(guess, here.size))
    return state._replace(flipped=(here.flipped * torch.where(hit, FACTOR, 1 / FACTOR)).clamp(least, 0.5))


def _kept(problem: Problem, here: State, guess: Tensor) -> tuple[State, Tensor]:
    """Return the state with the candidates that are adversarial, and which ones they are, bool [m]; finished rows are not queried."""
    rows = problem.unfinished().nonzero().squeeze(1)
    hit = torch.zeros(len(problem), dtype=torch.bool, device=guess.device)
    if not len(rows):
        return here, hit
    hit[rows] = asked(problem, guess[rows], rows)
    x, size = kept(problem, here.x, here.size, guess[hit], hit.nonzero().squeeze(1))
    return here._replace(x=x, size=size), hit
