"""Transfer: iterative ascent along the gradients of surrogates, with any changes of the gradient; the victim is asked for labels."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.attack import Attack
from sparring.attacks.evasion.transfer.changes import Answer, Ask, Here, Memory, Momentum, Pool, compose, name_of, read_changes
from sparring.attacks.evasion.transfer.skip import SkipDecay
from sparring.attacks.evasion.transfer.surrogates import WAYS, Together, complaint, fused, identity_of, opened, parts_of
from sparring.attacks.loop import climb
from sparring.attacks.losses import loss_of
from sparring.core.bout import Bout
from sparring.core.dice import Dice, number_of
from sparring.core.errors import InputError, NeedsError, PlanError
from sparring.core.registry import register
from sparring.core.threat import Reference, Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.data.load import load

WHITE_BOX, BLACK_BOX = frozenset({"gradients", "scores"}), frozenset({"labels"})
POOL = 100
"""Images of a data set in the pool, the first ones."""


class State(NamedTuple):
    """x: [m, ...], where each row stands. memory: what the changes carry along."""

    x: Tensor
    memory: Memory


def search(
    bout: Bout, *, surrogate: str = "", changes: str = "mi", steps: int = 10, step_size: float = 0.0, loss: str = "ce", ensemble: Together = "logits",
    look: int = 0, restarts: int = 1, random_start: bool = False, pool: str = "",
) -> Tensor:  # fmt: skip
    """Ascent along the gradients of surrogates, which cost the victim nothing: MI-, NI-, DI-, TI-, SI-, VMI-FGSM, Admix and SGM.

    surrogate: zoo names, files or package.module:factory with + between; without one the victim's own gradients are taken.
    changes: of the gradient, "mi+ni+vmi+ti+admix+si+di+sgm" or some of them, settings in brackets, mi(decay=0.9); "none" is the
    plain gradient. steps: per restart. step_size: as a share of the radius; 0 means 1 / steps, as in the papers. loss: "ce",
    "margin", "dlr" or "pm", of the surrogates. ensemble: several surrogates are averaged in their "logits", "losses" or
    "gradients". look: ask the victim for its label after every so many steps; 0 asks at the end only. restarts: for samples
    that still stand, from random points. random_start: the first start is random too. pool: a data set whose first images
    `admix` mixes in.

    Where we differ: steps go along the steepest direction of the region, which is the sign of the papers in Linf; with a
    surrogate the walk goes on whatever the surrogate says, and ends for samples that a look has found broken.
    """
    chosen = named(surrogate, bout.victim)
    return _search(bout, chosen, pool_of(pool), changes, steps, step_size, loss, ensemble, look, restarts, random_start)


def _search(
    bout: Bout, surrogates: Sequence[Victim], pool: Pool | None, changes: str, steps: int, step_size: float, loss: str, ensemble: Together, look: int,
    restarts: int, random_start: bool,
) -> Tensor:  # fmt: skip
    made = read_changes(changes)
    share, decay = step_size or 1 / max(steps, 1), sum(one.decay for one in made if isinstance(one, Momentum))
    prepared = _prepared(surrogates, made)
    source = _of_surrogates(fused(prepared, loss_of(loss), ensemble)) if prepared else _of_the_victim(loss, any(one.moves for one in made))
    last = bout.steps(steps)

    def start(live: Bout, restart: int) -> State:
        x = cast(Any, live.region).sample(live.dice.draw(f"start {restart}")) if restart or random_start else live.x
        return State(x, Memory(torch.zeros_like(x), torch.zeros_like(x)))

    def step(live: Bout, state: State, k: int) -> State:
        here = Here(live, state.memory, share, decay, pool)
        grad, memory = compose(made, source(live, state.memory, k), here)(state.x, live.dice.draw(f"step {k}"))
        region = cast(Any, live.region)
        x = region.project(region.ascend(state.x, grad, region.radius * share))
        if k + 1 == last or (look and (k + 1) % look == 0):
            _look(live, x, own=not prepared)
        return State(x, memory)

    return climb(bout, start, step, steps=steps, restarts=restarts)


def _look(live: Bout, x: Tensor, *, own: bool) -> None:
    """Put the points to the victim: for labels, or for scores where its gradients were seen anyway."""
    rows = live.unfinished().nonzero().squeeze(1)
    if len(rows):
        some = live.take(rows)
        some.scores(x[rows]) if own else some.labels(x[rows])


def _of_surrogates(gradient: Callable[[Tensor, Reference, int], Tensor]) -> Callable[[Bout, Memory, int], Ask]:
    def at(live: Bout, memory: Memory, k: int) -> Ask:
        return lambda x, dice: Answer(gradient(x, live.reference, k), memory)

    return at


def _of_the_victim(loss: str, moves: bool) -> Callable[[Bout, Memory, int], Ask]:
    """The victim's own gradients, paid for; rows that an earlier question of the same step broke are not asked again."""
    climbed = loss_of(loss)

    def at(live: Bout, memory: Memory, k: int) -> Ask:
        def ask(x: Tensor, dice: Dice) -> Answer:
            grad, rows = torch.zeros_like(x), live.unfinished().nonzero().squeeze(1)
            if len(rows):
                grad[rows] = live.take(rows).gradient(x[rows], climbed, probe=moves).grad.to(x)
            return Answer(grad, memory)

        return ask

    return at


