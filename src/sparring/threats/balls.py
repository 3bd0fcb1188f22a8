"""Lp balls around the clean input, intersected with the box of the domain: Linf, L2 and L1.

Projections are exact onto ball and box together, not one after the other, and every sample may
have its own radius. L1: Croce, Hein 2021, "Mind the box" (arXiv:2103.01208), solved here through the
sorted breakpoints of the dual in float64; L2 by the same device.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import NeedsError, PlanError
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius, wide
from sparring.threats.planes import flattest, shortest, sparsest


def _first(reached: Tensor) -> Tensor:
    """[n, 1]: the first true place of each row [n, k]; the last one where rounding kept all of them false."""
    return torch.where(reached.any(1), reached.to(torch.int8).argmax(1), reached.shape[1] - 1)[:, None]


@dataclass(frozen=True, eq=False)
class BallRegion(Region):
    """Represent a ball of one norm around each origin, cut with [low, high].

    Shapes: origin [n, ...], radius float64 [n].
    """

    origin: Tensor
    domain: Domain
    radius: Tensor
    low: Tensor  # the box, a number or shaped like origin; for Linf the box cut with the ball
    high: Tensor

    order: ClassVar[float]

    def take(self, rows: Tensor) -> Self:
        low, high = (edge[rows] if edge.ndim else edge for edge in (self.low, self.high))
        return type(self)(self.origin[rows], self.domain, self.radius[rows], low, high)

    def size(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x.flatten(1).double() - self.origin.flatten(1).double(), ord=self.order, dim=1)

    def inside(self, x: Tensor) -> Tensor:
        """Check x, exactly up to one rounding of each coordinate in the type of x.

        At radius 0 the origin alone is allowed.
        """
        flat = x.flatten(1)
        box_low, box_high = _flat_box(self.domain, x)
        in_box = ((flat >= box_low) & (flat <= box_high)).all(1)
        largest = torch.maximum(flat.abs(), self.origin.flatten(1).abs()).amax(1).double()
        return in_box & (self.size(x) <= self._passing(largest, x))

    def reach(self) -> Tensor:
        """Return no point that is `inside` is further from the origin than this, float64 [n]."""
        return self._passing(self.origin.flatten(1).abs().amax(1).double() + 2 * self.radius, self.origin)

    def _passing(self, largest: Tensor, x: Tensor) -> Tensor:
        """float64 [n]: the size that passes for the radius where the largest coordinates are as given [n]."""
        ones = x.flatten(1).shape[1] ** (0.0 if math.isinf(self.order) else 1.0 / self.order)
        slack = torch.finfo(x.dtype).eps * largest * ones
        return torch.where(self.radius > 0, self.radius * (1 + 1e-9) + slack, 0.0)

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """Return direction of unit size along which g ascends fastest."""

    def ascend(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """Return x moved by `length` ([n]) along the steepest direction of g.

        May leave ball and box.
        """
        return torch.addcmul(x, wide(length, x).to(x.dtype), self.steepest(g))

    def toward(self, x: Tensor, size: Tensor) -> Tensor:
        """Return points at most `size` ([n]) from the origin on the straight way to x."""
        share = (size / self.size(x).clamp_min(1e-30)).clamp(0, 1).to(x.dtype)
        return self.origin + (x - self.origin) * wide(share, x)

    def within(self, x: Tensor, size: Tensor) -> Tensor:
        """Return x brought to at most `size` ([n], no larger than the radius) from the origin.

        This is the nearest such point where x lies in the box.
        """
        return dataclasses.replace(self, radius=size).project(x)  # type: ignore[attr-defined]

    def plain_step(self, x: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
        """Move x by its distance to the plane of `onto_plane`, as if nothing had bounds.

        Coordinates that are at the
        edge of the box they would have to pass stay; the result may leave the box.
        """
        way = normal * wide(gap.sign(), normal).to(normal.dtype)
        low, high = box(self.domain, x)
        return self.ascend(x, way * torch.where(way > 0, x < high, x > low), self._plain(normal, gap))

    def _plain(self, normal: Tensor, gap: Tensor) -> Tensor:
        """float64 [n]: distance to the plane where nothing has bounds; 0 where it is flat."""
        steep = self.dual(normal)  # type: ignore[attr-defined]
        return torch.where(steep > 0, gap.double().abs() / steep.clamp_min(1e-300), 0.0)

    def _room(self, direction: Tensor) -> Tensor:
        """float64 [n, d]: how far each coordinate may go in the sign of the direction, inside the box."""
        up = (self.high - self.origin).expand_as(self.origin)
        down = (self.origin - self.low).expand_as(self.origin)
        return torch.where(direction > 0, up, down).flatten(1).double()

    def _moved(self, direction: Tensor, lengths: Tensor) -> Tensor:
        """The origin moved by float64 lengths [n, d] along the signs of the direction, kept in the box."""
        moved = self.origin + (lengths.reshape(direction.shape) * direction.sign()).to(self.origin.dtype)
        edge = torch.where(direction > 0, self.high, self.low)  # not missed by a rounding: `steepest` asks who is at the edge
        return torch.where((lengths >= self._room(direction)).reshape(direction.shape), edge, moved).clamp(self.low, self.high)


@dataclass(frozen=True, eq=False)
class LinfRegion(BallRegion):
    """Represent a Linf ball around each origin, cut to the domain."""

    order: ClassVar[float] = math.inf

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest allowed points."""
        return x.clamp(self.low, self.high)

    def steepest(self, g: Tensor) -> Tensor:
        """Return direction of unit size along which g ascends fastest."""
        return g.sign()

    def onto_plane(self, x: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
        """Return the points of the box on a plane that are nearest to x.

        On the plane normal . (point - x) reaches `gap` ([n]), a number of either sign; x lies in the box.
        """
        return _onto(self.domain, x, normal, gap, flattest)

    def dual(self, g: Tensor) -> Tensor:
        """Return the sum of |g|, the most that a step of size 1 gains along g, float64 [n]."""
        return torch.linalg.vector_norm(g.flatten(1).double(), ord=1, dim=1)

    def sample(self, rng: Rng) -> Tensor:
        """Draw points uniformly from the intersection of ball and box."""
        share = rng.uniform(*self.origin.shape[1:], dtype=self.origin.dtype)
        return (self.low + (self.high - self.low) * share).clamp(self.low, self.high)

    def corner(self, rng: Rng) -> Tensor:
        """Return a random corner of ball and box."""
        return torch.where(rng.signs(*self.origin.shape[1:]) > 0, self.high, self.low)

    def paint(self, signs: Tensor) -> Tensor:
        """Return the upper edge where a sign is +1, the lower where -1, the origin where 0."""
        return torch.where(signs > 0, self.high, torch.where(signs < 0, self.low, self.origin))

    def excess(self, x: Tensor, size: Tensor) -> Tensor:
        """Return the signed part of the change that lies beyond `size` ([n]), per coordinate."""
        d, reach = x - self.origin, wide(size, x).to(x.dtype)
        return d - torch.minimum(torch.maximum(d, -reach), reach)

    def shrunk(self, x: Tensor, by: Tensor) -> Tensor:
        """Take the proximal step of `by` ([n]) times the size.

        The largest coordinates are cut, by `by` in all.
        """
        level = _level((x - self.origin).flatten(1).double().abs(), by).squeeze(1)
        return self.toward(x, level)

    def within(self, x: Tensor, size: Tensor) -> Tensor:
        """Return x with every coordinate at most `size` ([n]) from the origin, in ball and box."""
        return self.toward(self.project(x), size)

    def toward(self, x: Tensor, size: Tensor) -> Tensor:
        """Return x with every coordinate at most `size` ([n]) from the origin."""
        reach = wide(size, x).to(x.dtype)
        return torch.minimum(torch.maximum(x, self.origin - reach), self.origin + reach)


@dataclass(frozen=True, eq=False)
class L2Region(BallRegion):
    """Represent an L2 ball around each origin, cut to the domain."""

    order: ClassVar[float] = 2.0

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest allowed points.

        Each coordinate moves by min(t |d|, room), with one t per row.
        """
        d = x - self.origin
        length, room = d.flatten(1).double().abs(), self._room(d)
        boxed = torch.minimum(length, room)
        far = torch.linalg.vector_norm(boxed, dim=1) > self.radius
        if bool(far.any()):
            a, u, radius = length[far], room[far], self.radius[far]
            knots, order = torch.where(a > 0, u / a.clamp_min(1e-300), torch.inf).clamp_max(1.0).sort(dim=1)
            a2, u2 = a.square().gather(1, order), torch.minimum(a, u).square().gather(1, order)
            stuck = torch.cumsum(u2, 1) - u2  # what the coordinates with smaller knots contribute
            free = a2.flip(1).cumsum(1).flip(1)
            reached = knots.square() * free + stuck >= radius.square()[:, None]
            first = _first(reached)
            rest = (radius.square()[:, None] - stuck.gather(1, first)).clamp_min(0)
            t = (rest / free.gather(1, first).clamp_min(1e-300)).sqrt()
            boxed[far] = torch.minimum(t * a, u)
        return self._moved(d, boxed)

    def within(self, x: Tensor, size: Tensor) -> Tensor:
        """Put x into the box and at most `size` ([n]) from the origin, along the straight way."""
        return self.toward(x.clamp(self.low, self.high), size)

    def shrunk(self, x: Tensor, by: Tensor) -> Tensor:
        """Return the proximal step of `by` ([n]) times the size: the whole change `by` shorter."""
        share = (1 - by / self.size(x).clamp_min(1e-300)).clamp_min(0)
        return self.origin + (x - self.origin) * wide(share, x).to(x.dtype)

    def onto(self, x: Tensor, size: Tensor) -> Tensor:
        """Scale the change of x to length `size` ([n]) in the box, as far as it allows.

        This holds to a thousandth: each coordinate goes min(t |d|, room) with one
        t per row. The coordinates at the edge only become more from round to round, so few rounds suffice.
        """
        d = x - self.origin
        flat, room = d.flatten(1), torch.where(d > 0, self.high - self.origin, self.origin - self.low).flatten(1)
        long, most = flat.square(), room.square()
        limit = (size * (1 - 4 * torch.finfo(x.dtype).eps)).to(x.dtype)[:, None]
        t = limit / long.sum(1, keepdim=True).sqrt().clamp_min(torch.finfo(x.dtype).tiny)
        for _ in range(flat.shape[1]):
            stuck = t.square() * long >= most
            left = limit.square() - most.where(stuck, 0.0).sum(1, keepdim=True)
            free = long.where(~stuck, 0.0).sum(1, keepdim=True)
            further = torch.where(free > 0, (left.clamp_min(0) / free).sqrt(), t).nan_to_num(posinf=0.0)
            longer = further > t * 1.001
            if not bool(longer.any()):
                break
            t = torch.where(longer, further, t)  # a row that is done stays as it is while others go on
        return torch.addcmul(self.origin, d, wide(t.squeeze(1), d)).clamp(self.low, self.high)

    def steepest(self, g: Tensor) -> Tensor:
        """Return the gradient, scaled to length 1."""
        length = torch.linalg.vector_norm(g.flatten(1), dim=1).clamp_min(torch.finfo(g.dtype).tiny)
        return g / wide(length, g)

    def stretch(self, x: Tensor) -> Tensor:
        """Make the change as long as the radius allows, each coordinate up to the edge of the box."""
        length = torch.linalg.vector_norm((x - self.origin).flatten(1).double(), dim=1)
        factor = 1e4 * self.radius / length.clamp_min(1e-30)
        return self.project(self.origin + (x - self.origin) * wide(factor, x).to(x.dtype))

    def onto_plane(self, x: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
        """Return the points of the box on a plane that are nearest to x.

        On the plane normal . (point - x) reaches `gap` ([n]), a number of either sign; x lies in the box.
        """
        return _onto(self.domain, x, normal, gap, shortest)

    def dual(self, g: Tensor) -> Tensor:
        """Return the Euclidean norm of g, the most that a step of size 1 gains, float64 [n]."""
        return torch.linalg.vector_norm(g.flatten(1).double(), dim=1)

    def sample(self, rng: Rng) -> Tensor:
        """Draw points uniformly from the ball, then project them."""
        count = self.origin[0].numel()
        direction = self.steepest(rng.draw("way").normal(*self.origin.shape[1:], dtype=self.origin.dtype))
        length = self.radius * rng.draw("length").uniform(1, dtype=torch.float64).squeeze(1) ** (1 / count)
        return self.project(self.origin + direction * wide(length, direction).to(direction.dtype))

    def corner(self, rng: Rng) -> Tensor:
        """Move by the radius along a random vector of signs, then project."""
        signs = rng.signs(*self.origin.shape[1:], dtype=self.origin.dtype)
        length = (self.radius / math.sqrt(self.origin[0].numel())).to(self.origin.dtype)
        return self.project(self.origin + signs * wide(length, signs))


@dataclass(frozen=True, eq=False)
class L1Region(BallRegion):
    """Represent an L1 ball around each origin, cut to the domain."""

    order: ClassVar[float] = 1.0

    share: ClassVar[float] = 0.05
    """Part of the coordinates that one step of steepest ascent moves."""

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest allowed points.

        Each coordinate moves by clip(|d| - t, 0, room), with one t per row.
        """
        d = x - self.origin
        length, room = d.flatten(1).double().abs(), self._room(d)
        boxed = torch.minimum(length, room)
        far = boxed.sum(1) > self.radius
        if bool(far.any()):
            a, u, radius = length[far], boxed[far], self.radius[far, None]
            knots, order = torch.cat([a, a - u], 1).sort(dim=1, descending=True)
            weight = torch.cat([torch.ones_like(a), -torch.ones_like(u)], 1).gather(1, order)
            slope = weight.cumsum(1)
            offset = (weight * knots).cumsum(1)
            reached = offset - knots * slope >= radius
            first = _first(reached)
            before = (first - 1).clamp_min(0)
            t = (offset.gather(1, before) - radius) / slope.gather(1, before).clamp_min(1.0)
            t = torch.where((first > 0) & reached.gather(1, first), t, knots.gather(1, first))
            boxed[far] = torch.minimum((a - t).clamp_min(0), u)
        return self._moved(d, boxed)

    def within(self, x: Tensor, size: Tensor) -> Tensor:
        """Put x into the box and at most `size` ([n]) from the origin.

        Each coordinate goes (|d| - t)+, where t rises to its place in few rounds (Michelot 1986).
        """
        d = x.clamp(self.low, self.high) - self.origin
        length = d.flatten(1).double().abs()
        kept = (length - _level(length, size)).clamp_min(0)
        share = size.double()[:, None] / kept.sum(1, keepdim=True).clamp_min(1e-300)  # differences of large numbers lose digits
        return self._moved(d, kept * share.clamp_max(1))

    def shrunk(self, x: Tensor, by: Tensor) -> Tensor:
        """Take the proximal step of `by` ([n]) times the size.

        Every coordinate moves by `by` to the origin.
        """
        d = x - self.origin
        return self.origin + d.sign() * (d.abs() - wide(by, d).to(d.dtype)).clamp_min(0)

    def steepest(self, g: Tensor) -> Tensor:
        """Return the coordinate of largest gradient."""
        flat = g.flatten(1)
        first = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, first, flat.gather(1, first).sign()).reshape(g.shape)

    def sparse(self, g: Tensor, share: Tensor) -> Tensor:
        """Return a direction of unit size, equal on the coordinates of largest gradient.

        share: float [n], the share of these coordinates; at least one is taken.
        """
        flat = g.flatten(1)
        count = (share.double() * flat.shape[1]).floor().clamp(1, flat.shape[1]).to(torch.int64)
        least = flat.abs().sort(1, descending=True).values.gather(1, count[:, None] - 1)
        signs = torch.where(flat.abs() >= least, flat.sign(), 0.0)
        return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1.0)).reshape(g.shape)

    def ascend(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """Take equal steps on the 5 % of the coordinates with the largest gradient.

        The part of a step that the edge of the box leaves over goes to the coordinates that come next.
        """
        flat, low, high = g.flatten(1), *_flat_box(self.domain, x)
        room = torch.where(flat > 0, high - x.flatten(1), x.flatten(1) - low).clamp_min(0).double()
        order = flat.abs().argsort(dim=1, descending=True, stable=True)
        count = max(1, math.ceil(self.share * flat.shape[1]))
        steps = torch.minimum(room.gather(1, order), length[:, None] / count)
        before = steps.cumsum(1) - steps
        steps = (length[:, None] - before).clamp_min(0).minimum(steps)
        moved = torch.zeros_like(room).scatter(1, order, steps).reshape(x.shape)
        return x + (moved * g.sign()).to(x.dtype)

    def onto_plane(self, x: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
        """Return the points of the box on a plane that are nearest to x.

        On the plane normal . (point - x) reaches `gap` ([n]), a number of either sign; x lies in the box.
        """
        return _onto(self.domain, x, normal, gap, sparsest)

    def plain_step(self, x: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
        """Return x moved onto the plane of `onto_plane`, ignoring all bounds.

        All of that in one coordinate would end at the edge, so it is spread over those that move inside the bounds, in the same
        proportions.
        """
        change = self.onto_plane(x, normal, gap) - x
        length = torch.linalg.vector_norm(change.flatten(1).double(), ord=1, dim=1).clamp_min(1e-300)
        return x + change * wide((self._plain(normal, gap) / length).clamp_max(1), change).to(change.dtype)

    def dual(self, g: Tensor) -> Tensor:
        """Return the largest |g|, the most that a step of size 1 gains along g, float64 [n]."""
        return g.flatten(1).double().abs().amax(1)

    def sample(self, rng: Rng) -> Tensor:
        """Draw points uniformly from the ball, then project them."""
        count = self.origin[0].numel()
        parts = -torch.log1p(-rng.draw("parts").uniform(count + 1, dtype=torch.float64))
        lengths = parts[:, :count] / parts.sum(1, keepdim=True) * self.radius[:, None]
        signs = rng.draw("signs").signs(*self.origin.shape[1:], dtype=self.origin.dtype)
        return self.project(self.origin + signs * lengths.reshape(signs.shape).to(signs.dtype))

    def corner(self, rng: Rng) -> Tensor:
        """Push random coordinates to the edge of the box, one by one, until the radius is used up."""
        signs = rng.draw("signs").signs(*self.origin.shape[1:], dtype=self.origin.dtype)
        room = self._room(signs).minimum(self.radius[:, None])
        order = rng.draw("order").uniform(room.shape[1]).argsort(1)
        queue = room.gather(1, order)
        before = queue.cumsum(1) - queue
        lengths = (self.radius[:, None] - before).clamp_min(0).minimum(queue)
        return self._moved(signs, torch.zeros_like(room).scatter(1, order, lengths))


def _onto(domain: Domain, x: Tensor, normal: Tensor, gap: Tensor, cheapest: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """x moved onto the plane in the cheapest way (see `planes`); coordinates that use their whole room end on the edge exactly."""
    flat, way = x.flatten(1), normal.flatten(1) * wide(gap.sign(), normal.flatten(1)).to(normal.dtype)
    low, high = _flat_box(domain, x)
    edge = torch.where(way > 0, high, low)
    room = (edge.double() - flat.double()).abs()
    change = cheapest(way.double().abs(), room, gap.double().abs())
    moved = (flat.double() + change * way.sign()).to(x.dtype).clamp(low, high)
    return torch.where((change >= room) & (way != 0), edge, moved).reshape(x.shape)


def _level(length: Tensor, total: Tensor) -> Tensor:
    """float64 [n, 1]: t at least 0 where the sum of (length - t)+ comes down to `total` ([n]), by Michelot's rounds."""
    limit = total.double()[:, None]
    t = torch.zeros_like(limit)
    for _ in range(length.shape[1]):
        above = length > t
        further = (length.where(above, 0.0).sum(1, keepdim=True) - limit) / above.sum(1, keepdim=True).clamp_min(1)
        if bool((further <= t).all()):
            break
        t = torch.maximum(t, further)
    return t


def _flat_box(domain: Domain, x: Tensor) -> tuple[Tensor, Tensor]:
    low, high = box(domain, x)
    return low.expand_as(x).flatten(1), high.expand_as(x).flatten(1)


def box(domain: Domain, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds of the domain as tensors that broadcast to x."""
    edges = getattr(domain, "low", None), getattr(domain, "high", None)
    if edges[0] is None or edges[1] is None:
        raise NeedsError(f"an Lp ball needs numbers with bounds, which the domain {domain.kind} does not have: try rules or words")
    low, high = (torch.as_tensor(edge, dtype=x.dtype, device=x.device) for edge in edges)
    return low, high


@dataclass(frozen=True)
class Ball(Space):
    """Represent all points within `radius` of the clean input, inside the box of the domain."""

    radius: float | Tensor

    kind: ClassVar[str]
    region: ClassVar[type[BallRegion]]
    formula: ClassVar[str]
    by_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_radius(self.radius)

    @classmethod
    def parse(cls, radius: float) -> "Ball":
        """Return the ball of this radius, as a plan writes it."""
        if isinstance(radius, bool) or not isinstance(radius, int | float):
            raise PlanError(f"{cls.kind} {radius!r}: write a radius as a number or a fraction, such as {cls.kind} 8/255")
        return cls(float(radius))

    def around(self, origin: Tensor, domain: Domain) -> BallRegion:
        low, high = (edge.expand_as(origin) if edge.ndim else edge for edge in box(domain, origin))
        radius = self.radii(len(origin), origin.device)
        return self.region(origin, domain, radius, low, high)

    def __str__(self) -> str:
        radius = "a radius per sample" if isinstance(self.radius, Tensor) else f"{self.radius:g}"
        return f"any change of {self.formula} at most {radius}, inside the bounds of the input"


@register("space", "linf")
@dataclass(frozen=True)
class Linf(Ball):
    """Allow changes in which no coordinate moves by more than `radius`.

    Args:
        radius: In the units of the input, such as 8/255.
    """

    kind: ClassVar[str] = "linf"
    region: ClassVar[type[BallRegion]] = LinfRegion
    formula: ClassVar[str] = "Linf size max|x' - x|"

    def around(self, origin: Tensor, domain: Domain) -> BallRegion:
        """Return ball and box in one: the edges are rounded inward, so a clamp lands inside exactly."""
        low, high = box(domain, origin)
        radius = self.radii(len(origin), origin.device)
        reach = wide(radius, origin)
        bottom, top = origin.double() - reach, origin.double() + reach
        lower, upper = bottom.to(origin.dtype), top.to(origin.dtype)
        lower = torch.where(lower.double() < bottom, torch.nextafter(lower, origin), lower)
        upper = torch.where(upper.double() > top, torch.nextafter(upper, origin), upper)
        return LinfRegion(origin, domain, radius, torch.maximum(lower, low), torch.minimum(upper, high))


@register("space", "l2")
@dataclass(frozen=True)
class L2(Ball):
    """Allow changes of Euclidean length at most `radius`.

    Args:
        radius: In the units of the input, such as 8/255.
    """

    kind: ClassVar[str] = "l2"
    region: ClassVar[type[BallRegion]] = L2Region
    formula: ClassVar[str] = "L2 size ||x' - x||2"


@register("space", "l1")
@dataclass(frozen=True)
class L1(Ball):
    """Allow changes that add up to at most `radius` over all coordinates.

    Args:
        radius: In the units of the input, such as 8/255.
    """

    kind: ClassVar[str] = "l1"
    region: ClassVar[type[BallRegion]] = L1Region
    formula: ClassVar[str] = "L1 size sum|x' - x|"
