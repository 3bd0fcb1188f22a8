"""Tables in CSV and Parquet files."""

import csv
import io
import itertools
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import types

from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.core.expression import split_list, unquoted
from sparring.core.files import allowed
from sparring.core.task import Task
from sparring.data.dataset import Data, refuse_many
from sparring.data.readers.content import number_classes, read_bytes, read_text, stem_of, suffix_of
from sparring.data.readers.reader import Options, reader
from sparring.data.readers.sentences import LABELS, TEXTS, from_columns
from sparring.domains.table import refuse_wide, table
from sparring.domains.text import text
from sparring.tasks.labels import Labels
from sparring.tasks.values import Values

FEW = 20
"""Up to so many different numbers may be classes, whatever they are."""

OFTEN = 10
"""Rows per class from which on whole numbers are taken as classes, however many there are."""

LOOKED_AT = 100
"""Rows of a CSV file by which a header is told."""

MISSING_MARKS = {"?", "-", "--", ".", "na", "n/a", "nan", "null", "none", "missing"}
"""Words for missing numbers, beyond those that pandas reads as such."""

FOREIGN = re.compile(r"[-+]?[$€£¥]? ?(\d+([.,]\d+)?|\d{1,3}([.,' \u00a0]\d{3})+([.,]\d+)?) ?[%€$£¥]?")
"""Numbers with a decimal comma, with marks between thousands, or with a sign of money or per cent; plain numbers are told before."""

PLAIN = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string, types.is_decimal, types.is_temporal, types.is_null)
"""Types of Arrow that a column of a table may have."""

SUFFIXES = {".csv": "CSV", ".parquet": "Parquet", ".pq": "Parquet"}


@reader("table", lambda path: suffix_of(path) in SUFFIXES, files="tables (.csv, .csv.gz, .parquet)", takes={"target", "encoding", "task"}, order=20)
def frame(path: Path, options: Options) -> Data:
    """Read rows of typed columns; kinds and bounds follow from the values.

    See `domains.table.table`. Empty cells are missing values; so are, in columns of numbers and truth values, words that pandas reads as such (NA, None).

    The classes stand in the column `target`, by default one called target, label or class, else the last one; they are
    numbered in sorted order. Real numbers in that column are values, see `task_of`. Tasks with several numbers per sample have one column for each, see
    `targets_of`. The first line of a CSV file is a header where it holds no number, or a word above numbers, or the name of the target; columns
    without a header are called "column 0" and so on. A file of two columns, text and label, is text.
    """
    rows = _parquet(path) if SUFFIXES[suffix_of(path)] == "Parquet" else _csv(path, options)
    if rows.empty:
        raise LoadError(f"{path} has no rows: give a file with at least one")
    targets = targets_of([str(name) for name in rows.columns], options.target, options.other, str(path))
    if len(targets) > 1 or isinstance(options.other, Labels):
        return _of_several(rows, targets, path, options)
    (target,) = targets
    inputs, values = rows.drop(columns=[target]), np.asarray(rows[target])
    if missing := int(pd.isna(values).sum()):
        raise InputError(f"{path}: column {target!r} has no class in {missing} rows: fill or drop them")
    if inputs.shape[1] == 1 and str(inputs.columns[0]).lower() in TEXTS:
        return from_columns(_texts(inputs, path), list(values), stem_of(path), str(path), range(len(rows)))
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


def _of_several(rows: pd.DataFrame, targets: list[str], path: Path, options: Options) -> Data:
    """Data whose truth stands in several columns: values, or labels, which are named after them."""
    task, said = options.other, ", ".join(targets)
    if task is None:
        raise InputError(f"{path}: {len(targets)} target columns ({said}): give one for classes, or write task=labels or task=values({len(targets)})")
    for name in targets:
        column = rows[name]
        if missing := int(pd.isna(column).sum()):
            cure = "write -1 where a label is not known" if isinstance(task, Labels) else "fill or drop them"
            raise InputError(f"{path}: column {name!r} has no number in {missing} rows: {cure}")
        if column.dtype.kind not in "biuf":
            raise InputError(f"{path}: column {name!r} holds {str(column.iloc[0])[:40]!r}, not a number: name the columns with the numbers, target=...")
    if isinstance(task, Labels) and not task.names and task.count in (None, len(targets)):
        task = replace(task, names=tuple(targets), count=len(targets))
    inputs = rows.drop(columns=targets)
    if inputs.shape[1] == 0:
        raise LoadError(f"{path} has only the columns {said}: add feature columns")
    y = rows[targets].to_numpy(dtype=np.float64)
    if inputs.shape[1] == 1 and str(inputs.columns[0]).lower() in TEXTS:
        return Data.of(_texts(inputs, path), y, text(), name=stem_of(path), task=task, source=f"{path}, columns {said}")
    try:
        domain = table(inputs)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Data.of(inputs, y, domain, name=stem_of(path), task=task, source=f"{path}, columns {said}")


