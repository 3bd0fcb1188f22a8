"""Numbers printed in the papers, and losses worked out by hand."""

import math

import pytest
import torch

from sparring.attacks.evasion.gradient.apgd import State, _look, checkpoints
from sparring.attacks.evasion.query.square import window_side
from sparring.core.registry import find
from sparring.tasks.classes import ClassCriterion


def criterion(label, reference_class=None):
    """Away from the label, or toward an reference class."""
    aim = label if reference_class is None else reference_class
    return ClassCriterion(torch.tensor([label]), torch.tensor([aim]), torch.tensor([1.0 if reference_class is None else -1.0], dtype=torch.float64))


def value(loss, scores, label, reference_class=None):
    return float(find("loss", loss)(torch.tensor([scores], dtype=torch.float64), criterion(label, reference_class)))


def test_apgd_checkpoints_are_the_papers():
    """Equation 5 for 100 iterations: 22 %, then windows shorter by 3 % down to 6 %."""
    found = checkpoints(100)
    assert list(found) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(found.values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(checkpoints(1000)) == [220, 410, 570, 700, 800, 870, 930, 990]


def state(**more):
    """One sample of an Auto-PGD run before a checkpoint."""
    x = torch.zeros(1, 2)
    parts = {"x": x + 1, "before": x, "g": x + 1, "value": x[:, 0], "best_x": x + 9, "best_g": x + 9, "best_value": x[:, 0] + 5.0}
    parts |= {
        "share": torch.tensor([2.0]),
        "rises": torch.tensor([19.0]),
        "best_then": torch.tensor([3.0]),
        "halved": torch.tensor([False]),
        "aim": criterion(0),
    }
    return State(**(parts | more))


@pytest.mark.parametrize(
    ("rises", "best_then", "halved", "halves"),
    [
        (19.0, 3.0, False, False),  # rose often and found better: go on
        (15.0, 3.0, False, True),  # condition 1: at most 75 % of 22 steps rose
        (16.5, 3.0, False, True),  # exactly 75 %
        (17.0, 3.0, False, False),
        (19.0, 5.0, False, True),  # condition 2: the best did not change since the last checkpoint
        (19.0, 5.0, True, False),  # unless the step was just halved there
    ],
)
def test_apgd_halves_its_step_when_it_stalls(rises, best_then, halved, halves):
    """The two conditions of algorithm 1, and the return to the best point."""
    after = _look(state(rises=torch.tensor([rises]), best_then=torch.tensor([best_then]), halved=torch.tensor([halved])), 22)
    assert float(after.share) == (1.0 if halves else 2.0)
    assert float(after.x[0, 0]) == (9.0 if halves else 1.0)
    assert float(after.g[0, 0]) == (9.0 if halves else 1.0)
    assert bool(after.halved) is halves
    assert float(after.rises) == 0
    assert float(after.best_then) == 5


def test_the_first_checkpoint_does_not_ask_for_improvement():
    """At the first checkpoint a loss that never improved on its start does not halve the step if the steps rose (official code)."""
    from support import ARENAS

    from sparring.attacks.evasion.gradient import apgd as module

    arena, first = ARENAS["linf"], []
    original = module._look
    module._look = lambda state, window: first.append(state.halved.clone()) or original(state, window)
    try:
        module.apgd.configure(steps=10)(arena.victim, arena.x, arena.y, arena.threat.at(1e-4), arena.rng())
    finally:
        module._look = original
    assert bool(first[0].all())


def test_apgd_takes_the_papers_first_steps():
    """On a slope that never changes, steps of 2 radii with momentum 0.75 land where algorithm 1 says: first the corner."""
    from support import Planted

    task = Planted("linf", 2, False)
    seen = []
    handle = task.net.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone()))
    try:
        find("attack", "apgd")(task.victim, task.batch, task.labels, task.threat(1e-3), task.rng, steps=4)
    finally:
        handle.remove()
    start, one, two = (points.reshape(len(points), -1).numpy() for points in seen[:3])
    for row in range(len(start)):
        other = 1 - task.y[row]
        way = task.weights[other] - task.weights[task.y[row]]
        corner = task.x[row] + 1e-3 * (way > 0) - 1e-3 * (way < 0)
        assert one[row] == pytest.approx(corner, abs=1e-9)  # a step of 2 radii reaches every edge; weight 1 at first
        momentum = corner + 0.25 * (one[row] - start[row])  # 0.75 z + 0.25 x + 0.25 (x - before), z = x = corner
        assert two[row] == pytest.approx(task.x[row] + (momentum - task.x[row]).clip(-1e-3, 1e-3), abs=1e-9)


