"""Learned attackers on held-out MNIST: a policy beside its untrained self and Square, a generator beside PGD, one change for all.

python -m benchmarks.learned [--n 600] [--queries 200] [--seeds 3] [--parts policy generator universal]

Everything is learned on the first 1,000 test images and measured on the `n` after them, of which those that the network gets right
count; in brackets the 95 % Wilson interval. The policy is trained on one network and put to it and to the other one, and
every competitor asks the same number of queries; its seeds change the training alone. Times are CPU seconds of one thread.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import sparring as sp
from benchmarks import networks
from benchmarks.steps import images
from sparring.attacks.attack import Attack
from sparring.bench.environment import environment
from sparring.core.problem import Problem
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim

LEARNED_ON = 1000
HARD = ("madry_tiny", "wong")
PLAIN = ("conv_nat", "mlp3")
POLICY_RADIUS, GENERATOR_RADIUS, UNIVERSAL_RADIUS, PATCH = 0.3, 0.15, 0.2, 8
AT = (20, 50, 100, 200, 500, 1000)


def opened(name: str) -> Victim:
    return sp.victim(networks.load(name), sp.image(28, 28), name=name)


def ended(attack: Attack, victim: Victim, x: Tensor, y: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    """(queries asked, broken) of the images that are right without attack."""
    with victim.session():
        right = (victim.label(x) == y).nonzero().squeeze(1)
        rng = Rng.of(0, right.tolist())
        problem = Problem.open(victim, x[right], threat.goal.freeze(y[right], victim.task, rng), threat, rng)
        attack.run(problem)
    return problem.ledger.cost.queries, problem.ledger.broken


def timed(learn: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return learn(), time.process_time() - began


def policy(x: Tensor, y: Tensor, queries: int, seeds: int) -> list[dict[str, Any]]:
    """Success by so many queries: Square, the policy untrained, and trained on either network."""
    rows, threat = [], sp.linf(POLICY_RADIUS).seeing("scores").within(queries=queries)
    marks = sorted({at for at in AT if at < queries} | {queries})
    print(f"\nLinf {POLICY_RADIUS}, share broken by so many queries of {queries}\n{'on':12} {'attack':34}", *(f"{at:>21}" for at in marks))
    given = x[:LEARNED_ON], y[:LEARNED_ON], sp.linf(POLICY_RADIUS)
    learned = {name: [timed(partial(sp.reinforce, opened(name), *given, queries=queries, seed=seed)) for seed in range(seeds)] for name in HARD}
    for name in HARD:
        victim, first = opened(name), learned[name][0][0]
        tried: dict[str, Attack] = {"square": find("attack", "square").configure(queries=queries), "untrained": first.untrained().attack()}
        for source in HARD:
            tried |= {f"trained on {source}, seed {seed}": made.attack() for seed, (made, _) in enumerate(learned[source])}
        for said, attack in tried.items():
            asked, broken = ended(attack, victim, x[LEARNED_ON:], y[LEARNED_ON:], threat)
            rates = [Rate.of(int((broken & (asked <= at)).sum()), len(asked)) for at in marks]
            print(f"{name:12} {said:34}", *(f"{one.value:6.1%} [{one.low:5.1%}, {one.high:5.1%}]" for one in rates))
            rows.append({"on": name, "attack": said, "by": {at: vars(one) for at, one in zip(marks, rates, strict=True)}})
    for name, made in learned.items():
        print(f"trained on {name} in", ", ".join(f"{seconds:.0f}" for _, seconds in made), "s, rating included")
    return rows


def generated(x: Tensor, y: Tensor) -> list[dict[str, Any]]:
    """One forward pass beside PGD-40: on the network learned on, and transferred to another."""
    source, other = (opened(name) for name in PLAIN)
    threat, rows = sp.linf(GENERATOR_RADIUS), []
    made, seconds = timed(lambda: sp.generator(source, x[:LEARNED_ON], y[:LEARNED_ON], threat))
    print(f"\nLinf {GENERATOR_RADIUS}, learned on {source.name} in {seconds:.0f} s\n{'attack':38} {source.name:>30} {other.name:>30}")
    pgd = sp.transfer(source, changes="none", steps=40, step_size=2.5 / 40, random_start=True)
    for said, attack in {"generator, 1 query": made.attack(), "PGD-40": pgd, "MI-FGSM, 10 steps": sp.transfer(source)}.items():
        broken = [ended(attack, victim, x[LEARNED_ON:], y[LEARNED_ON:], threat)[1] for victim in (source, other)]
        rates = [Rate.of(int(one.sum()), len(one)) for one in broken]
        print(f"{said:38}", *(f"{one!s:>30}" for one in rates))
        rows.append({"attack": said, "on": {victim.name: vars(one) for victim, one in zip((source, other), rates, strict=True)}})
    return rows


def universals(x: Tensor, y: Tensor) -> list[dict[str, Any]]:
    """Fooling rates of one change on the images learned on and on others, and beside them random signs."""
    victim, other = (opened(name) for name in PLAIN)
    rows = []
    print(f"\none change for all, learned on {victim.name}\n{'threat':26} {'trained on':>30} {'held out':>30} {'on ' + other.name:>30}")
    for threat, tries in ((sp.linf(UNIVERSAL_RADIUS), 1), (sp.patch(PATCH), 1), (sp.patch(PATCH), 8)):
        made, seconds = timed(lambda threat=threat: sp.universal(victim, x[:LEARNED_ON], y[:LEARNED_ON], threat, held_out=0.0))
        fresh = [Rate.of(*made.rate(one, x[LEARNED_ON:], y[LEARNED_ON:], threat, tries=tries)) for one in (victim, other)]
        said = f"{threat.space.label}, {tries} tries, {seconds:.0f} s"
        print(f"{said:26} {Rate.of(*made.trained)!s:>30}", *(f"{one!s:>30}" for one in fresh))
        rows.append({"threat": threat.space.label, "tries": tries, "trained": vars(Rate.of(*made.trained)), "fresh": [vars(one) for one in fresh]})
    signs = torch.where(torch.rand(1, *x.shape[1:], generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    right = victim.label(x[LEARNED_ON:]) == y[LEARNED_ON:]
    noisy = victim.label((x[LEARNED_ON:] + UNIVERSAL_RADIUS * signs).clamp(0, 1)) != y[LEARNED_ON:]
    print(f"{'random signs, linf':26} {'':>30} {Rate.of(int((noisy & right).sum()), int(right.sum()))!s:>30}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["policy", "generator", "universal"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    x, y = images("wong", LEARNED_ON + given.n)
    found: dict[str, Any] = {"environment": environment()}
    if "policy" in given.parts:
        found["policy"] = policy(x, y, given.queries, given.seeds)
    if "generator" in given.parts:
        found["generator"] = generated(x, y)
    if "universal" in given.parts:
        found["universal"] = universals(x, y)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
