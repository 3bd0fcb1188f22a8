"""Text: lines of text and label separated by a tab, or one file of sentences per class."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.data.dataset import Data, refuse_many
from sparring.data.readers.content import number_classes, read_text, stem_of, suffix_of
from sparring.data.readers.reader import Options, reader
from sparring.domains.text import text

TEXTS = ("text", "sentence", "message", "review", "content")
LABELS = ("target", "label", "class", "category", "y")


def _class_files(path: Path) -> list[Path]:
    """The .txt files of a folder, or those that a pattern such as rt-polarity.*.txt.gz stands for."""
    found = path.parent.glob(path.name) if "*" in path.name else path.iterdir() if path.is_dir() else []
    return sorted(one for one in found if one.is_file() and suffix_of(one) == ".txt" and not one.name.startswith("."))


CLASS_FILES = "folders (or patterns, *.txt) of text files, one file per class and one sentence per line"


@reader("sentences", lambda path: bool(_class_files(path)), files=CLASS_FILES, takes={"encoding"}, order=20)
def sentences(path: Path, options: Options) -> Data:
    """Return sentences, one per line, from one .txt (.gz) file per class.

    The class is the name of the file without what all names begin with. Blank lines are no samples; ids hold the line,
    counted from 0.
    """
    files = _class_files(path)
    shared = _beginning([stem_of(file) for file in files])
    if len(files) < 2:
        raise LoadError(f"{path} has the single text file {files[0].name}: give one file per class, or one .tsv file of text and label")
    name = shared.strip(".-_") or path.resolve().name
    x, y, ids = [], [], []
    for number, file in enumerate(files):
        for place, line in enumerate(read_text(file, options.encoding).splitlines()):
            if line.strip():
                x.append(line.strip())
                y.append(number)
                ids.append(f"{name}/{stem_of(file).removeprefix(shared)}/{place:05d}")
    classes = [stem_of(file).removeprefix(shared) for file in files]
    return Data.of(x, y, text(), name=name, classes=classes, ids=ids, source=str(path))


def _beginning(names: list[str]) -> str:
    """What all names begin with, up to the last dot, hyphen or underscore of it."""
    first, last = min(names), max(names)
    same = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: max(first.rfind(mark, 0, same) for mark in ".-_") + 1]


def _is_lines(path: Path) -> bool:
    return suffix_of(path) in (".tsv", ".txt") and "*" not in path.name


@reader("lines", _is_lines, files="text and label separated by a tab (.tsv, .txt, also .gz)", takes={"target", "encoding"}, order=20)
def lines(path: Path, options: Options) -> Data:
    """Read two columns divided by a tab, with or without a header.

    A header is a first line such as "text, label".

    `target` names the column of the classes, or is its place ("0" or "1"); without it the header tells, else the column with
    fewer different values. Quotes are letters like any other. Ids hold the line, counted from 0 after the header.
    """
    content = read_text(path, options.encoding)
    refuse_many(content.count("\n"), str(path))
    rows = [line.split("\t") for line in content.split("\n")]
    rows = [[cell.strip() for cell in row] for row in rows]
    while rows and rows[-1] == [""]:
        rows.pop()
    if not rows:
        raise LoadError(f"{path} has no lines: give a file with at least one")
    wrong = next((place for place, row in enumerate(rows) if len(row) != 2), None)
    if wrong is not None:
        cure = "for a comma-separated table, use the suffix .csv" if rows[wrong][0].count(",") > 1 else "separate text and label by one tab"
        raise LoadError(f"{path}: line {wrong + 1} has {len(rows[wrong])} columns ({rows[wrong][0][:40]!r}...): {cure}")
    header = [cell.lower() for cell in rows[0]]
    named = any(cell in TEXTS for cell in header) and any(cell in LABELS for cell in header)
    body = rows[1:] if named or (options.target is not None and options.target in rows[0]) else rows
    if not body:
        raise LoadError(f"{path} has a header but no lines: give a file with at least one")
    label = _label_column(rows[0] if body is not rows else None, body, options.target, path)
    kept = [place for place, row in enumerate(body) if row[1 - label]]
    return from_columns([body[place][1 - label] for place in kept], [body[place][label] for place in kept], stem_of(path), str(path), kept)


def _label_column(header: list[str] | None, body: list[list[str]], asked: str | None, path: Path) -> int:
    known = [*(header or []), "0", "1"]
    if asked is not None:
        if asked not in known:
            raise UnknownName(f"target column of {path}", asked, known)
        return header.index(asked) if header and asked in header else int(asked)
    if header:
        return next(place for place, name in enumerate(header) if name.lower() in LABELS)
    distinct = [len(Counter(row[place] for row in body)) for place in (0, 1)]
    if distinct[0] == distinct[1]:
        raise InputError(f'{path}: both columns have {distinct[0]} different values: choose the one with the classes, target="0" or target="1"')
    return distinct.index(min(distinct))


def from_columns(texts: Sequence[str], labels: Sequence[object], name: str, source: str, places: Sequence[int]) -> Data:
    """Return data of strings and their classes; places: original positions, for the ids."""
    y, classes = number_classes(labels, f"{source}: the column of the classes")
    return Data.of(list(texts), y, text(), name=name, classes=classes, ids=[f"{name}/{place:05d}" for place in places], source=source)