def test_apgd_keeps_its_momentum():
    """The second step in L2, by hand: 0.75 of the way to the projected point plus 0.25 of the last move."""
    from support import Planted

    task = Planted("l2", 2, False)
    radius, seen = 1e-3, []
    handle = task.net.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone()))
    try:
        find("attack", "apgd")(task.victim, task.batch, task.labels, task.threat(radius), task.rng, steps=3)
    finally:
        handle.remove()
    start, one, two = (points.reshape(len(points), -1).numpy() for points in seen[:3])

    def projected(x, row):
        change = x - task.x[row]
        return task.x[row] + change * min(1, radius / max(math.sqrt((change**2).sum()), 1e-30))

    for row in range(len(start)):
        way = task.weights[1 - task.y[row]] - task.weights[task.y[row]]
        unit = way / math.sqrt((way**2).sum())
        assert one[row] == pytest.approx(projected(start[row] + 2 * radius * unit, row), abs=1e-9)
        z = projected(one[row] + 2 * radius * unit, row)
        assert two[row] == pytest.approx(projected(one[row] + 0.75 * (z - one[row]) + 0.25 * (one[row] - start[row]), row), abs=1e-9)


SIDES = [(1, 25), (10, 25), (11, 18), (50, 18), (51, 13), (200, 13), (201, 9), (500, 9), (501, 6), (1000, 6), (1001, 4), (2000, 4), (2001, 3), (4000, 3),
         (4001, 2), (6000, 2), (6001, 2), (8000, 2), (8001, 1), (10000, 1)]  # fmt: skip


@pytest.mark.parametrize(("turn", "side"), SIDES)
def test_square_sides_are_the_papers(turn, side):
    """The share of changed pixels starts at 0.8 and halves after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000
    queries; here the sides for 28 x 28 pixels."""
    assert window_side(0.8, turn, 10000, 28, 28) == side


def test_square_sides_scale_with_the_queries():
    """A run of 1,000 queries goes through the same schedule ten times as fast."""
    assert [window_side(0.8, turn, 1000, 28, 28) for turn in (1, 2, 5, 6, 20, 21)] == [25, 18, 18, 13, 13, 9]


def test_square_windows_reach_every_edge():
    """Over many draws a window of side 1 touches every pixel, the last row and column too, and each sample has windows of its own."""
    from support import ARENAS

    arena = ARENAS["linf"]
    rows = arena.right().nonzero().squeeze(1)
    asked = []

    class Flat(torch.nn.Module):
        def forward(self, x):
            asked.append(x.detach().clone())
            return torch.stack([x.flatten(1).sum(1) * 0, x.flatten(1).sum(1) * 0 - 1, x.flatten(1).sum(1) * 0 - 2], 1)

    from sparring.models.torch import TorchVictim

    victim = TorchVictim(Flat(), arena.victim.domain, search="plain")
    asked.clear()
    middle = torch.full_like(arena.x[rows], 0.5)
    find("attack", "square")(victim, middle, torch.zeros(len(rows), dtype=torch.int64), arena.threat.at(0.1), arena.rng().take(rows), queries=900, share=0.02)
    start = asked[0]
    moved = torch.stack([point != start for point in asked[1:]])
    assert bool(moved.any(0).all())
    assert any(bool(turn[0].any()) and bool(turn[1].any()) and not bool((turn[0] & turn[1]).any()) for turn in moved)
    assert len({tuple(turn[0].flatten().tolist()) for turn in moved[:200]}) > 20


