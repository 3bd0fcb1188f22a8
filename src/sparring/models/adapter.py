"""Makes a `Victim` of a model with the first adapter that accepts it."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sparring.core.domain import Domain
from sparring.core.errors import LoadError, UnknownName
from sparring.core.foreign import ours
from sparring.core.registry import ask_tolerantly, everything, register
from sparring.core.task import Task
from sparring.core.victim import Victim
from sparring.domains.table import Table

Kind = TypeVar("Kind", bound=type[Victim])


class Adapter(NamedTuple):
    """Hold a way to wrap models of one kind.

    accepts: whether this object can be wrapped. wrap: (object, domain, **settings) -> Victim. The adapter of lower `order` is tried first.
    """

    accepts: Callable[[Any], bool]
    wrap: Callable[..., Victim]
    order: int


def adapter(name: str, accepts: Callable[[Any], bool], *, order: int = 50) -> Callable[[Kind], Kind]:
    """Register a victim class as the adapter for objects that `accepts` accepts."""

    def enter(wrap: Kind) -> Kind:
        register("adapter", name)(Adapter(accepts, wrap, order))
        return wrap

    return enter


def adapter_of(model: Any) -> Adapter | None:
    """Return the first adapter that accepts a model; None if there is none."""
    named = sorted(everything("adapter").items(), key=lambda pair: pair[1].order)
    return next((one for name, one in named if ask_tolerantly(one, f"the adapter {name}", lambda one=one: one.accepts(model), False)), None)


def victim(model: Any, domain: Domain, **settings: Any) -> Victim:
    """Return a model as a `Victim`.

    Args:
        model: A torch module, an exported program, the path of an ONNX file or of a file of trees, a scikit-learn estimator or pipeline, or any
            callable from a batch to scores [n, classes]. A victim is returned as it is.
        domain: What the inputs are, such as `sp.image(28, 28)`.
        settings: Of the adapter. All take `name=...`; torch modules and ONNX files take `task=...`, such as `sp.tasks.Values()`, where the answers
            are no classes; callables take `classes=...`. `spar ls adapters` lists them.

    Returns:
        The `Victim`: the model seen through what it exposes. The model itself is never changed.

    Raises:
        LoadError: Where no adapter takes the model, or the model does not take inputs of the domain.
        UnknownName: For an unknown setting.

    Example:
        >>> import torch
        >>> from sparring.domains.image import image
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> victim(net, image(8, 8), name="linear").classes
        10
    """
    if isinstance(model, Victim):
        return model
    if not isinstance(domain, Domain):
        raise LoadError(f"the domain is {domain!r}: describe the inputs with sp.image(28, 28), sp.table(frame) or sp.text()")
    task = settings.get("task")
    if task is not None and not isinstance(task, Task):
        raise LoadError(f"the task is {task!r}: give a Task, such as sparring.tasks.classes.Classes(10), or leave it out")
    chosen = adapter_of(model)
    if chosen is None:
        raise LoadError(
            f"cannot attack a {type(model).__module__}.{type(model).__name__}: give a torch module, an exported program, "
            "an .onnx path, a scikit-learn estimator or a callable that returns scores [n, classes]"
        )
    if isinstance(domain, Table) and not getattr(chosen.wrap, "takes_gaps", False) and bool(domain.missing.any()):
        gapped = next(column.name for column in domain.columns if column.missing)
        raise LoadError(
            f"{settings.get('name') or type(model).__name__} takes no missing values here, but column {gapped!r} may have some: "
            "fill or drop them, or give a fitted estimator (XGBClassifier, LGBMClassifier, a pipeline with an imputer) or a function, which get NaN"
        )
    known = list(inspect.signature(chosen.wrap).parameters)[2:]
    if task is not None and "task" not in known:
        raise LoadError(f"{chosen.wrap.__name__} supports classes only: leave out task=")
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"setting of {chosen.wrap.__name__}", setting, known, hint=ours(setting, known))
    return chosen.wrap(model, domain, **settings)
