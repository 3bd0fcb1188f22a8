"""Universal perturbations and patches: one change for all samples, learned on some, applied to others."""

import math
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor

from sparring.attacks.evasion.learned.frozen import Carrier, Frozen, Lesson
from sparring.attacks.evasion.universal.forms import Added, Form, Laid, form_of
from sparring.attacks.loop import iterate
from sparring.attacks.losses import loss_of
from sparring.core.errors import NeedsError, PlanError
from sparring.core.foreign import in_our_words
from sparring.core.problem import Problem
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.models.wanted import threat_of, victim_of

LOOKED_AT = 1000
"""Number of training samples, the first ones, on which the best change is selected after every epoch."""


class Universal(Frozen):
    """Hold one change for all samples.

    perturbation: [...] as a sample, to be added; or a patch [channels, side, side] in shares of
    the way between the bounds. `attack()` applies it, `rate(...)` is its fooling rate on other samples.
    """

    kind: ClassVar[str] = "universal"

    @property
    def perturbation(self) -> Tensor:
        """Return the change that was learned."""
        return self.tensors["perturbation"]

    @property
    def form(self) -> Form:
        """Return how the change is put on samples."""
        laid = self.about["form"]
        return Laid(laid["rotation"], laid["smallest"]) if laid else Added()

    def attack(self) -> Carrier:
        """Return the attack `universal` that puts this change on each sample.

        Settings by `configure`: tries.
        """
        return Carrier("universal", search, frozenset({"labels"}), frozenset({"project"}), CITES, learned=self)


CITES = "Moosavi-Dezfooli et al. 2017, arXiv:1610.08401; Shafahi et al. 2018, arXiv:1811.11304; patches: Brown et al. 2017, arXiv:1712.09665"


class Nothing(NamedTuple):
    """Hold nothing, as each try is independent of the others."""


def search(problem: Problem, learned: Universal, *, tries: int = 1) -> Tensor:
    """Add one learned change to all samples, cut off at the edge of the region.

    A patch is laid on random places.

    A patch at random places.

    Args:
        tries: Places and turns of a patch that are tried, one query each; a change that is added has one try.
    """
    form = learned.form

    def step(live: Problem, state: Nothing, k: int) -> Nothing:
        put = form.put(learned.perturbation, live.x, live.victim.domain, live.rng.draw(f"try {k}"))
        live.losses(cast(Any, live.region).project(put))
        return state

    return iterate(problem, lambda live, restart: Nothing(), step, steps=tries if isinstance(form, Laid) else min(tries, 1))


