"""The version, completion and `python -m sparring`."""

import subprocess
import sys

import pytest

import sparring


def test_version(spar):
    assert spar("--version") == (0, f"sparring {sparring.__version__}\n", "")


def test_run_as_a_module():
    ended = subprocess.run([sys.executable, "-m", "sparring", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("sparring ")


def test_completion_is_offered(spar, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    said = spar("--show-completion", "bash")
    assert said.code == 0
    assert "_SPAR_COMPLETE" in said.out


@pytest.mark.parametrize(("words", "expected"), [("spar ls atta", ["attacks"]), ("spar ls attacks pgd", ["pgd", "pgd_l1"]), ("spar doct", ["doctor"])])
def test_completion_knows_kinds_and_names(spar, monkeypatch, words, expected):
    monkeypatch.setenv("_SPAR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert set(spar().out.split()) & set(expected)
    assert all(one.startswith(words.split()[-1]) for one in spar().out.split())
