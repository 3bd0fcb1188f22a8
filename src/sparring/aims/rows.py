"""The rows of one batch of samples, as `records.record` keeps them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sparring.core.goal import Criterion
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.judge.judge import Status

Columns = dict[str, list[Any]]


def skipped(data: Data, positions: Tensor, threat: Threat, criterion: Criterion, reasons: Sequence[str]) -> Columns:
    """Return one row per sample, all of them skipped; `fill` writes what became of the others.

    Args:
        data: The samples of the batch.
        positions: int64 [n], where they stand in the whole data set.
        threat: What was allowed; its radii are written.
        criterion: What success was measured against.
        reasons: Per sample why it is skipped; empty where it is not.
    """
    count = len(data)
    return {
        "id": list(data.ids),
        "position": positions.tolist(),
        "wanted": data.task.pack(data.y),
        "given": [None] * count,
        "aimed": criterion.aimed(),
        "status": [str(Status.SKIPPED)] * count,
        "quality": [None] * count,
        "margin": [None] * count,
        "size": [None] * count,
        "radius": threat.space.radii(count).tolist(),
        **{name: [0] * count for name in ("queries", "forwards", "backwards")},
        "seconds": [0.0] * count,
        "note": list(reasons),
    }


def fill(columns: Columns, places: Sequence[int], **values: Sequence[Any] | Tensor) -> None:
    """Write values into the rows at these places, one value per place."""
    for name, given in values.items():
        listed = given.tolist() if isinstance(given, Tensor) else given
        for place, value in zip(places, listed, strict=True):
            columns[name][place] = None if isinstance(value, float) and value != value else value
