"""Says why a torch module cannot take the inputs, in the words of the data instead of those of torch."""

import re

from torch import nn

from sparring.core.domain import Domain
from sparring.domains.image import Image

CHANNELS = re.compile(r"expected input\[[\d, ]*\] to have (\d+) channels, but got (\d+)")
PRODUCT = re.compile(r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)")
ROWS = re.compile(r"size\(\)\[0\] == (\d+)")


def misfit(module: nn.Module, domain: Domain, error: Exception) -> str:
    """Return the cause and the cure of an error that a module raised, as far as they are known.

    Args:
        module: What was asked.
        domain: What the inputs are.
        error: What it raised.
    """
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if found := CHANNELS.search(said):
        wanted, given = map(int, found.groups())
        height, width = getattr(domain, "shape", (0, 0, 0))[-2:]
        if isinstance(domain, Image) and wanted in (height, width) and wanted not in (given, 1):
            return f"it takes {wanted} channels and gets {given}; if the first axis of the data is the height, put the channels first"
        return f"it takes {wanted} channels and gets {given}: describe the images as they were in training, or give another model"
    if found := PRODUCT.search(said):
        given, wanted = map(int, found.groups())
        if isinstance(domain, Image):
            return f"one of its linear layers takes {wanted} numbers and gets {given}: the images had another size in training, resize them"
        return f"one of its linear layers takes {wanted} numbers and gets {given}: give data with as many columns as in training"
    if isinstance(domain, Image) and any(isinstance(part, nn.Linear) for part in module.modules()) and not any(map(_takes_planes, module.modules())):
        return f"{said}; if it takes rows of numbers, put nn.Flatten() before it"
    return said


def _takes_planes(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | nn.Conv3d | nn.Flatten)
