"""ONNX's Resize and Upsample as torch functions, axis by axis, in the single precision in which onnxruntime finds each place."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.graph.builder import Unsupported
from sparring.graph.onnx_functions import Application, computes

CROP = "tf_crop_and_resize"
"""The way that resizes a part of the input, its region."""

HALFWAY = 1e-6
"""How far from the middle between two places onnxruntime still takes a place for the middle, as measured with version 1.31: between 9.6e-7 and 1.9e-6."""


class Axis(NamedTuple):
    """Hold how one axis is resized.

    axis: its place. side, size: numbers along it before and after. region: where a part begins and ends, as shares of the side.
    """

    axis: int
    side: int
    size: int
    scale: Tensor
    region: tuple[Tensor, Tensor]

    def places(self, how: str) -> Tensor:
        """Return where each number of the result lies in the original, float32 [size]."""
        at = torch.arange(self.size, dtype=torch.float32)
        last = self.side - 1
        match how:
            case "half_pixel":
                return (at + 0.5) / self.scale - 0.5
            case "half_pixel_symmetric":
                size = torch.tensor(float(self.size))  # a whole number would be multiplied by a rounded reciprocal
                shift = self.side / 2 * (1 - size / (self.scale * self.side))
                return (shift.double() + (at.double() + 0.5) / self.scale.double() - 0.5).float()
            case "pytorch_half_pixel":
                return (at + 0.5) / self.scale - 0.5 if self.size > 1 else at * 0
            case "tf_half_pixel_for_nn":
                return (at + 0.5) / self.scale
            case "align_corners":
                return at * last / (self.size - 1) if self.size > 1 else at * 0
            case "asymmetric":
                return at / self.scale
            case "tf_crop_and_resize":
                start, end = self.region
                return start * last + at * (end - start) * last / (self.size - 1) if self.size > 1 else 0.5 * (start + end) * last + at
        raise Unsupported(f"coordinates by {how} are not supported")


@computes("Resize", "Upsample")
def _resize(node: Application) -> Tensor:
    """Return the numbers in another size, axis by axis, by the formulas of the ONNX specification."""
    mode, how = node.word("mode", "nearest"), node.word("coordinate_transformation_mode", "half_pixel" if node.operator == "Resize" else "asymmetric")
    if node.opset < 11:
        how = "asymmetric"
    if node.word("keep_aspect_ratio_policy", "stretch") != "stretch" or mode not in ("nearest", "linear", "cubic"):
        raise Unsupported(f"mode {mode} with {node.word('keep_aspect_ratio_policy', 'stretch')} is not supported")
    x = node.x
    axes = _axes(node, how)
    if all(axis.size == axis.side for axis in axes):  # onnxruntime takes this for no change, whatever the factors and the region
        return x
    for axis in axes:
        if axis.size != axis.side or axis.scale != 1:
            x = _along(node, x, axis, how, mode)
    return x


def _axes(node: Application, how: str) -> list[Axis]:
    """The axes to resize, by their factors, or by the new sizes where there are none."""
    axes = [int(one) % node.x.ndim for one in node.settings.get("axes", range(node.x.ndim))]
    scales, sizes = (node.settings.get("scales", node.get(1)), None) if node.operator == "Upsample" or node.opset < 11 else (node.get(2), node.get(3))
    sides = torch.tensor([node.x.shape[axis] for axis in axes], dtype=torch.float32)
    if scales is not None and len(scales):
        factors = torch.as_tensor(scales, dtype=torch.float32)
        sides_after = (factors * sides).long()
    elif sizes is not None:
        factors, sides_after = sizes.float() / sides, sizes
    else:
        raise Unsupported("it has neither scales nor sizes")
    region = node.get(1) if how == CROP else None
    starts, ends = (torch.zeros(len(axes)), torch.ones(len(axes))) if region is None else region.float().reshape(2, -1)
    return [Axis(axis, node.x.shape[axis], int(sides_after[place]), factors[place], (starts[place], ends[place])) for place, axis in enumerate(axes)]


def _along(node: Application, x: Tensor, axis: Axis, how: str, mode: str) -> Tensor:
    at, side = axis.places(how), axis.side
    if mode == "nearest":
        found = x.index_select(axis.axis, _nearest(node, at, axis.scale).long().clamp(0, side - 1))
    else:
        if node.settings.get("antialias", 0) and axis.scale < 1:
            raise Unsupported("antialias is not supported")
        found = _mixed(node, x, axis, at, mode)
    if how == CROP:
        outside = ((at < 0) | (at > side - 1)).reshape(-1, *[1] * (x.ndim - axis.axis - 1))
        found = torch.where(outside, node.settings.get("extrapolation_value", 0.0), found)
    return found


def _nearest(node: Application, at: Tensor, scale: Tensor) -> Tensor:
    """The whole places next to some places."""
    if node.operator == "Upsample" or node.opset < 11:
        return at.ceil() if scale < 1 else at.floor()
    match node.word("nearest_mode", "round_prefer_floor"):
        case "floor":
            return at.floor()
        case "ceil":
            return at.ceil()
        case how:
            exact = at.double()
            halfway = (exact - exact.floor() - 0.5).abs() < HALFWAY
            return torch.where(halfway, at.floor() if how == "round_prefer_floor" else at.ceil(), (exact + 0.5).floor())


def _mixed(node: Application, x: Tensor, axis: Axis, at: Tensor, mode: str) -> Tensor:
    """The numbers at some places as mixtures of two or four neighbours."""
    side, taps = axis.side, (0, 1) if mode == "linear" else (-1, 0, 1, 2)
    base = at.floor()
    weights = [_linear(at - base - tap) if mode == "linear" else _cubic(at - base - tap, node.settings.get("cubic_coeff_a", -0.75)) for tap in taps]
    places = [base + tap for tap in taps]
    if node.settings.get("exclude_outside", 0):
        weights = [torch.where((place >= 0) & (place < side), weight, 0.0) for place, weight in zip(places, weights, strict=True)]
        weights = [weight / torch.stack(weights).sum(0) for weight in weights]
    wide = [1] * (x.ndim - axis.axis - 1)
    parts = [
        x.index_select(axis.axis, place.long().clamp(0, side - 1)) * weight.to(x).reshape(-1, *wide) for place, weight in zip(places, weights, strict=True)
    ]
    return torch.stack(parts).sum(0)


def _linear(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp_min(0)


def _cubic(distance: Tensor, a: float) -> Tensor:
    d = distance.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
