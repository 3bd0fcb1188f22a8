"""Tables in CSV and Parquet files."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd

from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.data.dataset import Data
from sparring.data.readers.content import number_classes, read_bytes, read_text, stem_of, suffix_of
from sparring.data.readers.reader import Options, reader
from sparring.data.readers.sentences import LABELS, TEXTS, from_columns
from sparring.domains.table import table
from sparring.tasks.values import Values

FEW = 20
"""Up to so many different numbers may be classes, whatever they are."""

OFTEN = 10
"""Rows per class from which on whole numbers are taken as classes, however many there are."""

SUFFIXES = {".csv": "CSV", ".parquet": "Parquet", ".pq": "Parquet"}


@reader("table", lambda path: suffix_of(path) in SUFFIXES, files="tables (.csv, .csv.gz, .parquet)", takes={"target", "encoding", "task"}, order=20)
def frame(path: Path, options: Options) -> Data:
    """Read rows of typed columns; kinds and bounds follow from the values.

    See `domains.table.table`.

    The classes stand in the column `target`, by default one called target, label or class, else the last one; they are
    numbered in sorted order. Real numbers in that column are values, see `task_of`. A CSV file whose first line has a number
    in it has no header: its columns are called "column 0" and so on. A file of two columns, text and label, is text.
    """
    rows = _parquet(path) if SUFFIXES[suffix_of(path)] == "Parquet" else _csv(path, options.encoding)
    if rows.empty:
        raise LoadError(f"{path} has no rows: give a file with at least one")
    target = target_of([str(name) for name in rows.columns], options.target, str(path))
    inputs, values = rows.drop(columns=[target]), np.asarray(rows[target])
    if missing := int(pd.isna(values).sum()):
        raise InputError(f"{path}: column {target!r} has no class in {missing} rows: fill or drop them")
    if inputs.shape[1] == 1 and str(inputs.columns[0]).lower() in TEXTS:
        return from_columns(list(inputs.iloc[:, 0]), list(values), stem_of(path), str(path), range(len(rows)))
    if inputs.shape[1] == 0:
        raise LoadError(f"{path} has only the column {target!r}: add feature columns")
    try:
        domain = table(inputs)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    task, why = (options.other, "") if options.task else task_of(values, f"{path}: column {target!r}")
    if task is not None:
        return Data.of(inputs, values, domain, name=stem_of(path), task=task, source=f"{path}, column {target!r}{why}")
    y, classes = number_classes(values, f"{path}: column {target!r}")
    return Data.of(inputs, y, domain, name=stem_of(path), classes=classes, source=str(path))


def task_of(values: np.ndarray, where: str) -> tuple[Values | None, str]:
    """Return the task that the numbers of a target column show, and why; None for classes.

    More than `FEW` different real numbers are values. Whole numbers are classes where they are few, or run from 0 or 1 without a gap, or
    occur often; else they could be both.

    Raises:
        InputError: Where the column could hold classes or values: the message says how to tell.
    """
    if values.dtype.kind not in "iuf":
        return None, ""
    known = np.unique(values)
    ask = "write task=values where they are measured, task=classes where they are classes"
    if values.dtype.kind == "f" and not bool((known == np.round(known)).all() and np.isfinite(known).all()):
        if len(known) > FEW and np.isfinite(known).all():
            return Values(), f", whose {len(known)} different numbers were taken as values"
        wrong = known[~np.isfinite(known) | (known != np.round(known))]
        raise InputError(f"{where} holds {wrong[0]:g}, not a class: name the column with the classes, target=..., or write task=values if it is measured")
    numbered = known[0] in (0, 1) and known[-1] - known[0] == len(known) - 1
    if len(known) > FEW and not numbered and len(values) < OFTEN * len(known):
        raise InputError(f"{where} holds {len(known)} different whole numbers in {len(values)} rows, from {known[0]:g} to {known[-1]:g}: {ask}")
    return None, ""


def target_of(columns: list[str], asked: str | None, where: str) -> str:
    """Return the name of the column with the classes; UnknownName names the nearest."""
    if asked is not None:
        if asked not in columns:
            raise UnknownName(f"target column of {where}", asked, columns)
        return asked
    return next((name for name in columns if name.lower() in LABELS), columns[-1])


def _csv(path: Path, encoding: str | None) -> pd.DataFrame:
    content = read_text(path, encoding)
    line = next((line for line in content.splitlines() if line.strip()), "")
    mark = max(",;\t", key=line.count)
    first = next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])
    bare = any(_is_number(cell) for cell in first)
    try:
        rows = pd.read_csv(io.StringIO(content), sep=mark, header=None if bare else 0, skipinitialspace=True, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise LoadError(f"{path} is not a CSV file with the same columns in every line ({str(error).strip()}): fix that line") from error
    rows.columns = [f"column {place}" if bare else str(name).strip() for place, name in enumerate(rows.columns)]
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow

    try:
        rows = pd.read_parquet(io.BytesIO(read_bytes(path)))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise LoadError(f"{path} is not a valid Parquet file ({str(error).splitlines()[0]}): write it again") from error
    rows.columns = [str(name) for name in rows.columns]
    return rows.reset_index(drop=True)
