"""The smallest radius at which an attack with a fixed radius succeeds, for every sample by itself."""

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor

from sparring.attacks.attack import Attack, attack
from sparring.core.bout import Bout
from sparring.core.errors import NeedsError, PlanError
from sparring.core.registry import find


@attack(
    needs={"gradients", "scores"},
    uses={"project", "ascend", "sample"},
    cites="Cinà, Rony et al. 2025, arXiv:2404.19460, fixed-radius attacks; github.com/attackbench/AttackBench",
)
def minimal(bout: Bout, *, attack: str = "pgd", steps: int = 40, loss: str = "margin", searches: int = 12, first: float = 0.0625) -> Tensor:
    """Run an attack again and again with a radius per sample: doubled until it succeeds, then halved between failure and success.

    attack: any registered one that fits; its other settings stay as they are. steps: of each run (its `queries`, where it
    counts those). loss: of the attack, where it has one. searches: runs, for doubling and halving together. first: the first radius,
    as a share of the largest.

    Where we differ: the first success of a run ends the run for that sample, and its size, not the radius tried, is the new upper end.
    Where any change within the radius will do, there is one run, at the radius.
    """
    inner = _chosen(bout, attack, steps, loss)
    if not bout.threat.minimal:
        return inner.run(bout) if searches and bool(bout.unfinished().any()) else bout.best()
    largest = cast(Any, bout.region).radius
    failed, tried = torch.zeros_like(largest), largest * min(max(first, 1e-6), 1.0)
    rows = bout.unfinished().nonzero().squeeze(1)
    for turn in range(searches):
        some, radius = bout.take(rows), tried[rows]
        inner.run(dataclasses.replace(some.at(radius), dice=some.dice.draw(f"run {turn}")))  # a row stops once it is within this radius
        size = some.smallest()
        missed = size > radius * (1 + 1e-6)
        failed[rows] = torch.where(missed, radius, failed[rows])
        middle = (failed[rows] + size) / 2
        tried[rows] = torch.where(size < torch.inf, middle, (2 * radius).minimum(largest[rows]))
        wide = torch.where(size < torch.inf, size - failed[rows] > 1e-4 * size, radius < largest[rows])
        rows = rows[wide & some.unfinished()]
        if not len(rows):
            break
    return bout.best()


def _chosen(bout: Bout, name: str, steps: int, loss: str) -> Attack:
    """The attack of that name with the settings that are passed on."""
    inner: Attack = find("attack", name)
    if inner.name == "minimal":
        raise PlanError("minimal(attack='minimal'): a search for the smallest radius cannot be searched again; name another attack, such as pgd")
    if complaint := inner.misfit(bout.victim, bout.threat):
        raise NeedsError(f"minimal(attack={name!r}): {complaint}")
    count = next((setting for setting in ("steps", "queries") if setting in inner.defaults), None)
    return inner.configure(**({count: steps} if count else {}), **({"loss": loss} if "loss" in inner.defaults else {}))
