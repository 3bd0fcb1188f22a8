"""CMA-ES over coarse patterns: evolve the mean and the spread of tiles, and go as far as the region allows along each."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.evasion.gradient.ascent import along
from sparring.attacks.evasion.query.crowd import ask_crowd
from sparring.attacks.evasion.query.square import layout
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    mean, variance, path, path_sigma: float64 [m, d], of the search distribution and its evolution paths. sigma: float64 [m,
    1].
    """

    mean: Tensor
    variance: Tensor
    path: Tensor
    path_sigma: Tensor
    sigma: Tensor


@attack(
    needs={"scores"},
    uses={"ascend", "project"},
    cites="tiles and signs: Meunier, Atif, Teytaud 2019, arXiv:1910.02244; separable CMA-ES: Ros, Hansen 2008; constants: Hansen 2016, arXiv:1604.00772",
)
def cmaes(problem: Problem, *, generations: int = 300, population: int = 0, tiles: int = 14) -> Tensor:
    """Evolve the mean and spread of a coarse pattern of tiles by separable CMA-ES.

    Each candidate is the steepest step of full size along its pattern.

    Args:
        generations: Updates of the distribution.
        population: Candidates in each; 0 takes 4 + 3 ln d of the d tiles.
        tiles: Of a side, per channel; inputs without height and width are cut into tiles x tiles stretches.

    Source: tiles and signs: Meunier, Atif, Teytaud 2019, arXiv:1910.02244; separable CMA-ES: Ros, Hansen 2008; constants:
    Hansen 2016, arXiv:1604.00772.

    Differs from the paper: one search runs for every sample, side by side; the pattern becomes a point by the steepest step of
    the space (in Linf signs, as in the paper; in L2 its direction; in L0 its strongest pixels), and the covariance is
    diagonal, because the full matrix of the paper is out of reach beyond a few hundred tiles.
    """
    channels, height, width = layout(problem.x)
    down, right = min(max(tiles, 1), height), min(max(tiles, 1), width)
    if height == 1:
        right = min(max(tiles, 1) ** 2, width)
    d = channels * down * right
    count = population or 4 + int(3 * math.log(d))
    kept = max(count // 2, 1)
    weights = math.log(kept + 0.5) - torch.arange(1, kept + 1, dtype=torch.float64, device=problem.rows.device).log()
    weights = weights / weights.sum()
    effective = float(1 / weights.square().sum())
    c_sigma = (effective + 2) / (d + effective + 5)
    damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (d + 1)) - 1) + c_sigma
    c_path = (4 + effective / d) / (d + 4 + 2 * effective / d)
    c_one = 2 / ((d + 1.3) ** 2 + effective)
    c_mu = min(1 - c_one, 2 * (effective - 2 + 1 / effective) / ((d + 2) ** 2 + effective))
    c_one, c_mu = (min(rate * (d + 2) / 3, 0.5) for rate in (c_one, max(c_mu, 0.0)))  # Ros, Hansen: a diagonal is learnt faster
    expected = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d * d))
    rows_of, columns_of = (torch.arange(length, device=problem.rows.device) * cut // length for length, cut in ((height, down), (width, right)))

    def start(live: Problem, restart: int) -> State:
        zeros = torch.zeros(len(live), d, dtype=torch.float64, device=live.rows.device)
        return State(zeros, zeros + 1, zeros, zeros, zeros[:, :1] + 1)

    def step(live: Problem, state: State, k: int) -> State:
        z = live.rng.draw(f"generation {k}").normal(count, d, dtype=torch.float64)
        y = z * state.variance.sqrt()[:, None]

        def points(some: Problem, rows: Tensor, turns: range) -> Tensor:
            patterns = (state.mean[rows, None] + state.sigma[rows, None] * y[rows][:, turns.start : turns.stop]).reshape(-1, channels, down, right)
            whole = patterns[:, :, rows_of][:, :, :, columns_of].to(live.x.dtype).reshape(len(rows), len(turns), *live.x.shape[1:])
            return torch.stack([along(some, some.x, whole[:, turn], 1.0) for turn in range(len(turns))], 1)

        values = ask_crowd(live, count, points).nan_to_num(-torch.inf).float()  # in L1 many candidates are the same point
        best = values.argsort(dim=1, descending=True, stable=True)[:, :kept, None].expand(-1, -1, d)
        chosen = y.gather(1, best)
        moved = (weights[:, None] * chosen).sum(1)
        mean = state.mean + state.sigma * moved
        path_sigma = (1 - c_sigma) * state.path_sigma + math.sqrt(c_sigma * (2 - c_sigma) * effective) * moved / state.variance.sqrt()
        length = path_sigma.norm(dim=1, keepdim=True)
        steady = (length / math.sqrt(1 - (1 - c_sigma) ** (2 * (k + 1))) / expected < 1.4 + 2 / (d + 1)).double()
        path = (1 - c_path) * state.path + steady * math.sqrt(c_path * (2 - c_path) * effective) * moved
        variance = (1 - c_one - c_mu) * state.variance + c_one * path.square() + c_mu * (weights[:, None] * chosen.square()).sum(1)
        sigma = state.sigma * torch.exp((c_sigma / damping * (length / expected - 1)).clamp(-1, 1))
        return State(mean, variance.clamp_min(1e-20), path, path_sigma, sigma)

    return iterate(problem, start, step, steps=generations)
