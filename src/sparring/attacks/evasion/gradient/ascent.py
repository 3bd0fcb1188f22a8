"""The move that gradient attacks share: along the steepest direction, back into the region."""

from typing import Any, cast

from torch import Tensor

from sparring.core.bout import Bout


def along(bout: Bout, x: Tensor, g: Tensor, share: Tensor | float) -> Tensor:
    """x moved by `share` (a number, or one a row) of the radius along the steepest direction of g, then projected."""
    region = cast(Any, bout.region)
    return region.project(region.ascend(x, g, region.radius * share))
