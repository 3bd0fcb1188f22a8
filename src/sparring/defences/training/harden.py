"""`harden` trains a module against a threat."""

import os
import warnings
from typing import Any

from torch import nn

from sparring.core.errors import InputError, UnknownName
from sparring.core.foreign import ours
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.defences.training.loop import Listener, train
from sparring.defences.training.optimiser import Optimiser, Schedule
from sparring.defences.training.radius_schedule import RadiusSchedule
from sparring.defences.training.recipe import Recipe
from sparring.defences.training.step import Loss
from sparring.models.wanted import module_of, threat_of

RENAMED = {"ramp": "radius_schedule", "balance": "regulariser"}
"""Former names of keywords of `harden` and `spar harden`."""

OF_TRAINING = ("epochs", "batch", "optimiser", "schedule", "radius_schedule", "clip", "seed", "folder")
"""Keywords of `harden` that hold for every recipe."""


def harden(
    module: nn.Module | Victim,
    data: Data,
    threat: Threat,
    recipe: str | Loss = "ibp",
    *,
    fresh: bool = True,
    epochs: int = 40,
    batch: int = 256,
    optimiser: Optimiser | None = None,
    schedule: Schedule | None = None,
    radius_schedule: RadiusSchedule | None = None,
    clip: float | None = 10.0,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    listen: Listener | None = None,
    **settings: Any,
) -> nn.Module:
    """Return a copy of the module trained against the threat, in evaluation mode.

    The module itself stays as it is.

    recipe: a name (`spar ls recipes` lists them), whose loss takes `settings` (`ratio` of "sabr" say), or a loss itself. fresh: draw the weights anew in the
    way that suits the recipe; false trains on from those of the module. Everything else as in `train`.
    Raises UnknownName for a recipe or setting nobody knows, and what `train` raises.

        >>> import sparring as sp
        >>> from sparring.models.zoo import DigitsNet
        >>> data = sp.load("digits", split="train", take=200)
        >>> robust = harden(DigitsNet(), data, sp.linf(0.05), "sabr", ratio=0.5, epochs=1, batch=50)
    """
    network, threat = module_of(module), threat_of(threat)
    if not isinstance(network, nn.Module):
        raise InputError(f"the model is a {type(network).__name__}: training takes a torch module, or a victim that holds one")
    if not isinstance(data, Data):
        raise InputError(f"the data is a {type(data).__name__}: training needs the domain of the inputs, give sp.Data.of(x, y, domain) or sp.load(...)")
    for old, new in RENAMED.items():
        if old in settings and not (isinstance(recipe, str) and old in find("recipe", recipe).defaults):
            warnings.warn(f"{old} is now {new}: write harden(..., {new}=...)", DeprecationWarning, stacklevel=2)
            settings[new] = settings.pop(old)
    radius_schedule = settings.pop("radius_schedule", radius_schedule)
    initialisation = None
    if isinstance(recipe, str):
        chosen: Recipe = find("recipe", recipe)
        for name in settings:
            if name not in chosen.defaults:
                raise UnknownName(f"setting of {recipe}", name, chosen.defaults, hint=ours(name, [*chosen.defaults, *OF_TRAINING]))
        initialisation, loss = chosen.initialisation if fresh else None, chosen.loss(**settings)
    elif settings:
        raise UnknownName("setting of a recipe that is given as a loss", next(iter(settings)), ())
    else:
        loss = recipe
    return train(
        network, data, threat, loss, epochs=epochs, batch=batch, optimiser=optimiser, schedule=schedule, radius_schedule=radius_schedule,
        initialisation=initialisation, clip=clip, seed=seed, folder=folder, listen=listen,
    )  # fmt: skip
