"""Transfer: iterative ascent along the gradients of surrogates, with any changes of the gradient; the victim is asked for labels."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.evasion.transfer.change import Answer, Ask, Change, Here, Memory, Pool, compose, name_of, read_changes
from sparring.attacks.evasion.transfer.surrogates import WAYS, Together, complaint, fused, identity_of, opened, parts_of
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.goal import Criterion
from sparring.core.problem import Problem
from sparring.core.registry import register
from sparring.core.rng import Rng, number_of
from sparring.core.taxonomy import TRANSFER
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.models.wanted import VictimLike, listed_of, victim_of

WHITE_BOX, BLACK_BOX = frozenset({"gradients", "scores"}), frozenset({"labels"})
POOL = 100
"""Images of a data set in the pool, the first ones."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], where each row stands. memory: what the changes carry along.
    """

    x: Tensor
    memory: Memory


def search(
    problem: Problem, *, surrogate: str = "", changes: str = "mi", steps: int = 10, step_size: float = 0.0, loss: str = "ce", ensemble: Together = "logits",
    look: int = 0, restarts: int = 1, random_start: bool = False, pool: str = "",
) -> Tensor:  # fmt: skip
    """Ascend the gradients of surrogates, which cost the victim no queries.

    With the changes it is MI-, NI-, DI-, TI-, SI- or VMI-FGSM, Admix or SGM.

    Args:
        surrogate: Zoo names, files or package.module:factory with + between; without one the victim's own gradients are
            taken.
        changes: Of the gradient, "mi+ni+vmi+ti+admix+si+di+sgm" or some of them, settings in brackets, mi(decay=0.9);
            "none" is the plain gradient.
        steps: Per restart.
        step_size: As a share of the radius; 0 means 1 / steps, as in the papers.
        loss: "ce", "margin", "dlr" or "pm", of the surrogates.
        ensemble: Several surrogates are averaged in their "logits", "losses" or "gradients".
        look: Ask the victim for its label after every so many steps; 0 asks at the end only.
        restarts: For samples that still stand, from random points.
        random_start: The first start is random too.
        pool: A data set whose first images `admix` mixes in.

    Source: Dong et al. 2018, arXiv:1710.06081; ensembles: Liu et al. 2017, arXiv:1611.02770; the changes name their own
    papers.

    Differs from the paper: steps go along the steepest direction of the region, which is the sign of the papers in Linf; with a
    surrogate the walk goes on whatever the surrogate says, and ends for samples that a look has found broken.
    """
    chosen = named(surrogate, problem.victim)
    return _search(problem, chosen, pool_of(pool), changes, steps, step_size, loss, ensemble, look, restarts, random_start)


def _search(
    problem: Problem, surrogates: Sequence[Victim], pool: Pool | None, changes: str, steps: int, step_size: float, loss: str, ensemble: Together, look: int,
    restarts: int, random_start: bool,
) -> Tensor:  # fmt: skip
    made = read_changes(changes)
    share, decay = step_size or 1 / max(steps, 1), sum(one.carried for one in made)
    prepared = _prepared(surrogates, made)
    source = _of_surrogates(fused(prepared, loss_of(loss), ensemble)) if prepared else _of_the_victim(loss, any(one.moves for one in made))
    last = problem.steps(steps)

    def start(live: Problem, restart: int) -> State:
        x = cast(Any, live.region).sample(live.rng.draw(f"start {restart}")) if restart or random_start else live.x
        return State(x, Memory(torch.zeros_like(x), torch.zeros_like(x)))

    def step(live: Problem, state: State, k: int) -> State:
        here = Here(live, state.memory, share, decay, pool)
        grad, memory = compose(made, source(live, state.memory, k), here)(state.x, live.rng.draw(f"step {k}"))
        region = cast(Any, live.region)
        x = region.project(region.ascend(state.x, grad, region.radius * share))
        if k + 1 == last or (look and (k + 1) % look == 0):
            _look(live, x, own=not prepared)
        return State(x, memory)

    return iterate(problem, start, step, steps=steps, restarts=restarts)


def _look(live: Problem, x: Tensor, *, own: bool) -> None:
    """Query the victim about the points: for labels, or for scores if its gradients are accessible anyway."""
    rows = live.unfinished().nonzero().squeeze(1)
    if len(rows):
        some = live.take(rows)
        some.scores(x[rows]) if own else some.answers(x[rows])


def _of_surrogates(gradient: Callable[[Tensor, Criterion, int], Tensor]) -> Callable[[Problem, Memory, int], Ask]:
    def at(live: Problem, memory: Memory, k: int) -> Ask:
        return lambda x, rng: Answer(gradient(x, live.criterion, k), memory)

    return at


def _of_the_victim(loss: str, moves: bool) -> Callable[[Problem, Memory, int], Ask]:
    """Return the victim's own gradients, which are charged; rows that an earlier query of the same step broke are not queried again."""
    climbed = loss_of(loss)

    def at(live: Problem, memory: Memory, k: int) -> Ask:
        def ask(x: Tensor, rng: Rng) -> Answer:
            grad, rows = torch.zeros_like(x), live.unfinished().nonzero().squeeze(1)
            if len(rows):
                grad[rows] = live.take(rows).gradient(x[rows], climbed, probe=moves).grad.to(x)
            return Answer(grad, memory)

        return ask

    return at


