"""Threats in one word: a space, untargeted, with full access and no budget."""

import os
from collections.abc import Mapping

from torch import Tensor

from sparring.core.threat import Threat
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.colour import Colour
from sparring.threats.corruptions import Corruptions, read_names
from sparring.threats.flow import Flow
from sparring.threats.goals import Untargeted
from sparring.threats.patch import Patch
from sparring.threats.rules import Rules
from sparring.threats.sparse import L0
from sparring.threats.spatial import Spatial
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


def l0(count: float | Tensor) -> Threat:
    """At most `count` pixels (a number, or one a sample) change, to anything inside the bounds; of other inputs than images, numbers."""
    return Threat(L0(count), Untargeted())


def patch(side: float | Tensor) -> Threat:
    """One square of `side` x `side` pixels (a number, or one a sample), anywhere in the image, changes to anything inside the bounds."""
    return Threat(Patch(side), Untargeted())


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


def spatial(degrees: float, shift: float, *, angles: int = 31, shifts: int = 5) -> Threat:
    """The image turned by up to `degrees` and shifted by up to `shift` (a share of its sides below 1, pixels from 1 on), on a grid."""
    return Threat(Spatial.parse(degrees, shift, angles, shifts), Untargeted())


def flow(radius: float | Tensor) -> Threat:
    """Every pixel is read from a place at most `radius` pixels away (a number, or one a sample)."""
    return Threat(Flow(radius), Untargeted())


def colour(radius: float | Tensor, *, nodes: int = 8) -> Threat:
    """One map of colours for the whole image that moves no value by more than `radius` (a number, or one a sample)."""
    return Threat(Colour(radius, nodes), Untargeted())


def corruptions(severity: float | Tensor, names: str = "all", *, seed: int = 0) -> Threat:
    """Any one of the common corruptions up to a severity of 1 to 5 (a number, or one a sample). names: "all", or some as "fog+snow"."""
    return Threat(Corruptions(severity, read_names(names), seed), Untargeted())