def _texts(inputs: pd.DataFrame, path: Path) -> list[str]:
    """The texts of a table whose only inputs they are; InputError where a cell is empty."""
    column = inputs.iloc[:, 0]
    if missing := np.flatnonzero(column.isna()).tolist():
        raise InputError(f"{path}: column {inputs.columns[0]!r} has no text in {len(missing)} rows, the first is row {missing[0]}: fill or drop them")
    return list(column)


def targets_of(columns: list[str], asked: str | None, task: Task | None, where: str) -> list[str]:
    """Return the names of the columns with the truth; UnknownName names the nearest.

    Args:
        columns: All columns.
        asked: One name, or several with commas between them; names that contain commas stand in quotes.
        task: What the columns hold; None for classes. Where nothing is asked, a task with several numbers per sample takes the columns that its labels are
            named after, or the last ones.
        where: The file, for errors.
    """
    if asked is not None:
        names = [asked] if asked in columns else [unquoted(name) for name in split_list(asked)]
        for name in names:
            if name not in columns:
                raise UnknownName(f"target column of {where}", name, columns)
        if len(set(names)) < len(names):
            raise InputError(f"{where}: a target column is named twice in {asked!r}: name each once")
        return names
    named = task.names if isinstance(task, Labels) else ()
    if named and set(named) <= set(columns):
        return list(named)
    count = task.count if isinstance(task, Labels) else task.outputs if isinstance(task, Values) else 1
    if count is None:
        raise InputError(f"{where}: the number of labels is not known: name their columns, target=cat,dog, or write task=labels(2)")
    if count > 1:
        return columns[-count:]
    return [next((name for name in columns if name.lower() in LABELS), columns[-1])]


def _csv(path: Path, options: Options) -> pd.DataFrame:
    content = read_text(path, options.encoding)
    refuse_many(content.count("\n"), str(path))
    line = next((line for line in _lines(content) if line.strip()), "")
    mark = max(",;\t", key=line.count)
    try:
        begin = list(itertools.islice((row for row in csv.reader(_lines(content), delimiter=mark, skipinitialspace=True) if row), LOOKED_AT))
    except csv.Error as error:
        raise LoadError(f"{path} is not a CSV file ({error}): write it again") from error
    refuse_wide(max(map(len, begin), default=0), str(path))
    bare = not _has_header(begin, options.target)
    try:
        written = content.encode("utf-8", "surrogatepass")
        read = partial(pd.read_csv, sep=mark, header=None if bare else 0, skipinitialspace=True, index_col=False)
        with warnings.catch_warnings(action="ignore", category=pd.errors.ParserWarning):  # about cells that have no column, which are looked for below
            rows = read(io.BytesIO(written))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise LoadError(f"{path} is not a CSV file with the same columns in every line ({str(error).strip()}): fix that line") from error
    if max(map(len, begin)) > rows.shape[1] or rows.iloc[:, -1].isna().any():
        _refuse_other_widths(content, mark, rows.shape[1], path)
    rows.columns = [f"column {place}" if bare else str(name).strip() for place, name in enumerate(rows.columns)]
    if not bare:
        _refuse_second_header(rows, [cell.strip() for cell in begin[0]], path)
    if gaps := _gaps(rows):
        nullable = read(io.BytesIO(written), usecols=gaps, dtype_backend="numpy_nullable").dtypes
        rows = rows.astype({rows.columns[place]: dtype for place, dtype in zip(gaps, nullable, strict=True) if pd.api.types.is_integer_dtype(dtype)})
    for name in rows.columns:
        _refuse_numbers_as_words(rows[name], f"{path}: column {name!r}")
    if words := [place for place in range(rows.shape[1]) if _holds_words(rows.iloc[:, place])]:
        spelled = read(io.BytesIO(written), usecols=words, dtype=str, keep_default_na=False, na_values=[""])
        for number, place in enumerate(words):
            rows[rows.columns[place]] = spelled.iloc[:, number]
    return rows


def _holds_words(column: pd.Series) -> bool:
    """Return whether a column holds words, among which NA and None are words too; in other columns they are marks of missing values."""
    return not pd.api.types.is_numeric_dtype(column) and pd.api.types.infer_dtype(column, skipna=True) != "boolean"


def _gaps(rows: pd.DataFrame) -> list[int]:
    """Places of the columns of numbers that have gaps, whose whole numbers pandas makes real ones."""
    return [place for place, dtype in enumerate(rows.dtypes) if dtype.kind == "f" and bool(rows.iloc[:, place].isna().any())]


def _refuse_other_widths(content: str, mark: str, width: int, path: Path) -> None:
    """Refuse rows with fewer cells than there are columns, and with more that hold something: pandas fills these up, and leaves cells out."""
    reader = csv.reader(_lines(content), delimiter=mark, skipinitialspace=True)
    for row in reader:
        blank = not any(cell.strip() for cell in row)
        if len(row) == width or (len(row) > width and not any(cell.strip() for cell in row[width:])) or (blank and len(row) < 2):
            continue
        names = ", such as that of the names of rows (in R: write.csv(..., row.names=FALSE))" if len(row) == width + 1 else ""
        cure = f"name every column{names}, and write decimal points" if len(row) > width else "complete the line, with empty cells where values are missing"
        raise InputError(f"{path}: line {reader.line_num} has {len(row)} cells for {width} columns: {cure}")


