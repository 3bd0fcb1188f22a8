"""Upgrades records of the first schema to the second."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as compute

pc: Any = compute  # its functions are made at run time, which type checkers do not see

FIRST_ROW = [
    "id", "position", "label", "target", "status", "predicted", "margin", "size", "radius", "queries", "forwards", "backwards", "seconds", "note",
]  # fmt: skip
"""Columns of the first schema."""

CERTIFIED = ("proved", "unknown")
"""Statuses whose margin was positive for a right answer already; everywhere else it was positive where the goal was met."""


def upgraded_rows(part: pa.Table) -> pa.Table:
    """Return rows of the first schema with the columns of the second.

    Classes become strings, the sign of `margin` is turned (positive means that the goal is not met), and `quality` is 1 where the
    predicted class is the label, 0 where it is another.
    """
    columns: dict[str, Any] = {name: part.column(name) for name in part.schema.names}
    predicted, certified = columns["predicted"], pc.is_in(columns["status"], value_set=pa.array(CERTIFIED))
    right = pc.equal(predicted, columns["label"])
    return pa.table(
        {
            "id": columns["id"],
            "position": columns["position"],
            "wanted": columns["label"].cast(pa.string()),
            "given": pc.if_else(pc.less(predicted, 0), "", predicted.cast(pa.string())),
            "aimed": columns["target"].cast(pa.string()),
            "status": columns["status"],
            "quality": right.cast(pa.int8()).cast(pa.float64()),
            "margin": pc.if_else(certified, columns["margin"], pc.negate(columns["margin"])),
            **{name: columns[name] for name in ("size", "radius", "queries", "forwards", "backwards", "seconds", "note")},
        }
    )


def upgraded(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header of the first schema with the names of the second.

    It stays marked as the first until it is written again.
    """
    header = dict(header)
    for case in header.get("cases", []):
        classes = case.get("model", {}).pop("classes", None)
        if classes is not None:
            case["model"]["task"] = {"kind": "classes", "classes": classes}
        case.get("data", {}).setdefault("task", {"kind": "classes", "classes": len(case.get("data", {}).get("classes", [])) or None})
        if (look := case.pop("second_look", None)) is not None:
            case["reevaluation"] = look
    return header
