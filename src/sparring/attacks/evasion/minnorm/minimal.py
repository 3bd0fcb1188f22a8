"""The smallest radius at which an attack with a fixed radius succeeds, for each sample separately."""

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import Attack, attack
from sparring.core.errors import NeedsError, PlanError
from sparring.core.problem import Problem
from sparring.core.registry import find


@attack(
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Cinà, Rony et al. 2025, arXiv:2404.19460, fixed-radius attacks; github.com/attackbench/AttackBench",
)
def minimal(problem: Problem, *, attack: str = "pgd", steps: int = 40, loss: str = "margin", searches: int = 12, first: float = 0.0625) -> Tensor:
    """Find the smallest radius per sample at which an attack of fixed radius succeeds.

    The radius is doubled until the attack succeeds, then the interval between failure and success is halved.

    Args:
        attack: Any registered one that fits; its other settings stay as they are.
        steps: Of each run (its `queries`, where it counts those).
        loss: Of the attack, where it has one.
        searches: Runs, for doubling and halving together.
        first: The first radius, as a share of the largest.

    Source: Cinà, Rony et al. 2025, arXiv:2404.19460, fixed-radius attacks; github.com/attackbench/AttackBench.

    Differs from the paper: the first success of a run ends the run for that sample, and its size, not the radius tried, is the new upper end.
    Where any change within the radius will do, there is one run, at the radius.
    """
    inner = _chosen(problem, attack, steps, loss)
    if not problem.threat.minimal:
        return inner.run(problem) if searches and bool(problem.unfinished().any()) else problem.best()
    largest = cast(Any, problem.region).radius
    failed, tried = torch.zeros_like(largest), largest * min(max(first, 1e-6), 1.0)
    rows = problem.unfinished().nonzero().squeeze(1)
    for turn in range(searches):
        some, radius = problem.take(rows), tried[rows]
        inner.run(dataclasses.replace(some.at(radius), rng=some.rng.draw(f"run {turn}")))  # a row stops once it is within this radius
        size = some.smallest()
        missed = size > radius * (1 + 1e-6)
        failed[rows] = torch.where(missed, radius, failed[rows])
        middle = (failed[rows] + size) / 2
        tried[rows] = torch.where(size < torch.inf, middle, (2 * radius).minimum(largest[rows]))
        wide = torch.where(size < torch.inf, size - failed[rows] > 1e-4 * size, radius < largest[rows])
        rows = rows[wide & some.unfinished()]
        if not len(rows):
            break
    return problem.best()


def _chosen(problem: Problem, name: str, steps: int, loss: str) -> Attack:
    """Return the attack of that name with the settings that are passed on."""
    inner: Attack = find("attack", name)
    if inner.name == "minimal":
        raise PlanError("minimal(attack='minimal'): a search for the smallest radius cannot be searched again; name another attack, such as pgd")
    if complaint := inner.misfit(problem.victim, problem.threat):
        raise NeedsError(f"minimal(attack={name!r}): {complaint}")
    count = next((setting for setting in ("steps", "queries") if setting in inner.defaults), None)
    return inner.configure(**({count: steps} if count else {}), **({"loss": loss} if "loss" in inner.defaults else {}))
