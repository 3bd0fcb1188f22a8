"""Loads a `Victim` from zoo:NAME, package.module:factory, a file or a web address."""

import inspect
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from sparring.core.arguments import shown
from sparring.core.domain import Domain
from sparring.core.errors import InputError, LoadError, UnknownName
from sparring.core.files import is_there, path_of
from sparring.core.foreign import in_our_words
from sparring.core.registry import everything, find
from sparring.core.victim import Victim
from sparring.models.adapter import adapter_of, victim
from sparring.models.class_names import check_classes
from sparring.models.factory import made_by
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.victim import is_address
from sparring.models.hugging_face import is_folder, read_folder
from sparring.models.pt2_file import read_pt2
from sparring.models.skops_file import read_skops
from sparring.models.weights_file import put_weights
from sparring.models.zoo import ZooModel

FILES: dict[str, Callable[[Path], Any]] = {".onnx": str, ".skops": read_skops, ".pt2": read_pt2, ".json": str, ".txt": str}
"""Suffix -> how the raw model comes out of the file (adapters open .onnx and the trees in .json and .txt by themselves)."""

PICKLES = {".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"}
BOOSTERS = {".ubj": "XGBoost"}
"""Suffixes of models in binary forms that have a readable one."""

STATES = {".pt", ".pth", ".ckpt", ".bin", ".safetensors"}
FORMS = "zoo:NAME, package.module:factory, FILE.onnx, FILE.skops, FILE.pt2, trees as FILE.json or FILE.txt, a FOLDER of save_pretrained, or https://HOST/PATH"


class Inputs(Protocol):
    """Describe the properties of the data that loading needs, which `Data` has."""

    @property
    def domain(self) -> Domain:
        """Return the domain of the inputs."""
        ...

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes."""
        ...


@in_our_words
def load_model(ref: str, data: Inputs | None = None, *, weights: str | Path | None = None, settings: Mapping[str, Any] | None = None) -> Victim:
    """Return a model as a `Victim`, ready to be attacked.

    A factory is the user's own code and is run. Files are opened without running code; pickles are refused.

    Args:
        ref: "zoo:digits-robust"; "package.module:factory", imported with the current folder on the path, where factory() returns a torch
            module, an estimator, a callable, an Endpoint or a Victim; "FILE.onnx"; "FILE.skops"; "FILE.pt2"; trees as "FILE.json" or
            "FILE.txt"; a folder that `save_pretrained` of Hugging Face wrote, with the tokenizer for text; "https://HOST/PATH" with settings
            behind # (see docs/http.md), which is asked one or two questions here.
        data: Says what the inputs are; a model of the zoo brings its own.
        weights: A .safetensors file, or a state dict in .pt or .pth, for a factory that returns a torch module.
        settings: Of the adapter, such as {"search": "plain"}.

    Returns:
        The `Victim`.

    Raises:
        LoadError: For a file that is missing, of another kind or unsafe to open, and for a model that no adapter takes.
        UnknownName: For an unknown model of the zoo or setting.

    Example:
        >>> load_model("zoo:digits-plain").classes
        10
    """
    if data is not None and not isinstance(getattr(data, "domain", None), Domain):
        raise InputError(f"the data is {shown(data)}: give sp.load(...) or sp.Data.of(x, y, domain), which describe the inputs")
    kind, _, rest = ref.partition(":")
    if weights is not None and (kind == "zoo" or is_address(ref) or Path(ref).suffix.lower() in FILES):
        raise LoadError(f"{ref} contains its weights: leave out weights={str(weights)!r}, or give a factory, package.module:factory")
    if kind == "zoo":
        return _from_zoo(rest, data, settings)
    if is_address(ref):
        endpoint = Endpoint.read(ref)
        return _wrapped(endpoint, str(endpoint), data, settings)
    suffix = Path(ref).suffix.lower()
    if suffix in FILES:
        path = path_of(ref)
        if not is_there(path):
            raise LoadError(f"{str(path)[:300]} does not exist")
        if not path.is_file():
            raise LoadError(f"{path} is a folder, a pipe or a device, not a file")
        return _wrapped(FILES[suffix](path), path.stem, data, settings)
    _refuse_file(ref, suffix)
    if is_folder(folder := Path(ref).expanduser()):
        if data is None:
            raise LoadError(f"{ref}: the type of the inputs is taken from the data: give data")
        model, own = read_folder(folder, data.domain, settings or ())
        return _wrapped(model, folder.name, data, {**own, **(settings or {})})
    if not rest:
        known = [f"zoo:{name}" for name in everything("model")]
        raise LoadError(f"cannot recognise the model {ref!r}: write {FORMS}; the zoo has {', '.join(known)}")
    model = put_weights(made_by(kind, rest), weights, ref)
    if isinstance(model, nn.Module):
        model.eval()  # modules begin in training mode; what a plan names is a model as it is deployed
    return _wrapped(model, rest, data, settings)


def _from_zoo(name: str, data: Inputs | None, settings: Mapping[str, Any] | None) -> Victim:
    entry: ZooModel = find("model", name)
    if more := [setting for setting in settings or {} if setting != "search"]:
        raise LoadError(f"zoo:{name} takes inputs as they are: leave out {more[0]}=")
    own = find("dataset", entry.data)("test")
    if data is not None and _shape(data.domain) != _shape(own.domain):
        raise LoadError(f"zoo:{name} belongs to the data set {entry.data} ({own.domain}), but the data is {data.domain}: use data={entry.data}")
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
    if suffix in BOOSTERS:
        raise LoadError(f"{ref} is a binary model of {BOOSTERS[suffix]}, which is not read: save it as JSON, booster.save_model('model.json')")
    if suffix in STATES and _is_torchscript(ref):
        raise LoadError(f"{ref} is a TorchScript program, which may run code of the file: open it with torch.jit.load in your own package.module:factory")
    if suffix in STATES:
        raise LoadError(f"{ref} holds weights without the network: give the code that builds it, package.module:factory, and weights={ref}")


def _is_torchscript(path: str) -> bool:
    """Whether a file is a program that torch.jit.save wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _wrapped(model: Any, name: str, data: Inputs | None, settings: Mapping[str, Any] | None) -> Victim:
    """The model as a victim of that name, with settings that its adapter knows."""
    if isinstance(model, Victim):
        if settings:
            raise LoadError(f"{name} is a Victim already: give the settings {', '.join(settings)} when you create it")
        return model
    if data is None:
        raise LoadError(f"{name}: the type of the inputs is taken from the data: give data")
    chosen = {"name": name, **(settings or {})}
    if fitting := adapter_of(model):
        known = list(inspect.signature(fitting.wrap).parameters)[2:]
        for setting in chosen:
            if setting not in known:
                raise UnknownName(f"setting of {fitting.wrap.__name__} (for {name})", setting, known)
        task = getattr(data, "task", None)
        if task is not None and task.kind != "classes":
            if "task" not in known:
                raise LoadError(
                    f"{name}: {fitting.wrap.__name__} supports classes only, but the data holds {task}: "
                    "give a torch module, an ONNX file, an estimator or a function"
                )
            chosen.setdefault("task", task)
        elif "classes" in known and getattr(model, "classes", None) is None:
            chosen.setdefault("classes", len(data.classes))
        if "example" in known and hasattr(data, "x"):
            chosen.setdefault("example", data.x[:1])  # type: ignore[attr-defined]
    made = victim(model, data.domain, **chosen)
    if getattr(data, "x", None) is not None:  # data, not only a description of inputs
        check_classes(made, data.classes, name)
    return made
