"""Weights for a torch module from .safetensors or a state dict, loaded strictly and without unpickling."""

import pickle
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.core.errors import LoadError
from sparring.core.files import is_there, path_of

NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state dict."""


def put_weights(model: Any, weights: str | Path | None, where: str) -> Any:
    """Return the model with the given weights, or unchanged without weights.

    LoadError for what does not fit.
    """
    if weights is None:
        return model
    if not isinstance(model, nn.Module):
        raise LoadError(f"{where} made a {type(model).__name__}: weights={str(weights)!r} can only be loaded into a torch module")
    path = path_of(weights)
    _fit(model, read_weights(path), path, type(model).__name__)
    return model


def read_weights(path: Path) -> dict[str, Tensor]:
    """Name -> tensor. LoadError for a missing or broken file, and for one that needs unpickling."""
    if not is_there(path):
        raise LoadError(f"weights {path} do not exist")
    if not path.is_file():
        raise LoadError(f"weights {path} are no file: give a .safetensors or .pth file")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise LoadError(f"weights {path} are not a valid safetensors file ({error}): save them again") from error
    if suffix not in (".pt", ".pth", ".ckpt", ".bin"):
        raise LoadError(f"weights {path} have an unknown format: use .safetensors, or a state dict in .pt or .pth")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"weights {path} are damaged or hold more than tensors, which could run code: save them with torch.save(net.state_dict(), ...)"
        ) from error
    except (ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise LoadError(f"weights {path} are not a valid torch file ({(str(error).splitlines() or [type(error).__name__])[0]}): save them again") from error
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        seen = f"a dictionary of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise LoadError(f"weights {path} hold {seen}, not a state dict: save it with torch.save(net.state_dict(), ...)")
    odd = next((name for name, value in content.items() if not isinstance(name, str) or value.layout != torch.strided or value.is_meta), None)
    if odd is not None:
        raise LoadError(f"weights {path} hold {str(odd)[:80]!r}, which is no plain tensor under a name: save dense tensors, as net.state_dict() gives them")
    return content


def _fit(model: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> None:
    own = model.state_dict()
    missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
    faults = [f"{what} {_some(keys)}" for what, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    differing = [key for key in own if key in state and state[key].shape != own[key].shape]
    faults += [f"{key} is {tuple(state[key].shape)} but the network has {tuple(own[key].shape)}" for key in differing[:3]]
    if faults:
        parallel = unexpected and all(key.startswith("module.") for key in state)
        cure = "they were saved from a DataParallel wrapper: save net.module.state_dict()" if parallel else "build the network as it was when they were saved"
        raise LoadError(f"weights {path} do not fit {name}: {'; '.join(faults)}: {cure}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LoadError(f"weights {path} do not fit {name}: {str(error).splitlines()[-1].strip()[:300]}") from error


def _some(keys: list[str], most: int = 5) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
