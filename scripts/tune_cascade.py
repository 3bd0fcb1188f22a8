"""Build the default cascade greedily from measured kills per forward-equivalent, on development networks only.

    python scripts/tune_cascade.py [--samples 300] [--rounds 6] [--seed 0]

Every round tries every candidate stage on the samples that still stand, on each development network. Of those that break at
least half as many as the best, it appends the one that breaks most per forward-equivalent (a forward counts one, a backward
two). It ends when that is fewer than LEAST samples a million. The networks it is reported on elsewhere (trades, wong, cifar_conv_mix4,
cifar_resnet2b) and the test images of MNIST are not looked at. Needs the shared data. What was made of its rounds stands in
`src/sparring/attacks/sets/fast.py`, why in `design/cascade.md`. Prints a table and, as its last line, one JSON object.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import networks

import sparring as sp
from sparring.attacks.attack import read_attack
from sparring.core.problem import Left, Problem
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.domains.image import Image
from sparring.models.torch import TorchVictim

IMAGES = networks.WEIGHTS.parent / "images"
DEVELOPMENT = (("madry_tiny", 0.3), ("conv_adv03", 0.3), ("conv_ibp", 0.3), ("wong01", 0.1), ("cifar_conv_adv2", 8 / 255))
LEAST = 5.0
BATCH = 250

FIRST = [
    'pgd(steps=10, loss="pm", step_size=1.0, decay="cosine", random_start=false)',
    'pgd(steps=10, loss="margin", step_size=1.0, decay="cosine", random_start=false)',
    'pgd(steps=20, loss="ce")',
    "fgsm",
]
SEARCHES = [
    *(f"odi(steps=20, restarts={restarts}, warmup=5, bias=0.8, warm=true, within={within})" for restarts, within in ((8, 0.15), (6, 0.3), (2, 1.0), (8, 1.0))),
    *(f'apgd_t(steps=40, order="linearised", targets={targets}, within={within})' for targets, within in ((1, 0.5), (3, 0.5), (3, 1.0))),
    'apgd_t(steps=20, loss="margin", order="linearised", skip=3, targets=6, within=1.0)',
    'apgd(steps=50, loss="dlr", within=1.0)',
    'pgd(steps=20, restarts=4, loss="margin", step_size=1.0, decay="cosine", within=1.0)',
    *(f"square(queries={queries}, warm=true, within={within})" for queries, within in ((2500, 0.15), (500, 0.4), (200, 1.0))),
    "square(queries=2500, within=0.15)",
]


@dataclass(frozen=True)
class Field:
    """The samples of one network that still stand, and what the stages so far left."""

    victim: Victim
    threat: Threat
    data: tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, labels, ids
    left: Left
    total: int

    @classmethod
    def of(cls, name: str, radius: float, samples: int) -> "Field":
        if name.startswith("cifar"):
            stored = np.load(IMAGES / "cifar10_lossless_300.npz")
            images, labels = (stored[key] for key in ("x", "y")) if "x" in stored else (stored[key] for key in stored.files[:2])
            x = torch.from_numpy(np.asarray(images)).float() / 255
            x = x if x.shape[1] == 3 else x.permute(0, 3, 1, 2).contiguous()
        else:
            stored = np.load(IMAGES / "mnist.npz")
            images, labels = stored["x_train"], stored["y_train"]
            x = torch.from_numpy(images[:samples]).float().reshape(-1, 1, 28, 28) / 255
        x, y = x[:samples], torch.from_numpy(np.asarray(labels)).long()[:samples]
        victim = TorchVictim(networks.load(name), Image(tuple(x.shape[1:])), name=name)
        with victim.session():
            right = victim.label(x) == y
        count = int(right.sum())
        left = Left(x[right], torch.full((count,), -torch.inf, dtype=torch.float64))
        return cls(victim, sp.linf(radius), (x[right], y[right], torch.arange(len(x))[right]), left, count)

    def after(self, stage: str, seed: int) -> tuple["Field", int, int]:
        """The field after a stage, how many it broke, and its forward-equivalents."""
        attack = read_attack(stage)
        x, y, ids = self.data
        broken, points, margins, cost = [], [], [], 0
        with self.victim.session():
            for rows in torch.arange(len(x)).split(BATCH):
                rng = Rng.of(seed, ids[rows].tolist())
                criterion = self.threat.goal.freeze(y[rows], self.victim.task, rng)
                before = Left(self.left.points[rows], self.left.margin[rows])
                problem = Problem.open(self.victim, x[rows], criterion, self.threat, rng, before if attack.resumes else None)
                attack.run(problem)
                ledger = problem.ledger
                better = ledger.loss > before.margin
                broken.append(ledger.broken)
                points.append(torch.where(better[:, None, None, None], ledger.best, before.points))
                margins.append(torch.where(better, ledger.loss, before.margin))
                cost += int(ledger.cost.forwards.sum() + 2 * ledger.cost.backwards.sum())
        if not broken:
            return self, 0, 0
        stands = ~torch.cat(broken)
        left = Left(torch.cat(points)[stands], torch.cat(margins)[stands])
        return replace(self, data=(x[stands], y[stands], ids[stands]), left=left), int((~stands).sum()), cost


def main() -> None:
    """Build and print the cascade."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not IMAGES.exists():
        sys.exit(f"no shared data at {IMAGES}: the development networks live there")
    torch.set_num_threads(1)
    fields = [Field.of(name, radius, asked.samples) for name, radius in DEVELOPMENT]
    chosen, spent = [], 0
    for turn in range(asked.rounds):
        tried = []
        for stage in FIRST if turn == 0 else SEARCHES:
            outcomes = [field.after(stage, asked.seed + turn) for field in fields]
            kills, cost = sum(one[1] for one in outcomes), sum(one[2] for one in outcomes)
            tried.append((1e6 * kills / max(cost, 1), kills, cost, stage, outcomes))
            print(f"  round {turn}: {kills:4d} broken, {cost / 1e3:9.1f} thousand forward-equivalents, {tried[-1][0]:8.1f} a million  {stage}", flush=True)
        most = max(one[1] for one in tried)
        worth, kills, cost, stage, outcomes = max((one for one in tried if one[1] >= most / 2), key=lambda one: one[:2])
        if worth < LEAST or not kills:
            break
        fields, spent = [one[0] for one in outcomes], spent + cost
        stands = {field.victim.name: round(100 * len(field.data[0]) / field.total, 2) for field in fields}
        chosen.append({"stage": stage, "broken": kills, "forward_equivalents": cost, "stands": stands})
        print(f"round {turn}: {stage}: {kills} broken, {spent / 1e6:.3f} million so far, standing {stands}", flush=True)
    print(json.dumps({"samples": asked.samples, "seed": asked.seed, "torch": torch.__version__, "stages": chosen}))


if __name__ == "__main__":
    main()
