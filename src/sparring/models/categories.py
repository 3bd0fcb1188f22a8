"""The categories that boosters were fitted on, and columns of data spelled as these."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sparring.core.errors import LoadError
from sparring.domains.table import Column

LISTED = re.compile(r"^\[categorical_feature: ([\d,]+)\]$", re.MULTILINE)
"""The places of the columns of categories in the text of a LightGBM model."""

SHOWN = 5
"""Categories that a message names."""


def home_of(model: Any) -> str:
    """Return the library that a model comes from."""
    return type(model).__module__.partition(".")[0]


def fitted_categories(model: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the categories of the columns that a booster was fitted on as such, in order.

    That is, in the type `category`. None where they cannot be read.

    Args:
        model: A fitted estimator; those of other libraries than XGBoost, LightGBM and scikit-learn have none.
        names: The columns that it was fitted on.

    Raises:
        LoadError: For XGBoost before 3.1, which takes the places of categories in the data for those in training.
    """
    home = home_of(model)
    if home == "xgboost":
        booster = model.get_booster()
        if "c" not in (booster.feature_types or ()):
            return {}
        _refuse_old(booster)
        held = [found for _, found in booster.get_categories(export_to_arrow=True).to_arrow() or ()]
        return {name: _decoded(found) for name, found in zip(names, held, strict=False) if found is not None}
    if home == "lightgbm":
        held = model.booster_.pandas_categorical or []
        places = _lightgbm_places(model.booster_) if held else []
        return {names[place]: known for place, known in zip(places, held, strict=True)} if len(places) == len(held) else {name: [] for name in names}
    marked = getattr(model, "is_categorical_", None)
    encoder = getattr(getattr(model, "_preprocessor", None), "named_transformers_", {}).get("encoder")
    if marked is None or encoder is None:
        return {}
    found = zip(np.flatnonzero(marked).tolist(), encoder.categories_, strict=False)
    return {names[place]: [one for one in known.tolist() if not _is_gap(one)] for place, known in found}


def refuse_cut_words(model: Any, names: Sequence[str], columns: Sequence[Column], who: str) -> None:
    """Refuse words beyond ASCII in another order than in training.

    XGBoost 3.2 cuts them at wrong places, and takes some for others without a word.

    Args:
        model: A fitted estimator.
        names: The columns that it was fitted on.
        columns: The columns of the data in this order.
        who: The model, for errors.

    Raises:
        LoadError: Where the words that the model holds are not those of the data, cut as XGBoost cuts them.
    """
    if home_of(model) != "xgboost" or "c" not in (model.get_booster().feature_types or ()):
        return
    import pyarrow

    held = dict(model.get_booster().get_categories(export_to_arrow=True).to_arrow() or ())
    for name, column in zip(names, columns, strict=True):
        found = held.get(name)
        if column.kind != "category" or found is None or not pyarrow.types.is_string(found.type):
            continue
        known, words = found.view(pyarrow.binary()).to_pylist(), [level.encode() for level in column.levels]
        if all(word.isascii() for word in (*known, *words)) or set(words) <= set(known) or set(known) <= set(words):
            continue
        if set(known) != set(_cut(column.levels)):
            raise LoadError(
                f"{who} was fitted on other words of column {name!r} than {', '.join(map(repr, column.levels[:SHOWN]))}, or on these in another order, which "
                "XGBoost mixes up beyond ASCII: give the column in the type 'category' of training, or train on words of plain letters"
            )


def _cut(words: Sequence[str]) -> list[bytes]:
    """Words as XGBoost 3.2 holds them: their bytes in a row, divided after as many bytes as a word has letters."""
    joined, ends = "".join(words).encode(), [0, *itertools.accumulate(map(len, words))]
    return [joined[start:end] for start, end in itertools.pairwise(ends)]


def _decoded(held: Any) -> list[Any]:
    """The categories in an array of Arrow; none where they are no text: XGBoost 3.2 cuts words beyond ASCII at wrong places."""
    try:
        return held.to_pylist()
    except UnicodeDecodeError:
        return []


def _refuse_old(booster: Any) -> None:
    if not hasattr(booster, "get_categories"):
        raise LoadError("this version of XGBoost does not know the categories it was trained on: install XGBoost 3.1 or later")


def _lightgbm_places(booster: Any) -> list[int]:
    """The places of the columns of categories, in order."""
    listed = booster.params.get("categorical_column")
    if not (isinstance(listed, list) and all(isinstance(one, int) for one in listed)):
        said = LISTED.search(booster.model_to_string(num_iteration=1))
        listed = [int(one) for one in said[1].split(",")] if said else []
    return sorted(listed)


def as_fitted(values: pd.Series, known: Sequence[Any], where: str) -> pd.Series:
    """Return a column in the type `category`, with the categories that a model was fitted on.

    Their type in the data does not matter.

    A category that the model does not know stays one, after the others, so that the model treats it as it does in use.

    Args:
        values: Words, numbers or truth values; a category 3 is the number 3.0 and the word "3" as well.
        known: The categories that the model was fitted on, in their order.
        where: Model and column, for errors.

    Raises:
        LoadError: For a category that cannot have the type of the others.
    """
    by_text: dict[str, int] = {}
    for place, one in enumerate(known):
        for text in _texts(one):
            by_text.setdefault(text, place)
    codes, found = pd.factorize(values)  # gaps have the code -1
    levels, places = list(known), []
    for one in found.tolist():
        place = next((by_text[text] for text in _texts(one) if text in by_text), None)
        if place is None:
            place = len(levels)
            levels.append(_like(one, known, where))
        places.append(place)
    coded = np.array([*places, -1])[codes]
    return pd.Series(pd.Categorical.from_codes(coded.tolist(), categories=pd.Index(levels)), index=values.index)


def _is_gap(value: Any) -> bool:
    return value is None or value != value


def _texts(value: Any) -> list[str]:
    """A category as text, the same for 3, 3.0 and "3"; truth values are also 1 and 0."""
    if isinstance(value, bool | np.bool_):
        return [str(bool(value)), str(int(value))]
    whole = isinstance(value, int | float | np.number) and float(value).is_integer()
    return [str(int(value) if whole else value)]


def _like(value: Any, known: Sequence[Any], where: str) -> Any:
    """A category in the type of the known ones."""
    kind = type(known[0]) if len(known) else type(value)
    if isinstance(value, kind):
        return value
    try:
        return _texts(value)[0] if kind is str else kind(value)
    except (TypeError, ValueError) as error:
        listed = ", ".join(map(str, known[:SHOWN]))
        raise LoadError(f"{where} has the category {value!r}, the model was fitted on {listed}: give the column as it was in training") from error
