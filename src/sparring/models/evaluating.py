"""Asking a torch module in evaluation mode without leaving a trace in it or in the global random states."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, as its own `eval` makes it; afterwards modes and buffers (their identity too) are as before."""
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
def random_states_kept() -> Iterator[None]:
    """The generators of Python, NumPy and torch afterwards as before."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
