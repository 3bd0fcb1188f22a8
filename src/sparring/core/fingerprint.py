"""Hashes values, so that equal hashes mean equal values."""

import hashlib

import torch
from torch import nn


def digest(*parts: bytes | str) -> str:
    """Return the sha256 of some parts, each with its length, as hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()


def weights(module: nn.Module) -> list[bytes | str]:
    """Return the parameters and buffers of a module as parts for `digest`.

    Buffers that are not persistent count too. Each part has name, type and shape, and the bytes.
    """
    parts: list[bytes | str] = []
    stored = module.state_dict()
    for name, value in {**stored, **{name: value for name, value in module.named_buffers() if name not in stored}}.items():
        parts.append(f"{name} {value.dtype} {tuple(value.shape)}")
        parts.append(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return parts
