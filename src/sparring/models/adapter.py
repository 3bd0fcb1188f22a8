"""From what people have to a `Victim`: the first adapter that accepts an object takes it."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.registry import everything, register
from sparring.core.victim import Victim

Kind = TypeVar("Kind", bound=type[Victim])


class Adapter(NamedTuple):
    """accepts: can this object be wrapped? wrap: (object, domain, **settings) -> Victim. Lower `order` asks first."""

    accepts: Callable[[Any], bool]
    wrap: Callable[..., Victim]
    order: int


def adapter(name: str, accepts: Callable[[Any], bool], *, order: int = 50) -> Callable[[Kind], Kind]:
    """Register a victim class as the adapter for what `accepts` says yes to."""

    def enter(wrap: Kind) -> Kind:
        register("adapter", name)(Adapter(accepts, wrap, order))
        return wrap

    return enter


def victim(model: Any, domain: Domain, **settings: Any) -> Victim:
    """A model as a `Victim`.

    model: a torch module, an exported program, an ONNX path, a scikit-learn estimator or pipeline, or
    any callable from a batch to scores [n, classes]. domain: what its inputs are, `image(28, 28)` say.
    settings: of the adapter, `name=...` for all. Raises LoadError where no adapter fits.
    """
    if isinstance(model, Victim):
        return model
    if not isinstance(domain, Domain):
        raise LoadError(f"the domain is {domain!r}: say what the inputs are with sp.image(28, 28), sp.table(frame) or sp.text()")
    for one in sorted(everything("adapter").values(), key=lambda one: one.order):
        if one.accepts(model):
            return one.wrap(model, domain, **settings)
    raise LoadError(
        f"cannot attack a {type(model).__module__}.{type(model).__name__}: give a torch module, an exported program, "
        "an .onnx path, a scikit-learn estimator or a callable that returns scores [n, classes]"
    )


def as_scores(output: Any, name: str) -> Tensor:
    """What a model gave as scores [n, classes]; one column (or none) is the score of class 1 against 0."""
    scores = output if isinstance(output, Tensor) else torch.as_tensor(output)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or not scores.is_floating_point():
        raise LoadError(f"{name} returned {scores.dtype} {tuple(scores.shape)}: scores must be floating point [n, classes]")
    return torch.cat([torch.zeros_like(scores), scores], 1) if scores.shape[1] == 1 else scores


def digest(*parts: bytes | str) -> str:
    """sha256 of parts, for fingerprints."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()
