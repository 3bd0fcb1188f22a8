"""Tiny arenas for the laws: a victim, samples and a threat each, small enough to be attacked in milliseconds.

What a law needs to know about an arena (which points are allowed, what the user's own model says) is spelled out here in plain
Python and borrows nothing from `sparring`.

`@arena` registers one, and the laws find it: those of the adapters are in `arenas_of_adapters`, those of the certifiers in
`arenas_of_certifiers`. A plugin brings its own: the modules that it names in the entry point group "sparring.arenas" are imported with them.
"""

import functools
import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog, minimize
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from torch import nn

from sparring.attacks.attack import Attack
from sparring.core.problem import Problem
from sparring.core.registry import everything
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.domains.image import Image
from sparring.domains.table import Column, Table
from sparring.domains.text import Text
from sparring.models.callable import CallableVictim
from sparring.models.estimator import EstimatorVictim
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.colour import Colour
from sparring.threats.corruptions import Corruptions
from sparring.threats.flow import Flow
from sparring.threats.goals import Targeted, Untargeted
from sparring.threats.patch import Patch
from sparring.threats.rules import Relation, Rule, Rules
from sparring.threats.sparse import L0
from sparring.threats.spatial import Spatial
from sparring.threats.words import Words

BATCH = 6
"""Samples of every arena; the last one carries a wrong label."""

FLOAT32_STEP = 2.0**-23


@dataclass(frozen=True)
class Arena:
    """own: the user's model, asked without Sparring: batch -> int64 [n]. allowed: (before, after, radius) of one sample as
    Python values -> bool, the threat written out by hand."""

    name: str
    victim: Victim
    x: Any
    y: torch.Tensor
    threat: Threat
    own: Callable[[Any], torch.Tensor]
    allowed: Callable[[Any, Any, float], bool]

    def rng(self, seed: int = 0) -> Rng:
        return Rng.of(seed, [f"{self.name}/{place}" for place in range(len(self.y))])

    def radii(self) -> list[float]:
        radius = torch.as_tensor(self.threat.space.radius, dtype=torch.float64)
        return radius.expand(len(self.y)).tolist()

    def targets(self) -> list[int | None]:
        """The class each sample is to reach, for the one target the arenas use: the next class."""
        targeted = self.threat.goal.kind == "targeted"
        return [(label + 1) % self.victim.classes if targeted else None for label in self.y.tolist()]

    def right(self) -> torch.Tensor:
        """bool [n]: what the user's own model gets right."""
        return self.own(self.x) == self.y

    def with_victim(self, victim: Victim) -> "Arena":
        return replace(self, victim=victim)

    def problem(self, threat: Threat | None = None, rows: Any = None) -> Problem:
        threat, rows = threat or self.threat, torch.arange(len(self.y)) if rows is None else torch.as_tensor(rows)
        part, rng = threat.take(rows), self.rng().take(rows)
        return Problem.open(self.victim, self.x[rows], part.goal.freeze(self.y[rows], self.victim.task, rng), part, rng)


def short(attack: Attack, most: int = 8) -> Attack:
    """The attack with every count cut down, whatever it is called; two restarts where it can restart."""
    counts = {name: min(value, most) for name, value in attack.defaults.items() if isinstance(value, int) and not isinstance(value, bool)}
    if "restarts" in counts:
        counts["restarts"] = 2
    return attack.configure(**counts)


def plans_ahead(name: str) -> bool:
    """Whether an attack divides what is left of its budget, as hopskipjump does among its probes, and is known by reading `problem.left()`.

    A larger budget then changes what it asks, not only how long it asks, so nothing is promised about the samples that it breaks.
    """
    return ".left()" in inspect.getsource(sys.modules[everything("attack")[name].search.__module__])


@dataclass(frozen=True)
class Recipe:
    """How an arena is made, and what is tried on it. attacks: None for all that fit. certifiers: name -> settings; None for all that fit, as they are."""

    make: Callable[[str], Arena]
    attacks: tuple[str, ...] | None
    certifiers: Mapping[str, Mapping[str, Any]] | None


def arena(
    name: str, *, attacks: tuple[str, ...] | None = None, certifiers: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[Callable[[str], Arena]], Callable[[str], Arena]]:
    """Register what makes an arena from its name. An arena that names its attacks or certifiers is made when a test asks for it, not before."""

    def enter(make: Callable[[str], Arena]) -> Callable[[str], Arena]:
        if name in ARENAS.recipes:
            raise ValueError(f"two arenas are called {name!r}")
        ARENAS.recipes[name] = Recipe(make, attacks, certifiers)
        return make

    return enter


