"""Sign flip: flip the signs of a few coordinates of the change, and shrink it."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.walk import asked, chances, coins, first_points, kept, to_boundary, walking, wide
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.threats.balls import box

FACTOR = 1.5
"""By what the shares grow when too much succeeds."""


class State(NamedTuple):
    """x: [m, ...], an adversarial point. size: float64 [m], its distance, 0 without one. shrink: float64 [m], next
    step as a share of the distance. flipped: float64 [m], share of the coordinates that are flipped."""

    x: Tensor
    size: Tensor
    shrink: Tensor
    flipped: Tensor


@attack(
    needs={"labels"},
    uses={"toward"},
    cites='Chen, Zhang, Hu, Wu 2020, "Boosting decision-based black-box adversarial attacks with random sign flip", ECCV, algorithm 1',
)
def sign_flip(bout: Bout, *, steps: int = 5000, shrink: float = 0.03, flipped: float = 0.01, start_tries: int = 100) -> Tensor:
    """Made for Linf: add a random sign vector and project into a smaller ball, then flip some signs of the change; each is kept if
    the point is still adversarial.

    steps: of two queries each. shrink: first step, as a share of the distance. flipped: first share of the coordinates
    whose sign is flipped. start_tries: random inputs tried for a first adversarial point.

    Where we differ: both shares follow the sample's own answers after each of them (the paper: after every 10), so that
    a quarter of the steps and half of the flips succeed; noise has the full resolution of the input; a sample within
    its radius stops.
    """

    def start(live: Bout, restart: int) -> State:
        first = first_points(live, start_tries)
        walk = to_boundary(live, first, first.size / 100)
        return State(*walk, torch.full_like(walk.size, shrink), torch.full_like(walk.size, flipped))

    def step(live: Bout, state: State, k: int) -> State:
        return walking(live, walking(live, state, lambda some, here: _shrunk(some, here, k)), lambda some, here: _flipped(some, here, k))

    return climb(bout, start, step, steps=steps)


def _shrunk(bout: Bout, here: State, k: int) -> State:
    """A random step of every coordinate, cut to a smaller distance."""
    x = here.x
    length = here.shrink * here.size
    noise = coins(bout.dice.draw(f"step {k}"), x)
    guess = (x + wide(length.to(x.dtype), x) * noise).clamp(*box(bout.victim.domain, x))
    state, hit = _kept(bout, here, cast(Any, bout.region).toward(guess, here.size - length))
    return state._replace(shrink=(here.shrink * torch.where(hit, FACTOR, FACTOR ** (-1 / 3))).clamp(1e-6, 0.5))


def _flipped(bout: Bout, here: State, k: int) -> State:
    """The change with the signs of a few coordinates flipped, as far as the box lets them."""
    x = here.x
    least = 1 / x[0].numel()
    chosen = chances(bout.dice.draw(f"flip {k}"), here.flipped.clamp_min(least), x)
    guess = torch.where(chosen, 2 * bout.x - x, x).clamp(*box(bout.victim.domain, x))
    state, hit = _kept(bout, here, cast(Any, bout.region).toward(guess, here.size))
    return state._replace(flipped=(here.flipped * torch.where(hit, FACTOR, 1 / FACTOR)).clamp(least, 0.5))


def _kept(bout: Bout, here: State, guess: Tensor) -> tuple[State, Tensor]:
    """The state with the guesses that are adversarial, and bool [m] which those are; finished rows are not asked."""
    rows = bout.unfinished().nonzero().squeeze(1)
    hit = torch.zeros(len(bout), dtype=torch.bool, device=guess.device)
    if not len(rows):
        return here, hit
    hit[rows] = asked(bout, guess[rows], rows)
    x, size = kept(bout, here.x, here.size, guess[hit], hit.nonzero().squeeze(1))
    return here._replace(x=x, size=size), hit
