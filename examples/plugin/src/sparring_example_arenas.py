"""What the laws in the tests of Sparring need to know of the example: the sketch of its task, written by hand.

It lies beside the package and not in it, because it imports modules of these tests, which are there only while the laws are run.
"""

import math

import torch
from arenas_of_tasks import Sketch, sketch
from sparring_example.angle import Angle


def _answers(output: torch.Tensor) -> torch.Tensor:
    return torch.tensor([math.degrees(math.atan2(y, x)) % 360 for x, y in output.double().tolist()], dtype=torch.float64)


def _truth(answers: torch.Tensor) -> torch.Tensor:
    """Five degrees from the answers, and the last one opposite to it."""
    truth = answers + 5
    truth[-1] = answers[-1] + 180
    return truth % 360


def _met(goal: str, answer: torch.Tensor, truth: torch.Tensor) -> bool:
    """More than twelve degrees apart, the shorter way round."""
    turned = abs(float(answer) - float(truth)) % 360
    return min(turned, 360 - turned) > 12


sketch(Sketch(Angle(12.0), 2, (2,), _answers, _truth, _met, {}))
