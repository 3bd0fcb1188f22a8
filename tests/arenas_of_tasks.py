"""Arenas for the tasks other than classes: the spaces of the general arenas, with a victim that answers otherwise.

Every task has a sketch, which says by hand what its answers are and when they meet a goal. A plugin brings the sketch of its task in a module that it
names in the entry point group "sparring.arenas".
"""

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import torch
from support import ARENAS, Arena, BagOfWords, tiny_net
from torch import nn

from sparring.core.goal import Goal
from sparring.core.registry import everything
from sparring.core.task import Task
from sparring.models.callable import CallableVictim
from sparring.models.torch import TorchVictim
from sparring.tasks.labels import Labels
from sparring.tasks.mask import Mask
from sparring.tasks.values import Values
from sparring.threats.add import Add
from sparring.threats.erase import Erase
from sparring.threats.goals import Untargeted
from sparring.threats.value_goals import Up

SPACES = ("linf", "l2", "l1", "l0", "patch", "spatial", "flow", "colour", "corruptions", "forest", "text")
"""Arenas whose samples and space are used again: at least one for every attack."""


@dataclass(frozen=True)
class Sketch:
    """How victims of a task are made, and what their answers mean.

    task: as the arenas use it. width: how many numbers a model computes; shape: their form in the model's output, per sample. answer: what the model
    says as deployed, from its output [n, *shape]. truth: true answers from the answers, the last of them wrong without attack.
    met: (kind of goal, answer, truth) of one sample -> bool.
    goals: the goal by the name of the arena, untargeted where there is none.
    """

    task: Task
    width: int
    shape: tuple[int, ...]
    answer: Callable[[torch.Tensor], torch.Tensor]
    truth: Callable[[torch.Tensor], torch.Tensor]
    met: Callable[[str, torch.Tensor, torch.Tensor], bool]
    goals: dict[str, Goal]


SKETCHES: dict[str, Sketch] = {}
"""From the kind of task to its sketch."""


def sketch(made: Sketch) -> Sketch:
    """Register the sketch of a task."""
    SKETCHES[made.task.kind] = made
    return made


# Values: two numbers, of which one has to move by more than 1.5 from the truth; in L2 one has to rise by more than 1.


def _value_met(goal: str, answer: torch.Tensor, truth: torch.Tensor) -> bool:
    apart = [said - true for said, true in zip(answer.tolist(), truth.tolist(), strict=True)]
    return any(one > 1 for one in apart) if goal == "up" else any(abs(one) > 1.5 for one in apart)


def _values(answers: torch.Tensor) -> torch.Tensor:
    truth = answers + torch.tensor([0.05, -0.12], dtype=torch.float64)
    truth[-1, 0] -= 2
    return truth


sketch(Sketch(Values(2, 1.5, 3.0), 2, (2,), lambda output: output.double(), _values, _value_met, {"l2": Up(1)}))


# Masks of 2 x 3 pixels and three classes: two of the five right pixels have to fall; in L2 all pixels of class 1.


def _mask_met(goal: str, answer: torch.Tensor, truth: torch.Tensor) -> bool:
    said, true = answer.flatten().tolist(), truth.flatten().tolist()
    if goal == "erase":
        return all(one != 1 for one, label in zip(said, true, strict=True) if label == 1)
    return sum(one == label for one, label in zip(said, true, strict=True)) < 4


def _masks(answers: torch.Tensor) -> torch.Tensor:
    truth = answers.clone()
    truth[:, 0, 0] = (truth[:, 0, 0] + 1) % 3  # one pixel of six is never right
    truth[-1] = (answers[-1] + 1) % 3
    return truth


sketch(Sketch(Mask(3, share=0.6, size=(2, 3)), 18, (3, 2, 3), lambda output: output.argmax(1), _masks, _mask_met, {"l2": Erase(1)}))


# Sets of five labels with a threshold each: one of the four right labels has to fall; in L2 label 0 has to go, in L1 label 2 has to come.

THRESHOLDS = (0.95, 0.5, 0.997, 0.5, 0.8)


def _labels_met(goal: str, answer: torch.Tensor, truth: torch.Tensor) -> bool:
    said, true = answer.tolist(), truth.tolist()
    if goal == "erase":
        return not (true[0] == 1 and said[0] == 1)
    if goal == "add":
        return not (true[2] == 0 and said[2] == 0)
    return sum(one == known for one, known in zip(said, true, strict=True)) < 4


def _labels(answers: torch.Tensor) -> torch.Tensor:
    truth = answers.clone()
    truth[:, 4] = 1 - truth[:, 4]  # one label of five is never right
    truth[-1] = 1 - answers[-1]
    return truth


def _chosen(output: torch.Tensor) -> torch.Tensor:
    return (output.double().sigmoid() > torch.tensor(THRESHOLDS, dtype=torch.float64)).long()


sketch(Sketch(Labels(5, share=0.8, threshold=THRESHOLDS), 5, (5,), _chosen, _labels, _labels_met, {"l2": Erase(0), "l1": Add(2)}))


# The models ------------------------------------------------------------------------------------------------------------


def _module(one: Sketch) -> nn.Module:
    return nn.Sequential(*tiny_net(one.width), nn.Unflatten(1, one.shape)).double()


def _of_columns(one: Sketch) -> Callable[[Any], np.ndarray]:
    weights = np.random.default_rng(7).normal(size=(7, one.width)) * [[0.05], [2e-4], [3e-4], [1.0], [0.4], [-0.4], [0.2]]
    return lambda rows: np.tanh(np.asarray(rows, dtype=np.float64) @ weights - 0.8).reshape(-1, *one.shape)


def _of_words(one: Sketch) -> Callable[[Any], np.ndarray]:
    words = BagOfWords(one.width, seed=6)
    return lambda sentences: words(list(sentences)).reshape(-1, *one.shape)


def _victim(one: Sketch, base: Arena) -> tuple[Any, Callable[[Any], torch.Tensor]]:
    """A victim for the samples of an arena, and the function by which its model is asked without it."""
    if isinstance(base.victim, TorchVictim):
        module = _module(one)

        def ask(x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return module(x.double())

        return TorchVictim(module, base.victim.domain, name=base.name, search="plain", task=one.task), ask
    model = _of_words(one) if base.name == "text" else _of_columns(one)
    return CallableVictim(model, base.victim.domain, name=base.name, task=one.task, fingerprint=base.name), lambda x: torch.from_numpy(model(x))


@functools.cache
def task_arena(kind: str, space: str) -> Arena:
    """The arena of one of SPACES in which answers are those of a task."""
    one, base = SKETCHES[kind], ARENAS[space]
    victim, ask = _victim(one, base)

    def own(x: Any) -> torch.Tensor:
        return one.answer(ask(x))

    threat = base.threat.toward(one.goals.get(space, Untargeted()))
    return replace(base, name=f"{kind}-{space}", victim=victim, own=own, y=one.truth(own(base.x)), threat=threat)


@functools.cache
def arena_for(attack: str, kind: str) -> Arena | None:
    """The arena of a task on which an attack is tried, one of those that it fits; the same at every call. None where it fits none."""
    found = [space for space in SPACES if everything("attack")[attack].misfit(task_arena(kind, space).victim, task_arena(kind, space).threat) is None]
    return task_arena(kind, found[zlib.crc32(attack.encode()) % len(found)]) if found else None


for _point in entry_points(group="sparring.arenas"):
    _point.load()  # plugins draw sketches of their tasks
