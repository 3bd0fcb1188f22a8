"""A random search with proposals from a policy, and the training of that policy by reinforcement learning."""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.attacks.evasion.learned.frozen import Carrier, Frozen, Lesson
from sparring.attacks.evasion.learned.policy import FADES, Policy, Proposal, Seen, drawn, grid_of, log_chance, window
from sparring.attacks.evasion.query.square import window_side
from sparring.attacks.loop import iterate
from sparring.core.errors import NeedsError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.problem import Problem
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.wanted import threat_of, victim_of
from sparring.tasks.classes import of_classes

CITES = "policy gradient: Williams 1992; the search: Andriushchenko et al. 2020, arXiv:1912.00049"
TASKS = frozenset({"classes"})
"""Kinds of task: the network receives the class to leave or to reach."""
LEAP, TOP = 9.0, 3.0
"""Gains are clipped at this multiple of the mean of their step, and at this many deviations above it, because a few rows gain far more."""

REMEMBERS = 100
"""Largest number of steps over which the weights are averaged; it is a fifth of the steps so far."""


MEASURED = 200
"""Number of training samples and of held-out samples on which the success rate is measured at the end."""


class State(NamedTuple):
    """Hold the state of the search, one row per sample.

    x: [m, ...], the best point. loss: [m]. kept, refused: [m, 1, gh, gw], what became of earlier windows.
    """

    x: Tensor
    loss: Tensor
    kept: Tensor
    refused: Tensor


class Learner(Frozen):
    """Represent a frozen policy.

    `untrained()` is the same network with its first weights.
    """

    kind: ClassVar[str] = "policy"

    def attack(self) -> Carrier:
        """Return the attack `rl_square` driven by this policy.

        Settings by `configure`: queries, share.
        """
        settings = {name: self.about["settings"][name] for name in ("queries", "share")}
        return Carrier("rl_square", search, frozenset({"scores"}), frozenset({"paint"}), CITES, tasks=TASKS, settings=settings, learned=self)

    def untrained(self) -> "Learner":
        """Return the policy as it was before it learned."""
        with torch.random.fork_rng():
            torch.manual_seed(self.about["seed"])
            first = Policy(self.about["channels"], self.about["classes"])
        return Learner({name: one.double() for name, one in first.state_dict().items()}, {**self.about, "untrained": True})

    def policy(self, x: Tensor) -> Policy:
        """Return the network in float64, so that no rounding of a batch changes what is drawn."""
        with torch.random.fork_rng():
            made = Policy(self.about["channels"], self.about["classes"])
        made.load_state_dict(self.tensors)
        return made.to(x.device).double().requires_grad_(False).eval()


def search(problem: Problem, learned: Learner, *, queries: int = 500, share: float = 0.8) -> Tensor:
    """Recolour one square window per query at random, chosen by a learned policy (Linf).

    A learned policy chooses the window.

    Args:
        queries: Per sample.
        share: Part of the pixels changed at first, by the schedule of Square.
    """
    policy = learned.policy(problem.x)

    def start(live: Problem, restart: int) -> State:
        return begun(live.x, live.region, live.rng, live.losses)

    def step(live: Problem, state: State, k: int) -> State:
        side = window_side(share, k + 1, queries, live.x.shape[2], live.x.shape[3])
        seen = observed(live.x, live.region, state, of_classes(live.criterion).reference_class, side)
        rng = live.rng.draw(f"window {k}")
        chances, leanings = policy(seen)
        made = drawn(chances, leanings, rng)
        x = tried(state.x, live.region, made, side, rng)
        return settled(state, x, live.losses(x), made)

    return iterate(problem, start, step, steps=max(queries - 1, 0))


