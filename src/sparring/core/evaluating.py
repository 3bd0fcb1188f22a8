"""Queries a torch module in evaluation mode and restores the module and the global random states."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put the module in evaluation mode, by its own `eval`, and restore it on leaving.

    Modes and buffers (their identity too) are afterwards as before.
    """
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(part, name, buffer, buffer.clone()) for part in module.modules() for name, buffer in part._buffers.items() if buffer is not None]
    try:
        try:
            module.eval()
        except NotImplementedError:  # exported programs refuse it
            for part, _ in modes:
                part.training = False
        yield
    finally:
        for part, training in modes:
            part.training = training
        for part, name, buffer, was in buffers:
            if not torch.equal(buffer, was):
                buffer.copy_(was)
            part._buffers[name] = buffer


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Turn off `requires_grad` of all parameters, and restore it on leaving."""
    before = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, needed in before:
            parameter.requires_grad_(needed)


@contextlib.contextmanager
def random_states_kept(device: torch.device | None = None) -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch on leaving.

    device: the only one beside the processor that is used, if known.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    if device is not None:
        devices = [device] if device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
