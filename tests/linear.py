"""Linear models and what an adversary can do to them at most, by closed forms and linear programs."""

import math

import numpy as np
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from sparring.core.dice import Dice
from sparring.core.threat import Threat
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim
from sparring.threats.balls import L1, L2, Linf
from sparring.threats.goals import Targeted, Untargeted

SPACES = {"linf": Linf, "l2": L2, "l1": L1}
SIDE = 4
COUNT = 6


class Problem:
    """COUNT images of SIDE x SIDE and scores W x + b. `box` says whether the edges of the box get in the way."""

    def __init__(self, kind, classes, box, seed=0, targeted=False):
        dice = np.random.default_rng(seed + 10 * classes)
        self.kind, self.classes, self.targeted = kind, classes, targeted
        self.weights = dice.normal(size=(classes, SIDE * SIDE))
        self.x = dice.uniform(0, 1, (COUNT, SIDE * SIDE)) if box else dice.uniform(0.45, 0.55, (COUNT, SIDE * SIDE))
        self.x[:, 0] = 0.0 if box else 0.5
        self.bias = np.zeros(classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes)).double()
        with torch.no_grad():
            self.net[1].weight.copy_(torch.from_numpy(self.weights))
            self.net[1].bias.zero_()
        self.y = (self.x @ self.weights.T).argmax(1)
        self.target = (self.y + 1) % classes
        self.batch = torch.from_numpy(self.x).reshape(COUNT, 1, SIDE, SIDE)
        self.labels = torch.from_numpy(self.y)
        self.victim = TorchVictim(self.net, Image((1, SIDE, SIDE)), search="plain")
        self.dice = Dice.of(0, range(COUNT))

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
        up, down = 1 - self.x[row], self.x[row]
        room, slope = np.where(way > 0, up, down), np.abs(way)
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
        for _ in range(200):
            middle = (least + most) / 2
            least, most = (middle, most) if np.linalg.norm(np.minimum(middle * slope, room)) < radius else (least, middle)
        return float((slope * np.minimum(least * slope, room)).sum())

    def best_margin(self, row, radius):
        """The highest margin of any allowed point."""
        start = self.weights @ self.x[row]
        if not self.targeted:
            others = [k for k in range(self.classes) if k != self.y[row]]
            return max(start[k] - start[self.y[row]] + self.gain(row, self.weights[k] - self.weights[self.y[row]], radius) for k in others)
        aim = self.target[row]
        others = [k for k in range(self.classes) if k != aim]
        ways = [self.weights[aim] - self.weights[k] for k in others]
        if len(others) == 1:
            return start[aim] - start[others[0]] + self.gain(row, ways[0], radius)
        return self._best_of_worst(row, [start[aim] - start[k] for k in others], ways, radius)

    def _best_of_worst(self, row, starts, ways, radius):
        """max over changes of min over other classes: a linear program, or a smooth one for L2. Variables: up, down, value."""
        d = SIDE * SIDE
        matrix = np.array([[*-way, *way, 1.0] for way in ways])
        bounds = [(0, 1 - one) for one in self.x[row]] + [(0, one) for one in self.x[row]] + [(None, None)]
        if self.kind == "linf":
            bounds = [(0, min(high, radius)) for _, high in bounds[:-1]] + [(None, None)]
        rows, edges = list(matrix), list(starts)
        if self.kind == "l1":
            rows, edges = [*rows, np.array([1.0] * (2 * d) + [0.0])], [*edges, radius]
        goal = np.zeros(2 * d + 1)
        goal[-1] = -1.0
        if self.kind != "l2":
            return -linprog(goal, A_ub=np.array(rows), b_ub=np.array(edges), bounds=bounds).fun
        limits = [
            {"type": "ineq", "fun": lambda v: np.array(starts) - matrix @ v},
            {"type": "ineq", "fun": lambda v: radius**2 - ((v[:d] - v[d:-1]) ** 2).sum()},
        ]
        guess = np.concatenate([np.full(2 * d, 1e-3), [min(starts)]])
        solved = minimize(
            lambda v: -v[-1], guess, jac=lambda v: goal, bounds=bounds, constraints=limits, method="SLSQP", options={"maxiter": 500, "ftol": 1e-12}
        )
        return -solved.fun

    def distance(self, row):
        """The smallest radius at which the goal can be met."""
        least, most = 0.0, 20.0
        for _ in range(60):
            middle = (least + most) / 2
            least, most = (least, middle) if self.best_margin(row, middle) >= 0 else (middle, most)
        return math.inf if most >= 19.99 else most