def begun(x: Tensor, region: Any, rng: Rng, losses: Any) -> State:
    """Return the state at Square's stripes, which are queried."""
    colours = rng.draw("stripes").signs(x.shape[1], 1, x.shape[3], dtype=x.dtype)
    points = region.paint(colours.expand_as(x))
    nothing = torch.zeros(len(x), 1, *grid_of(*x.shape[2:]), dtype=torch.float64, device=x.device)
    return State(points, losses(points), nothing, nothing)


def observed(clean: Tensor, region: Any, state: State, reference_class: Tensor, side: int) -> Seen:
    """Return the state of the search on the grid, float64."""
    grid, domain = grid_of(*clean.shape[2:]), region.domain
    half = ((region.high - region.low) / 2).clamp_min(torch.finfo(clean.dtype).tiny)
    lean = ((state.x - (region.high + region.low) / 2) / half).clamp(-1, 1)
    shown = ((clean - domain.low) / (domain.high - domain.low)).double()
    shown, lean = (F.adaptive_avg_pool2d(one, grid) for one in (shown, lean.double()))
    return Seen(shown, lean, state.kept, state.refused, reference_class, side / min(clean.shape[2:]))


def tried(x: Tensor, region: Any, made: Proposal, side: int, rng: Rng) -> Tensor:
    """Return x with the window of the proposal in its colours."""
    inside = window(made, side, tuple(x.shape[2:]), rng)  # type: ignore[arg-type]
    painted = made.signs.to(x.dtype)[:, :, None, None] * inside
    return torch.where(painted == 0, x, region.paint(painted))


def settled(state: State, x: Tensor, loss: Tensor, made: Proposal) -> State:
    """Keep what raised the margin, and remember where it was tried."""
    better = loss > state.loss
    mark = torch.zeros_like(state.kept)
    mark[torch.arange(len(x), device=x.device), 0, made.row, made.column] = 1
    up = better.reshape(-1, 1, 1, 1)
    return State(torch.where(up, x, state.x), torch.where(better, loss, state.loss), FADES * state.kept + mark * up, FADES * state.refused + mark * ~up)


@in_our_words
def reinforce(
    victim: Victim, x: Any, y: Any, threat: Threat, *, queries: int = 500, share: float = 0.8, episodes: int = 5, batch: int = 50,
    learning_rate: float = 0.003, entropy: float = 0.02, held_out: float = 0.2, seed: int = 0,
) -> Learner:  # fmt: skip
    """Learn which windows a random search in Linf should try, from many samples.

    The policy is trained by REINFORCE with the mean of a step as baseline.

    Args:
        victim: Exposes scores; it is asked as often as an attack of `queries` on `batch` samples, `episodes` times.
        x: Samples and classes to learn from.
        y: Samples and classes to learn from.
        threat: Linf, with one radius.
        queries: Per sample and search, in training and afterwards.
        share: Of the pixels that the first windows cover, as in `square`.
        episodes: Searches to learn from, at least 1.
        batch: Samples per search, drawn anew.
        learning_rate: Of Adam, one step a query.
        entropy: Reward for staying undecided.
        held_out: Share of the samples that is not learned from.
        seed: Of weights and draws.

    Returns:
        A frozen `Learner`: `attack()` is the search, and `untrained()` is the same network before it learned.

    Raises:
        UsageError: Before the first question, where victim, samples, threat or settings do not fit.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=20)
        >>> reinforce(victim, data.x, data.y, sp.linf(0.2), queries=5, episodes=1, batch=4).attack().name
        'rl_square'

    Differs from the paper: the reward is what a proposal itself gains of margin, in units of the mean gain of its step, and not the
    length of the whole search, which is one number for hundreds of choices. A loss of margin is not punished: the search takes it
    back anyway, and where it was punished policies learned to change nothing (fewer broken than before learning). What is frozen
    is the mean of the weights over the last steps, not the last ones.
    """
    victim, threat = victim_of(victim), threat_of(threat)
    if {"paint"} - threat.space.offers():
        raise NeedsError(f"the policy paints windows at the edges of a Linf ball; {threat.space.kind} has none: try linf")
    if victim.domain.kind != "image":
        raise NeedsError(f"the policy chooses windows of images; {victim.name} takes {victim.domain}: try square")
    if "scores" not in victim.exposes:
        raise NeedsError(f"the policy learns from margins; {victim.name} exposes {', '.join(sorted(victim.exposes))}, not scores")
    if min(queries, batch) < 1 or learning_rate <= 0 or entropy < 0:
        raise PlanError(f"queries={queries}, batch={batch}, learning_rate={learning_rate}, entropy={entropy}: at least 1, 1, above 0, at least 0")
    lesson = Lesson(victim, x, y, threat, held_out, seed, TASKS)
    channels = lesson.x.shape[1]
    with torch.random.fork_rng(), victim.session(seed):
        torch.manual_seed(seed)
        policy = Policy(channels, victim.classes).to(lesson.x.device).double()
        tensors = _train(policy, lesson, queries, share, episodes, batch, learning_rate, entropy)
    settings = {"queries": queries, "share": share, "episodes": episodes, "batch": batch, "learning_rate": learning_rate, "entropy": entropy}
    return lesson.graded(Learner(tensors, lesson.about(channels=channels, settings=settings)), most=MEASURED)