@dataclass
class Arenas(Mapping[str, Arena]):
    """All registered arenas by name, each made once, when it is asked for."""

    recipes: dict[str, Recipe] = field(default_factory=dict)
    made: dict[str, Arena] = field(default_factory=dict)
    walked: bool = False

    def __getitem__(self, name: str) -> Arena:
        self._walk()
        if name not in self.made:
            self.made[name] = self.recipes[name].make(name)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        self._walk()
        return iter(self.recipes)

    def __len__(self) -> int:
        self._walk()
        return len(self.recipes)

    def attacked(self) -> list[str]:
        """The arenas on which attacks are tried."""
        return [name for name in self if self.recipes[name].attacks != ()]

    def general(self) -> list[str]:
        """The arenas on which every attack is tried that fits."""
        return [name for name in self if self.recipes[name].attacks is None]

    def _walk(self) -> None:
        if not self.walked:
            self.walked = True
            for module in ("arenas_of_adapters", "arenas_of_certifiers"):
                importlib.import_module(module)
            for point in entry_points(group="sparring.arenas"):
                point.load()


ARENAS = Arenas()


@functools.cache
def fitting(*arenas: str) -> list[tuple[str, str]]:
    """(attack, arena) for every registered attack and every arena it fits and is tried on."""
    return [(attack, name) for name in arenas or ARENAS for attack in _attacks_of(name)]


@functools.cache
def _attacks_of(name: str) -> tuple[str, ...]:
    chosen = list(ARENAS) and ARENAS.recipes[name].attacks
    if chosen is not None:
        return chosen
    return tuple(attack for attack, one in everything("attack").items() if one.misfit(ARENAS[name].victim, ARENAS[name].threat) is None)


PROVE_ONLY = {"lipschitz", "words"}
"""Certifiers that refute nothing in their arenas: one knows radii only, the other bounds vectors of words. A plugin adds its own."""


@functools.cache
def certified() -> list[tuple[str, str]]:
    """(certifier, arena) for every registered certifier and every arena it fits and is tried on."""
    found = []
    for name in ARENAS:
        chosen = ARENAS.recipes[name].certifiers
        if chosen is None:
            chosen = [certifier for certifier, one in everything("certifier").items() if not one.misfit(ARENAS[name].victim, ARENAS[name].threat)]
        found += [(certifier, name) for certifier in chosen]
    return found


def statuses(arena: Arena, points: Any, rows: Any = None) -> list[str]:
    """What the judge says about points."""
    from sparring.judge.judge import judge

    rows = torch.arange(len(arena.y)) if rows is None else torch.as_tensor(rows)
    threat, rng = arena.threat.take(rows), arena.rng().take(rows)
    criterion = threat.goal.freeze(arena.y[rows], arena.victim.task, rng)
    with arena.victim.session():
        verdicts = judge(arena.victim, arena.x[rows], points, criterion, threat, torch.zeros(len(rows), dtype=torch.bool))
    return [str(one) for one in verdicts.status]


class Instrumented(Victim):
    """Another victim that writes down every question: (kind, batch). With `drift`, searching asks a copy whose scores are
    shifted toward the second class, so that some of its successes do not hold for the deployed model."""

    def __init__(self, inner: Victim, *, drift: float = 0.0, exposes: set[str] | None = None):
        self.inner, self.name, self.domain, self.task = inner, inner.name, inner.domain, inner.task
        self.exposes = frozenset(exposes) if exposes else inner.exposes
        self.exact, self.drift = drift == 0, drift
        self.thresholds = getattr(inner, "thresholds", None)
        self.questions: list[tuple[str, Any]] = []
        self.backwards = 0

    def _note(self, kind: str, x: Any) -> None:
        self.questions.append((kind, x.clone() if isinstance(x, torch.Tensor) else x.copy()))

    def scores(self, x):
        self._note("scores", x)
        return self.inner.scores(x)

    def answer(self, x):
        self._note("label", x)
        return self.inner.answer(x)

    def _shift(self, scores):
        return scores + self.drift * torch.arange(scores.shape[1], dtype=scores.dtype).reshape(-1, *[1] * (scores.ndim - 2))

    def search_scores(self, x):
        self._note("scores", x)
        return self._shift(self.inner.scores(x))

    def gradient(self, x, objective):
        self._note("gradient", x)
        self.backwards += len(x)
        return self.inner.gradient(x, lambda scores: objective(self._shift(scores)))

    def gradients(self, x, several):
        self._note("gradient", x)
        answer = self.inner.gradients(x, several)
        self.backwards += len(x) * answer.value.shape[1]
        return answer._replace(scores=self._shift(answer.scores))

    def session(self, seed: int = 0):
        return self.inner.session(seed)

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def asked(self) -> int:
        """Samples asked about, all questions together."""
        return sum(len(x) for _, x in self.questions)

    @property
    def differentiated(self) -> int:
        return self.backwards