@in_our_words
def universal(
    victim: Victim, x: Any, y: Any, threat: Threat, *, epochs: int = 20, batch: int = 50, step: float = 0.1, momentum: float = 0.9,
    loss: Literal["ce", "margin"] = "ce", cap: float = 9.0, rotation: float = 20.0, smallest: float = 0.9, held_out: float = 0.2, seed: int = 0,
) -> Universal:  # fmt: skip
    """Learn one change for all samples by gradient ascent; under `patch S`, learn one patch.

    Args:
        victim: Exposes gradients.
        x: Samples and classes to learn from.
        y: Samples and classes to learn from.
        threat: A ball or a patch, with one radius; a target, say Targeted(3), makes a change that leads everything
            there.
        epochs: Passes through the samples.
        batch: Samples a step.
        step: As a share of the radius (of a patch: of the way between the bounds), falling to nothing along half a
            cosine.
        momentum: Decay of the velocity.
        loss: What is climbed.
        cap: Loss above which a sample counts no more, so that those long fooled do not drown the rest.
        rotation: A patch is turned by up to so many degrees either way.
        smallest: A patch is shrunk to no less than this share of its side, in (0, 1].
        held_out: Share of the samples that is not trained on.
        seed: Of every draw.

    Returns:
        A frozen `Universal`: `attack()` applies it, and `trained` and `held_out` are the shares it fools of either part.

    Raises:
        UsageError: Before the first step, where victim, samples, threat or settings do not fit.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=20)
        >>> universal(victim, data.x, data.y, sp.linf(0.2), epochs=1).perturbation.shape
        torch.Size([1, 8, 8])

    Differs from the paper: ascent by momentum along the steepest direction of the space, where Moosavi-Dezfooli et al. run DeepFool
    sample by sample and Shafahi et al. take Adam or sign steps; samples already wrong are left out; of the changes after
    each epoch the one that fools most of the samples trained on is kept. A patch is cut with the square the threat allows, so
    corners that turn out of it are lost.
    """
    victim, threat = victim_of(victim), threat_of(threat)
    form = form_of(threat.space, rotation, smallest)
    if form is None:
        raise NeedsError(f"one change for all samples is defined for balls and patches, not for {threat.space.kind}: try linf, l2, l1 or patch")
    if "gradients" not in victim.exposes:
        raise NeedsError(f"learning a universal change needs gradients; {victim.name} exposes {', '.join(sorted(victim.exposes))}: learn it on a substitute")
    if min(epochs, batch) < 1 or step <= 0 or not 0 <= momentum < 1 or not 0 < smallest <= 1 or rotation < 0:
        raise PlanError(
            f"epochs={epochs}, batch={batch}, step={step}, momentum={momentum}, smallest={smallest}, rotation={rotation}: "
            "at least one epoch and sample, a step above 0, momentum in [0, 1), smallest in (0, 1], rotation at least 0"
        )
    lesson = Lesson(victim, x, y, threat, held_out, seed)
    settings = {"epochs": epochs, "batch": batch, "step": step, "momentum": momentum, "loss": loss, "cap": cap}
    laid = {"rotation": rotation, "smallest": smallest} if isinstance(form, Laid) else None
    with victim.session(seed):
        found = _ascend(lesson, form, epochs, batch, step, momentum, loss, cap)
    return lesson.graded(Universal({"perturbation": found}, lesson.about(form=laid, settings=settings)))


def _ascend(lesson: Lesson, form: Form, epochs: int, batch: int, step: float, momentum: float, loss: str, cap: float) -> Tensor:
    victim, space, domain, climbed = lesson.victim, lesson.threat.space, lesson.victim.domain, loss_of(loss)
    generator = torch.Generator().manual_seed(lesson.seed)
    parameter = best = form.first(lesson.x, space, domain)
    velocity, highest, turn = torch.zeros_like(parameter), (-1, -math.inf), 0
    total = epochs * math.ceil(len(lesson.rows) / batch)
    for epoch in range(epochs):
        for rows in lesson.batches(batch, generator):
            criterion, leaf = lesson.refer(rows), parameter.detach().requires_grad_(True)
            with torch.enable_grad():
                put = form.put(leaf, lesson.x[rows], domain, lesson.rng.take(rows).draw(f"epoch {epoch}"))
            slope = victim.gradient(put.detach(), lambda scores, aim=criterion: climbed(scores, aim).clamp_max(cap)).grad.to(put)
            (g,) = torch.autograd.grad(put, leaf, slope)
            velocity = momentum * velocity + g / g.abs().mean().clamp_min(1e-30)
            parameter = form.move(parameter, velocity, step * (1 + math.cos(math.pi * turn / total)) / 2, space, domain)
            turn += 1
        reached = _look(lesson, form, parameter)
        if reached > highest:
            best, highest = parameter, reached
    return best


def _look(lesson: Lesson, form: Form, parameter: Tensor) -> tuple[int, float]:
    """Return (number of samples that meet the goal, mean margin) on the first training samples."""
    rows = lesson.rows[:LOOKED_AT]
    put = lesson.region(rows).project(form.put(parameter, lesson.x[rows], lesson.victim.domain, lesson.rng.take(rows).draw("look")))
    losses = lesson.refer(rows).loss(lesson.victim.search_scores(put)).double()
    return int((losses > 0).sum()), float(losses.mean())
