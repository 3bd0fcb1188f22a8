"""What `@attack` makes of a search function: something to call, to configure and to find by name."""

import contextlib
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Set
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, cast, get_args, get_type_hints

import torch
from torch import Tensor

from sparring.attacks.reach import reachable
from sparring.core.arguments import shown
from sparring.core.configured import WORK, Configured
from sparring.core.domain import Batch
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.expression import parse
from sparring.core.foreign import ours
from sparring.core.problem import Problem
from sparring.core.registry import everything, find, register
from sparring.core.rng import Rng, number_of
from sparring.core.signature import check_signature
from sparring.core.taxonomy import BLACK_BOX, WHITE_BOX, Taxonomy
from sparring.core.threat import Threat
from sparring.core.victim import Victim, say_set
from sparring.models.wanted import VictimLike, threat_of, victim_of

Chosen = ParamSpec("Chosen")
"""The settings of one search function."""

BATCH = 250
"""Samples searched together; 100 to 250 measured fastest on CPUs."""

EVERY: dict[str, Any] = {"within": 0.0}
"""Settings of every attack. within: if above 0, only samples are attacked whose margin to the goal is at most this many times the
gain of the earlier attacks of a cascade over the clean input (`reach.reachable`)."""


@dataclass(frozen=True)
class Attack(Configured, Generic[Chosen]):
    """Represent a registered attack with its settings.

    Editors and type checkers know it by the settings of its search function.

    search: (problem, **settings) -> points. needs: what the victim must expose and the threat grant.
    uses: which methods of the region it calls. tasks: kinds of task it is for, empty for all. cites: paper and official code. control: not a search but
    what searches are compared with; it takes no part in a cascade and meets every sample that is right. nist, atlas: identifiers in the
    taxonomies of `core.taxonomy`, which follow from what it needs unless they are given.
    """

    name: str
    search: Callable[Concatenate[Problem, Chosen], Batch]
    needs: frozenset[str]
    uses: frozenset[str]
    cites: str
    control: bool = False
    tasks: frozenset[str] = frozenset()
    settings: dict[str, Any] = field(default_factory=dict)
    nist: str = ""
    atlas: str = ""

    aim: ClassVar[str] = "evasion"

    def __post_init__(self) -> None:
        """Give the attack, registered or configured, the docstring and the signature of its search."""
        known = WHITE_BOX if "gradients" in self.needs else BLACK_BOX
        object.__setattr__(self, "nist", self.nist or known.nist)
        object.__setattr__(self, "atlas", self.atlas or known.atlas)
        object.__setattr__(self, "__signature__", _signature(self.search, self.defaults))
        if (text := inspect.getdoc(self.search)) and not isinstance(self.search, functools.partial):
            object.__setattr__(self, "__doc__", text)

    @property
    def models(self) -> tuple[Victim, ...]:
        """Return the models beside the victim on which the points depend, such as surrogates."""
        return ()

    def __call__(
        self,
        victim: VictimLike,
        x: Any,
        y: Any,
        threat: Threat,
        rng: Rng | None = None,
        batch: int = BATCH,
        *unnamed: Chosen.args,
        **settings: Chosen.kwargs,
    ) -> Batch:
        """Search for points that meet the goal of the threat and return them; the judge decides
        whether they did.

        victim: a `Victim`, or a pair (model, domain). x: a batch of the victim's domain. y: the true answers, int64 [n] for classes. rng: keyed by sample;
        made from the positions 0 ... n - 1 and seed 0 if left out. batch: samples searched together.
        settings: the attack's own. Returns points shaped like x. Raises InputError or NeedsError
        before the first question to the victim.
        """
        if rng is not None and not isinstance(rng, Rng):
            raise PlanError(f"rng is {shown(rng)}: give Rng.of(seed, range(len(x))) of sparring.core.rng, or leave it out")
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise PlanError(f"batch={batch!r}: give a whole number of at least 1, the samples searched together")
        victim, threat, chosen = victim_of(victim), threat_of(threat), self.configure(*unnamed, **settings)
        chosen.check(victim, threat)
        x = victim.domain.check(x)
        y = victim.task.check(y, len(x)).to(x.device if isinstance(x, Tensor) else "cpu")
        rng = Rng.of(0, range(len(x)), y.device) if rng is None else rng
        threat.space.check(x, victim.domain)
        threat.goal.freeze(y, victim.task, rng)
        points = x.clone() if isinstance(x, Tensor) else x.copy()
        with victim.session():
            for rows in torch.arange(len(x), device=y.device).split(batch):
                part = threat.take(rows)
                criterion = part.goal.freeze(y[rows], victim.task, rng.take(rows))
                problem = Problem.open(victim, x[rows], criterion, part, rng.take(rows))
                points[rows] = chosen.run(problem)
        return points

    def run(self, problem: Problem) -> Batch:
        """Search inside an open problem. Each attack has its own rng, whatever its settings."""
        settings = {**EVERY, **self.settings}
        own = replace(problem, rng=problem.rng.draw(number_of(self.name)))
        if within := settings["within"]:
            own = own.take(reachable(own, within))
        if len(own):
            cast(Any, self.search)(own, **{name: value for name, value in settings.items() if name not in EVERY})
        return problem.best()

    @property
    def resumes(self) -> bool:
        """Return whether the attack begins from the points that earlier attacks left."""
        return bool(self.settings.get("warm") or self.settings.get("within"))

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return the settings of this attack and their defaults, in the order of the signature."""
        parameters = list(inspect.signature(self.search).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def configure(self, *unnamed: Chosen.args, **settings: Chosen.kwargs) -> Self:
        """Return the same attack with these settings; an error for an unknown one names the nearest."""
        if unnamed:
            raise PlanError(f"{self.name}: name the settings, {next(iter(self.defaults), 'key')}=... for example")
        given: dict[str, Any] = dict(settings)
        known, hints = {**self.defaults, **EVERY}, _hints(self.search)
        for name, value in given.items():
            if name not in known:
                raise UnknownName(f"setting of {self.name}", name, known, hint=ours(name, known))
            default = known[name]
            number = isinstance(default, int | float) and not isinstance(default, bool)
            if number and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise PlanError(f"{self.name}({name}={value!r}): give a number, the default is {default!r}")
            if isinstance(default, bool) and not isinstance(value, bool):
                raise PlanError(f"{self.name}({name}={shown(value)}): give True or False, the default is {default!r}")
            if isinstance(default, str) and not isinstance(value, str):
                raise PlanError(f"{self.name}({name}={value!r}): give a name, the default is {default!r}")
            if name == "loss":
                find("loss", str(value))
            if value not in (choices := get_args(hints.get(name)) or (value,)):
                raise UnknownName(f"{name} of {self.name}", str(value), map(str, choices))
            if number and isinstance(default, int):
                if not (float(value) >= 0 and float(value).is_integer()):
                    raise PlanError(f"{self.name}({name}={value!r}): give a whole number of at least 0")
                if name in WORK and given[name] < 1:
                    raise PlanError(f"{self.name}({name}={value!r}) would not search at all: give a whole number of at least 1")
                given[name] = int(value)
            elif number and not 0 <= float(value) < math.inf:
                raise PlanError(f"{self.name}({name}={value!r}): give a number of at least 0")
        return replace(self, settings={**self.settings, **given})

    def misfit(self, victim: Victim, threat: Threat) -> str | None:
        """Return why this attack cannot run on that victim under that threat; None where it can."""
        if self.tasks and victim.task.kind not in self.tasks:
            return f"{self.name} is for {say_set(self.tasks)}; {victim.name} answers {victim.task}"
        if reason := threat.goal.misfit(victim.task, victim.name):
            return reason
        if missing := self.needs - victim.exposes:
            return f"{self.name} needs {say_set(missing)}; this victim exposes {say_set(victim.exposes)}"
        if missing := self.needs - threat.grants:
            return f"{self.name} needs {say_set(missing)}; the threat grants {threat.access} only"
        if missing := self.uses - threat.space.offers():
            return f"{self.name} needs {say_set(missing)} of the space; {threat.space.kind} does not offer it"
        return None

    def check(self, victim: Victim, threat: Threat) -> None:
        """Raise NeedsError, naming attacks that would fit, where this one does not."""
        if reason := threat.goal.misfit(victim.task, victim.name):
            raise NeedsError(reason)
        if complaint := self.misfit(victim, threat):
            fitting = [name for name, other in everything("attack").items() if not other.misfit(victim, threat)]
            raise NeedsError(f"{complaint}: try {', '.join(fitting) or 'another threat'}")

    def __repr__(self) -> str:
        return f"<attack {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a registered attack by name and settings, because in its module the attack has taken the name of the search."""
        registered = everything("attack").get(self.name)
        if type(self) is Attack and registered is not None and registered.search is self.search:
            return _restored, (self.search.__module__, self.name, self.settings)
        return _unpickled, (type(self), {one.name: getattr(self, one.name) for one in fields(self)})

    def describe(self) -> dict[str, Any]:
        """Return plain JSON with every setting filled in."""
        return {"name": self.name, "settings": self.filled, "cites": self.cites, "control": self.control}

    @property
    def summary(self) -> str:
        """Return the first line of the docstring."""
        return (inspect.getdoc(self.search) or "").split("\n", 1)[0]


