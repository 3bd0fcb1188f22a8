"""What a function or an object computes with: code, constants, weights and whatever they hold, as parts of a hash."""

import functools
import pickle
import types
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparring.core.fingerprint import weights

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, np.generic, torch.dtype, torch.device)

MODELS = ("save_raw", "model_to_string")
"""Methods by which boosters of XGBoost and LightGBM write themselves."""


HOOKS = ("_forward_hooks", "_forward_pre_hooks")
"""Where torch keeps functions that may change what a module answers."""


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
        yield from _code(function.__code__)
        yield from (function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not assigned yet
                yield "empty"
        space = function.__globals__
        yield {name: space[name] for name in sorted(_names(function.__code__)) if name in space and not isinstance(space[name], types.ModuleType)}

    def _of_class(self, kind: type) -> Iterator[Any]:
        yield f"{kind.__module__}.{kind.__qualname__}"
        if _ours_to_read(kind):
            for name, one in sorted(vars(kind).items()):
                inner = getattr(one, "__func__", None) or getattr(one, "fget", None) or one
                if isinstance(inner, (types.FunctionType, *PLAIN)) and name not in ("__doc__", "__module__", "__firstlineno__"):
                    yield name
                    yield inner
            yield from kind.__bases__

    def _of_object(self, value: Any) -> Iterator[Any]:
        for name in MODELS:
            if callable(getattr(value, name, None)):
                yield bytes(written) if not isinstance(written := getattr(value, name)(), str) else written.encode()
                return
        if _ours_to_read(type(value)) and hasattr(value, "__dict__"):
            yield type(value)
            yield vars(value)
            return
        try:
            yield pickle.dumps(value, protocol=4)
        except Exception:  # a foreign object may refuse in any way
            if hasattr(value, "__dict__"):
                yield vars(value)
            else:
                self.missing.append(type(value).__name__)


_OF_TORCH = frozenset({"_parameters", "_buffers", "_modules", "training", *(name for name in vars(nn.Module()) if name.endswith("_hooks") or "_hook" in name)})
"""Attributes of torch's own bookkeeping; weights and inner modules are read by themselves."""


def _ours_to_read(kind: type) -> bool:
    """Whether a class was written by the user, so that its code is no part of an installed package."""
    import sys

    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return kind.__module__ not in sys.builtin_module_names and "site-packages" not in file and not kind.__module__.startswith(("torch", "numpy", "sparring."))


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
