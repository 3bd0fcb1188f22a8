"""spar harden: train a model against a threat."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sparring.cli.completion import complete_keys, plan_keys
from sparring.cli.terminal import echo
from sparring.cli.words import read_words

KEYS = ("model", "weights", "data", "split", "take", "threat", "recipe", "epochs", "batch", "rate", "radius_schedule", "fresh", "seed", "out")


def _words(incomplete: str) -> list[tuple[str, str]]:
    return complete_keys(incomplete, {key: plan_keys().get(key, "") for key in KEYS})


def command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="key=value ...",
            help=f"Keys: {', '.join(KEYS)}.",
            show_default=False,
            autocompletion=_words,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Train a torch model against a threat and write its weights.

    The same command continues from the checkpoint beside the weights. The model is zoo:NAME or package.module:factory. Data is read in
    the split train unless split=... says otherwise. radius_schedule is the share of the training after which the radius is full.
    fresh=false trains on from the weights that the model has. Settings of the recipe are keys too.

    Examples:

    \b
      spar harden model=zoo:digits-plain data=digits threat="linf 0.1" \\
          recipe=ibp epochs=40 out=robust.safetensors
    """
    from sparring.bench.plan import Plan
    from sparring.core.errors import PlanError, UnknownName

    stray, given = read_words([*(words or []), *context.args])
    missing = [name for name in ("model", "data", "threat", "out") if name not in given]
    if stray or missing:
        raise PlanError(f"cannot read {stray!r}: write key=value" if stray else f"spar harden needs {', '.join(f'{name}=...' for name in missing)}")
    file = Path(str(given["out"])).expanduser()
    if file.suffix != ".safetensors":
        raise PlanError(f"out={given['out']}: weights are written as safetensors; give a name that ends in .safetensors")
    case = Plan.of({name: given[name] for name in ("model", "weights", "data", "take", "threat") if name in given} | {"split": given.get("split", "train")})

    import safetensors.torch

    from sparring.cli.process import tune_allocator
    from sparring.cli.summary import print_json
    from sparring.core.registry import find
    from sparring.data.load import load
    from sparring.defences.training.harden import RENAMED, harden
    from sparring.defences.training.optimiser import Adam
    from sparring.defences.training.radius_schedule import RadiusSchedule

    tune_allocator()
    recipe = str(given.get("recipe", "ibp"))
    known = find("recipe", recipe).defaults
    for old in [name for name in RENAMED if name in given and name not in known]:
        echo(f"{old} is now {RENAMED[old]}: write {RENAMED[old]}=...", err=True)
        given[RENAMED[old]] = given.pop(old)
    own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if name not in KEYS}
    for name in own:
        if name not in known:
            raise UnknownName("key", name, [*KEYS, *known])
    threats = [one.threat for one in case.evasion_cases()]
    if len(threats) != 1:
        raise PlanError("spar harden takes one model and one threat; the plan has several")
    data = load(str(given["data"]), split=str(given.get("split", "train")), take=given.get("take"))
    chosen: dict[str, Any] = {name: given[name] for name in ("epochs", "batch", "seed", "fresh") if name in given}
    if "rate" in given:
        chosen["optimiser"] = Adam(given["rate"])
    if "radius_schedule" in given:
        chosen["radius_schedule"] = RadiusSchedule(0.0, given["radius_schedule"])
    told: list[dict[str, Any]] = []

    def listen(event: str, details: dict[str, Any]) -> None:
        told.append(details)
        if not (json or quiet):
            echo("epoch {epoch} of {epochs}: loss {loss:.4f} at radius {radius:.4g}, {seconds:.1f} s".format(**details), err=True)

    module = harden(_module(str(given["model"]), given.get("weights")), data, threats[0], recipe, folder=file.with_suffix(""), listen=listen, **chosen, **own)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(safetensors.torch.save({name: value.contiguous() for name, value in module.state_dict().items()}))
    if json:
        print_json({"weights": str(file), "recipe": recipe, "epochs": told})
    elif not quiet:
        echo(f"{file}: {recipe} at {threats[0].space.label}; evaluate it with model=package.module:factory weights={file}")


def _module(reference: str, weights: Any) -> Any:
    """Return the torch module behind zoo:NAME or package.module:factory."""
    from torch import nn

    from sparring.core.errors import LoadError
    from sparring.models.factory import made_by
    from sparring.models.weights_file import put_weights
    from sparring.models.zoo import zoo

    kind, _, rest = reference.partition(":")
    made = zoo(rest).build() if kind == "zoo" else put_weights(made_by(kind, rest), weights, reference) if rest else None
    if not isinstance(made, nn.Module):
        raise LoadError(f"{reference}: training needs a torch module: write zoo:NAME or package.module:factory")
    return made
