"""Faster equivalents of layers: memory layout, input gradient of the first convolution, bfloat16."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map

from sparring.models.rewrites import CONVOLUTIONS

BLOCK_SIDE = 4.0
"""Side of a block over all input channels together. Smaller blocks leave the convolution idle, larger ones compute much that is zero."""


def channels_last(module: nn.Module, _: Tensor) -> nn.Module:
    """Put the channels of weights innermost, which convolutions pass on to all that follows."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def in_bfloat16(module: nn.Module, _: Tensor) -> nn.Module:
    """Return the model under autocast."""
    return Bfloat16(module)


def fast_convolutions(module: nn.Module, x: Tensor) -> nn.Module:
    """Replace convolutions of few input channels by ones with the fastest input gradient."""
    seen: dict[nn.Module, Tensor] = {}

    def remember(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            seen[layer] = inputs[0].detach()

    hooks = [part.register_forward_pre_hook(remember) for part in module.modules()]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    swapped = {layer: made for layer, given in seen.items() if (made := _fast_convolution(layer, given)) is not None}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child in swapped:
                parent._modules[name] = swapped[child]
    return module


def _fast_convolution(layer: nn.Module, x: Tensor) -> nn.Module | None:
    """Return a grouped convolution, whose input gradient is faster with few input channels."""
    if type(layer) is not nn.Conv2d or layer.in_channels > 4 or layer.groups > 1 or x.ndim != 4:
        return None
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or not x.is_floating_point():
        return None
    if len(set(layer.stride)) > 1:
        return None
    blocks = max(1, round(BLOCK_SIDE / (layer.stride[0] * layer.in_channels**0.5)))
    return BlockedConvolution(layer, (x.shape[2], x.shape[3]), blocks)


def _blocks(size: int, kernel: int, stride: int, padding: int, dilation: int, blocks: int) -> tuple[Tensor, int, int]:
    """Which output gradients reach each position of a block of input positions, along one axis.

    Input position `p = stride * blocks * q + r` meets output `o` through tap `k` where
    `o * stride = p + padding - k * dilation`, so `o = blocks * q + t` with `t` the same for every block `q`.
    Returns the 0/1 table (position r, window place, tap k), the padding of the outputs and the count of blocks.
    """
    side = stride * blocks
    met = [(r, (r + padding - k * dilation) // stride, k) for r in range(side) for k in range(kernel) if (r + padding - k * dilation) % stride == 0]
    first, last = min(t for _, t, _ in met), max(t for _, t, _ in met)
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    count = -(-size // side)
    pad = max(-first, blocks * (count - 1) + last - (outputs - 1), 0)
    table = torch.zeros(side, last + pad + 1, kernel)
    for r, t, k in met:
        table[r, t + pad, k] = 1
    return table, pad, count


class BlockedConvolution(nn.Conv2d):
    """Compute the input gradient of a convolution as a convolution over blocks of pixels.

    Whole blocks of pixels are its channels.
    """

    spread: Tensor

    def __init__(self, layer: nn.Conv2d, size: tuple[int, int], blocks: int) -> None:
        shape = layer.in_channels, layer.out_channels, layer.kernel_size
        super().__init__(*shape, layer.stride, layer.padding, layer.dilation, device="meta")  # pyright: ignore
        self.weight, self.bias = layer.weight, layer.bias
        self.size, self.blocks = size, blocks
        axes = zip(size, layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
        (rows, row_pad, row_count), (columns, column_pad, column_count) = (_blocks(*axis, blocks) for axis in axes)  # pyright: ignore
        weight = layer.weight.detach()
        spread = torch.einsum("ockl,rtk,sul->crsotu", weight, rows.to(weight), columns.to(weight))
        self.register_buffer("spread", spread.flatten(0, 2).contiguous(), persistent=False)
        self.pad, self.count = (row_pad, column_pad), (row_count, column_count)
        self.sides = len(rows), len(columns)

    def forward(self, input: Tensor) -> Tensor:
        if input.requires_grad and torch.is_grad_enabled() and input.shape[2:] == self.size:
            return _BlockedGradient.apply(input, self)  # pyright: ignore[reportReturnType]
        return super().forward(input)

    def input_gradient(self, g: Tensor) -> Tensor:
        """Return the gradient of the input, (n, in, H, W), from that of the output, (n, out, h, w)."""
        tall, wide = self.sides
        rows, columns = self.count
        blocks = F.conv2d(g, self.spread.to(g.dtype), stride=self.blocks, padding=self.pad)[:, :, :rows, :columns]
        if tall == wide:
            whole = F.pixel_shuffle(blocks, tall)
        else:
            parts = blocks.unflatten(1, (self.in_channels, tall, wide)).permute(0, 1, 4, 2, 5, 3)
            whole = parts.reshape(len(g), self.in_channels, rows * tall, columns * wide)
        return whole[:, :, : self.size[0], : self.size[1]].contiguous()


class _BlockedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: BlockedConvolution) -> Tensor:  # pyright: ignore
        ctx.layer, ctx.dtype = layer, x.dtype
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        return ctx.layer.input_gradient(g).to(ctx.dtype), None


class Bfloat16(nn.Module):
    """Represent a model computing in bfloat16 under autocast, its heavy weights converted once.

    Float32 comes out.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for part in model.modules():
            if type(part) in (*CONVOLUTIONS, nn.Linear, BlockedConvolution):
                part.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = self.model(x)
        return tree_map(lambda leaf: leaf.float() if _is_half(leaf) else leaf, outputs)


def _is_half(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16