def _signature(search: Callable[..., Any], defaults: dict[str, Any]) -> inspect.Signature:
    """Return the signature of `Attack.__call__` with the settings of the search in place of its **settings."""
    nouns = [one for one in _CALL.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD][1:]
    own = inspect.signature(search).parameters
    settings = [own[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in defaults if own[name].kind is not inspect.Parameter.VAR_KEYWORD]
    return _CALL.replace(parameters=[*nouns, *settings])


_CALL = inspect.signature(Attack.__call__)
_TAKEN = frozenset({*_CALL.parameters, *EVERY} - {"self", "unnamed", "settings"})


def _hints(search: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a search function; none if they name something that only a type checker sees."""
    try:
        return get_type_hints(search)
    except (NameError, TypeError):
        return {}


def _restored(module: str, name: str, settings: dict[str, Any]) -> Attack:
    """Return the registered attack of that name with these settings; its module is imported first, in case no entry point names it."""
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
    return replace(find("attack", name), settings=settings)


def _unpickled(kind: type[Attack], values: dict[str, Any]) -> Attack:
    return kind(**values)


def read_attack(text: str) -> Attack:
    """Read a configured attack written as `pgd(steps=50)`. Raises UnknownName or PlanError."""
    expression = parse(text)
    try:
        attack: Attack = find("attack", expression.name)
    except UnknownName as error:
        if expression.name not in everything("method"):
            raise
        meant = find("method", expression.name).aim
        raise PlanError(f"{expression.name} is a method of aim={meant}: give the plan this aim, or choose an attack") from error
    if expression.arguments:
        raise PlanError(f"cannot read {text!r}: settings of an attack need their names, {expression.name}({next(iter(attack.defaults), 'key')}=...)")
    return attack.configure(**expression.settings)


def attack(
    *,
    needs: Set[str],
    uses: Set[str] = frozenset(),
    cites: str = "",
    control: bool = False,
    tasks: Set[str] = frozenset(),
    taxonomy: Taxonomy | None = None,
) -> Callable[[Callable[Concatenate[Problem, Chosen], Batch]], Attack[Chosen]]:
    """Register a search function `(problem, *, settings) -> points` as an attack; see `Attack`.

    The attack has the name of the function. Its docstring describes each setting under `Args:` and ends with `Source:`.

    Args:
        needs: What the victim must expose and the threat grant: some of "gradients", "scores" and "labels".
        uses: The methods of the region that the search calls, such as "project" and "sample".
        cites: Paper and official code.
        control: Whether it is no search but what searches are compared with.
        tasks: Kinds of task that it is for, empty for all.
        taxonomy: Its identifiers in NIST AI 100-2 and MITRE ATLAS; if left out, they follow from `needs`.

    Returns:
        A decorator that makes the `Attack`; configured and called it searches for points.

    Raises:
        ValueError: Where another attack has that name.

    Example:
        >>> import sparring as sp
        >>> from sparring.attacks.loop import iterate
        >>> def drawn(problem, *, steps: int = 3):
        ...     def step(live, state, k):
        ...         live.losses(live.region.sample(live.rng.draw(k)))
        ...         return state
        ...     return iterate(problem, lambda live, restart: (), step, steps=steps)
        >>> made = Attack("drawn", drawn, frozenset({"labels"}), frozenset({"sample"}), cites="")
        >>> data = sp.load("digits", take=4)
        >>> made("zoo:digits-plain", data.x, data.y, sp.linf(0.1)).shape
        torch.Size([4, 1, 8, 8])
    """

    def enter(search: Callable[Concatenate[Problem, Chosen], Batch]) -> Attack[Chosen]:
        check_signature("attack", search, ("problem",), taken=_TAKEN)
        made = Attack(search.__name__, search, frozenset(needs), frozenset(uses), cites, control, frozenset(tasks), {}, *(taxonomy or ("", "")))
        object.__setattr__(made, "__module__", search.__module__)
        return register("attack", made.name)(made)

    return enter
