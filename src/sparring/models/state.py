"""What a function or an object computes with: code, constants, weights and whatever they hold, as parts of a hash."""

import functools
import io
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparring.core.fingerprint import weights

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, np.generic, torch.dtype, torch.device)

HELD = (*PLAIN, list, tuple, dict, set, frozenset, Tensor, np.ndarray, functools.partial)
"""Attributes of a class that count, beside its functions."""

MODELS = ("save_raw", "model_to_string")
"""Methods by which boosters of XGBoost and LightGBM write themselves."""


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where torch keeps functions that may change what a module answers, or its gradients."""


class State:
    """Walk what a thing is made of.

    Attributes:
        parts: What was found, in order, for `digest`.
        missing: The types of objects whose state cannot be read; where there are any, equal hashes do not prove equal models.
    """

    def __init__(self, thing: Any):
        self.parts: list[bytes | str] = []
        self.missing: list[str] = []
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is given to something else meanwhile
        try:
            self._walk(thing)
        except RecursionError:
            self.missing.append(type(thing).__name__)

    def _walk(self, value: Any) -> None:
        if isinstance(value, PLAIN):
            self.parts.append(f"{type(value).__name__} {value!r}")
            return
        if id(value) in self._seen:
            self.parts.append(f"again {self._seen[id(value)]}")
            return
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        self.parts.append(f"{type(value).__module__}.{type(value).__qualname__}")
        for one in self._inside(value):
            if isinstance(one, bytes):
                self.parts.append(one)
            else:
                self._walk(one)

    def _inside(self, value: Any) -> Iterator[Any]:
        """What one thing is made of; bytes are taken as they are."""
        match value:
            case types.ModuleType():
                yield value.__name__
            case type():
                yield from self._of_class(value)
            case types.FunctionType():
                yield from self._of_function(value)
            case types.MethodType() | types.BuiltinMethodType() if not isinstance(value.__self__, types.ModuleType | None):
                yield value.__name__
                yield value.__self__
            case types.BuiltinFunctionType():
                yield f"{value.__module__}.{value.__qualname__}"
            case functools.partial():
                yield from (value.func, value.args, value.keywords)
            case Mapping():
                yield len(value)
                for pair in value.items():
                    yield from pair
            case Set():
                yield from sorted(value, key=repr)
            case list() | tuple():
                yield len(value)
                yield from value
            case nn.Module():
                yield from (part.encode() if isinstance(part, str) else part for part in weights(value))
                for module in value.modules():
                    held = {name: one for name, one in vars(module).items() if name not in _OF_TORCH}
                    yield from (type(module), held, *(list(vars(module).get(name, {}).values()) for name in HOOKS))
            case Tensor() if value.is_quantized:
                yield str(value.dtype)
                yield value.dequantize()
            case torch.ScriptObject() if hasattr(value, "__getstate__"):
                yield str(value._type())
                yield value.__getstate__()
            case Tensor() if value.layout == torch.strided and value.device.type != "meta":
                yield f"{value.dtype} {tuple(value.shape)}"
                yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
            case np.ndarray() if value.dtype != object:
                yield f"{value.dtype} {value.shape}"
                yield np.ascontiguousarray(value).tobytes()
            case np.ndarray():
                yield value.tolist()
            case _:
                yield from self._of_object(value)

    def _of_function(self, function: types.FunctionType) -> Iterator[Any]:
        yield from (function.__defaults__, function.__kwdefaults__, vars(function))
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not assigned yet
                yield "empty"
        if not _written_by_the_user(function.__module__):
            yield f"{function.__module__}.{function.__qualname__}"
            return
        yield from _code(function.__code__)
        names = sorted(_names(function.__code__))
        yield _taken(function.__globals__, names)

    def _of_class(self, kind: type) -> Iterator[Any]:
        yield f"{kind.__module__}.{kind.__qualname__}"
        if _written_by_the_user(kind.__module__):
            for name, one in sorted(vars(kind).items()):
                inner = getattr(one, "__func__", None) or getattr(one, "fget", None) or getattr(one, "func", None) or one
                if isinstance(inner, types.FunctionType) or (isinstance(inner, HELD) and not name.startswith("__")):
                    yield name
                    yield inner
            yield from kind.__bases__

    def _of_object(self, value: Any) -> Iterator[Any]:
        for name in MODELS:
            if callable(getattr(value, name, None)):
                yield bytes(written) if not isinstance(written := getattr(value, name)(), str) else written.encode()
                return
        if isinstance(inner := getattr(value, "__wrapped__", None), types.FunctionType):  # as functools.lru_cache makes it
            yield inner
            yield {name: one for name, one in getattr(value, "__dict__", {}).items() if one is not inner}
            return
        if _written_by_the_user(type(value).__module__):
            yield type(value)
            if hasattr(value, "__dict__"):
                yield vars(value)
                return
        try:
            content, written = pickled(value)
            yield content
            yield written
        except Exception:  # a foreign object may refuse in any way
            if hasattr(value, "__dict__"):
                yield vars(value)
            else:
                self.missing.append(type(value).__name__)


class _Pickler(pickle.Pickler):
    """Write functions and classes of the user by name, and collect them: their code is no part of what pickle writes."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=4)
        self.written: list[Any] = []

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, types.FunctionType | type) and _written_by_the_user(thing.__module__):
            self.written.append(thing)
            return str, (thing.__qualname__,)
        return NotImplemented


def pickled(value: Any) -> tuple[bytes, list[Any]]:
    """Return what pickle writes of an object, and the user's functions and classes in it."""
    pickler = _Pickler(file := io.BytesIO())
    pickler.dump(value)
    return file.getvalue(), pickler.written


_OF_TORCH = frozenset({"_parameters", "_buffers", "_modules", "training", *(name for name in vars(nn.Module()) if name.endswith("_hooks") or "_hook" in name)})
"""Attributes of torch's own bookkeeping; weights and inner modules are read by themselves."""


def _written_by_the_user(module: str | None) -> bool:
    """Whether a module is no part of Python, of an installed package or of this one, so that its code counts."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names or top in ("torch", "numpy", "sparring"):
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _taken(space: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """What code takes by these names from its globals, and from the modules of the user among them."""
    found = {}
    for name in names:
        value = space.get(name)
        if not isinstance(value, types.ModuleType):
            found.update({name: value} if name in space else {})
        elif _written_by_the_user(value.__name__):
            found[name] = _taken(vars(value), [one for one in names if one != name])
    return found


def _code(code: types.CodeType) -> Iterator[Any]:
    yield code.co_code
    yield from (code.co_names, code.co_varnames, code.co_freevars)
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _code(one)
        elif isinstance(one, (frozenset, tuple, *PLAIN)):
            yield one


def _names(code: types.CodeType) -> set[str]:
    """The names that a function and those inside it look up."""
    return set(code.co_names).union(*(_names(one) for one in code.co_consts if isinstance(one, types.CodeType)))