def _prepared(surrogates: Sequence[Victim], changes: Sequence[Change]) -> list[Victim]:
    found = list(surrogates)
    for change in changes:
        found = [change.prepare(one) for one in found]
    return found


def named(written: str, victim: Victim) -> list[Victim]:
    """Return the surrogates of a plan, for the inputs of this victim."""
    return [opened(part, identity_of(part), victim.domain, victim.task) for part in parts_of(written)]


def pool_of(source: "str | Data | None") -> Pool | None:
    """Return the images to mix in; None without a source."""
    if not source:
        return None
    data = load(source, take=POOL) if isinstance(source, str) else source
    return Pool(data.x, data.y)


@dataclass(frozen=True)
class Transfer(Attack):
    """Represent the attack `transfer`, whose needs depend on whether it has surrogates.

    surrogates, mixed: given in Python, else named in the settings.
    """

    surrogates: tuple[Victim, ...] = ()
    mixed: Data | None = field(default=None, compare=False)

    def configure(self, **settings: Any) -> "Transfer":
        """Return the same attack with these settings; named surrogates replace those given before."""
        made = cast(Transfer, super().configure(**settings))
        read_changes(made._setting("changes"))
        if "surrogate" in settings:
            made = dataclasses.replace(made, surrogates=(), needs=BLACK_BOX if parts_of(settings["surrogate"]) else WHITE_BOX)
        return made

    def _setting(self, name: str) -> Any:
        return {**self.defaults, **self.settings}[name]

    @property
    def parts(self) -> tuple[Any, ...]:
        """Return the changes beside what settings of every attack name."""
        return (*super().parts, *(type(one) for one in read_changes(self._setting("changes"))))

    def _surrogates(self, victim: Victim) -> Sequence[Victim]:
        return self.surrogates or named(self._setting("surrogate"), victim)

    def run(self, problem: Problem) -> Tensor:
        own = dataclasses.replace(problem, rng=problem.rng.draw(number_of(self.name)))
        settings = {name: value for name, value in {**self.defaults, **self.settings}.items() if name not in ("surrogate", "pool")}
        return _search(own, self._surrogates(problem.victim), pool_of(self.mixed or self._setting("pool")), **settings)

    def misfit(self, victim: Victim, threat: Threat) -> str | None:
        found = super().misfit(victim, threat)
        if found:
            return found if self.needs == BLACK_BOX else f"{found} (with a surrogate, transfer(surrogate=...), labels are enough)"
        surrogates, changes = self._surrogates(victim), read_changes(self._setting("changes"))
        problems = [complaint(one, victim) for one in surrogates] + [one.complaint(victim) for one in changes]
        if trouble := next(filter(None, problems), None):
            return trouble
        for one in () if surrogates else changes:
            if one.of_surrogate:
                name = name_of(one)
                return f"{name} changes the backward pass of a surrogate, which must not be {victim.name} itself: give surrogate=, or leave out {name}"
        mixing = [name_of(one) for one in changes if one.mixes]
        if mixing and not (self.mixed or self._setting("pool")):
            return f'{mixing[0]} mixes in images of a pool: give one, pool="digits" in a plan or pool=data in sp.transfer'
        try:
            _prepared(surrogates, changes)
        except NeedsError as error:
            return str(error)
        return self._pool_misfit(victim) if mixing else None

    def _pool_misfit(self, victim: Victim) -> str | None:
        pool = cast(Pool, pool_of(self.mixed or self._setting("pool")))
        try:
            victim.domain.check(pool.x)
        except InputError as error:
            return f"the pool does not fit {victim.name}: {error}"
        return None if len(pool.y.unique()) > 1 else "all images of the pool are of one class: give a pool of several classes"

    @property
    def models(self) -> tuple[Victim, ...]:
        return self.surrogates

    def describe(self) -> dict[str, Any]:
        """Return the description of every attack, with a hash of every surrogate and of the pool.

        They decide the points.
        """
        given = [{"name": one.name, "sha256": one.fingerprint} for one in self.surrogates]
        read = [{"name": part, "sha256": identity_of(part)} for part in ([] if given else parts_of(self._setting("surrogate")))]
        pool = self.mixed or (load(self._setting("pool"), take=POOL) if self._setting("pool") else None)
        return {**super().describe(), "surrogates": given or read, **({"pool": pool.sha256} if pool else {})}