def _train(policy: Policy, lesson: Lesson, queries: int, share: float, episodes: int, batch: int, rate: float, entropy: float) -> dict[str, Tensor]:
    """Improve the policy in place and return the running mean of its weights."""
    optimiser = torch.optim.Adam(policy.parameters(), rate)
    mean = {name: one.detach().clone() for name, one in policy.state_dict().items()}
    generator = torch.Generator().manual_seed(lesson.seed)
    turn = 0
    for episode in range(episodes):
        chosen = torch.randint(len(lesson.rows), (batch,), generator=generator).to(lesson.rows.device)
        for chances, leanings, made, change, alive in _episode(policy, lesson, lesson.rows[chosen], queries, share, f"episode {episode}"):
            gain = change.clamp_min(0)[alive]
            reward = (gain / (gain.mean() + 1e-12)).clamp_max(LEAP)
            advantage = ((reward - reward.mean()) / (reward.std() + 1e-6)).clamp_max(TOP)
            chance = log_chance(chances, leanings, made)[alive]
            spread = -(chances.exp() * chances).sum(1)[alive]
            loss = -(advantage * chance).mean() - entropy * spread.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for name, one in policy.state_dict().items():
                mean[name].lerp_(one, max(1 / REMEMBERS, 1 / (1 + turn / 5)))
            turn += 1
    return mean


def _episode(policy: Policy, lesson: Lesson, rows: Tensor, queries: int, share: float, name: str) -> Iterator[tuple[Tensor, Tensor, Proposal, Tensor, Tensor]]:
    """Run one search; return for every query the preferences, the proposal, the change of the margin, and the rows not yet broken."""
    victim, clean, criterion, region = lesson.victim, lesson.x[rows], lesson.refer(rows), lesson.region(rows)
    rng = Rng(lesson.rng.keys[rows]).draw(name)
    rng = Rng(rng.keys + torch.arange(len(rows), device=rng.keys.device))  # a row may occur twice
    state = begun(clean, region, rng, lambda points: criterion.loss(victim.search_scores(points)).double())
    for k in range(queries - 1):
        alive = state.loss <= 0
        if int(alive.sum()) < 2:
            return
        side = window_side(share, k + 1, queries, clean.shape[2], clean.shape[3])
        with torch.enable_grad():
            chances, leanings = policy(observed(clean, region, state, of_classes(criterion).reference_class, side))
        drawn_by = rng.draw(f"window {k}")
        made = drawn(chances.detach(), leanings.detach(), drawn_by)
        x = tried(state.x, region, made, side, drawn_by)
        loss = criterion.loss(victim.search_scores(x)).double()
        yield chances, leanings, made, loss - state.loss, alive
        state = settled(state, x, loss, made)