# Images ---------------------------------------------------------------------------------------------------------------


def tiny_net(classes: int, seed: int = 1) -> nn.Module:
    """A convolution, a ReLU and a linear layer with random weights, computed in float64 so that rounding stays out of the way."""
    random = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.4)
    return net.double()


def tiny_images(seed: int = 2, levels: int = 0) -> torch.Tensor:
    """float32 [BATCH, 1, 6, 6] in [0, 1], some pixels on the edge of the box; on the 1/levels grid if asked."""
    random = torch.Generator().manual_seed(seed)
    x = (torch.rand(BATCH, 1, 6, 6, generator=random, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    return ((x * levels).round() / levels if levels else x).float()


def ball_allows(order: float, low: Any = 0.0, high: Any = 1.0, step: float = FLOAT32_STEP, grid: int = 0) -> Callable[[Any, Any, float], bool]:
    """A ball in a box, in Python floats: nothing beyond one rounding of each coordinate is forgiven."""

    def allowed(before: Any, after: Any, radius: float) -> bool:
        old, new = (np.asarray(one, dtype=np.float64).ravel().tolist() for one in (before, after))
        lows, highs = (np.broadcast_to(np.asarray(edge, dtype=np.float64), len(old)).tolist() for edge in (low, high))
        if not all(bottom <= value <= top for value, bottom, top in zip(new, lows, highs, strict=True)):
            return False
        if grid and any(abs(value * grid - round(value * grid)) > 1e-4 for value in new):
            return False
        changes = [abs(b - a) for a, b in zip(old, new, strict=True)]
        rounding = step * max(abs(value) for value in (*old, *new))
        if math.isinf(order):
            return max(changes) <= radius + rounding
        if order == 2:
            return math.sqrt(math.fsum(change**2 for change in changes)) <= radius + rounding * math.sqrt(len(old))
        return math.fsum(changes) <= radius + rounding * len(old)

    return allowed


def few_allow(low: Any = 0.0, high: Any = 1.0, step: float = FLOAT32_STEP) -> Callable[[Any, Any, float], bool]:
    """At most so many numbers change (the images here have one channel), to anything in the box; a rounding is no change."""

    def allowed(before: Any, after: Any, radius: float) -> bool:
        old, new = (np.asarray(one, dtype=np.float64).ravel().tolist() for one in (before, after))
        lows, highs = (np.broadcast_to(np.asarray(edge, dtype=np.float64), len(old)).tolist() for edge in (low, high))
        rounding = 2 * step * max(abs(value) for value in (*old, *new)) if radius >= 1 else 0.0
        changed = sum(abs(b - a) > rounding for a, b in zip(old, new, strict=True))
        return all(a <= value <= b for value, a, b in zip(new, lows, highs, strict=True)) and changed <= int(radius)

    return allowed


def patch_allows(before: Any, after: Any, radius: float) -> bool:
    """The changed pixels of a 6 x 6 image lie in a square of that side, and everything in the box."""
    old, new = (np.asarray(one, dtype=np.float64).reshape(6, 6).tolist() for one in (before, after))
    places = [(row, column) for row in range(6) for column in range(6) if old[row][column] != new[row][column]]
    if not all(0 <= value <= 1 for line in new for value in line):
        return False
    return all(max(axis) - min(axis) + 1 <= int(radius) for axis in zip(*places, strict=True))


def _own_net(net: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def own(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return net(x.double()).argmax(1)

    return own


def _labels(own: Callable[[Any], torch.Tensor], x: Any, classes: int) -> torch.Tensor:
    y = own(x).clone()
    y[-1] = (y[-1] + 1) % classes  # the last sample is wrong without attack
    return y


def _image(name: str, space: Any, order: float, *, classes: int = 3, goal: Any = None, levels: int = 0, access: str = "gradients") -> Arena:
    net, x = tiny_net(classes), tiny_images(levels=levels)
    domain = Image((1, 6, 6), deployed="8bit" if levels else "float")
    own = _own_net(net)
    threat = Threat(space, goal or Untargeted(), access)
    return Arena(name, TorchVictim(net, domain, name=name, search="plain"), x, _labels(own, x, classes), threat, own, ball_allows(order, grid=levels))


def spatial_allows(before: Any, after: Any, radius: float) -> bool:
    """A 6 x 6 image turned by -20, 0 or 20 degrees about its middle, then shifted by -1, 0 or 1 pixel each way; nothing beyond it."""
    old, new = (np.asarray(one, dtype=np.float64).reshape(6, 6).tolist() for one in (before, after))
    if old == new:
        return True

    def read(row: float, column: float) -> float:
        top, left = math.floor(row), math.floor(column)
        return math.fsum((1 - abs(row - r)) * (1 - abs(column - c)) * old[r][c] for r in (top, top + 1) for c in (left, left + 1) if 0 <= r < 6 and 0 <= c < 6)

    def turned(angle: float, down: int, right: int) -> bool:
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        for row in range(6):
            for column in range(6):
                v, u = row - 2.5 - down, column - 2.5 - right
                if abs(read(cosine * v - sine * u + 2.5, sine * v + cosine * u + 2.5) - new[row][column]) > 2e-5:
                    return False
        return True

    return radius >= 1 and any(turned(angle, down, right) for angle in (-20, 0, 20) for down in (-1, 0, 1) for right in (-1, 0, 1))


def flow_allows(before: Any, after: Any, radius: float) -> bool:
    """Every pixel of a 6 x 6 image lies between the lowest and the highest value that the bilinear image takes within the radius of it."""
    old, new = (np.asarray(one, dtype=np.float64).reshape(6, 6) for one in (before, after))
    steps = sorted({-radius, *(float(whole) for whole in range(-int(radius), int(radius) + 1)), radius})  # extremes lie at its corners

    def read(row: float, column: float) -> float:
        row, column = min(max(row, 0.0), 5.0), min(max(column, 0.0), 5.0)
        top, left = min(int(row), 4), min(int(column), 4)
        a, b = row - top, column - left
        return (1 - a) * ((1 - b) * old[top, left] + b * old[top, left + 1]) + a * ((1 - b) * old[top + 1, left] + b * old[top + 1, left + 1])

    for row in range(6):
        for column in range(6):
            around = [read(row + down, column + right) for down in steps for right in steps]
            if not min(around) - 4 * FLOAT32_STEP <= new[row, column] <= max(around) + 4 * FLOAT32_STEP:
                return False
    return True


def colour_allows(before: Any, after: Any, radius: float) -> bool:
    """A tone curve through 5 nodes, linear between them, explains the change, and no value moved farther than the radius."""
    old, new = (np.asarray(one, dtype=np.float64).ravel() for one in (before, after))
    hats = np.maximum(0, 1 - np.abs(old[:, None] * 4 - np.arange(5)))
    left = new - old - hats @ np.linalg.lstsq(hats, new - old, rcond=None)[0]
    near = float(np.abs(new - old).max()) <= radius + 4 * FLOAT32_STEP
    return near and bool((new >= 0).all() and (new <= 1).all()) and math.sqrt(float((left**2).mean())) <= 2e-3 * radius + 4 * FLOAT32_STEP


def corruption_allows(before: Any, after: Any, radius: float) -> bool:
    """A grey image with more brightness or less contrast (the strengths of CIFAR-10-C), in steps of 1/255."""
    old, new = (np.asarray(one, dtype=np.float64).ravel() for one in (before, after))
    made = [old]
    for severity in range(1, int(radius) + 1):
        raised = old + [0.05, 0.1, 0.15, 0.2, 0.3][severity - 1]
        flatter = old.mean() + [0.75, 0.5, 0.4, 0.3, 0.15][severity - 1] * (old - old.mean())
        made += [(np.clip(one, 0, 1) * 255).round() / 255 for one in (raised, flatter)]
    return any(float(np.abs(one - new).max()) <= 1e-6 for one in made)


# Tables ---------------------------------------------------------------------------------------------------------------


COLUMNS_LOW, COLUMNS_HIGH = np.array([0.0, -1.0, -np.inf, 0.5]), np.array([1.0, 1.0, np.inf, 3.0])


def _mlp(name: str, space: Any, order: float) -> Arena:
    """A network over columns of different scales; one column has no bounds at all."""
    random = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
    low, high = COLUMNS_LOW, COLUMNS_HIGH
    columns = tuple(
        Column(f"c{place}", low=None if np.isinf(a) else a, high=None if np.isinf(b) else b) for place, (a, b) in enumerate(zip(low, high, strict=True))
    )
    x = torch.rand(BATCH, 4, generator=random, dtype=torch.float64) * torch.tensor([1.0, 2.0, 4.0, 2.5]) + torch.tensor([0.0, -1.0, -2.0, 0.5])
    own = _own_net(net)
    victim = TorchVictim(net, Table(columns), name=name, search="plain")
    return Arena(name, victim, x, _labels(own, x, 3), Threat(space, Untargeted()), own, ball_allows(order, low, high, step=2.0**-52))


FOREST_COLUMNS = (
    Column("age", "integer", 18, 80),
    Column("income", "real", 0, 10000),
    Column("tax", "real", 0, 6000),
    Column("fixed", "real", 0, 1),
    Column("red", "integer", 0, 1),
    Column("green", "integer", 0, 1),
    Column("blue", "integer", 0, 1),
)


def forest_rows(count: int, seed: int) -> torch.Tensor:
    """Rows that satisfy tax <= income / 2 and have one colour."""
    rng = np.random.default_rng(seed)
    income = rng.uniform(500, 9000, count).round(2)
    colour = np.eye(3)[rng.integers(3, size=count)]
    rows = [rng.integers(20, 78, count), income, (income * rng.uniform(0.2, 0.5, count)).round(2), rng.uniform(0, 1, count).round(3), *colour.T]
    return torch.from_numpy(np.stack(rows, 1).astype(np.float64))


def forest_allows(before: Any, after: Any, radius: float) -> bool:
    """The rules of the forest's arena, by hand: age may go up by 5, income may move by 1500, tax by 800 and at most to half the
    income, the colour may change, `fixed` may not. Costs: 0.2 a year, 0.001 a unit of income, 0.001 of tax, 1 a colour."""
    old, new = [float(one) for one in before], [float(one) for one in after]
    age, income, tax = (b - a for a, b in zip(old[:3], new[:3], strict=True))
    whole = new[0] == int(new[0]) and all(one in (0.0, 1.0) for one in new[4:])
    inside = 18 <= new[0] <= 80 and 0 <= new[1] <= 10000 and 0 <= new[2] <= 6000
    reach = 0 <= age <= 5 and abs(income) <= 1500.00001 and abs(tax) <= 800.00001 and new[3] == old[3]
    related = new[2] - 0.5 * new[1] <= max(0.0, old[2] - 0.5 * old[1]) + 1e-4
    cost = 0.2 * abs(age) + 0.001 * abs(income) + 0.001 * abs(tax) + (0.0 if new[4:] == old[4:] else 1.0)
    return whole and inside and reach and related and sum(new[4:]) == 1 and cost <= radius * (1 + 1e-8)


FOREST_RULES = Rules(
    radius=2.0,
    rules=(
        Rule("age", reach=5, direction="up", cost=0.2),
        Rule("income", reach=1500, cost=0.001),
        Rule("tax", reach=800, cost=0.001),
        *(Rule(colour, cost=1.0) for colour in ("red", "green", "blue")),
    ),
    relations=(Relation({"tax": 1.0, "income": -0.5}, repair="tax"),),
    one_hot=(("red", "green", "blue"),),
)


def _forest(name: str, access: str = "gradients") -> Arena:
    train = forest_rows(200, seed=4)
    truth = (train[:, 1] / 4000 + train[:, 0] / 50 + train[:, 4] - train[:, 2] / 2000 > 1.6).long()
    forest = RandomForestClassifier(n_estimators=3, max_depth=4, random_state=0).fit(train.numpy(), truth.numpy())
    x = forest_rows(BATCH, seed=8)

    def own(rows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(forest.predict(rows.numpy())).long()

    victim = EstimatorVictim(forest, Table(FOREST_COLUMNS), name=name)
    return Arena(name, victim, x, _labels(own, x, 2), Threat(FOREST_RULES, Untargeted(), access), own, forest_allows)


SHOPS = ("corner", "market", "online")


def shop_allows(before: Any, after: Any, radius: float) -> bool:
    """A category costs 1 however it changes; items (a whole number) cost 0.5 each and move by at most 3; the hour may not move."""
    old, new = [float(one) for one in before], [float(one) for one in after]
    whole = new[0] in (0.0, 1.0, 2.0) and new[1] == int(new[1])
    cost = (1.0 if new[0] != old[0] else 0.0) + 0.5 * abs(new[1] - old[1])
    return whole and 0 <= new[1] <= 20 and abs(new[1] - old[1]) <= 3 and new[2] == old[2] and cost <= radius * (1 + 1e-8)


def _shop(name: str) -> Arena:
    rng = np.random.default_rng(5)
    train = np.stack([rng.integers(3, size=150), rng.integers(21, size=150), rng.uniform(0, 24, 150).round(1)], 1).astype(np.float64)
    domain = Table((Column("shop", "category", levels=SHOPS), Column("items", "integer", 0, 20), Column("hour", "real", 0, 24)))
    truth = (train[:, 1] > np.array([6, 10, 14])[train[:, 0].astype(int)]).astype(int)
    encode = ColumnTransformer([("shop", OrdinalEncoder(categories=[list(SHOPS)]), ["shop"])], remainder="passthrough")
    model = make_pipeline(encode, RandomForestClassifier(n_estimators=4, max_depth=4, random_state=0))
    model.fit(domain.native(torch.from_numpy(train)), truth)
    space = Rules(1.5, (Rule("shop", cost=1.0), Rule("items", reach=3, cost=0.5)))

    def own(rows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(model.predict(domain.native(rows))).long()

    x = torch.from_numpy(np.stack([rng.integers(3, size=BATCH), rng.integers(4, 17, size=BATCH), rng.uniform(0, 24, BATCH).round(1)], 1).astype(np.float64))
    return Arena(name, EstimatorVictim(model, domain, name=name), x, _labels(own, x, 2), Threat(space, Untargeted()), own, shop_allows)


# Text -----------------------------------------------------------------------------------------------------------------

SUBSTITUTES: dict[str, tuple[str, ...]] = {
    "good": ("fine", "decent", "great"),
    "bad": ("poor", "weak"),
    "film": ("movie", "picture", "flick"),
    "plot": ("story",),
    "slow": ("calm", "steady"),
    "great": ("good", "grand"),
}
SENTENCES = (
    "Good film with a bad plot",
    "the plot was slow and the film bad and the plot bad",
    "great great film",
    "a slow film",
    "Bad plot and a slow slow good film",
    "film",
)


class BagOfWords:
    """Scores [n, classes]: every word adds its own weights; capitals do not matter to it."""

    def __init__(self, classes: int, seed: int):
        vocabulary = sorted({*SUBSTITUTES, *(one for others in SUBSTITUTES.values() for one in others), "the", "was", "and", "with", "a"})
        drawn = np.random.default_rng(seed).normal(size=(len(vocabulary), classes))
        self.weights = dict(zip(vocabulary, drawn.tolist(), strict=True))
        self.classes = classes

    def __call__(self, sentences: list[str]) -> np.ndarray:
        scores = [
            np.sum([self.weights.get(word.lower(), [0.0] * self.classes) for word in sentence.split()] or [[0.0] * self.classes], axis=0)
            for sentence in sentences
        ]
        return np.stack(scores)


def words_allow(before: str, after: str, radius: float) -> bool:
    """Same number of words, each the old one or listed for it with its capital; at most the share of them changed."""
    old, new = before.split(), after.split()
    if len(old) != len(new):
        return False
    changed = 0
    for a, b in zip(old, new, strict=True):
        if a != b:
            listed = SUBSTITUTES.get(a.lower(), ())
            if b not in ([one[0].upper() + one[1:] for one in listed] if a[0].isupper() else listed):
                return False
            changed += 1
    return changed <= int(radius * len(old) + 1e-9)


def _text(name: str, radius: float, *, classes: int = 2, goal: Any = None) -> Arena:
    from sparring.domains.text import Strings

    model, x = BagOfWords(classes, seed=6), Strings.of(SENTENCES)

    def own(sentences: Any) -> torch.Tensor:
        return torch.from_numpy(model(list(sentences)).argmax(1))

    victim = CallableVictim(model, Text(), name=name)
    return Arena(name, victim, x, _labels(own, x, classes), Threat(Words(radius, SUBSTITUTES), goal or Untargeted()), own, words_allow)


def _uneven(*radii: float) -> torch.Tensor:
    return torch.tensor(radii, dtype=torch.float64)


UNEVEN = _uneven(0.0, 0.02, 0.06, 0.1, 0.2, 0.3)
SEVERITIES = Corruptions(_uneven(0, 1, 2, 3, 4.5, 5), ("brightness", "contrast"))
GENERAL: dict[str, Callable[[str], Arena]] = {
    "linf": lambda name: _image(name, Linf(0.08), math.inf),
    "linf-two-classes": lambda name: _image(name, Linf(UNEVEN), math.inf, classes=2),
    "linf-targeted": lambda name: _image(name, Linf(0.1), math.inf, goal=Targeted("next")),
    "linf-8bit": lambda name: _image(name, Linf(6 / 255), math.inf, levels=255),
    "linf-scores": lambda name: _image(name, Linf(0.1), math.inf, access="scores"),
    "l2": lambda name: _image(name, L2(0.35), 2),
    "l2-labels": lambda name: _image(name, L2(0.8), 2, access="labels"),
    "l1": lambda name: _image(name, L1(1.5), 1),
    "l0": lambda name: replace(_image(name, L0(2.0), 0), allowed=few_allow()),
    "l0-targeted": lambda name: replace(_image(name, L0(_uneven(0, 1, 2.5, 3, 5, 40)), 0, goal=Targeted("next")), allowed=few_allow()),
    "patch": lambda name: replace(_image(name, Patch(2.0), 0), allowed=patch_allows),
    "patch-two-classes": lambda name: replace(_image(name, Patch(_uneven(0, 1, 2.5, 3, 5, 6)), 0, classes=2), allowed=patch_allows),
    "spatial": lambda name: replace(_image(name, Spatial(1.0, 20.0, 1.0, angles=3, shifts=3), 0), allowed=spatial_allows),
    "flow": lambda name: replace(_image(name, Flow(_uneven(0, 0.3, 0.8, 1, 1.4, 2)), 0), allowed=flow_allows),
    "flow-targeted": lambda name: replace(_image(name, Flow(0.8), 0, goal=Targeted("next")), allowed=flow_allows),
    "colour": lambda name: replace(_image(name, Colour(0.15, nodes=5), 0), allowed=colour_allows),
    "corruptions": lambda name: replace(_image(name, SEVERITIES, 0), allowed=corruption_allows),
    "columns-l2": lambda name: _mlp(name, L2(0.6), 2),
    "columns-linf": lambda name: _mlp(name, Linf(UNEVEN * 4), math.inf),
    "columns-l1": lambda name: _mlp(name, L1(0.8), 1),
    "columns-l0": lambda name: replace(_mlp(name, L0(1.0), 0), allowed=few_allow(COLUMNS_LOW, COLUMNS_HIGH, 2.0**-52)),
    "forest": _forest,
    "forest-labels": lambda name: _forest(name, "labels"),
    "shop": _shop,
    "text": lambda name: _text(name, 0.34),
    "text-targeted": lambda name: _text(name, 0.5, classes=3, goal=Targeted("next")),
}
for _name, _make in GENERAL.items():
    arena(_name)(_make)


# Linear models, and what an adversary can do to them at most -----------------------------------------------------------------

SPACES = {"linf": Linf, "l2": L2, "l1": L1}
SIDE = 4
COUNT = 6


class Planted:
    """COUNT images of SIDE x SIDE and scores W x. `box`: images that fill the box, so that its edges get in the way."""

    def __init__(self, kind, classes, box, seed=0, targeted=False):
        rng = np.random.default_rng(seed + 10 * classes)
        self.kind, self.classes, self.targeted = kind, classes, targeted
        self.weights = rng.normal(size=(classes, SIDE * SIDE))
        self.x = rng.uniform(0, 1, (COUNT, SIDE * SIDE)) if box else rng.uniform(0.45, 0.55, (COUNT, SIDE * SIDE))
        self.x[:, 0] = 0.0 if box else 0.5
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes)).double()
        with torch.no_grad():
            self.net[1].weight.copy_(torch.from_numpy(self.weights))
            self.net[1].bias.zero_()
        self.y = (self.x @ self.weights.T).argmax(1)
        self.target = (self.y + 1) % classes
        self.batch = torch.from_numpy(self.x).reshape(COUNT, 1, SIDE, SIDE)
        self.labels = torch.from_numpy(self.y)
        self.victim = TorchVictim(self.net, Image((1, SIDE, SIDE)), search="plain")
        self.rng = Rng.of(0, range(COUNT))
        self.distances = np.array([self._distance(row) for row in range(COUNT)])

    def threat(self, radius):
        return Threat(SPACES[self.kind](radius), Targeted("next") if self.targeted else Untargeted())

    def margin(self, row, x):
        """How far past the goal one flat image is."""
        scores = self.weights @ x
        if self.targeted:
            return scores[self.target[row]] - np.delete(scores, self.target[row]).max()
        return np.delete(scores, self.y[row]).max() - scores[self.y[row]]

    def gain(self, row, way, radius):
        """The most that `way` . change can reach within ball and box."""
        room, slope = np.where(way > 0, 1 - self.x[row], self.x[row]), np.abs(way)
        if self.kind == "linf":
            return float((slope * np.minimum(room, radius)).sum())
        if self.kind == "l1":  # spend the radius where it pays most
            left, total = radius, 0.0
            for place in np.argsort(-slope):
                used = min(room[place], left)
                total, left = total + slope[place] * used, left - used
            return total
        if np.linalg.norm(room) <= radius:
            return float((slope * room).sum())
        least, most = 0.0, 1e9
        for _ in range(120):
            middle = (least + most) / 2
            least, most = (middle, most) if np.linalg.norm(np.minimum(middle * slope, room)) < radius else (least, middle)
        return float((slope * np.minimum(least * slope, room)).sum())

    def best_margin(self, row, radius):
        """The highest margin of any allowed point; for a target among more than two classes see `_distance`."""
        start = self.weights @ self.x[row]
        return max(
            start[k] - start[self.y[row]] + self.gain(row, self.weights[k] - self.weights[self.y[row]], radius) for k in range(self.classes) if k != self.y[row]
        )

    def _distance(self, row):
        """The smallest radius at which the goal can be met; infinite where the box forbids it."""
        start = self.weights @ self.x[row]
        if self.targeted and self.classes > 2:
            return self._distance_to_target(row, start, self.target[row])
        least, most = 0.0, 50.0
        if self.best_margin(row, most) < 0:
            return math.inf
        for _ in range(50):
            middle = (least + most) / 2
            least, most = (least, middle) if self.best_margin(row, middle) >= 0 else (middle, most)
        return most

    def _distance_to_target(self, row, start, aim):
        """The smallest change after which no class beats `aim`: a linear program in (up, down, radius), quadratic in L2."""
        d, others = SIDE * SIDE, [k for k in range(self.classes) if k != aim]
        ways = np.array([self.weights[aim] - self.weights[k] for k in others])
        needed = np.array([start[k] - start[aim] for k in others])
        bounds = [(0, 1 - one) for one in self.x[row]] + [(0, one) for one in self.x[row]]
        rows, edges = [[*-way, *way, 0.0] for way in ways], [*-needed]
        if self.kind == "l1":
            rows, edges = [*rows, [1.0] * (2 * d) + [-1.0]], [*edges, 0.0]
        else:
            rows, edges = [*rows, *([1.0 if place in (at, at + d) else 0.0 for place in range(2 * d)] + [-1.0] for at in range(d))], [*edges, *[0.0] * d]
        program = linprog([0.0] * (2 * d) + [1.0], A_ub=np.array(rows), b_ub=np.array(edges), bounds=[*bounds, (0, None)])
        if program.status == 2:
            return math.inf
        if self.kind != "l2":
            return program.fun
        solved = minimize(
            lambda change: (change**2).sum() / 2,
            program.x[:d] - program.x[d:-1],
            jac=lambda change: change,
            bounds=[(-one, 1 - one) for one in self.x[row]],
            constraints={"type": "ineq", "fun": lambda change: ways @ change - needed, "jac": lambda change: ways},
            method="SLSQP",
            options={"maxiter": 300, "ftol": 1e-14},
        )
        return math.sqrt(2 * solved.fun)