registered = Transfer(
    name="transfer",
    search=search,
    needs=WHITE_BOX,
    uses=frozenset({"project", "ascend", "sample", "steepest"}),
    cites="Dong et al. 2018, arXiv:1710.06081; ensembles: Liu et al. 2017, arXiv:1611.02770; the changes name their own papers",
    nist=TRANSFER.nist,
    atlas=TRANSFER.atlas,
)
object.__setattr__(registered, "__doc__", search.__doc__)
object.__setattr__(registered, "__module__", search.__module__)
register("attack", "transfer")(registered)


@in_our_words
def transfer(
    surrogates: VictimLike | Sequence[VictimLike], *, changes: str = "mi", steps: int = 10, step_size: float = 0.0, loss: str = "ce",
    ensemble: Together = "logits", look: int = 0, restarts: int = 1, random_start: bool = False, pool: Data | None = None,
) -> Attack:  # fmt: skip
    """Return the attack `transfer` with these surrogates, to be called or given to `evaluate`.

    Args:
        surrogates: Victims, or pairs (model, domain), that expose gradients, one or several.
        changes: Of the gradient, "mi+ni+vmi+ti+admix+si+di+sgm" or some of them; `spar ls changes` lists them. "none" is the plain gradient.
        steps: Per restart.
        step_size: As a share of the radius; 0 means 1 / steps, as in the papers.
        loss: Of the surrogates; `spar ls losses` lists them.
        ensemble: Several surrogates are averaged in their "logits", "losses" or "gradients".
        look: Ask the victim for its label after every so many steps; 0 asks at the end only.
        restarts: For samples that still stand, from random points.
        random_start: Whether the first start is random too.
        pool: Images of several classes for `admix`.

    Returns:
        The configured `Attack`, which asks the victim for labels only.

    Raises:
        PlanError: For settings out of range.
        UnknownName: For a change or a loss that does not exist.
        InputError: Where there are no surrogates, or what is given is no model.

    Example:
        >>> from sparring.models.load import load_model
        >>> str(transfer(load_model("zoo:digits-plain"), changes="mi+di"))
        "transfer(surrogate='digits-plain', changes='mi+di')"
    """
    listed = tuple(victim_of(one, what="a surrogate") for one in listed_of(surrogates))
    if not listed:
        raise InputError("there are no surrogates: give a victim, sp.victim(model, domain), or several in a list")
    if pool is not None and not isinstance(pool, Data):
        raise InputError(f"the pool is a {type(pool).__name__}: give images of several classes, sp.load(...) or sp.Data.of(x, y, domain)")
    if ensemble not in WAYS:
        raise PlanError(f"ensemble={ensemble!r}: choose one of {', '.join(WAYS)}")
    given = {"changes": changes, "steps": steps, "step_size": step_size, "loss": loss, "ensemble": ensemble,
             "look": look, "restarts": restarts, "random_start": random_start}  # fmt: skip
    told = {name: value for name, value in given.items() if name == "changes" or value != registered.defaults[name]}
    made = registered.configure(**told)
    settings = {"surrogate": "+".join(one.name for one in listed), **made.settings}
    return dataclasses.replace(made, settings=settings, surrogates=listed, mixed=pool, needs=BLACK_BOX)
