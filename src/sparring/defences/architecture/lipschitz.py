"""Layers with Lipschitz constant 1 in L2, whose networks can be certified by their margins.

Almost-orthogonal layers: Prach, Lampert 2022, arXiv:2208.03160. MaxMin: Anil, Lucas, Grosse 2019, arXiv:1811.05381.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LipschitzLinear(nn.Linear):
    """Compute a linear layer whose spectral norm is at most 1.

    Its matrix is W D, D diagonal with d_i = (sum_j |W^T W|_ij)^(-1/2).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__(in_features, out_features, bias)
        nn.init.orthogonal_(self.weight)

    def scaled(self) -> Tensor:
        """Return the weight that is used, [out, in]."""
        gram = self.weight.T @ self.weight
        return self.weight * gram.abs().sum(1).clamp_min(1e-12).rsqrt()

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.scaled(), self.bias)


class LipschitzConv2d(nn.Conv2d):
    """Compute a convolution whose spectral norm is at most 1.

    It has an odd kernel, stride 1 and zeros around it; its input channels are scaled.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True):
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: give an odd number, which keeps the size of the image")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        nn.init.dirac_(self.weight)

    def scaled(self) -> Tensor:
        """Return the kernel that is used, [out, in, k, k]."""
        k = self.kernel_size[0]
        overlap = F.conv2d(self.weight.transpose(0, 1), self.weight.transpose(0, 1), padding=k - 1)
        return self.weight * overlap.abs().sum((1, 2, 3)).clamp_min(1e-12).rsqrt()[None, :, None, None]

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.scaled(), self.bias, padding=self.padding)


class MaxMin(nn.Module):
    """Sort channels in pairs, an activation that keeps distances and never flattens.

    [n, 2 k, ...] to [n, 2 k, ...].
    """

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]
        more = torch.relu(first - second)
        return torch.cat([second + more, first - more], 1)


def freeze(module: nn.Module) -> nn.Module:
    """Return the same network with plain layers in place of the scaled ones, as bounds want it.

    [n, ...] to [n, ...] unchanged.
    """
    for name, child in module.named_children():
        if isinstance(child, LipschitzLinear | LipschitzConv2d):
            setattr(module, name, _plain(child))
        else:
            freeze(child)
    return module


def _plain(layer: "LipschitzLinear | LipschitzConv2d") -> nn.Module:
    biased = layer.bias is not None
    plain: nn.Linear | nn.Conv2d
    if isinstance(layer, LipschitzLinear):
        plain = nn.Linear(layer.in_features, layer.out_features, biased)
    else:
        plain = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, bias=biased)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        plain.weight.copy_(layer.scaled())
        if layer.bias is not None and plain.bias is not None:
            plain.bias.copy_(layer.bias)
    return plain.to(layer.weight)
