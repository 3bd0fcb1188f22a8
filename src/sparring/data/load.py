"""Loads `Data` from a path or from the name of an embedded set."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparring.core.arguments import shown
from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.core.expression import split_list, unquoted
from sparring.core.files import is_there, path_of
from sparring.core.foreign import in_our_words
from sparring.core.registry import ask_tolerantly, everything, read_thing
from sparring.core.task import Task
from sparring.data.dataset import Data
from sparring.data.readers.reader import Options, Reader

LONGEST = 255
"""Characters that the name of a file may have."""


@in_our_words
def load(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    take: int | None = None,
    seed: int | None = None,
    target: str | None = None,
    size: int | tuple[int, int] | None = None,
    deployed: str | None = None,
    encoding: str | None = None,
    task: Task | str | None = None,
    classes: Sequence[Any] | str | None = None,
) -> Data:
    """Load data from an embedded set or a path; nothing is downloaded.

    Args:
        source: "digits", "breast-cancer", "diabetes", or a path: an idx or npz file, a folder of images, a CSV or Parquet table, text divided by
            tabs, a folder of text files. A name wins over a path; write "./digits" for a folder of that name.
        split: "test" (the default where there is one), "train", "all". Every third row of an embedded set is for testing.
        take: Number of samples, the first or with a seed a random choice; ids stay those of the whole set.
        seed: Seed of the random choice.
        target: Name of the column with the classes, or names of several columns with commas between them, for labels and values.
        size: (height, width) to scale images to.
        deployed: "float" or "8bit", see `Image`.
        encoding: Encoding of text files (UTF-8, or Latin-1 where that fails).
        task: What is true, where it is no class: a task, or one as a plan writes it, "values(tolerance=20)", "labels(5)" or "mask(count=2)".
            "classes" says that numbers in a table are classes.
        classes: Names of all classes in the order in which they are numbered, a list or one string with commas, for a file that lacks some
            classes or orders them otherwise than the model.

    Returns:
        The `Data`: samples, classes, ids and the domain of the inputs.

    Raises:
        UnknownName: for an unknown set.
        LoadError: for a file that cannot be read.
        InputError: for values that do not fit.

    Example:
        >>> load("digits", take=2).ids
        ['digits/test/00002', 'digits/test/00005']
    """
    options = Options(split, target, size, deployed, encoding, read_task(task) if isinstance(task, str) else task)
    data = _loaded(source, options)
    if classes is not None:
        data = data.numbered([unquoted(name) for name in split_list(classes)] if isinstance(classes, str) else classes)
    return data.take(take, seed)


def _loaded(source: str | os.PathLike[str], options: Options) -> Data:
    """All the data of a source."""
    sets = everything("dataset")
    if isinstance(source, str) and source in sets:
        options.check(frozenset({"split", "task"}), f"the embedded set {source!r}")
        return _answering(sets[source](options.split or "test"), options.task)
    if not os.fspath(source):
        raise LoadError(f"the source of the data is an empty name: give a path or one of {', '.join(sets)}")
    path = path_of(source)
    reader = _reader_of(path, sets, isinstance(source, str))
    options.check(reader.takes, reader.files)
    return reader.read(path, options)


def read_task(written: Task | str | None) -> Task | None:
    """Return the task written as `values(tolerance=20)`; None if nothing is written."""
    if written is None or isinstance(written, Task):
        return written
    if not isinstance(written, str):
        raise InputError(f'the task is {shown(written)}: give a task such as sp.tasks.Values(), or one as a plan writes it, "values(tolerance=20)"')
    return read_thing("task", written)


def _answering(data: Data, task: Task | None) -> Data:
    """The data with other settings of its task, such as a tolerance."""
    if task is None or task == data.task:
        return data
    if task.kind != data.task.kind:
        raise InputError(f"task={task.kind} does not fit {data.name}, which holds {data.task}: leave out task=, or give {data.task.kind}(...)")
    return data if task.kind == "classes" else data.derived(y=task.check(data.y, len(data)), task=task.measured(data.y))


def _reader_of(path: Path, sets: dict[str, object], named: bool) -> Reader:
    if "*" not in path.name and not is_there(path):
        if len(path.name) > LONGEST:
            raise LoadError(f"{path.name[:60]!r}... is no path and no data set: give a shorter name")
        if named and not path.suffix and len(path.parts) == 1:
            raise UnknownName("data set (and no such path)", path.name, sets)
        beside = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there is no folder {path.parent}" if not path.parent.is_dir() else "check the path"
        raise LoadError(f"{path} does not exist: {hint}")
    readers = sorted(everything("reader").values(), key=lambda one: one.order)
    for one in readers:
        if ask_tolerantly(one, f"the reader of {one.files}", lambda one=one: one.accepts(path), False):
            return one
    if "*" in path.name:
        raise LoadError(f"no text file matches {path}: check the path and the pattern")
    if path.is_dir():
        content = sorted(one.name for one in path.iterdir())
        seen = f"holds {', '.join(content[:4])}" if content else "is empty"
        raise LoadError(f"the folder {path} {seen}: expected one sub-folder of images per class, one .txt file per class, or idx files")
    raise LoadError(f"no reader for {path.name}: supported are {'; '.join(one.files for one in readers)}")
