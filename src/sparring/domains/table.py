"""Table rows: float64 [n, columns], each column a real number, a whole number or a category."""

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import InputError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.registry import register

MOST_COLUMNS = 30_000
"""Columns that a table may have: measurements of genes, the widest tables of the field, have some twenty thousand."""


@dataclass(frozen=True)
class Column:
    """Represent one column.

    kind: "real", "integer" or "category". low, high: bounds in the column's own unit (None: unbounded). levels: names of
    the categories; a category is stored as its place in them. dtype: the pandas type with which a model gets the values, such as "float32", "bool" or
    "category"; "category[int64]" where categories are whole numbers. Empty: categories are strings, other values float64. missing: whether the column
    may lack values, which are stored as NaN and reach a model as the missing value of that type.
    """

    name: str
    kind: str = "real"
    low: float | None = None
    high: float | None = None
    unit: str = ""
    levels: tuple[str, ...] = ()
    dtype: str = ""
    missing: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("real", "integer", "category"):
            raise PlanError(f"column {self.name!r}: kind {self.kind!r}: choose real, integer or category")
        if self.kind == "category" and not self.levels:
            raise PlanError(f"column {self.name!r} is a category without levels: give levels=")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise PlanError(f"column {self.name!r}: low {self.low} is above high {self.high}: exchange them")

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest value; infinite without a bound."""
        if self.kind == "category":
            return 0.0, float(len(self.levels) - 1)
        return -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high

    def typed(self, values: np.ndarray) -> Any:
        """Return stored values, float64 [n], with the type in which a model gets them."""
        if self.kind != "category":
            between = self.dtype.lstrip("u").startswith("int") and not np.array_equal(values, np.round(values))
            return values if between or not self.dtype else values.astype(self.dtype)
        packed, inner = self.dtype.startswith("category"), self.dtype.removeprefix("category").strip("[]")
        inner = "bool" if inner in ("boolean", "object") else inner
        levels = np.array([one == "True" for one in self.levels]) if inner == "bool" else np.array(self.levels).astype(inner or str)
        gaps = np.isnan(values)
        codes = np.where(gaps, -1, values).astype(np.int64)
        if packed:
            return pd.Categorical.from_codes(codes.tolist(), dtype=pd.CategoricalDtype(list(levels)))
        if not self.missing:
            return levels[codes]
        known = np.where(gaps, np.nan, levels.astype(object)[codes])
        return pd.Series(known, dtype=self.dtype or pd.Series(self.levels).dtype).array  # type: ignore[arg-type]

    def write(self, value: float) -> str:
        """Return a value as a person reads it."""
        if np.isnan(value):
            return "missing"
        return self.levels[int(value)] if self.kind == "category" else f"{value:.6g}"


EXACT = 2.0**53
"""Whole numbers up to here are numbers of float64."""

NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}
"""Kinds of Python objects that are numbers, as `pandas.api.types.infer_dtype` names them."""

MISSING_CURE = "fill or drop it, or let the column have gaps, Column(..., missing=True), as sp.table(frame) does for a frame with gaps"


@register("domain", "table")
@dataclass(frozen=True)
class Table(Domain):
    """Describe rows of typed columns.

    Args:
        columns: At least one `Column`, each with a name of its own.
    """

    columns: tuple[Column, ...]

    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not names:
            raise PlanError("the table has no columns: give names, Columns or a data frame, such as sp.table(['age', 'height'])")
        refuse_wide(len(names), "the table")
        if twice := {name for name, times in Counter(names).items() if times > 1}:
            raise PlanError(f"several columns of the table are named {', '.join(sorted(twice))}: give each column a name of its own")

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        return [column.name for column in self.columns]

    @property
    def shape(self) -> tuple[int]:
        """Return the shape of one row."""
        return (len(self.columns),)

    @cached_property
    def low(self) -> Tensor:
        """Return the lower bounds, float64 [columns]."""
        return torch.tensor([column.bounds[0] for column in self.columns], dtype=torch.float64)

    @cached_property
    def high(self) -> Tensor:
        """Return the upper bounds, float64 [columns]."""
        return torch.tensor([column.bounds[1] for column in self.columns], dtype=torch.float64)

    @cached_property
    def whole(self) -> Tensor:
        """Return columns that hold whole numbers, bool [columns]."""
        return torch.tensor([column.kind != "real" for column in self.columns])

    @cached_property
    def missing(self) -> Tensor:
        """Return columns that may lack values, bool [columns]."""
        return torch.tensor([column.missing for column in self.columns])

    def check(self, x: Any) -> Tensor:
        batch = self._encode(x) if isinstance(x, pd.DataFrame) else _numbers(x)
        if batch.ndim != 2 or batch.shape[1] != len(self.columns):
            raise InputError(f"x has shape {tuple(batch.shape)} but the table has {len(self.columns)} columns: give [n, {len(self.columns)}]")
        gaps = batch.isnan() & self.missing
        if bool((wrong := ~(torch.isfinite(batch) | gaps)).any()):
            row, place = wrong.nonzero()[0].tolist()
            what, cure = ("no value", MISSING_CURE) if bool(batch[row, place].isnan()) else ("an infinite value", "correct or drop it")
            raise InputError(f"x has {what} in row {row}, column {self.names[place]!r}: {cure}")
        slack = 2 * torch.finfo(torch.float32).eps * torch.maximum(self.low.abs(), self.high.abs()) * ~self.whole
        outside = (batch < self.low - slack.nan_to_num(0.0, 0.0)) | (batch > self.high + slack.nan_to_num(0.0, 0.0))
        if bool(outside.any()):
            row, place = outside.nonzero()[0].tolist()
            column = self.columns[place]
            low, high = column.bounds
            raise InputError(f"row {row}, column {column.name!r} is {batch[row, place]:g}, outside [{low:g}, {high:g}]: correct it, or the column")
        broken = self.whole & (batch != batch.round()) & ~gaps
        if bool(broken.any()):
            row, place = broken.nonzero()[0].tolist()
            raise InputError(f"row {row}, column {self.names[place]!r} is {batch[row, place]:g}, not a whole number: round it")
        return batch.clamp(self.low, self.high)

    def _encode(self, frame: pd.DataFrame) -> Tensor:
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise InputError(f"the frame lacks the columns {', '.join(map(repr, missing))}; it has {', '.join(map(repr, frame.columns))}: add them")
        encoded = [(_codes if column.kind == "category" else _floats)(column, frame[column.name]) for column in self.columns]
        return torch.from_numpy(np.stack(encoded, axis=1))

    def deploy(self, x: Tensor, origin: Tensor) -> Tensor:
        nearest = origin + torch.trunc(x - origin + 1e-9 * torch.sign(x - origin))
        return torch.where(self.whole & ~origin.isnan(), nearest, x)

    def valid(self, x: Tensor) -> np.ndarray:
        whole = ~self.whole | (x == x.round())
        return ((x >= self.low) & (x <= self.high) & whole | x.isnan() & self.missing).all(1).numpy()

    def native(self, x: Tensor) -> np.ndarray | pd.DataFrame:
        """Return a NumPy array, or a data frame with the names of categories where there are any."""
        return self.frame(x) if any(column.kind == "category" and column.dtype != "bool" for column in self.columns) else x.detach().cpu().numpy()

    def frame(self, x: Tensor) -> pd.DataFrame:
        """Return a data frame with the names and types of the columns."""
        array = x.detach().cpu().numpy()
        return pd.DataFrame({column.name: column.typed(array[:, place]) for place, column in enumerate(self.columns)})

    def pack(self, x: Tensor) -> np.ndarray:
        return x.detach().cpu().numpy()

    def unpack(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float64)).reshape(-1, len(self.columns))

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def restore(cls, description: dict[str, Any]) -> "Table":
        return cls(tuple(Column(**{**column, "levels": tuple(column["levels"])}) for column in description["columns"]))

    def __str__(self) -> str:
        kinds = [column.kind for column in self.columns]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return f"table rows of {len(self.columns)} columns ({counts})"

    def show(self, before: Tensor, after: Tensor) -> str:
        lines = []
        for column, old, new in zip(self.columns, before[0].tolist(), after[0].tolist(), strict=True):
            if old != new and not np.isnan([old, new]).all():
                change = "" if column.kind == "category" else f"{new - old:+.4g}"
                cells = (column.name, column.write(old), column.write(new), change, column.unit)
                lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        head = "".join(f'<th scope="col">{title}</th>' for title in ("column", "before", "after", "change", "unit"))
        body = "".join(lines) or '<tr><td colspan="5">nothing changed</td></tr>'
        gaps = ", ".join(column.name for column, old in zip(self.columns, before[0].tolist(), strict=True) if np.isnan(old))
        note = f"<p>missing: {html.escape(gaps)}</p>" if gaps else ""
        return f'<div class="shown"><table class="changes"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}</div>'


def _codes(column: Column, values: pd.Series) -> np.ndarray:
    """The places of categories among the levels, NaN where one is missing."""
    known = values.dropna()
    codes = pd.Categorical(known.astype(str), categories=column.levels).codes
    if (codes < 0).any():
        raise InputError(f"column {column.name!r} has the unknown category {known[codes < 0].iloc[0]!r}; known: {', '.join(column.levels)}")
    places = np.full(len(values), np.nan)
    places[values.notna()] = codes
    return places


def _floats(column: Column, values: pd.Series) -> np.ndarray:
    """The numbers of a column, NaN where one is missing."""
    try:
        floats = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"column {column.name!r} does not hold numbers ({error}): convert it") from error
    for place in np.flatnonzero(np.abs(floats) >= EXACT) if pd.api.types.is_integer_dtype(values) else ():
        if int(floats[place]) != int(values.iloc[place]):
            cure = "leave the column out if it names rows, or give smaller numbers"
            raise InputError(f"column {column.name!r} holds {values.iloc[place]}, which is no number of 64 bits in floating point: {cure}")
    return floats


def _numbers(x: Any) -> Tensor:
    try:
        array = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
        return torch.from_numpy(array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"x is not an array of numbers ({error}): give floats [n, columns], or a data frame where there are categories") from error


@in_our_words
def table(columns: Sequence[Column | str] | pd.DataFrame) -> Table:
    """Return the domain of table rows.

    Args:
        columns: `Column`s, names of unbounded real columns, or a data frame, from whose types and values kinds, bounds and categories are read. Columns
            in which it has gaps may lack values.

    Returns:
        The `Domain`, to be given to `victim` and `Data.of`; its batches are float64 [n, columns].

    Raises:
        PlanError: For no columns, two of one name, or what is no column.

    Example:
        >>> str(table(["age", "height"]))
        'table rows of 2 columns (2 real)'
    """
    if isinstance(columns, pd.DataFrame):
        refuse_wide(columns.shape[1], "the table")
        return Table(tuple(_infer(str(name), columns[name]) for name in columns.columns))
    return Table(tuple(column if isinstance(column, Column) else Column(column) for column in columns))


def refuse_wide(count: int, where: str) -> None:
    """Raise PlanError for more columns than a table may have; asked before they are read."""
    if count > MOST_COLUMNS:
        raise PlanError(f"{where} has {count:,} columns, the limit is {MOST_COLUMNS:,}: choose the columns that matter")


def _infer(name: str, values: pd.Series) -> Column:
    known, gaps = values.dropna(), bool(values.isna().any())
    if known.empty:
        return Column(name, missing=True)
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = values.cat.categories
        inner = "" if pd.api.types.is_string_dtype(levels) else f"[{_plain(levels.dtype)}]"
        return Column(name, "category", levels=tuple(map(str, levels)), dtype=f"category{inner}", missing=gaps)
    if pd.api.types.is_bool_dtype(values) or (gaps and pd.api.types.is_bool_dtype(known.infer_objects())):
        dtype = "bool" if not gaps else "boolean" if pd.api.types.is_bool_dtype(values) else "object"
        return Column(name, "category", levels=("False", "True"), dtype=dtype, missing=gaps)
    if values.dtype == object and pd.api.types.infer_dtype(known) in NUMBERS:
        known = pd.to_numeric(known.map(float) if pd.api.types.infer_dtype(known) == "decimal" else known)
    if not pd.api.types.is_numeric_dtype(known):
        return Column(name, "category", levels=tuple(sorted(known.astype(str).unique())), missing=gaps)
    whole = pd.api.types.is_integer_dtype(known)
    dtype = "float64" if whole and gaps else _plain(known.dtype)
    return Column(name, "integer" if whole else "real", float(known.min()), float(known.max()), dtype=dtype, missing=gaps)


def _plain(dtype: Any) -> str:
    """Return the name of NumPy's type for the numbers of a column, also where pandas has one of its own for numbers with gaps."""
    return str(getattr(dtype, "numpy_dtype", dtype))
