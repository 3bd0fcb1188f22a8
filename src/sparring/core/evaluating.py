"""Queries a torch module in evaluation mode and restores the module and the global random states."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

SETTERS = ("train", "eval")
"""Methods that set the mode and do not ask for it."""

FASTER = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
"""Modules that are only faster in evaluation mode; the dropout in them is a part of its own."""


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


def modal_parts(module: nn.Module) -> list[str]:
    """Return the classes of the parts that answer otherwise in the training mode they are in.

    They are names, and otherwise means than in evaluation mode.

    The code of a part tells whether it asks for the mode, as dropout and batch normalisation do; dropout of probability 0 does not count.
    """
    return list(dict.fromkeys(_called(part) for part in module.modules() if part.training and _asks_for_its_mode(part)))


def _called(part: nn.Module) -> str:
    """The class of a part, also of one that TorchScript compiled."""
    return str(getattr(part, "original_name", type(part).__name__))


def _asks_for_its_mode(part: nn.Module) -> bool:
    rates = [value for name, value in vars(part).items() if name in ("p", "dropout", "drop_prob") and isinstance(value, int | float)]
    if (rates and not any(rates)) or getattr(part, "track_running_stats", True) is False or isinstance(part, FASTER):
        return False
    named = getattr(nn, _called(part), type(part))
    methods = (getattr(one, "__code__", None) for kind in named.__mro__ if kind is not nn.Module for key, one in vars(kind).items() if key not in SETTERS)
    return any("training" in code.co_names for code in methods if code is not None)


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
