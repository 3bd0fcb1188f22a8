"""Writes files that a stranger might send: cut, bent, lying, huge, circular, and such as would run code.

`python tests/hostile/make.py FOLDER` writes them all; each name begins with the reader that is to open it (see doors.py). The same seed gives the same files.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile import models, networks, programs, tables, texts
from hostile.writer import Writer


def make(folder: Path, wanted: tuple[str, ...] = ("",)) -> list[str]:
    """Write the files whose names begin so into the folder, and return their names."""
    writer = Writer(folder, wanted)
    for room in (tables, texts, models, networks, programs):
        room.write(writer)
    return writer.names


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(len(make(target)), "files")
