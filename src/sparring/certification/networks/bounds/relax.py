"""Linear relaxations of activations on the interval of their input, sound for every slope.

ReLU: Zhang et al. 2018, arXiv:1811.00866; S-shaped functions by tangents and secants; products by McCormick's planes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.certification.networks.bounds.interval import Interval
from sparring.graph.operators import Operator, Product, Relu, Sigmoid, Tanh


class Lines(NamedTuple):
    """Hold a lower and an upper line of an activation.

    lower_slope x + lower_shift <= f(x) <= upper_slope x + upper_shift on the interval; [n, 1 or r, *shape], a shift None where it is 0.
    """

    lower_slope: Tensor
    lower_shift: Tensor | None
    upper_slope: Tensor
    upper_shift: Tensor | None

    def propagate(self, g: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return slopes and constants [n, r] of a linear lower bound of g . f(x).

        g: [n or 1, r, *shape].
        """
        slope = g * torch.where(g >= 0, self.lower_slope, self.upper_slope)
        constant = None
        if self.upper_shift is not None:
            constant = (g.clamp_max(0) * self.upper_shift).flatten(2).sum(2)
        if self.lower_shift is not None:
            below = (g.clamp_min(0) * self.lower_shift).flatten(2).sum(2)
            constant = below if constant is None else constant + below
        return slope, constant


class Planes(NamedTuple):
    """Hold a lower and an upper plane of a product x y.

    below_x x + below_y y + below <= x y <= above_x x + above_y y + above.
    """

    below_x: Tensor
    below_y: Tensor
    below: Tensor
    above_x: Tensor
    above_y: Tensor
    above: Tensor

    def propagate(self, g: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the slopes at both factors and the constants of a linear lower bound of g . (x y)."""
        up, down = g.clamp_min(0), g.clamp_max(0)
        slopes = up * self.below_x + down * self.above_x, up * self.below_y + down * self.above_y
        return slopes, (up * self.below + down * self.above).flatten(2).sum(2)


def relu_lines(value: Interval, slope: Tensor | None = None) -> Lines:
    """Return the lines of a ReLU.

    slope: of the lower line where the sign is open, in [0, 1], [n, 1 or r, *shape]; by default 1 or 0, whichever leaves the smaller triangle.
    """
    low, high = value.low[:, None], value.high[:, None]
    positive, negative = low >= 0, high <= 0
    open_ = ~(positive | negative)
    width = torch.where(open_, high - low, 1.0)
    upper = torch.where(open_, high / width, positive.to(low.dtype))
    if slope is None:
        slope = (high >= -low).to(low.dtype)
    lower = torch.where(open_, slope, positive.to(low.dtype))
    return Lines(lower, None, upper, torch.where(open_, -upper * low, 0.0))


def s_shaped_lines(operator: Operator, value: Interval) -> Lines:
    """Return the lines of sigmoid and tanh: increasing, convex below 0 and concave above.

    Upper line on [l, u]: the secant where the function is convex throughout, the tangent at the middle where it is concave; across 0 the secant if it lies
    above the function, else the tangent from (l, f(l)), whose touching point is found by bisection on its safe side. The lower line by symmetry.
    """
    upper_slope, upper_shift = _s_upper(operator, value.low, value.high)
    center = 1.0 if isinstance(operator, Sigmoid) else 0.0  # f(-x) = center - f(x)
    mirrored_slope, mirrored_shift = _s_upper(operator, -value.high, -value.low)
    return Lines(mirrored_slope[:, None], (center - mirrored_shift)[:, None], upper_slope[:, None], upper_shift[:, None])


def _s_upper(operator: Operator, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    def f(x: Tensor) -> Tensor:
        return operator(x)

    def steep(x: Tensor) -> Tensor:
        y = operator(x)
        return y * (1 - y) if isinstance(operator, Sigmoid) else 1 - y * y

    width = (high - low).clamp_min(1e-12)
    secant = ((f(high) - f(low)) / width).clamp_min(0)
    # d >= 0 with the tangent at d lying above (l, f(l)): true for d = high where the secant is too flat, kept true by the bisection.
    near, far = torch.zeros_like(high), high.clamp_min(0)
    for _ in range(60):
        middle = (near + far) / 2
        above = f(middle) + steep(middle) * (low - middle) >= f(low)
        far, near = torch.where(above, middle, far), torch.where(above, near, middle)
    touch = torch.where(low >= 0, (low + high) / 2, far)
    tangent = steep(touch)
    by_secant = (high <= 0) | ((low < 0) & (steep(high.clamp_min(0)) >= secant))
    slope = torch.where(by_secant, secant, tangent)
    # The shift that makes the line true at every end and touching point; the slack covers the rounding of f.
    at_ends = torch.maximum(f(low) - slope * low, f(high) - slope * high)
    shift = torch.where(by_secant, at_ends, torch.maximum(f(touch) - tangent * touch, at_ends))
    return slope, shift + 1e-12


def product_planes(one: Interval, other: Interval) -> Planes:
    """Return the means of McCormick's planes of a product.

    They lie below through (l, l) and (u, u), above through (l, u) and (u, l).

    The two of a side are equally near at the middle and on average; their mean is off by half as much as either at worst, and no rounding chooses it.
    """
    lx, ux, ly, uy = (edge[:, None] for edge in (one.low, one.high, other.low, other.high))
    mx, my = (lx + ux) / 2, (ly + uy) / 2
    return Planes(my, mx, -(lx * ly + ux * uy) / 2, my, mx, -(lx * uy + ux * ly) / 2)


def relaxation(operator: Operator, values: list[Interval], slope: Tensor | None = None) -> Lines | Planes:
    """Return the default relaxation of an activation on the intervals of its inputs.

    slope: of the lower line of a ReLU.
    """
    if isinstance(operator, Relu):
        return relu_lines(values[0], slope)
    if isinstance(operator, Sigmoid | Tanh):
        return s_shaped_lines(operator, values[0])
    if isinstance(operator, Product):
        return product_planes(values[0], values[1])
    raise TypeError(f"no relaxation of {type(operator).__name__}")
