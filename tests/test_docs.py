"""Every fenced block of the documentation is run as printed, or says in its first line why it cannot be.

The info string of a block is its language and then, where they apply, the word `slow` (for the slow suite only) and
`not-run (a reason)`. Blocks of a page share a folder and a namespace and are run from top to bottom. A yaml block is a
plan and is saved as plan.yaml, for the commands after it.
"""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from installed import installed

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
INFO = re.compile(r"(?P<language>python|bash|yaml|toml|text|mermaid)(?P<slow> slow)?(?: not-run \((?P<reason>\w[^()]+)\))?")
RUN = {"python", "bash", "yaml"}


class Block(NamedTuple):
    """One fenced block: the page and line where it begins, and what its info string says."""

    page: Path
    line: int
    language: str
    slow: bool
    reason: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    found = []
    for match in re.finditer(r"^```(.*)\n((?:.*\n)*?)^```[ ]*$", page.read_text(), flags=re.MULTILINE):
        line = page.read_text()[: match.start()].count("\n") + 1
        info = INFO.fullmatch(match[1].strip())
        assert info, f"{page.name}:{line}: {match[1]!r} is no info string: write a language, then slow or not-run (the reason)"
        found.append(Block(page, line, info["language"], bool(info["slow"]), info["reason"] or "", match[2]))
    return found


def commands_of(text: str) -> list[str]:
    """The commands of a shell block; where some lines begin with `$ `, the other lines are output."""
    lines = text.replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or lines
    return [line for line in typed if shlex.split(line, comments=True)]


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one command in the current folder: exit code 0."""
    from sparring.cli.app import main

    words = shlex.split(line, comments=True)
    assert words[0] in ("spar", "python"), f"{line!r} is neither spar nor python: give the block a reason not to run"
    if words[0] == "python":
        assert subprocess.run([sys.executable, *words[1:]], check=False).returncode == 0, line
        return
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, line


def run_page(page: Path, slow: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """Run the blocks of a page in one folder and one namespace, in order; return the namespace, and the places of the blocks that were run."""
    with installed(folder / "site") if page.stem == "plugins" else contextlib.nullcontext():
        return _run_page(page, slow, folder, monkeypatch)


def _run_page(page: Path, slow: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    from sparring.bench.plan import Plan

    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": page.stem}
    ran: list[str] = []
    for block in blocks_of(page):
        if block.reason or block.language not in RUN or (block.slow and not slow):
            continue
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
        elif block.language == "yaml":
            Plan.of(yaml.safe_load(block.text))
            (folder / "plan.yaml").write_text(block.text)
        else:
            for line in commands_of(block.text):
                run_command(line, monkeypatch)
        ran.append(block.place)
    return names, ran


def names_of(pages: list[Path], slow: bool) -> list[Any]:
    kept = [page for page in pages if any(one.slow == slow and not one.reason and one.language in RUN for one in blocks_of(page))]
    return [pytest.param(page, id=page.stem) for page in kept]


@pytest.mark.parametrize("page", names_of(PAGES, slow=False))
def test_blocks_run_as_printed(page, tmp_path, monkeypatch):
    """All but the slow ones."""
    names, ran = run_page(page, False, tmp_path, monkeypatch)
    assert ran == [block.place for block in blocks_of(page) if block.language in RUN and not block.reason and not block.slow]
    if page.name == "README.md":
        assert 0 <= names["run"].robust_accuracy.value < names["run"].clean_accuracy.value
        assert names["x_adv"].shape == names["data"].x.shape


@pytest.mark.slow
@pytest.mark.parametrize("page", names_of(PAGES, slow=True))
def test_slow_blocks_run_as_printed(page, tmp_path, monkeypatch):
    """The whole page, as a slow block may need what the blocks before it made."""
    _, ran = run_page(page, True, tmp_path, monkeypatch)
    assert ran == [block.place for block in blocks_of(page) if block.language in RUN and not block.reason]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_is_left_out(page):
    """Every fence belongs to a block, and every block runs, is a picture, or says why it does not run."""
    fences = sum(line.lstrip().startswith("```") for line in page.read_text().splitlines())
    blocks = blocks_of(page)
    assert fences == 2 * len(blocks), f"{page.name}: {fences} fences, {len(blocks)} blocks"
    silent = [one.place for one in blocks if one.language not in RUN | {"mermaid"} and not one.reason]
    assert not silent, f"{silent}: these do not run and give no reason"


@pytest.mark.parametrize("info", ["", "sh", "bash not-run", "bash not-run ()", "python slower"])
def test_a_block_without_a_reason_is_refused(info, tmp_path):
    """An info string of no known form is an error, so that a block cannot drop out unseen."""
    page = tmp_path / "page.md"
    page.write_text(f"text\n\n```{info}\nspar ls attacks\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:3"):
        blocks_of(page)


def test_every_attack_is_in_the_table():
    """The table of the README names what the registry has."""
    from sparring.core.registry import everything

    named = set(re.findall(r"`(\w+)`", README.split("## Features")[1].split("| threat")[0]))
    missing = set(everything("attack")) - named
    assert not {name for name in missing if everything("attack")[name].search.__module__.startswith("sparring.")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    """Relative links of every page, and the files that the page on the architecture names."""
    linked = [page.parent / one.split("#")[0] for one in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", page.read_text())]
    if page.stem == "architecture":
        named = [one for one in re.findall(r"`([\w/]+/[\w.]*)`", page.read_text()) if one != "src/sparring"]
        assert len(named) > 20
        linked += [ROOT / "src" / "sparring" / one for one in named]
    assert not [str(one) for one in linked if not one.exists()]
