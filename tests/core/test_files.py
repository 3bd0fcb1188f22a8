"""What is read from files: regular files, unpacked within limits."""

import gzip
import io
import os
import zipfile

import pytest
from hostile.writer import bomb

from sparring.core import files
from sparring.core.errors import LoadError
from sparring.core.files import check_members, is_there, path_of, read_file, unpacked


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(100))
    for path, sentence in (
        (tmp_path / "pipe", "pipe or a device"),
        ("/dev/zero", "pipe or a device"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "does not exist"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (tmp_path / "large", "at most 99"),
    ):
        with pytest.raises(LoadError, match=sentence):
            read_file(path_of(path), most=99)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    assert read_file(tmp_path / "link") == bytes(100)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-this-name/x", "~/no/such"])
def test_names_that_no_file_can_have_are_not_there(name):
    assert not is_there(name)


@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_honest_gzip_is_unpacked(size):
    content = os.urandom(1000) * (size // 1000) + bytes(size % 1000)
    assert unpacked(gzip.compress(content, mtime=0), "it") == content
    assert unpacked(gzip.compress(content, mtime=0) + gzip.compress(b"more", mtime=0), "it") == content + b"more"
    assert unpacked(gzip.compress(content, mtime=0) + bytes(512), "it") == content, "padding behind the stream, as tape archives have"


def test_more_than_the_limit_is_refused_and_at_the_limit_not(monkeypatch):
    monkeypatch.setattr(files, "ROOM", 10_000_000)
    monkeypatch.setattr(files, "RATIO", 1)
    assert len(unpacked(gzip.compress(bytes(10_000_000), mtime=0), "it")) == 10_000_000
    with pytest.raises(LoadError, match=r"unpacks to more than 10,000,000 bytes .* unpack it with gunzip"):
        unpacked(gzip.compress(bytes(10_000_001), mtime=0), "it")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(os.urandom(1000), mtime=0)[:500], "truncated"),
        (gzip.compress(b"x" * 100, mtime=0)[:-5] + b"wrong", "damaged"),
        (gzip.compress(b"x", mtime=0) + b"rest", "behind its gzip"),
        (gzip.compress(b"", mtime=0), "to nothing"),
        (bomb(1 << 28), "more than"),
    ],
)
def test_damaged_gzip_is_refused(content, sentence):
    with pytest.raises(LoadError, match=sentence):
        unpacked(content, "it")


def test_archives_that_lie(tmp_path):
    def checked(names, size=1000, **settings):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, bytes(size))
        with zipfile.ZipFile(made) as archive:
            check_members(archive, len(made.getvalue()), "it", **settings)

    checked(["a", "b/c..d", "e..."])
    for names, sentence in (
        (["../a"], "out of the archive"),
        (["a/../../b"], "out of the archive"),
        (["/a"], "out of the archive"),
        ([f"{place}" for place in range(11)], "at most 10"),
    ):
        with pytest.raises(LoadError, match=sentence):
            checked(names, most=10)
    with pytest.raises(LoadError, match="unpacks to 140,000,000 bytes"):
        checked(["a"], size=140_000_000)
    with pytest.warns(UserWarning, match="Duplicate"), pytest.raises(LoadError, match="holds 'a' twice"):
        checked(["a", "a"])
