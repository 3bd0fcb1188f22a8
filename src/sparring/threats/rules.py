"""Rules for table rows: range, direction and cost of changes per column, and relations."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from sparring.core.domain import Domain
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.registry import register
from sparring.core.rng import Rng
from sparring.core.space import Region, Space, check_radius
from sparring.domains.table import Table
from sparring.threats.rule_file import read_rule_file

TOLERANCE = 1e-9
"""Relations hold up to this, relative to the size of their terms."""


@dataclass(frozen=True)
class Rule:
    """Hold the allowed changes of one column.

    Args:
        column: Its name.
        reach: Largest change in the column's unit (a category may change to any level whatever its reach).
        direction: "both", "up", "down" or "none" (immutable).
        cost: Of one unit of change, or of any change for a category.
    """

    column: str
    reach: float = math.inf
    direction: str = "both"
    cost: float = 1.0

    def __post_init__(self) -> None:
        if self.direction not in ("both", "up", "down", "none"):
            raise PlanError(f"rule for {self.column!r}: direction {self.direction!r}: choose both, up, down or none")
        if not self.reach >= 0 or not self.cost >= 0:
            raise PlanError(f"rule for {self.column!r}: reach {self.reach} and cost {self.cost} must be at least 0")


@dataclass(frozen=True)
class Relation:
    """Hold a linear relation, sum of weight * column <= bound (or == bound).

    repair: a column that may be moved to make it true again.
    """

    weights: Mapping[str, float]
    bound: float = 0.0
    equal: bool = False
    repair: str | None = None

    def __str__(self) -> str:
        """The relation as a formula."""
        terms = " ".join(f"{weight:+g} {name}" for name, weight in self.weights.items()).lstrip("+")
        return f"{terms} {'=' if self.equal else '<='} {self.bound:g}"


@register("space", "rules")
@dataclass(frozen=True)
class Rules(Space):
    """Allow changes that follow the rules and cost at most `radius` in all.

    Args:
        file: A YAML file of rules, or the name of a packaged one, such as "breast-cancer".
        radius: The total cost allowed; the file's if left out.

    There is one rule for every column that may change; the others are immutable. In a group of one-hot columns exactly one is 1. Relations are
    linear, between columns; a clean row that violates one may not violate it more. A missing value stays missing; relations and one-hot groups with one
    do not apply to its row, and the rest of such a group stays as it is.
    """

    radius: float | Tensor
    rules: tuple[Rule, ...]
    relations: tuple[Relation, ...] = ()
    one_hot: tuple[tuple[str, ...], ...] = field(default=())

    kind: ClassVar[str] = "rules"
    keeps_gaps: ClassVar[bool] = True
    region: ClassVar[type[Region]]

    def __post_init__(self) -> None:
        check_radius(self.radius)
        names = [rule.column for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PlanError(f"two rules for the same column: {', '.join(sorted(twice))}")

    @classmethod
    def parse(cls, file: str, radius: float | None = None) -> "Rules":
        """Return the space as a plan writes it: a file of rules, and perhaps another radius."""
        return read_rules(file, radius)

    def around(self, origin: Tensor, domain: Domain) -> "RulesRegion":
        if not isinstance(domain, Table):
            raise NeedsError(f"rules apply to the columns of a table, the inputs are {domain}: try linf, l2 or words")
        return RulesRegion(origin, domain, self.radii(len(origin), origin.device), _Matrix.of(self, domain))

    def describe(self) -> dict[str, Any]:
        relations = [{**asdict(relation), "weights": dict(relation.weights)} for relation in self.relations]
        return {**super().describe(), "rules": [asdict(rule) for rule in self.rules], "relations": relations, "one_hot": self.one_hot}

    def __str__(self) -> str:
        radius = "a budget per sample" if isinstance(self.radius, Tensor) else f"at most {self.radius:g}"
        movable = sum(rule.direction != "none" for rule in self.rules)
        parts = [f"{movable} columns may change, each within its reach, at a total cost of {radius}"]
        if self.relations:
            parts.append(f"{len(self.relations)} relations between columns must hold, such as {self.relations[0]}")
        if self.one_hot:
            parts.append(f"{len(self.one_hot)} one-hot groups stay one-hot")
        return "; ".join(parts)


def read_rules(name_or_path: str | os.PathLike[str], radius: float | None = None) -> Rules:
    """Read the rules in a YAML file, or the packaged ones of that name ("breast-cancer").

    radius: total cost allowed, in place of the file's. A name wins over a path; write "./breast-cancer" for the path.
    Raises LoadError for a file that cannot be read or says something wrong, UnknownName for an unknown name or key.

    >>> read_rules("breast-cancer").label
    'rules 1'
    """
    content = read_rule_file(name_or_path)
    return Rules(
        content.radius if radius is None else radius,
        tuple(Rule(column, rule.reach, rule.direction, rule.cost) for column, rule in content.columns.items()),
        tuple(Relation(relation.weights, relation.bound, relation.equal, relation.repair) for relation in content.relations),
        tuple(tuple(group) for group in content.one_hot),
    )


@dataclass(frozen=True)
class _Matrix:
    """The rules as tensors over the columns of one table."""

    up: Tensor  # float64 [d], how far each column may go up, and down
    down: Tensor
    cost: Tensor
    category: Tensor  # bool [d]: any change costs the same
    weights: Tensor  # [r, d] relations
    bounds: Tensor
    equal: Tensor
    repair: tuple[int, ...]  # column, -1 for none
    groups: tuple[Tensor, ...]

    @classmethod
    def of(cls, space: Rules, domain: Table) -> "_Matrix":
        places = {name: place for place, name in enumerate(domain.names)}

        def place(name: str) -> int:
            if name not in places:
                raise UnknownName("column", name, places)
            return places[name]

        up, down, cost = (torch.zeros(len(places), dtype=torch.float64) for _ in range(3))
        for rule in space.rules:
            at = place(rule.column)
            up[at] = rule.reach if rule.direction in ("both", "up") else 0.0
            down[at] = rule.reach if rule.direction in ("both", "down") else 0.0
            cost[at] = rule.cost
        weights = torch.zeros(len(space.relations), len(places), dtype=torch.float64)
        for row, relation in enumerate(space.relations):
            for name, weight in relation.weights.items():
                weights[row, place(name)] = weight
        category = torch.tensor([column.kind == "category" for column in domain.columns])
        movable = category & ((up > 0) | (down > 0))
        up[movable] = down[movable] = math.inf
        return cls(
            up=up,
            down=down,
            cost=cost,
            category=category,
            weights=weights,
            bounds=torch.tensor([relation.bound for relation in space.relations], dtype=torch.float64),
            equal=torch.tensor([relation.equal for relation in space.relations], dtype=torch.bool),
            repair=tuple(-1 if relation.repair is None else place(relation.repair) for relation in space.relations),
            groups=tuple(torch.tensor([place(name) for name in group]) for group in space.one_hot),
        )

    def excess(self, x: Tensor, relations: slice = slice(None)) -> Tensor:
        """[n, r]: the sum of each relation less its bound; 0 where a value of it is missing, because the relation does not apply."""
        weights, gaps = self.weights[relations], x.isnan()
        excess = _filled(x) @ weights.T - self.bounds[relations]
        return excess.masked_fill((gaps.double() @ (weights != 0).double().T) > 0, 0.0)

    def violation(self, x: Tensor) -> Tensor:
        """[n, r]: by how much each relation is missed."""
        excess = self.excess(x)
        return torch.where(self.equal, excess.abs(), excess.clamp_min(0))


@dataclass(frozen=True, eq=False)
class RulesRegion(Region):
    """Represent the rows that the rules allow around each origin (float64 [n, d])."""

    origin: Tensor
    domain: Table
    radius: Tensor
    matrix: _Matrix

    def take(self, rows: Tensor) -> Self:
        return type(self)(self.origin[rows], self.domain, self.radius[rows], self.matrix)

    def size(self, x: Tensor) -> Tensor:
        """Return the cost of the change, [n].

        A move within a one-hot group costs half of each of its two columns.
        """
        change = self._change(x).abs()
        change = torch.where(self.matrix.category, (change != 0).double(), change)
        for group in self.matrix.groups:
            change[:, group] = change[:, group] / 2
        return change @ self.matrix.cost

    def _change(self, x: Tensor) -> Tensor:
        """What is added to each value, [n, d]: 0 where it is missing before and after, NaN where on one side only."""
        return (x - self.origin).masked_fill(x.isnan() & self.origin.isnan(), 0.0)

    def inside(self, x: Tensor) -> Tensor:
        return self._tests(x).all(1)

    def complaint(self, x: Tensor) -> list[str]:
        names = (
            "leaves the bounds or types of its columns",
            "moves a column too far or the wrong way",
            "breaks a relation",
            "breaks a one-hot group",
            "costs too much",
        )
        return ["; ".join(name for name, good in zip(names, row, strict=True) if not good) for row in self._tests(x).tolist()]

    def _tests(self, x: Tensor) -> Tensor:
        """bool [n, 5]: bounds and types, reach, relations, groups, cost."""
        change = self._change(x)
        slack = TOLERANCE * (1 + _filled(self.origin).abs())
        reach = ((change <= self.matrix.up + slack) & (change >= -self.matrix.down - slack)).all(1)
        frozen = (self.matrix.up == 0) & (self.matrix.down == 0)
        reach &= ((change == 0) | ~frozen).all(1)
        scale = TOLERANCE * (1 + _filled(x).abs() @ self.matrix.weights.abs().T)
        related = (self.matrix.violation(x) <= self.matrix.violation(self.origin) + scale).all(1)
        grouped = torch.ones_like(reach)
        for group in self.matrix.groups:
            part, gaps = x[:, group], self.origin[:, group].isnan().any(1)
            grouped &= torch.where(gaps, (change[:, group] == 0).all(1), ((part == 0) | (part == 1)).all(1) & (part.sum(1) == 1))
        paid = (self.size(x) <= self.radius * (1 + TOLERANCE)) & ((self.radius > 0) | (change == 0).all(1))  # radius 0: not even what is free
        return torch.stack([torch.from_numpy(self.domain.valid(x)), reach, related, grouped, paid], dim=1)

    def edges(self) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest value every column may take by itself, [n, d] each.

        They are NaN where the value is missing."""
        free = torch.where(self.matrix.category, torch.inf, self.radius[:, None] / self.matrix.cost.clamp_min(1e-300))
        low = torch.maximum(self.origin - torch.minimum(self.matrix.down, free), self.domain.low)
        high = torch.minimum(self.origin + torch.minimum(self.matrix.up, free), self.domain.high)
        return low, high

    def sample(self, rng: Rng) -> Tensor:
        """Draw a point between the edges in half of the columns, drawn back until it is allowed."""
        low, high = (self._finite(edge) for edge in self.edges())
        share = rng.draw("share").uniform(low.shape[1], dtype=torch.float64)
        return self._drawn_back(low + (high - low) * share, rng)

    def corner(self, rng: Rng) -> Tensor:
        """Draw edges in a random half of the columns, drawn back to the origin until allowed."""
        low, high = (self._finite(edge) for edge in self.edges())
        return self._drawn_back(torch.where(rng.draw("edge").signs(low.shape[1]) > 0, high, low), rng)

    def _finite(self, edge: Tensor) -> Tensor:
        """Edges at infinity are replaced by ten times the size of the value."""
        return torch.where(edge.isfinite(), edge, self.origin + edge.sign() * 10 * (1 + self.origin.abs()))

    def _drawn_back(self, x: Tensor, rng: Rng) -> Tensor:
        chosen = rng.draw("columns").signs(x.shape[1]) > 0
        x = self._grouped(torch.where(chosen, x, self.origin), rng)
        best = self.origin.clone()
        missing = torch.ones(len(x), dtype=torch.bool)
        share = (self.radius / self.size(x).clamp_min(1e-300)).clamp(max=1.0)
        for _ in range(12):
            moved = self._typed(self.origin + (x - self.origin) * share[:, None])
            for guess in (moved, self.repaired(moved)):
                good = missing & self._tests(guess).all(1)
                best[good] = guess[good]
                missing &= ~good
            if not bool(missing.any()):
                break
            share = share / 2
        return best

    def _typed(self, x: Tensor) -> Tensor:
        """Whole numbers where they must be: rounded toward the origin, categories to the nearest."""
        typed = self.domain.deploy(x, self.origin)
        return torch.where(self.matrix.category, x.round(), typed)

    def _grouped(self, x: Tensor, rng: Rng) -> Tensor:
        """One-hot groups: half of them keep their column, half get a random one."""
        for place, group in enumerate(self.matrix.groups):
            draw = rng.draw(f"group {place}")
            pick = draw.integers(len(group), 1)
            hot = torch.zeros(len(x), len(group), dtype=x.dtype).scatter(1, pick, 1.0)
            keep = (draw.draw("keep").signs(1) > 0) | self.origin[:, group].isnan().any(1, keepdim=True)
            x[:, group] = torch.where(keep, self.origin[:, group], hot)
        return x

    def repaired(self, x: Tensor) -> Tensor:
        """Return x with the repair column of every broken relation moved just far enough."""
        x = x.clone()
        for row, column in enumerate(self.matrix.repair):
            weight = 0.0 if column < 0 else float(self.matrix.weights[row, column])
            if weight:
                excess = self.matrix.excess(x, slice(row, row + 1)).squeeze(1)
                due = excess if bool(self.matrix.equal[row]) else excess.clamp_min(0)
                moved = x[:, column] - due / weight
                if bool(self.domain.whole[column]):
                    moved = torch.ceil(moved - 1e-9) if weight < 0 else torch.floor(moved + 1e-9)
                x[:, column] = moved
        return x

    def moves(self, x: Tensor, knots: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return all allowed one-column changes of x: (owner int64 [k], points [k, d]).

        knots: per column the values worth trying (the two sides of every threshold of a tree, say); without them
        the edges, the origin and points a half, a quarter and an eighth of the way. Relations are repaired.
        """
        owners, points = [], []
        low, high = (self._finite(edge) for edge in self.edges())
        grouped = {int(place) for group in self.matrix.groups for place in group}
        for place in range(x.shape[1]):
            if place in grouped or (self.matrix.up[place] == 0 and self.matrix.down[place] == 0):
                continue
            values = self._values(place, low[:, place], high[:, place], None if knots is None else knots[place])
            owner, which = ((values >= low[:, place : place + 1]) & (values <= high[:, place : place + 1]) & (values != x[:, place : place + 1])).nonzero(
                as_tuple=True
            )
            moved = x[owner].clone()
            moved[:, place] = values[owner, which]
            owners.append(owner)
            points.append(moved)
        for group in self.matrix.groups:
            for column in group.tolist():
                owner = (x[:, column] == 0).nonzero().squeeze(1)
                moved = x[owner].clone()
                moved[:, group] = 0.0
                moved[:, column] = 1.0
                owners.append(owner)
                points.append(moved)
        if not owners:
            return torch.zeros(0, dtype=torch.int64), x[:0]
        owner, moved = torch.cat(owners), torch.cat(points)
        around = self.take(owner)
        moved = torch.where(around._tests(moved)[:, 2:3], moved, around.repaired(moved))
        good = around._tests(moved).all(1)
        order = owner[good].argsort(stable=True)
        return owner[good][order], moved[good][order]

    def _values(self, place: int, low: Tensor, high: Tensor, knots: Tensor | None) -> Tensor:
        """[n, v]: the values to try in one column; those outside [low, high] are dropped by the caller."""
        origin = self.origin[:, place]
        if bool(self.matrix.category[place]):
            return torch.arange(int(self.domain.high[place]) + 1, dtype=torch.float64).expand(len(origin), -1)
        whole = bool(self.domain.whole[place])
        if knots is not None:
            tried = knots.to(torch.float64)
            if whole:  # a threshold between two whole numbers has one of them on either side
                tried = torch.cat([tried.floor(), tried.ceil()]).unique()
            return torch.cat([tried.expand(len(origin), -1), origin[:, None]], dim=1)
        shares = torch.tensor([1.0, 0.5, 0.25, 0.125, 0.0], dtype=torch.float64)
        values = torch.cat([origin[:, None] + (edge - origin)[:, None] * shares for edge in (low, high)], dim=1)
        return torch.where(values > origin[:, None], values.floor(), values.ceil()) if whole else values


def _filled(x: Tensor) -> Tensor:
    """Return x with 0 for missing values."""
    return x.nan_to_num(0.0, torch.inf, -torch.inf)


Rules.region = cast(Any, RulesRegion)
