"""The loop of all training as a fit: a network trained by a recipe against a threat."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import nn

from sparring.core.errors import PlanError, UnknownName
from sparring.core.expression import parse
from sparring.core.fit import Fit, Samples, read_fit
from sparring.core.registry import find, register
from sparring.core.space import Space
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.defences.training.fits.network import ModuleFit, one_thread
from sparring.defences.training.harden import harden
from sparring.threats.goals import Untargeted


@register("fit", "recipe")
@dataclass(frozen=True)
class Hardened(ModuleFit):
    """Train the network of another fit by a recipe of `spar harden`, against a threat.

    Written `recipe("sabr", threat="linf 0.1", ratio=0.2)`; settings beyond these are those of the recipe.

    Args:
        name: Of the recipe.
        threat: The space with its radius.
        network: The fit whose network is trained.
        epochs: Passes over the samples.
        batch: Samples per step; what makes no full batch is left out of an epoch.
        settings: Of the recipe.
    """

    name: str = "ibp"
    threat: str = "linf 0.1"
    network: str = "mlp"
    epochs: int = 40
    batch: int = 256
    settings: dict[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "recipe"

    def __post_init__(self) -> None:
        known = find("recipe", self.name).defaults
        for setting in self.settings:
            if setting not in known:
                raise UnknownName(f"setting of {self.name}", setting, known)
        self._space()
        self._inner()

    @classmethod
    def written(cls, *arguments: Any, **settings: Any) -> Self:
        own = ("name", "threat", "network", "epochs", "batch")
        known = {name: settings.pop(name) for name in own if name in settings}
        return super().written(*arguments, **known, **({"settings": settings} if settings else {}))

    def _space(self) -> Space:
        expression = parse(self.threat)
        return find("space", expression.name).parse(*expression.arguments, **expression.settings)

    def _inner(self) -> ModuleFit:
        inner: Fit = read_fit(self.network)
        if not isinstance(inner, ModuleFit) or isinstance(inner, Hardened):
            raise PlanError(f"recipe(network={self.network!r}): name a fit that trains a network, such as mlp(hidden=[64]) or convnet")
        return inner

    def module(self, shape: tuple[int, ...], outputs: tuple[int, ...]) -> nn.Module:
        return self._inner().module(shape, outputs)

    @property
    def parts(self) -> tuple[Any, ...]:
        return find("recipe", self.name), self._space(), self._inner()

    def learn(self, data: Samples, seed: int) -> Victim:
        whole = data if isinstance(data, Data) else Data.of(data.x, data.y, data.domain, name=data.name, task=data.task)
        with one_thread():
            trained = harden(
                self.fresh(data, seed), whole, Threat(self._space(), Untargeted()), self.name, epochs=self.epochs, batch=min(self.batch, len(data)), seed=seed,
                **self.settings,
            )  # fmt: skip
        return self.victim(trained, data)
