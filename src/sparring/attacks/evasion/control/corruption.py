"""Common corruptions, mildest first: the effect of everyday disturbances, without any search."""

from typing import Any, NamedTuple, cast

from torch import Tensor

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem
from sparring.core.taxonomy import MANUAL
from sparring.domains.corruptions.corrupt import SEVERITIES
from sparring.threats.corruptions import read_names


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


@attack(needs={"labels"}, uses={"corrupted"}, cites="Hendrycks, Dietterich 2019, arXiv:1903.12261; github.com/hendrycks/robustness", taxonomy=MANUAL)
def corruption(problem: Problem, *, names: str = "all") -> Tensor:
    """Try every common corruption that the space allows, the mildest severity first.

    Args:
        names: "all" of the space, or some of them as "fog+snow". One query a version; a sample that breaks stops, so
            the size of its change in the record is the least severity that breaks it. For error rates of every
            corruption and severity see `corruption_error`.

    Source: Hendrycks, Dietterich 2019, arXiv:1903.12261; github.com/hendrycks/robustness.
    """
    allowed = cast(Any, problem.region).names
    versions = [(name, severity) for severity in SEVERITIES for name in read_names(names, allowed)]

    def step(live: Problem, state: Nothing, k: int) -> Nothing:
        name, severity = versions[k]
        rows = (cast(Any, live.region).radius >= severity).nonzero().squeeze(1)
        if len(rows):
            some = live.take(rows)
            some.losses(cast(Any, some.region).corrupted(name, severity))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=len(versions))