def test_noise_tries_corners_too():
    """Every second point of the control is a corner of the ball: all coordinates at an edge."""
    from support import ARENAS, Instrumented

    arena = ARENAS["linf"]
    victim = Instrumented(arena.victim)
    find("attack", "noise").configure(tries=4)(victim, arena.x, arena.y, arena.threat.at(1e-4), arena.rng())
    edges = []
    for _, points in victim.questions[:4]:
        x = arena.x[: len(points)].double() if len(points) == len(arena.x) else arena.x[:5].double()
        far, boxed = (points.double() - x).abs() >= 1e-4 - 2e-7, (points == 0) | (points == 1)
        edges.append(bool((far | boxed).all()))
    assert edges == [False, True, False, True]


def test_losses_by_hand():
    """Values for scores (3, 1, 2, -1), label 0: away, and toward class 1."""
    scores = [3.0, 1.0, 2.0, -1.0]
    total = sum(math.exp(one) for one in scores)
    assert value("ce", scores, 0) == pytest.approx(-(3 - math.log(total)))
    assert value("ce", scores, 0, 1) == pytest.approx(1 - math.log(total))
    assert value("margin", scores, 0) == -1
    assert value("margin", scores, 0, 1) == -2
    assert value("pm", scores, 0) == pytest.approx((math.exp(2) - math.exp(3)) / total)
    assert value("pm", scores, 0, 1) == pytest.approx((math.exp(1) - math.exp(3)) / total)


def test_dlr_by_hand():
    """Equations 6 and 8 of Croce and Hein: z1 = 3, z2 = 2, z3 = 1, z4 = -1."""
    scores = [3.0, 1.0, 2.0, -1.0]
    assert value("dlr", scores, 0) == pytest.approx((2 - 3) / (3 - 1))  # away from the top class
    assert value("dlr", scores, 2) == pytest.approx((3 - 2) / (3 - 1))  # already wrong: positive
    assert value("dlr", scores, 0, 1) == pytest.approx((1 - 3) / (3 - (1 + -1) / 2))
    assert value("dlr", scores, 0, 3) == pytest.approx((-1 - 3) / (3 - (1 + -1) / 2))
    assert value("dlr", scores, 3, 0) == pytest.approx((3 - -1) / (3 - (1 + -1) / 2))


def test_dlr_with_three_and_two_classes():
    """Three classes: z1 - z3 below in both forms. Two: the plain margin."""
    assert value("dlr", [3.0, 1.0, 2.0], 0) == pytest.approx(-1 / 2)
    assert value("dlr", [3.0, 1.0, 2.0], 0, 1) == pytest.approx(-2 / 2)
    assert value("dlr", [3.0, 1.0], 0) == pytest.approx(-2)
    assert value("dlr", [3.0, 1.0], 0, 1) == pytest.approx(-2)


def test_dlr_does_not_see_the_scale():
    """Ten times the logits, the same loss."""
    for reference_class in (None, 1):
        assert value("dlr", [3.0, 1.0, 2.0, -1.0], 0, reference_class) == pytest.approx(value("dlr", [30.0, 10.0, 20.0, -10.0], 0, reference_class))


def test_momentum_of_pgd_by_hand():
    """MI-FGSM: velocity = decay * velocity + g / mean |g|; on an L2 slope that turns, the second step feels the first."""

    class Bend(torch.nn.Module):
        """A score whose gradient is (1, 0) at first and (0, 3) once the first number has grown."""

        def forward(self, x):
            a, b = x[:, 0, 0, 0], x[:, 0, 0, 1]
            rise = torch.where(a < 0.5005, a, 3 * b)
            return torch.stack([torch.full_like(rise, 9.0), rise], 1)

    from sparring.domains.image import Image
    from sparring.models.torch import TorchVictim
    from sparring.threats.threats import l2

    seen = []
    net = Bend()
    victim = TorchVictim(net, Image((1, 1, 2)), search="plain")
    net.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone().double().ravel().tolist()))
    x = torch.full((1, 1, 1, 2), 0.5)
    find("attack", "pgd")(victim, x, [0], l2(0.1), steps=2, step_size=0.01, momentum=0.5, loss="margin", random_start=False)
    # g / mean|g| is (2, 0) and then (0, 2); velocities (2, 0) and (1, 2)
    assert seen[1] == pytest.approx([0.501, 0.5], abs=1e-6)
    assert seen[2] == pytest.approx([0.501 + 0.001 / math.sqrt(5), 0.5 + 0.002 / math.sqrt(5)], abs=1e-6)