def _prepared(surrogates: Sequence[Victim], changes: Sequence[Any]) -> list[Victim]:
    found = list(surrogates)
    for change in changes:
        found = [change.prepare(one) for one in found]
    return found


def named(written: str, victim: Victim) -> list[Victim]:
    """The surrogates of a plan, for the inputs of this victim."""
    return [opened(part, identity_of(part), victim.domain, victim.classes) for part in parts_of(written)]


def pool_of(source: "str | Data | None") -> Pool | None:
    """The images to mix in; None without a source."""
    if not source:
        return None
    data = load(source, take=POOL) if isinstance(source, str) else source
    return Pool(data.x, data.y)


@dataclass(frozen=True)
class Transfer(Attack):
    """The attack `transfer`: its needs follow from whether it has surrogates. surrogates, mixed: given in Python, else named in the settings."""

    surrogates: tuple[Victim, ...] = ()
    mixed: Data | None = field(default=None, compare=False)

    def configure(self, **settings: Any) -> "Transfer":
        """The same attack with these settings; names of surrogates take the place of those given before."""
        made = cast(Transfer, super().configure(**settings))
        read_changes(made._setting("changes"))
        if "surrogate" in settings:
            made = dataclasses.replace(made, surrogates=(), needs=BLACK_BOX if parts_of(settings["surrogate"]) else WHITE_BOX)
        return made

    def _setting(self, name: str) -> Any:
        return {**self.defaults, **self.settings}[name]

    def _surrogates(self, victim: Victim) -> Sequence[Victim]:
        return self.surrogates or named(self._setting("surrogate"), victim)

    def run(self, bout: Bout) -> Tensor:
        own = dataclasses.replace(bout, dice=bout.dice.draw(number_of(self.name)))
        settings = {name: value for name, value in {**self.defaults, **self.settings}.items() if name not in ("surrogate", "pool")}
        return _search(own, self._surrogates(bout.victim), pool_of(self.mixed or self._setting("pool")), **settings)

    def misfit(self, victim: Victim, threat: Threat) -> str | None:
        found = super().misfit(victim, threat)
        if found:
            return found if self.needs == BLACK_BOX else f"{found} (with a surrogate, transfer(surrogate=...), labels are enough)"
        surrogates, changes = self._surrogates(victim), read_changes(self._setting("changes"))
        problems = [complaint(one, victim) for one in surrogates] + [one.complaint(victim) for one in changes]
        if problem := next(filter(None, problems), None):
            return problem
        names = [name_of(one) for one in changes]
        if not surrogates and any(isinstance(one, SkipDecay) for one in changes):
            return f"sgm changes how a surrogate hands gradients back; {victim.name} is not ours to change: name a surrogate, or leave sgm out"
        if "admix" in names and not (self.mixed or self._setting("pool")):
            return 'admix mixes in images of a pool: give one, pool="digits" in a plan or pool=data in sp.transfer'
        try:
            _prepared(surrogates, changes)
        except NeedsError as error:
            return str(error)
        return self._pool_misfit(victim) if "admix" in names else None

    def _pool_misfit(self, victim: Victim) -> str | None:
        pool = cast(Pool, pool_of(self.mixed or self._setting("pool")))
        try:
            victim.domain.check(pool.x)
        except InputError as error:
            return f"the pool does not fit {victim.name}: {error}"
        return None if len(pool.y.unique()) > 1 else "all images of the pool are of one class: give a pool of several classes"

    def describe(self) -> dict[str, Any]:
        """As every attack, with a hash of every surrogate and of the pool, because they decide the points."""
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
)
object.__setattr__(registered, "__doc__", search.__doc__)
object.__setattr__(registered, "__module__", search.__module__)
register("attack", "transfer")(registered)


def transfer(
    surrogates: Victim | Sequence[Victim], *, changes: str = "mi", steps: int = 10, step_size: float = 0.0, loss: str = "ce", ensemble: Together = "logits",
    look: int = 0, restarts: int = 1, random_start: bool = False, pool: Data | None = None,
) -> Attack:  # fmt: skip
    """The attack `transfer` with surrogates that are at hand, for `evaluate(..., attacks=[...])` or to be called itself.

    surrogates: victims that expose gradients, one or several. pool: images of several classes for `admix`. The other
    settings are those of `transfer` in a plan. Raises PlanError, UnknownName or InputError.

    >>> from sparring.models.load import load_model
    >>> transfer(load_model("zoo:digits-plain"), changes="mi+di").say()
    "transfer(surrogate='digits-plain', changes='mi+di')"
    """
    listed = (surrogates,) if isinstance(surrogates, Victim) else tuple(surrogates)
    if not listed or not all(isinstance(one, Victim) for one in listed):
        raise InputError(f"surrogates are victims, sp.victim(model, domain), one or several; got {surrogates!r}"[:200])
    if ensemble not in WAYS:
        raise PlanError(f"ensemble={ensemble!r}: choose one of {', '.join(WAYS)}")
    given = {"changes": changes, "steps": steps, "step_size": step_size, "loss": loss, "ensemble": ensemble,
             "look": look, "restarts": restarts, "random_start": random_start}  # fmt: skip
    told = {name: value for name, value in given.items() if name == "changes" or value != registered.defaults[name]}
    made = registered.configure(**told)
    settings = {"surrogate": "+".join(one.name for one in listed), **made.settings}
    return dataclasses.replace(made, settings=settings, surrogates=listed, mixed=pool, needs=BLACK_BOX)
