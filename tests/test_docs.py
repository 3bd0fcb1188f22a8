"""What the README shows is run as printed."""

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines() if line.startswith("spar ")]
SLOW = {"spar run", "spar run model=zoo:digits-robust"}


def test_the_python_example_runs(tmp_path, monkeypatch):
    """The eight lines, in an empty folder."""
    (example,) = [block for language, block in BLOCKS if language == "python"]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert 0 <= names["run"].robust_accuracy.value < names["run"].clean_accuracy.value
    assert names["x_adv"].shape == names["data"].x.shape


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all commands, in the order of the README: later ones are about the runs of earlier ones."""
    return tmp_path_factory.mktemp("readme")


def run(line, folder, monkeypatch):
    from sparring.cli.app import main

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", shlex.split(line, comments=True))
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def slow(line):
    words = shlex.split(line, comments=True)
    return " ".join(words[:3]) in SLOW or words == ["spar", "run"]


@pytest.mark.parametrize("line", [line for line in COMMANDS if not slow(line)], ids=lambda line: line[:40])
def test_commands_run_as_printed(line, folder, monkeypatch, capsys):
    """Exit code 0, and something is said."""
    assert run(line, folder, monkeypatch) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in COMMANDS if slow(line)], ids=lambda line: line[:40])
def test_long_commands_run_as_printed(line, folder, monkeypatch):
    """The embedded default, and the gated run: exit code 0."""
    assert run(line, folder, monkeypatch) == 0


def test_every_attack_is_in_the_table():
    """The table of the README names what the registry has."""
    from sparring.core.registry import everything

    named = set(re.findall(r"`(\w+)`", README.split("## What is there")[1].split("| threat")[0]))
    missing = set(everything("attack")) - named
    assert not {name for name in missing if everything("attack")[name].search.__module__.startswith("sparring.")}
