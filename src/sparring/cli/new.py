"""spar new: write the file that a new thing begins with."""

import os
import tomllib
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer

from sparring.cli.terminal import echo

SKELETONS = files("sparring.cli") / "skeletons"
"""One file per kind: the folder of the package where such things lie, then the text."""


def kinds() -> list[str]:
    """Return the kinds of things that a skeleton is there for."""
    return sorted(one.name.removesuffix(".txt") for one in SKELETONS.iterdir() if one.name.endswith(".txt"))


def skeleton(kind: str, name: str) -> tuple[str, str]:
    """Return the folder where things of a kind lie, and the text of a new one of that name."""
    folder, _, text = (SKELETONS / f"{kind}.txt").read_text().partition("\n")
    words = name.replace("_", " ").strip()
    return folder, Template(text).substitute(name=name, Name=words.title().replace(" ", ""), words=words.capitalize())


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in kinds() if kind.startswith(incomplete)]


def _to_install(place: Path, listing: str) -> str:
    """Return how a folder that no installed plugin contains becomes part of one, with the exact commands."""
    package, outside = place.resolve().name, place.resolve().parent
    while (outside / "__init__.py").exists():
        package, outside = f"{outside.name}.{package}", outside.parent
    project = next((one for one in (outside, *outside.parents) if (one / "pyproject.toml").is_file()), outside)
    shown = Path(os.path.relpath(project))
    lines = [f"{listing} does not list it yet, because {place} is in no installed plugin"]
    if not package.startswith("sparring.") and not _entry_points(project / "pyproject.toml"):
        top = package.partition(".")[0]
        lines += [f"add to {shown / 'pyproject.toml'} (see docs/plugins.md):", "  [project.entry-points.sparring]", f'  {top} = "{top}"']
    return "\n".join([*lines, f"then run: pip install -e {shown} && {listing}"])


def _entry_points(path: Path) -> Any:
    """Return the plugins that a pyproject.toml names; None if there is no such file, or it names none."""
    try:
        return tomllib.loads(path.read_text()).get("project", {}).get("entry-points", {}).get("sparring")
    except (OSError, ValueError):
        return None


def command(
    kind: Annotated[str, typer.Argument(help=f"What to write: {', '.join(kinds())}.", autocompletion=_kinds)],
    name: Annotated[str, typer.Argument(help="Its name in lower case, for example as in the paper.")],
    folder: Annotated[Path | None, typer.Option(help="The folder for the file; by default the folder of this kind in the package.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Write one file with a working skeleton of a new thing.

    Registry, laws, command line and report find the file; nothing else is edited. In a plugin package, name its folder; the package must be
    installed before spar ls lists the file.

    Examples:

    \b
      spar new attack zoo_attack
      spar new metric worst_class --folder my_plugin
    """
    from sparring.cli.listing import plural
    from sparring.core.errors import PlanError, UnknownName
    from sparring.core.registry import SAID, everything, reads

    if kind not in kinds():
        raise UnknownName("kind", kind, kinds())
    if not name.isidentifier() or name != name.lower() or name.startswith("_"):
        raise PlanError(f"{name!r} cannot be the name of a new {SAID.get(kind, kind)}: use lower-case letters, digits and _, and start with a letter")
    if name in everything(kind):
        raise PlanError(f"{'an' if kind[0] in 'aeiou' else 'a'} {SAID.get(kind, kind)} named {name!r} exists already: choose another name")
    usual, text = skeleton(kind, name)
    place = folder or Path(usual)
    path = place / f"{name}.py"
    if path.exists():
        raise PlanError(f"{path} exists already: choose another name or --folder")
    if not place.is_dir():
        raise PlanError(f"{place} is not a folder: give a folder of the package or of a plugin with --folder")
    path.write_text(text)
    if json:
        from sparring.cli.summary import print_json

        print_json({"written": str(path)})
    elif not quiet:
        listing = f"spar ls {plural(kind)} {name}"
        echo(path)
        echo(f"it is listed by: {listing}" if reads(kind, place) else _to_install(place, listing), lines=True)
