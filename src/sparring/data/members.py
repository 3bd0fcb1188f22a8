"""Which samples a model was trained on, as a plan says it: a file of ids, or the name of a split."""

from pathlib import Path

from sparring.core.errors import InputError, SparringError
from sparring.core.files import decoded, is_there, path_of, read_file
from sparring.core.task import Task
from sparring.data.load import load


def is_list(written: str) -> bool:
    """Return whether members are written as a file of ids, not as the name of a split."""
    return Path(written).suffix != "" or is_there(written)


def read_members(written: str, source: str, *, target: str | None = None, deployed: str | None = None, task: Task | str | None = None) -> frozenset[str]:
    """Return the ids of the samples that a model was trained on.

    Args:
        written: A text file with one id a line, or the name of a split of the data, such as train.
        source: The data, as in `load`.
        target: As in `load`.
        deployed: As in `load`.
        task: As in `load`.

    Raises:
        LoadError: where the file cannot be read.
        InputError: where nothing is listed, or the data has no such split.
    """
    if not is_list(written):
        try:
            return frozenset(load(source, split=written, target=target, deployed=deployed, task=task).ids)
        except SparringError as error:
            raise InputError(
                f"members={written!r} is neither a file nor a split of {source} ({error}): give a text file with one id a line, or a split such as train"
            ) from error
    path = path_of(written)
    where = f"members={written!r}"
    lines = decoded(read_file(path, where), where).splitlines()
    found = frozenset(line.strip() for line in lines if line.strip())
    if not found:
        raise InputError(f"members={written!r} lists no id: write the id of one training sample a line")
    return found
