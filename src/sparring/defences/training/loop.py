"""The training loop for every loss: batches, radius, learning rate, checkpoints.

Plain training, adversarial training and certified training differ in the loss alone, a function of a `Step`:

    def plain(step):
        return F.cross_entropy(step.scores, step.y)

    trained = train(net, data, linf(0.1), plain, epochs=5)
"""

import contextlib
import copy
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparring.core.code import code_of
from sparring.core.errors import InputError, LoadError, PlanError
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.defences.training import checkpoint
from sparring.defences.training.checkpoint import Progress
from sparring.defences.training.live import LiveNetwork
from sparring.defences.training.optimiser import Adam, Falls, Optimiser, Schedule
from sparring.defences.training.radius_schedule import RadiusSchedule
from sparring.defences.training.step import Loss, Step

log = logging.getLogger(__name__)

Listener = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event and its details; the command line draws them."""

Initialisation = Callable[[nn.Module, torch.Generator], None]
"""Changes the weights before training begins."""


def train(
    module: nn.Module,
    data: Data,
    threat: Threat,
    loss: Loss,
    *,
    epochs: int = 40,
    batch: int = 256,
    optimiser: Optimiser | None = None,
    schedule: Schedule | None = None,
    radius_schedule: RadiusSchedule | None = None,
    initialisation: Initialisation | None = None,
    clip: float | None = 10.0,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    listen: Listener | None = None,
) -> nn.Module:
    """Return a copy of the module trained on the data, in evaluation mode.

    The module itself and the global random state stay as they are.

    module: scores [n, classes] from x; a copy is trained on the device and in the floating type of its weights. data: x float [n, ...].
    threat: its space, with a radius between 0 and its own as `radius_schedule` says, is what the loss is told of in each step. loss: see `Loss`.

    epochs, batch: what makes no full batch is left out of an epoch (the order is another in each). optimiser, schedule: by default Adam at 5e-4,
    which falls to a fifth after 70 and 85 % of the training. initialisation: changes the weights first, `interval_initialisation` say. clip: length to which
    longer gradients are cut, None for none. seed: of order, initialisation and whatever the loss draws.
    folder: a checkpoint is written there after every epoch; where there is one the training goes on from it and ends with the very
    weights that it would have had without interruption (on the same machine with the same threads).
    listen: called after each epoch with ("epoch", {"epoch", "epochs", "loss", "radius", "rate", "seconds"}).

    Automatic mixed precision is off inside. Raises InputError for data that does not fit the module, PlanError for settings, a loss or
    gradients that are not finite, LoadError for a module that cannot be copied or a file that is no checkpoint.

        >>> from sparring.data.load import load
        >>> from sparring.defences.training.ibp import Ibp
        >>> from sparring.models.zoo import DigitsNet
        >>> from sparring.threats.threats import linf
        >>> robust = train(DigitsNet(), load("digits", split="train", take=200), linf(0.05), Ibp(), epochs=1, batch=50)
        >>> robust.training
        False
    """
    if epochs < 1 or batch < 1 or (clip is not None and not clip > 0):
        raise PlanError(f"epochs={epochs}, batch={batch}, clip={clip}: epochs and batch must be at least 1, clip positive or None")
    optimiser, schedule, radius_schedule = optimiser or Adam(), schedule or Falls(), radius_schedule or RadiusSchedule()
    radius = threat.space.radius
    if not isinstance(radius, int | float):
        raise PlanError("the threat has a radius per sample: give one radius for all samples")
    module = _copied(module)
    x, y = _checked(module, data)
    device = x.device
    rng = torch.Generator(device).manual_seed(seed)
    tell = listen or (lambda event, details: None)
    with _own_randomness(device, seed), torch.autocast(device.type, enabled=False), torch.enable_grad():
        identity = _identity(
            module, data, threat, loss, epochs=epochs, batch=batch, optimiser=optimiser, schedule=schedule, radius_schedule=radius_schedule,
            initialisation=initialisation, clip=clip, seed=seed,
        )  # fmt: skip
        if initialisation:
            initialisation(module, rng)
        motor = optimiser.make(part for part in module.parameters() if part.requires_grad)
        file = None if folder is None else Path(folder).expanduser() / checkpoint.NAME
        done = checkpoint.resume(file, module, motor, rng, identity) if file and file.exists() else Progress(0, [])
        module.train()
        live, steps = LiveNetwork(module, tuple(x.shape[1:])), max(1, len(x) // batch)
        for epoch in range(done.epoch, epochs):
            began, total = time.monotonic(), 0.0
            share = rate = 0.0
            for number, rows in enumerate(torch.randperm(len(x), generator=rng, device=device).split(batch)[:steps]):
                progress = (epoch * steps + number) / (epochs * steps)
                share, rate = radius_schedule(progress), optimiser.rate * schedule(progress)
                step = Step(module, x[rows], y[rows], threat.space.with_radius(share * radius), data.domain, share, rng, live)
                total += _learn(motor, rate, loss(step), clip, f"in epoch {epoch + 1}, step {number + 1} of {steps}, at radius {share * radius:g}")
            told = {"epoch": epoch + 1, "epochs": epochs, "loss": total / steps, "radius": share * radius, "rate": rate}
            done = Progress(epoch + 1, [*done.history, told])
            if file:
                checkpoint.write(file, module, motor, rng, done, identity)
            log.debug("epoch %(epoch)d of %(epochs)d: loss %(loss).4f at radius %(radius).4g", told)
            tell("epoch", {**told, "seconds": time.monotonic() - began})
    return module.eval()


def _learn(motor: torch.optim.Optimizer, rate: float, loss: Tensor, clip: float | None, where: str) -> float:
    """One step of the optimiser; the loss as a number."""
    value = float(loss.detach())
    cure = "lower the rate of the optimiser or let the radius grow more slowly (radius_schedule)"
    if not math.isfinite(value):
        raise PlanError(f"the loss became {value} {where}: {cure}; a checkpoint holds the previous epoch")
    motor.zero_grad(set_to_none=True)
    loss.backward()
    learned = [one for group in motor.param_groups for one in group["params"]]
    length = float(nn.utils.clip_grad_norm_(learned, math.inf if clip is None else clip))
    if not math.isfinite(length):
        raise PlanError(f"the gradient became {length} {where} (loss {value:g}): {cure}; a checkpoint holds the previous epoch")
    for group in motor.param_groups:
        group["lr"] = rate
    motor.step()
    return value


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever the module raises
        raise LoadError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}): training works on a copy, so make the module copyable"
        ) from error


def _checked(module: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
    """The samples where the weights are and in their type; InputError where they do not fit the module, which is left in evaluation mode."""
    own = next((one for one in module.parameters() if one.requires_grad), None)
    if own is None:
        raise PlanError(f"{type(module).__name__} has no parameters that can be trained (requires_grad)")
    if not isinstance(data.x, Tensor):
        raise InputError(f"{data.name} holds {data.domain.kind}, not numbers: training needs images or other floats")
    x, y = data.x.to(own.device, own.dtype), data.y.to(own.device)
    with torch.no_grad(), torch.random.fork_rng(devices=_cards(own.device)):
        try:
            scores = module.eval()(x[:2].clone())
        except RuntimeError as error:
            raise InputError(f"{type(module).__name__} cannot take {data.name}, {tuple(x[:2].shape)} {x.dtype}: {str(error).splitlines()[0]}") from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[1] <= int(y.max()):
        seen = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            f"{type(module).__name__} gives {seen} for two samples, but {data.name} has labels up to {int(y.max())}: return scores [n, classes] for all classes"
        )
    return x, y


def _cards(device: torch.device) -> list[int]:
    return [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []


@contextlib.contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """The global random state for what draws from it (dropout), begun at the seed; put back afterwards."""
    with torch.random.fork_rng(devices=_cards(device)):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _identity(module: nn.Module, data: Data, threat: Threat, loss: Loss, *, initialisation: Initialisation | None, **settings: Any) -> dict[str, Any]:
    """What a checkpoint must agree with, as plain JSON."""
    weights = hashlib.sha256()
    for name, value in module.state_dict().items():
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    named = {"loss": loss, "initialisation": initialisation} | settings
    words = {name: getattr(value, "__qualname__", None) or repr(value) for name, value in named.items()}
    code = code_of(loss, initialisation, threat.space, train)
    return {"weights": weights.hexdigest(), "data": data.sha256, "threat": threat.space.describe(), **words, "code": code}
