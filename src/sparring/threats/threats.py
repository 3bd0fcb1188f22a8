"""Threats in one word: a space, untargeted, with full access and no budget."""

import os
from collections.abc import Mapping

from torch import Tensor

from sparring.core.threat import Threat
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Untargeted
from sparring.threats.rules import Rules
from sparring.threats.words import Words, read_neighbours


def linf(radius: float | Tensor) -> Threat:
    """No coordinate moves by more than `radius` (a number, or one a sample), in the units of the input."""
    return Threat(Linf(radius), Untargeted())


def l2(radius: float | Tensor) -> Threat:
    """The Euclidean length of the change is at most `radius` (a number, or one a sample)."""
    return Threat(L2(radius), Untargeted())


def l1(radius: float | Tensor) -> Threat:
    """The absolute changes add up to at most `radius` (a number, or one a sample)."""
    return Threat(L1(radius), Untargeted())


def rules(source: str | os.PathLike[str] | Rules, radius: float | None = None) -> Threat:
    """Changes of table rows that follow rules: a `Rules`, a YAML file or the name of a packaged one.
    radius: the total cost allowed, if it is to differ from the file's."""
    from sparring.threats.rule_file import read_rules

    space = source if isinstance(source, Rules) else read_rules(os.fspath(source), radius)
    return Threat(space if radius is None else space.with_radius(radius), Untargeted())  # type: ignore[arg-type]


def words(share: float | Tensor, neighbours: Mapping[str, tuple[str, ...]] | str | os.PathLike[str]) -> Threat:
    """Word substitutions in at most a share (0 to 1) of a sentence. neighbours: word -> substitutes, or a JSON file of it."""
    table = neighbours if isinstance(neighbours, Mapping) else read_neighbours(neighbours)
    return Threat(Words(share, table), Untargeted())
