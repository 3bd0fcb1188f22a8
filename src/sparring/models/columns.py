"""The columns of a table in the order and with the types that a fitted model knows: by name, never by position."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.domains.table import Column, Table
from sparring.models.categories import as_fitted, home_of

NO_NAMES = re.compile(r"(f|Column_|column )\d+")
"""Names that XGBoost, LightGBM and our reader of CSV files give to columns that have none."""

BLANK = re.compile(r"\s")
"""LightGBM writes these as underscores."""

SHOWN = 5
"""Columns that a message names."""


def fitted_names(model: Any) -> list[str] | None:
    """Return the names of the columns that an estimator was fitted on; None if it saw none."""
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else named(list(map(str, names)))


def named(names: Sequence[str]) -> list[str] | None:
    """Return the names of columns; None if there are none or they are mere numbers of columns.

    >>> named(["f0", "f1"]), named(["age", "f1"])
    (None, ['age', 'f1'])
    """
    return list(names) if names and not all(NO_NAMES.fullmatch(name) for name in names) else None


def places_of(names: Sequence[str] | None, domain: Domain, who: str) -> list[int] | None:
    """Return where each column of a model stands in the table.

    None if the order is the same, or if a side has no names.

    Raises:
        LoadError: Where model and table have columns of different names.
    """
    if names is None or not isinstance(domain, Table) or named(domain.names) is None:
        return None
    for own, known in ((domain.names, list(names)), ([BLANK.sub("_", name) for name in domain.names], [BLANK.sub("_", name) for name in names])):
        if own == known:
            return None
        if len(set(known)) == len(known) and set(known) == set(own):
            return [own.index(name) for name in known]
    lacking = [name for name in names if name not in domain.names]
    foreign = [name for name in domain.names if name not in names]
    differ = " and ".join(
        f"{what} {', '.join(map(repr, some[:SHOWN]))}{' and others' if len(some) > SHOWN else ''}"
        for what, some in (("the data lacks", lacking), ("the model does not know", foreign))
        if some
    )
    raise LoadError(f"{who} was fitted on other columns: {differ or 'a name occurs twice'}: give data with the columns of the model, whatever their order")


def fed(
    model: Any, domain: Table, x: Tensor, names: Sequence[str] | None, places: Sequence[int] | None, categories: Mapping[str, Sequence[Any]] | None = None
) -> Any:
    """Return rows as a fitted estimator takes them.

    They have its order, its names and the types of the data. An estimator that was fitted on an array gets one, unless a column holds names of categories.

    categories: those that the model was fitted on, by column; see `fitted_categories`.
    """
    if names is None:
        return domain.native(x)
    rows, columns = domain.frame(x), domain.columns
    if places is not None:
        rows, columns = rows.iloc[:, list(places)], [columns[place] for place in places]
    rows.columns = list(names)
    return _for_boosters(model, rows, columns, categories or {})


def _for_boosters(model: Any, rows: pd.DataFrame, columns: Sequence[Column], categories: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return rows in the types that boosters take: categories are those of training, truth values with gaps are no objects."""
    named = dict(zip(map(str, rows), columns, strict=True))
    words = [name for name, column in named.items() if column.kind == "category" and not column.dtype]
    others = [name for name, column in named.items() if name not in words and not column.dtype.startswith("category")]
    spelled = {name for name, known in categories.items() if all(isinstance(one, str) for one in known)}  # those that cannot be read too
    fitted = {name: known for name, known in categories.items() if known and (name in others or (name in words and name not in spelled))}
    truths = [name for name in others if named[name].dtype == "object" and name not in fitted]
    types: dict[str, Any] = dict.fromkeys(truths, "boolean") if truths and home_of(model) in ("xgboost", "lightgbm") else {}
    if categories:
        types |= {name: pd.CategoricalDtype(list(named[name].levels)) if named[name].missing else "category" for name in words if name not in fitted}
    rows = rows.astype(types) if types else rows
    for name, known in fitted.items():
        rows[name] = as_fitted(rows[name], known, f"column {name!r}")
    return rows


def rearranged(of_columns: list[Any] | None, places: Sequence[int] | None) -> list[Any] | None:
    """Return one thing per column of a model as one thing per column of the table."""
    if of_columns is None or places is None:
        return of_columns
    found = list(of_columns)
    for thing, place in zip(of_columns, places, strict=True):
        found[place] = thing
    return found
