"""Checkpoints from which training continues exactly: safetensors with JSON in the header."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.core.errors import LoadError, PlanError

NAME = "checkpoint.safetensors"


class Progress(NamedTuple):
    """Hold the progress of a training.

    epoch: how many are done. history: details of each, as they were told.
    """

    epoch: int
    history: list[dict[str, Any]]


def write(file: Path, module: nn.Module, optimiser: torch.optim.Optimizer, rng: torch.Generator, progress: Progress, identity: dict[str, Any]) -> None:
    """Replace the file whole: a reader finds the old state or the new one at any moment."""
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    plain: dict[str, dict[str, Any]] = {}
    for number, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{number}.{name}"] = value
            else:
                plain.setdefault(str(number), {})[name] = value
    tensors["rng"] = rng.get_state()
    tensors["global"] = torch.get_rng_state()
    device = rng.device
    if device.type == "cuda":
        tensors["global.cuda"] = torch.cuda.get_rng_state(device)
    header = {"epoch": progress.epoch, "history": progress.history, "identity": identity, "optimiser": plain}
    content = safetensors.torch.save({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, {"training": json.dumps(header)})
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{os.getpid()}")
    try:
        with aside.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def resume(file: Path, module: nn.Module, optimiser: torch.optim.Optimizer, rng: torch.Generator, identity: dict[str, Any]) -> Progress:
    """Put module, optimiser and random states back as they were written; nothing is unpickled.

    Raises LoadError for a file that is no checkpoint, PlanError for one of another training, which names what differs.
    """
    try:
        with safetensors.safe_open(file, "pt") as held:
            header = json.loads((held.metadata() or {})["training"])
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - not a dictionary
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise LoadError(f"{file} is not a valid checkpoint ({error}): remove it to start again") from error
    differing = [name for name in identity if header["identity"].get(name) != identity[name]]
    if differing:
        told = "; ".join(f"{name} was {header['identity'].get(name)!r}, now {identity[name]!r}" for name in differing)
        raise PlanError(f"{file} belongs to another training ({told}): give another folder, or remove the file to start again")
    module.load_state_dict(_under("module.", tensors))
    state: dict[int, dict[str, Any]] = {int(number): dict(values) for number, values in header["optimiser"].items()}
    for name, value in _under("optimiser.", tensors).items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    rng.set_state(tensors["rng"])
    torch.set_rng_state(tensors["global"])
    if "global.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["global.cuda"], rng.device)
    return Progress(int(header["epoch"]), list(header["history"]))


def _under(beginning: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(beginning) :]: value for name, value in tensors.items() if name.startswith(beginning)}
