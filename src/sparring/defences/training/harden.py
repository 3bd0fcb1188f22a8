"""`harden` trains a module against a threat."""

import os
import warnings
from typing import Any

from torch import nn

from sparring.core.arguments import shown
from sparring.core.errors import InputError, PlanError, UnknownName
from sparring.core.foreign import in_our_words, ours
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


@in_our_words
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

    Args:
        module: A torch module that gives scores [n, classes] for x, or a victim that holds one.
        data: Samples to train on; x is float [n, ...].
        threat: The training goes from no radius up to the radius of this threat.
        recipe: A name that `spar ls recipes` lists, or a loss itself.
        fresh: Whether to draw the weights anew in the way that suits the recipe; False trains on from those of the module.
        epochs: Passes through the data, at least 1.
        batch: Samples per step, at least 1. The last samples of an epoch that make no full batch are left out; each epoch has another order.
        optimiser: Adam at a rate of 5e-4 if left out.
        schedule: How the rate changes; if left out, it falls to a fifth after 70 % and again after 85 % of the training.
        radius_schedule: How the radius grows over the training.
        clip: Length to which longer gradients are cut, None for no limit.
        seed: Of order, initialisation and all that the loss draws.
        folder: Where a checkpoint is written after every epoch. Where there is one, the training goes on from it, and on the same machine
            with the same threads it ends with the weights of an uninterrupted training.
        listen: Called after each epoch with ("epoch", details).
        settings: Of the recipe, such as `ratio` of "sabr"; `spar ls recipes sabr` lists them.

    Returns:
        The trained copy, a torch module in evaluation mode.

    Raises:
        UnknownName: For an unknown recipe or setting.
        InputError: For data that does not fit the module.
        PlanError: For settings out of range, and where the loss is not finite.
        LoadError: For a module that cannot be copied, or a file that is no checkpoint.

    Example:
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
    for what, given, method in (("optimiser", optimiser, "make"), ("schedule", schedule, "__call__")):
        if given is not None and not hasattr(given, method):
            raise PlanError(f"the {what} is {shown(given)}: give one of sparring.defences.training.optimiser, or leave it out")
    if not isinstance(recipe, str) and not callable(recipe):
        raise PlanError(f"the recipe is {shown(recipe)}: give a name that `spar ls recipes` lists, or a loss")
    for old, new in RENAMED.items():
        if old in settings and not (isinstance(recipe, str) and old in find("recipe", recipe).defaults):
            warnings.warn(f"{old} is now {new}: write harden(..., {new}=...)", DeprecationWarning, stacklevel=3)
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
