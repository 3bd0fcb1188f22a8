"""Inputs as JSON: one text per input, the same in every batch, so that it can be hashed."""

import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sparring.core.domain import Batch, Domain
from sparring.core.errors import InputError
from sparring.domains.image import Image
from sparring.domains.table import Table


def written(domain: Domain, x: Batch, *, named_columns: bool = False) -> list[bytes]:
    """Write each input as JSON, in its deployed form.

    Images are nested lists of floats (or of whole numbers from 0 to 255 where
    they are deployed as 8bit), rows of tables have whole numbers and names of categories, texts are strings.

    Floats are written so that reading them gives the same float64, whatever their own precision.
    """
    return [_json(one) for one in _plain(domain, x, named_columns)]


def outside(domain: Domain, x: Batch) -> np.ndarray:
    """Return inputs that no user of the endpoint could send, bool [n].

    Whole numbers of tables are rounded before they are sent.
    """
    if not len(x) or isinstance(domain, Table):
        return np.zeros(len(x), dtype=bool)
    return ~np.asarray(domain.valid(x), dtype=bool)


def example_of(domain: Domain) -> Batch:
    """Return an input for the first query, for data without an example."""
    if isinstance(domain, Table):
        return torch.zeros_like(domain.low).maximum(domain.low).minimum(domain.high)[None]
    if domain.kind == "text":
        return domain.check(["a word"])
    if isinstance(domain, Image):
        return torch.full((1, *domain.shape), (domain.low + domain.high) / 2)
    raise InputError(f"the first query needs an input ({domain}): give example=x[:1]")


def _plain(domain: Domain, x: Batch, named_columns: bool) -> list[Any]:
    if isinstance(domain, Table):
        return _rows(domain, x, named_columns)
    if isinstance(domain, Image) and domain.deployed == "8bit":
        return ((x.double() - domain.low) * (255 / (domain.high - domain.low))).round().to(torch.int64).tolist()
    native = domain.native(x)
    if isinstance(native, pd.DataFrame):
        return native.to_dict("records")
    return native.tolist() if isinstance(native, np.ndarray | Tensor) else list(native)


def _rows(domain: Table, x: Tensor, named_columns: bool) -> list[Any]:
    columns: list[list[Any]] = []
    for place, column in enumerate(domain.columns):
        values = x[:, place].double()
        if column.kind == "real":
            columns.append(values.tolist())
            continue
        whole = values.round().to(torch.int64).tolist()
        columns.append([column.levels[level] for level in whole] if column.kind == "category" else whole)
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [dict(zip(domain.names, row, strict=True)) for row in rows] if named_columns else rows


def _json(one: Any) -> bytes:
    try:
        return json.dumps(one, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"an input cannot be written as JSON ({error}): inputs must be finite numbers or text") from error
