"""spar new: write a skeleton for a new attack."""

from pathlib import Path
from typing import Annotated

import typer

TEMPLATE = '''"""{title}: say in one line what it does."""

from sparring.attacks.attack import attack
from sparring.attacks.loop import iterate
from sparring.core.problem import Problem


@attack(needs={{"labels"}}, uses={{"sample"}}, cites="Authors year, arXiv:0000.00000, algorithm 1; official code")
def {name}(problem: Problem, *, steps: int = 10):
    """Search random points of the region; say here in one sentence what the attack does.

    Args:
        steps: Points queried per sample.

    Source: Authors year, arXiv:0000.00000, algorithm 1; official code.
    """

    def start(live: Problem, restart: int) -> tuple:
        return ()

    def step(live: Problem, state: tuple, k: int) -> tuple:
        live.losses(live.region.sample(live.rng.draw(k)))
        return state

    return iterate(problem, start, step, steps=steps)
'''


def command(
    kind: Annotated[str, typer.Argument(help="The kind of thing to write; only `attack` is supported.")],
    name: Annotated[str, typer.Argument(help="Its name in lower case, as in the paper.")],
    folder: Annotated[Path, typer.Option(help="The folder in which to write it.")] = Path("src/sparring/attacks/evasion"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Write one file with a working skeleton, which the registry finds without further edits.

    Example: spar new attack zoo_attack --folder myplugin/
    """
    from sparring.core.errors import PlanError, UnknownName
    from sparring.core.registry import everything

    if kind != "attack":
        raise UnknownName("thing to write", kind, ["attack"])
    if not name.isidentifier() or name != name.lower():
        raise PlanError(f"{name!r} is not a valid name for an attack: use lower-case letters, digits and _")
    if name in everything("attack"):
        raise PlanError(f"an attack named {name!r} exists already: choose another name")
    path = folder / f"{name}.py"
    if path.exists():
        raise PlanError(f"{path} exists already: choose another name or folder")
    if not folder.is_dir():
        raise PlanError(f"{folder} is not a folder: give a folder of the package or of a plugin with --folder")
    path.write_text(TEMPLATE.format(name=name, title=name.replace("_", " ").capitalize()))
    if json:
        from sparring.cli.summary import print_json

        print_json({"written": str(path)})
    elif not quiet:
        typer.echo(f"{path}\nto see it in the list: spar ls attacks {name}")
