"""Classifiers of scikit-learn as fits."""

import importlib
import inspect
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from sparring.core.errors import InputError, LoadError, PlanError, UnknownName
from sparring.core.fit import Fit, Samples
from sparring.core.registry import register
from sparring.core.victim import Victim
from sparring.defences.training.fits.network import one_thread
from sparring.models.estimator import EstimatorVictim
from sparring.models.skops_file import read_skops


@register("fit", "estimator")
@dataclass(frozen=True)
class Estimator(Fit):
    """Train a classifier of scikit-learn on rows of a table.

    Written `estimator("sklearn.ensemble.RandomForestClassifier", n_estimators=50)`.

    Where it has a `random_state`, this is the seed. It is kept in the format of skops, which needs no pickle.

    Args:
        name: Of the class, with its module in `sklearn`.
        settings: Of the classifier.
    """

    name: str = "sklearn.ensemble.RandomForestClassifier"
    settings: dict[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "estimator"

    def __post_init__(self) -> None:
        known = inspect.signature(self._class()).parameters
        for setting in self.settings:
            if setting not in known:
                raise UnknownName(f"setting of {self.name}", setting, known)

    @classmethod
    def written(cls, *arguments: Any, **settings: Any) -> Self:
        known = {"name": settings.pop("name")} if "name" in settings else {}
        return super().written(*arguments, **known, **({"settings": settings} if settings else {}))

    def _class(self) -> Any:
        from sklearn.base import BaseEstimator, ClassifierMixin

        module, _, name = str(self.name).rpartition(".")
        if module.partition(".")[0] != "sklearn" or not name.isidentifier():
            raise PlanError(f"estimator({self.name!r}): give a class of scikit-learn with its module, sklearn.ensemble.RandomForestClassifier")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError as error:
            raise PlanError(f"estimator({self.name!r}): {error}") from error
        if not (isinstance(found, type) and issubclass(found, BaseEstimator) and issubclass(found, ClassifierMixin)):
            raise PlanError(f"estimator({self.name!r}): {module} has no classifier with this name: check the name")
        return found

    def learn(self, data: Samples, seed: int) -> Victim:
        kind = self._class()
        seeded = {"random_state": seed % 2**32} if "random_state" in inspect.signature(kind).parameters else {}
        y = data.y.detach().cpu().numpy()
        count = getattr(data.task, "classes", None)
        if y.dtype.kind != "i" or y.ndim != 1:
            raise InputError(f"{data.name} has {data.task} as answers, but estimator fits classifiers only: use mlp, linear or convnet")
        if isinstance(data.x, Tensor) and data.x.ndim != 2:
            raise InputError(f"{data.name} holds {data.domain}: classifiers of scikit-learn need rows of a table; for images use mlp, linear or convnet")
        missing = [str(one) for one in range(count or 0) if one not in y]
        if missing:
            raise InputError(f"{data.name} has no sample of class {', '.join(missing)}: take more samples, so that every class occurs")
        before = np.random.get_state()
        try:
            with one_thread(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what does not converge is judged by its accuracy
                model = kind(**{**seeded, **self.settings}).fit(data.domain.native(data.x), y)
        except (ValueError, TypeError) as error:
            raise PlanError(f"{self} cannot learn from {data.name}: {str(error).splitlines()[0]}") from error
        finally:
            np.random.set_state(before)
        return EstimatorVictim(model, data.domain, name=str(self))

    def pack(self, victim: Victim) -> bytes:
        import skops.io

        if not isinstance(victim, EstimatorVictim):
            raise LoadError(f"{victim.name} is not an estimator: {self.kind} can save only victims that it trained")
        return skops.io.dumps(victim.model)

    def unpack(self, content: bytes, data: Samples) -> Victim:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.skops"
            path.write_bytes(content)
            model = read_skops(path)
        if type(model) is not self._class():
            raise LoadError(f"the file holds {type(model).__name__}, not {self.name}")
        return EstimatorVictim(model, data.domain, name=str(self))
