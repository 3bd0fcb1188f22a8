"""From what a user writes, zoo:NAME, package.module:factory, a file or a web address, to a `Victim`."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from sparring.core.domain import Domain
from sparring.core.errors import LoadError, UnknownName
from sparring.core.registry import everything, find
from sparring.core.victim import Victim
from sparring.models.adapter import adapter_of, victim
from sparring.models.factory import made_by
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.victim import is_address
from sparring.models.pt2_file import read_pt2
from sparring.models.skops_file import read_skops
from sparring.models.weights_file import put_weights
from sparring.models.zoo import ZooModel

FILES: dict[str, Callable[[Path], Any]] = {".onnx": str, ".skops": read_skops, ".pt2": read_pt2, ".json": str, ".txt": str}
"""Suffix -> how the raw model comes out of the file (adapters open .onnx and the trees in .json and .txt by themselves)."""

PICKLES = {".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"}
STATES = {".pt", ".pth", ".ckpt", ".bin", ".safetensors"}
FORMS = "zoo:NAME, package.module:factory, FILE.onnx, FILE.skops, FILE.pt2, trees as FILE.json or FILE.txt, or https://HOST/PATH"


class Inputs(Protocol):
    """Describe what loading needs of the data; `data.dataset.Data` has it."""

    @property
    def domain(self) -> Domain:
        """Return the domain of the inputs."""
        ...

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes."""
        ...


def load_model(ref: str, data: Inputs | None = None, *, weights: str | Path | None = None, settings: Mapping[str, Any] | None = None) -> Victim:
    """Return a model as a `Victim`, ready to be attacked.

    ref: "zoo:digits-robust"; "package.module:factory", imported with the current folder on the path, where
    factory() returns a torch module, an estimator, a callable, an Endpoint or a Victim; "FILE.onnx"; "FILE.skops"; "FILE.pt2";
    "https://HOST/PATH", with settings behind # (see docs/http.md), which is asked one or two questions here.
    data: says what the inputs are; a model of the zoo brings its own. weights: .safetensors, or a state dict in
    .pt or .pth, for a factory that returns a torch module. settings: of the adapter, {"search": "plain"} say.

    A factory is the user's own code and is run. Files are opened without running code; pickles are refused.
    Raises LoadError or UnknownName, which say what was wrong and what to do.

    >>> load_model("zoo:digits-plain").classes
    10
    """
    kind, _, rest = ref.partition(":")
    if weights is not None and (kind == "zoo" or is_address(ref) or Path(ref).suffix.lower() in FILES):
        raise LoadError(f"{ref} brings its own weights: leave out weights={str(weights)!r}, or name a factory, package.module:factory")
    if kind == "zoo":
        return _from_zoo(rest, data, settings)
    if is_address(ref):
        endpoint = Endpoint.read(ref)
        return _wrapped(endpoint, str(endpoint), data, settings)
    suffix = Path(ref).suffix.lower()
    if suffix in FILES:
        path = Path(ref).expanduser()
        if not path.is_file():
            raise LoadError(f"{path} does not exist" if not path.exists() else f"{path} is a folder, not a file")
        return _wrapped(FILES[suffix](path), path.stem, data, settings)
    _refuse_file(ref, suffix)
    if not rest:
        known = [f"zoo:{name}" for name in everything("model")]
        raise LoadError(f"cannot tell what {ref!r} is: write {FORMS}; in the zoo are {', '.join(known)}")
    model = put_weights(made_by(kind, rest), weights, ref)
    if isinstance(model, nn.Module):
        model.eval()  # modules begin in training mode; what a plan names is a model as it is deployed
    return _wrapped(model, rest, data, settings)


def _from_zoo(name: str, data: Inputs | None, settings: Mapping[str, Any] | None) -> Victim:
    entry: ZooModel = find("model", name)
    own = find("dataset", entry.data)("test")
    if data is not None and _shape(data.domain) != _shape(own.domain):
        raise LoadError(f"zoo:{name} belongs to the set {entry.data}, {own.domain}; the data is {data.domain}: use data={entry.data}")
    return _wrapped(entry.build(), name, data or own, settings)


def _shape(domain: Domain) -> tuple[Any, ...]:
    return domain.kind, getattr(domain, "shape", None), tuple(getattr(domain, "names", ()))


def _refuse_file(ref: str, suffix: str) -> None:
    """LoadError, with the cure, for files that would run code when opened or hold weights alone."""
    if suffix in PICKLES:
        raise LoadError(
            f"{ref} is a pickle, which runs the code in it when opened: save a scikit-learn model with skops.io.dump(model, 'model.skops'), "
            "or write a factory that opens the file yourself, package.module:factory"
        )
    if suffix in STATES:
        raise LoadError(f"{ref} holds weights without the network: name the code that builds it, package.module:factory, with weights={ref}")


def _wrapped(model: Any, name: str, data: Inputs | None, settings: Mapping[str, Any] | None) -> Victim:
    """The model as a victim of that name, with settings that its adapter knows."""
    if isinstance(model, Victim):
        if settings:
            raise LoadError(f"{name} is a Victim already: the settings {', '.join(settings)} belong where it is made")
        return model
    if data is None:
        raise LoadError(f"{name}: what its inputs are comes from the data: give data")
    chosen = {"name": name, **(settings or {})}
    if fitting := adapter_of(model):
        known = list(inspect.signature(fitting.wrap).parameters)[2:]
        for setting in chosen:
            if setting not in known:
                raise UnknownName(f"setting of {fitting.wrap.__name__} (for {name})", setting, known)
        task = getattr(data, "task", None)
        if task is not None and task.kind != "classes":
            if "task" not in known:
                raise LoadError(f"{name}: {fitting.wrap.__name__} answers classes only, and the data holds {task}: give a torch module or an ONNX file")
            chosen.setdefault("task", task)
        elif "classes" in known and getattr(model, "classes", None) is None:
            chosen.setdefault("classes", len(data.classes))
        if "example" in known and hasattr(data, "x"):
            chosen.setdefault("example", data.x[:1])  # type: ignore[attr-defined]
    return victim(model, data.domain, **chosen)
