"""Hashes values, so that equal hashes mean equal values."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def digest(*parts: bytes | str) -> str:
    """Return the sha256 of some parts, each with its length, as hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()


def weights(module: nn.Module) -> list[bytes | str]:
    """Return the parameters and buffers of a module as parts for `digest`.

    Each part has name, type and shape, and the bytes; quantised tensors count by their values, and what is no tensor by how it is written.
    """
    return [part for name, value in module.state_dict().items() for part in _weight(name, value)]


def _weight(name: str, value: Any) -> Iterator[bytes | str]:
    if isinstance(value, tuple):  # packed weights of quantised layers
        for place, one in enumerate(value):
            yield from _weight(f"{name}.{place}", one)
    elif not isinstance(value, Tensor):
        yield f"{name} {value!r}"
    else:
        yield f"{name} {value.dtype} {tuple(value.shape)}"
        plain = value.detach().dequantize() if value.is_quantized else value.detach()
        yield plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
