"""`harden`: a module and a threat in, a module trained against the threat out."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from sparring.core.errors import UnknownName
from sparring.core.threat import Threat
from sparring.data.dataset import Data
from sparring.defences.training.crown_ibp import CrownIbp
from sparring.defences.training.expressive import CcIbp, ExpIbp, MtlIbp
from sparring.defences.training.ibp import Ibp
from sparring.defences.training.loop import Listener, Start, train
from sparring.defences.training.optimiser import Optimiser, Schedule
from sparring.defences.training.ramp import Ramp
from sparring.defences.training.sabr import Sabr
from sparring.defences.training.start import interval_start
from sparring.defences.training.step import Loss


class Recipe(NamedTuple):
    """loss: makes the loss from its settings; a dataclass. start: how the weights are drawn where training begins afresh."""

    loss: Callable[..., Loss]
    start: Start | None


RECIPES: dict[str, Recipe] = {
    "ibp": Recipe(Ibp, interval_start),
    "crown_ibp": Recipe(CrownIbp, interval_start),
    "sabr": Recipe(Sabr, interval_start),
    "mtl_ibp": Recipe(MtlIbp, interval_start),
    "cc_ibp": Recipe(CcIbp, interval_start),
    "exp_ibp": Recipe(ExpIbp, interval_start),
}
"""By the name that `harden` and the command line take."""


def harden(
    module: nn.Module,
    data: Data,
    threat: Threat,
    recipe: str | Loss = "ibp",
    *,
    fresh: bool = True,
    epochs: int = 40,
    batch: int = 256,
    optimiser: Optimiser | None = None,
    schedule: Schedule | None = None,
    ramp: Ramp | None = None,
    clip: float | None = 10.0,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    listen: Listener | None = None,
    **settings: Any,
) -> nn.Module:
    """A copy of the module trained against the threat, in evaluation mode; the module itself stays as it is.

    recipe: a name of `RECIPES`, whose loss takes `settings` (`ratio` of "sabr" say), or a loss itself. fresh: draw the weights anew in the
    way that suits the recipe; false trains on from those of the module. Everything else as in `train`.
    Raises UnknownName for a recipe or setting nobody knows, and what `train` raises.

        >>> import sparring as sp
        >>> from sparring.models.zoo import DigitsNet
        >>> data = sp.load("digits", split="train", take=200)
        >>> robust = harden(DigitsNet(), data, sp.linf(0.05), "sabr", ratio=0.5, epochs=1, batch=50)
    """
    start = None
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise UnknownName("recipe", recipe, RECIPES)
        chosen = RECIPES[recipe]
        start, known = chosen.start if fresh else None, settings_of(recipe)
        for name in settings:
            if name not in known:
                raise UnknownName(f"setting of {recipe}", name, known)
        loss = chosen.loss(**settings)
    elif settings:
        raise UnknownName("setting of a recipe that is given as a loss", next(iter(settings)), ())
    else:
        loss = recipe
    return train(
        module, data, threat, loss, epochs=epochs, batch=batch, optimiser=optimiser, schedule=schedule, ramp=ramp, start=start, clip=clip, seed=seed,
        folder=folder, listen=listen,
    )  # fmt: skip


def settings_of(recipe: str) -> dict[str, Any]:
    """What the loss of a recipe can be told, with the defaults."""
    made = RECIPES[recipe].loss()
    return {one.name: getattr(made, one.name) for one in dataclasses.fields(made)}  # type: ignore[arg-type]
