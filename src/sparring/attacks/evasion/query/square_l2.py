"""Square attack for L2: random search over windows with a bump in the middle, each paid for by another."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.query.square import layout, warmed, window_side
from sparring.attacks.loop import climb
from sparring.core.bout import Bout
from sparring.core.dice import Dice


class State(NamedTuple):
    """x: [m, ...], the best point. margin: [m], how far it is past the goal."""

    x: Tensor
    margin: Tensor


class Window(NamedTuple):
    """One window a row. inside: bool [m, 1, height, width]. down, right: int64 [m, height or width], the place in the window."""

    inside: Tensor
    down: Tensor
    right: Tensor


@attack(
    needs={"scores"},
    uses={"stretch"},
    cites="Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 3, equation 2; github.com/max-andr/square-attack",
)
def square_l2(bout: Bout, *, queries: int = 5000, share: float = 0.8, restarts: int = 1, warm: bool = False) -> Tensor:
    """Random search for L2: move the length that two windows hold into the first, in the shape of two opposite bumps.

    queries: per restart and sample. share: part of the pixels in a window at first. restarts: new tiles and windows,
    for samples that still stand. warm: begin at the best point that is known, if any was asked about, and not with
    tiles. Inputs without height and width are taken as one row of pixels.

    Where we differ: every sample draws windows of its own, which may reach the last row and column; what the
    edge of the box cuts off a change goes to the coordinates that still have room, so that each point
    has the full radius (the original clips, and makes up for it in later windows). The first share is that of
    AutoAttack; the paper's 0.1 broke fewer MNIST images.
    """
    turn = 0

    def start(live: Bout, restart: int) -> State:
        nonlocal turn
        turn = restart
        x = cast(Any, live.region).stretch(live.x + _tiles(live.x, live.dice.draw(f"tiles {restart}")).reshape(live.x.shape))
        if warm and restart == 0:
            x = warmed(live, x)
        return State(x, live.margins(x))

    def step(live: Bout, state: State, k: int) -> State:
        channels, height, width = layout(live.x)
        side = max(window_side(share, k + 1, queries, height, width), 3) | 1
        sides = min(side, height), min(side, width)
        dice = live.dice.draw(f"window {k}")
        dice = dice.draw(turn) if turn else dice
        here, there = (_window(dice.draw(name), height, width, *sides) for name in ("to", "from"))
        delta = (state.x - live.x).reshape(-1, channels, height, width)
        unit = delta * here.inside / _length(delta * here.inside).clamp_min(1e-10)
        new = dice.draw("signs").signs(channels, 1, 1, dtype=delta.dtype) * _bumps(here, *sides, dice).to(delta.dtype) + unit
        both = here.inside | there.inside
        unused = (cast(Any, live.region).radius.reshape(-1, 1, 1, 1) ** 2 - delta.double().square().sum((1, 2, 3), keepdim=True)).clamp_min(0) / channels
        held = (_length(delta * both).double().square() + unused).sqrt().to(delta.dtype)
        delta = torch.where(both, 0.0, delta) + new / _length(new).clamp_min(1e-10) * held
        x = cast(Any, live.region).stretch(live.x + delta.reshape(live.x.shape))
        margin = live.margins(x)
        better = margin > state.margin
        return State(torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, state.x), torch.where(better, margin, state.margin))

    return climb(bout, start, step, steps=max(queries - 1, 0), restarts=restarts)


def bump(height: int, width: int) -> Tensor:
    """float64 [height, width]: equation 2, rings that fall from the middle outward; of length 1."""
    down, right = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    ring = torch.maximum(down.abs()[:, None], right.abs()[None, :])
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).pow(-2).cumsum(0)])
    drawn = sums[-1] - sums[ring]
    return drawn / drawn.norm().clamp_min(1e-30)


def two_bumps(height: int, width: int) -> Tensor:
    """float64 [height, width]: one half up, the other down, cut across the longer side; of length 1."""
    if width > height:
        return two_bumps(width, height).T
    half = height // 2
    drawn = torch.cat([bump(half, width), -bump(height - half, width)])
    return drawn / drawn.norm().clamp_min(1e-30)


def _bumps(window: Window, tall: int, wide: int, dice: Dice) -> Tensor:
    """[m, 1, height, width]: two bumps in the window, in a square one lying as often as standing."""
    drawn = two_bumps(tall, wide).to(window.down.device)
    placed = drawn[window.down[:, :, None], window.right[:, None, :]]
    if tall == wide:
        lying = drawn.T[window.down[:, :, None], window.right[:, None, :]]
        placed = torch.where(dice.draw("lying").signs(1, 1) > 0, lying, placed)
    return placed[:, None] * window.inside


def _window(dice: Dice, height: int, width: int, tall: int, wide: int) -> Window:
    places, inside = [], []
    for name, length, side in (("top", height, tall), ("left", width, wide)):
        place = torch.arange(length, device=dice.keys.device) - dice.draw(name).integers(length - side + 1, 1)
        inside.append((place >= 0) & (place < side))
        places.append(place.clamp(0, side - 1))
    return Window((inside[0][:, :, None] & inside[1][:, None, :])[:, None], *places)


def _tiles(x: Tensor, dice: Dice) -> Tensor:
    """[m, channels, height, width]: five by five pairs of bumps, every channel of each with a random sign."""
    channels, height, width = layout(x)
    tall, wide = max(height // 5, 1), max(width // 5, 1)
    down, right = min(5, height // tall), min(5, width // wide)
    top, left = (height - down * tall) // 2, (width - right * wide) // 2
    signs = dice.signs(channels, down, right, dtype=x.dtype).repeat_interleave(tall, 2).repeat_interleave(wide, 3)
    tiled = torch.zeros(len(x), channels, height, width, dtype=x.dtype, device=x.device)
    tiled[:, :, top : top + down * tall, left : left + right * wide] = signs * two_bumps(tall, wide).to(x).repeat(down, right)
    return tiled


def _length(delta: Tensor) -> Tensor:
    """[m, channels, 1, 1]: the Euclidean length of each channel."""
    return torch.linalg.vector_norm(delta, dim=(2, 3), keepdim=True)