def _lines(content: str) -> Iterator[str]:
    """The lines of a text with their ends, one after the other."""
    start = 0
    while start < len(content):
        end = content.find("\n", start) + 1 or len(content)
        yield content[start:end]
        start = end


def _has_header(begin: list[list[str]], target: str | None) -> bool:
    """Return whether the first of some rows names the columns.

    It does where no cell of it is a number, where it holds the name of the target, and where a word in it stands above numbers.
    """
    if not begin:
        return False
    first, *others = begin
    words = [place for place, cell in enumerate(first) if not _is_number(cell) and cell.strip().lower() not in {"", *MISSING_MARKS}]
    if len(words) == len(first) or (target is not None and (target in first or set(split_list(target)) <= set(first))):
        return True
    below = [[row[place] for row in others if place < len(row) and row[place].strip()] for place in words]
    return any(cells and all(map(_is_number, cells)) for cells in below)


def _refuse_second_header(rows: pd.DataFrame, header: list[str], path: Path) -> None:
    """Refuse a name that two columns have, of which one would be renamed, and a header among the rows, as in files that were put together."""
    _refuse_same_names(header, path)
    if len(header) != rows.shape[1]:
        return
    alike = np.flatnonzero(rows.iloc[:, 0].astype(str) == header[0])
    again = next((int(row) for row in alike if [str(value) for value in rows.iloc[row]] == header), None)
    if again is not None:
        raise InputError(f"{path}: row {again} repeats the header: leave it out")


def _refuse_same_names(names: list[str], path: Path) -> None:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"{path}: two columns are named {twice[0]!r}: give each column a name of its own")


def _refuse_numbers_as_words(column: pd.Series, where: str) -> None:
    """Refuse a column that would become a category although it holds numbers: with marks of another country, or with marks for missing ones."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return
    values = column.dropna().astype(str).str.strip()
    plain = values.map(_is_number)
    others = values[~plain]
    if plain.any() and not others.empty and others.str.lower().isin(MISSING_MARKS).all():
        said = f"{others.iloc[0]!r} among numbers, in row {others.index[0]}"
        raise InputError(f"{where} holds {said}: fill the missing values or drop their rows, or leave the cells empty")
    if others.empty and len(plain):
        largest = max(values, key=len)
        raise InputError(f"{where} holds {largest[:40]}, a whole number of more than 64 bits: leave the column out if it names rows, or write real numbers")
    foreign = others[[FOREIGN.fullmatch(str(one)) is not None for one in others]]
    if values.nunique() > FEW and len(foreign) + int(plain.sum()) > len(values) / 2:
        seen = (foreign if len(foreign) else others).iloc[0]
        raise InputError(f"{where} holds {seen!r} among {len(values)} numbers: write decimal points, no marks between thousands and no units")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    content = read_bytes(path)
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        _check_parquet(file, len(content), str(path))
        held = file.read()
        held.validate(full=True)
        for place, field in enumerate(held.schema):
            if types.is_decimal(field.type):  # which would reach pandas as objects
                held = held.set_column(place, field.name, held.column(place).cast("float64"))
        rows = held.to_pandas()
    except LoadError:
        raise
    except Exception as error:  # metadata may hold anything, and pandas follows it
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise LoadError(f"{path} is not a valid Parquet file ({said[:200]}): write it again") from error
    rows.columns = [str(name) for name in rows.columns]
    _refuse_same_names(list(rows.columns), path)
    whole = [place for place in _gaps(rows) if types.is_integer(file.schema_arrow.field(place).type)]
    return rows.astype({rows.columns[place]: "Int64" for place in whole}).reset_index(drop=True)


def _check_parquet(file: Any, size: int, where: str) -> None:
    """Refuse what a Parquet file claims and cannot hold, and columns that are no numbers or words."""
    about = file.metadata
    refuse_wide(about.num_columns, where)
    groups = [about.row_group(place) for place in range(about.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows != about.num_rows or min((group.num_rows for group in groups), default=0) < 0:
        raise LoadError(f"{where} is said to hold {about.num_rows:,} rows, its groups {rows:,}: write it again")
    refuse_many(rows, where)
    claimed = sum(group.total_byte_size for group in groups)
    if max(claimed, rows * about.num_columns) > allowed(size):
        raise LoadError(
            f"{where} unpacks to {max(claimed, rows * about.num_columns):,} bytes from {size:,}: write it again without compression if you trust it"
        )
    for field in file.schema_arrow:
        if not any(fits(field.type) for fits in (*PLAIN, types.is_dictionary)):
            raise LoadError(f"{where}: column {field.name[:80]!r} holds {str(field.type)[:80]}: keep columns of numbers, booleans and words")
