"""The command line, called in process: what it printed and the code it ended with."""

import os
import sys
from typing import NamedTuple

import pytest

TINY = ("model=zoo:digits-plain", "data=digits", "take=20", "threat=linf 0.1", "attacks=noise(tries=3), fgsm", "certify=none")
"""A plan that takes a fraction of a second."""


class Said(NamedTuple):
    """code: of the process. out, err: what went to standard output and standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(tmp_path_factory, monkeypatch):
    """Names for completion are kept below a temporary folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def spar(folder, capsys, monkeypatch):
    """Call the command line with some words, in an empty folder."""
    from sparring.cli.app import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["spar", *map(os.fspath, words)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(ended.value.code, said.out, said.err)

    return call


@pytest.fixture
def tiny():
    """The words of a plan that takes a fraction of a second."""
    return TINY
