"""Short names for untargeted threats with full access and no budget."""

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from sparring.core.errors import InputError
from sparring.core.foreign import in_our_words
from sparring.core.threat import Threat
from sparring.domains.corruptions.corrupt import SEVERITIES
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.colour import Colour
from sparring.threats.corruptions import Corruptions, read_names
from sparring.threats.flow import Flow
from sparring.threats.goals import Untargeted
from sparring.threats.patch import Patch
from sparring.threats.rules import Rules, read_rules
from sparring.threats.sparse import L0
from sparring.threats.spatial import Spatial
from sparring.threats.words import Words, read_neighbours


@in_our_words
def linf(radius: float | Tensor) -> Threat:
    """Return the threat in which no coordinate moves by more than `radius`.

    Args:
        radius: A number, or a tensor with one per sample, in the units of the input.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0.

    Example:
        >>> linf(0.1).space.label
        'linf 0.1'
    """
    return Threat(Linf(radius), Untargeted())


@in_our_words
def l2(radius: float | Tensor) -> Threat:
    """Return the threat in which the change has Euclidean length at most `radius`.

    Args:
        radius: A number, or a tensor with one per sample, in the units of the input.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0.

    Example:
        >>> l2(0.5).space.label
        'l2 0.5'
    """
    return Threat(L2(radius), Untargeted())


@in_our_words
def l1(radius: float | Tensor) -> Threat:
    """Return the threat in which the absolute changes add up to at most `radius`.

    Args:
        radius: A number, or a tensor with one per sample, in the units of the input.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0.

    Example:
        >>> l1(10).space.label
        'l1 10'
    """
    return Threat(L1(radius), Untargeted())


@in_our_words
def l0(count: float | Tensor) -> Threat:
    """Return the threat in which at most `count` pixels change, to anything inside the bounds.

    Args:
        count: A number, or a tensor with one per sample; for inputs other than images, of numbers instead of pixels.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0.

    Example:
        >>> l0(10).space.kind
        'l0'
    """
    return Threat(L0(count), Untargeted())


@in_our_words
def patch(side: float | Tensor) -> Threat:
    """Return the threat in which one square of pixels changes to anything inside the bounds.

    Args:
        side: The side of the square in pixels, a number or a tensor with one per sample; it lies anywhere in the image.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0.

    Example:
        >>> patch(5).space.kind
        'patch'
    """
    return Threat(Patch(side), Untargeted())


@in_our_words
def rules(source: str | os.PathLike[str] | Rules, radius: float | None = None) -> Threat:
    """Return the threat in which table rows change by rules.

    Args:
        source: A `Rules`, a YAML file or the name of a packaged one.
        radius: The total cost allowed, if it is to differ from the file's.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a file that is not there or holds no rules, and for a name that no packaged file has.

    Example:
        >>> rules("breast-cancer").space.kind
        'rules'
    """
    space = source if isinstance(source, Rules) else read_rules(os.fspath(source), radius)
    return Threat(space if radius is None else space.with_radius(radius), Untargeted())  # type: ignore[arg-type]


@in_our_words
def words(share: float | Tensor, neighbours: Mapping[str, tuple[str, ...]] | str | os.PathLike[str]) -> Threat:
    """Return the threat in which listed substitutes replace a share of the words of a sentence.

    Args:
        share: At most this share of the words changes, 0 to 1; a number or a tensor with one per sample.
        neighbours: Maps a word to its substitutes, or names a JSON file of it.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a share outside [0, 1], an empty table, and a file that cannot be read.

    Example:
        >>> words(0.2, {"good": ("fine", "nice")}).space.kind
        'words'
    """
    if float(torch.as_tensor(share).max()) > 1:
        raise InputError(f"words: share is {share}: give the share of the words that may change, between 0 and 1")
    table = neighbours if isinstance(neighbours, Mapping) else read_neighbours(neighbours)
    return Threat(Words(share, table), Untargeted())


@in_our_words
def spatial(degrees: float, shift: float, *, angles: int = 31, shifts: int = 5) -> Threat:
    """Return the threat in which an image is rotated and shifted, on a grid of combinations.

    Args:
        degrees: The largest angle either way.
        shift: The largest shift either way, a share of the sides below 1, pixels from 1 on.
        angles: How many angles there are, an odd number.
        shifts: How many shifts there are per axis, an odd number.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no angle or shift in its range, or an even number of either.

    Example:
        >>> spatial(30, 0.1).space.kind
        'spatial'
    """
    return Threat(Spatial.parse(degrees, shift, angles, shifts), Untargeted())


@in_our_words
def flow(radius: float | Tensor) -> Threat:
    """Return the threat in which each pixel is read from a place at most `radius` pixels away.

    Args:
        radius: A number of pixels, or a tensor with one per sample.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0.

    Example:
        >>> flow(1).space.kind
        'flow'
    """
    return Threat(Flow(radius), Untargeted())


@in_our_words
def colour(radius: float | Tensor, *, nodes: int = 8) -> Threat:
    """Return the threat in which one map of colours per image moves no value beyond `radius`.

    Args:
        radius: A number, or a tensor with one per sample, in the units of the input.
        nodes: How many values per channel the map is given at; few nodes make a smooth map.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no finite number of at least 0, or fewer than two nodes.

    Example:
        >>> colour(0.06).space.kind
        'colour'
    """
    return Threat(Colour(radius, nodes), Untargeted())


@in_our_words
def corruptions(severity: float | Tensor, names: str = "all", *, seed: int = 0) -> Threat:
    """Return the threat of any one common corruption up to a severity of 1 to 5.

    Args:
        severity: The highest severity, a number or a tensor with one per sample.
        names: "all", or some as "fog+snow".
        seed: Seeds the random numbers of the corruptions.

    Returns:
        The `Threat`, untargeted, with access to gradients and no budget.

    Raises:
        UsageError: For a value that is no severity of 1 to 5, or a name that no corruption has.

    Example:
        >>> corruptions(3).space.kind
        'corruptions'
    """
    if float(torch.as_tensor(severity).max()) > max(SEVERITIES):
        raise InputError(f"corruptions: severity is {severity}: give a number up to {max(SEVERITIES)}, or a tensor of such numbers, one per sample")
    return Threat(Corruptions(severity, read_names(names), seed), Untargeted())
