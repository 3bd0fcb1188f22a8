"""Weights to begin with."""

import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


def interval_initialisation(module: nn.Module, rng: torch.Generator) -> None:
    """Draw the weights anew so that intervals keep their width from layer to layer.

    They are normal with deviation sqrt(2 pi) / fan-in.

    Shi et al. 2021, arXiv:2103.17268, section 4.1. The last layer is drawn as torch does, uniformly within 1 / sqrt(fan-in), as the official code
    leaves it alone; biases are 0 here. Linear layers and convolutions are drawn, batch normalisation is reset; other parts stay as they are.
    """
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | _ConvNd)]
    with torch.no_grad():
        for part in layers:
            weight, fan_in = part.weight, part.weight[0].numel()
            if part is layers[-1]:
                drawn = (2 * torch.rand(weight.shape, generator=rng, device=weight.device, dtype=weight.dtype) - 1) / math.sqrt(fan_in)
            else:
                drawn = torch.randn(weight.shape, generator=rng, device=weight.device, dtype=weight.dtype) * math.sqrt(2 * math.pi) / fan_in
            weight.copy_(drawn)
            if part.bias is not None:
                part.bias.zero_()
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                part.reset_parameters()
