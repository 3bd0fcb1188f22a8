"""Randomised smoothing on MNIST: certified accuracy beside published figures, the copies that early endings save, and speed beside ART.

python -m benchmarks.smoothing WEIGHTS [--images 500] [--n 10000] [--parts fixed sequential deep sound peer coverage]

WEIGHTS is what `python scripts/train_smoothed.py WEIGHTS` wrote. Images are evenly spaced over the test split. Published: a LeNet
trained as by Cohen et al., sigma 0.25, n0 = 100, n = 100,000, alpha = 0.001, mean of 5 seeds over all 10,000 images, from the logs of
github.com/jh-jeong/smoothing-consistency. Times are CPU seconds of one thread. ART is run where it can be imported.
"""

import argparse
import importlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scripts.train_smoothed import lenet, mnist
from torch import Tensor, nn

import sparring as sp
from sparring.bench.environment import environment
from sparring.certification.certificate import Certificate
from sparring.certification.smoothing.certify import smoothing
from sparring.certification.smoothing.confidence import doubt, holm, lower_bound
from sparring.certification.smoothing.noise import gaussian
from sparring.certification.smoothing.sequential import looks
from sparring.certification.smoothing.smoothed import smoothed
from sparring.core.rng import Rng
from sparring.core.threat import Threat
from sparring.core.victim import Victim

SIGMA, ALPHA, N0 = 0.25, 0.001, 100
RADII = (0.0, 0.25, 0.5, 0.75)
PUBLISHED = (99.2, 98.5, 96.7, 93.1)


def certified(found: list[Certificate], y: Tensor) -> list[float]:
    """Share of samples whose class is right and shown to stay within each radius."""
    right = [one.proof is not None and one.proof.label == label and one.radius > 0 for one, label in zip(found, y.tolist(), strict=True)]
    return [sum(good and one.radius >= radius for good, one in zip(right, found, strict=True)) / len(found) for radius in RADII]


def prove(victim: Victim, x: Tensor, y: Tensor, threat: Threat, **settings: Any) -> tuple[list[Certificate], float]:
    began = time.process_time()
    found = smoothing.configure(alpha=ALPHA, n0=N0, **settings)(victim, x, y, threat, Rng.of(0, [f"mnist/{place}" for place in range(len(x))]))
    return found, time.process_time() - began


def row(name: str, shares: list[float], more: str = "") -> None:
    print(f"{name:44}", *(f"{share:6.1%}" for share in shares), f"  {more}", flush=True)


def fixed(net: nn.Module, x: Tensor, y: Tensor, n: int) -> tuple[dict[str, Any], list[Certificate]]:
    """Certified accuracy at all radii from one number of copies."""
    victim = smoothed(sp.victim(net, sp.image(28, 28)), SIGMA)
    found, seconds = prove(victim, x, y, sp.l2(0.0), n=n)
    shares, rate = certified(found, y), len(x) * (n + N0) / seconds
    row(f"ours, {len(x)} images, n {n:,}", shares, f"{len(x) / seconds:.2f} images/s, {rate:,.0f} copies/s")
    return {"shares": shares, "images_per_second": len(x) / seconds, "copies_per_second": rate}, found


def sequential(net: nn.Module, x: Tensor, y: Tensor, n: int, before: list[Certificate]) -> list[dict[str, Any]]:
    """Copies drawn until each radius is decided, and how many decisions differ from those of n copies."""
    victim, rows = smoothed(sp.victim(net, sp.image(28, 28)), SIGMA), []
    titles = f"{'proved':>8}{'of n':>6}{'differ':>8}{'copies':>8}{'saved':>7}{'all true together, of n: Bonferroni, Holm':>44}"
    print(f"\n{'ends when the radius is decided':34}{titles}")
    for radius in RADII[1:]:
        found, seconds = prove(victim, x, y, sp.l2(radius), n=n, sequential=True)
        drawn = [one.proof.draws for one in found]
        was = [one.radius >= radius and one.proof.label == label for one, label in zip(before, y.tolist(), strict=True)]
        differ = sum(one.proved != other for one, other in zip(found, was, strict=True))
        doubts = [_doubt(one, label, radius) for one, label in zip(before, y.tolist(), strict=True)]
        together = sum(one <= ALPHA / len(doubts) for one in doubts), sum(holm(doubts, ALPHA))
        saved = 1 - (sum(drawn) / len(drawn) + N0) / (n + N0)
        counts = f"{sum(one.proved for one in found):8}{sum(was):6}{differ:8}{np.mean(drawn):8.0f}{saved:7.1%}"
        print(f"{f'radius {radius:g}':34}{counts}{f'{together[0]}, {together[1]}':>44}", flush=True)
        kept = {"proved": sum(one.proved for one in found), "fixed": sum(was), "differ": differ, "copies": float(np.mean(drawn)), "saved": saved}
        rows.append({"radius": radius, "seconds": seconds, "bonferroni": together[0], "holm": together[1], **kept})
    return rows


def deep(net: nn.Module, x: Tensor, y: Tensor, n: int = 100_000) -> list[dict[str, Any]]:
    """What the published number of copies shows, where each sample ends as soon as the radius is decided."""
    victim, rows = smoothed(sp.victim(net, sp.image(28, 28)), SIGMA), []
    print(f"\n{f'ends when decided, {len(x)} images, n {n:,}':44}{'proved':>8}{'copies':>10}{'saved':>8}")
    for radius in RADII[1:]:
        found, seconds = prove(victim, x, y, sp.l2(radius), n=n, sequential=True)
        drawn, proved = float(np.mean([one.proof.draws for one in found])), float(np.mean([one.proved for one in found]))
        saved = 1 - (drawn + N0) / (n + N0)
        print(f"{f'radius {radius:g}':44}{proved:8.1%}{drawn:10,.0f}{saved:8.1%}", flush=True)
        rows.append({"radius": radius, "proved": proved, "copies": drawn, "saved": saved, "seconds": seconds})
    return rows


def _doubt(one: Certificate, label: int, radius: float) -> float:
    """The p-value against "its class is right and stays so within the radius"."""
    return doubt(one.proof.hits, one.proof.draws, gaussian(SIGMA).needed(radius, ())) if one.proof.label == label else 1.0


def sound(net: nn.Module, x: Tensor, y: Tensor, n: int) -> dict[str, Any]:
    """Noise on the grid beside plain noise, on the first images."""
    victim, shares = sp.victim(net, sp.image(28, 28)), {}
    print()
    for name, grid in (("plain", False), ("float_sound", True)):
        found, seconds = prove(smoothed(victim, SIGMA, float_sound=grid), x, y, sp.l2(0.0), n=n)
        shares[name] = {"shares": certified(found, y), "copies_per_second": len(x) * (n + N0) / seconds}
        row(f"{name}, {len(x)} images, n {n:,}", shares[name]["shares"], f"{shares[name]['copies_per_second']:,.0f} copies/s")
    return shares


def peer(net: nn.Module, x: Tensor, y: Tensor, n: int) -> dict[str, Any] | None:
    """ART's PyTorchRandomizedSmoothing with the same network and counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = importlib.import_module("art.estimators.certification.randomized_smoothing").PyTorchRandomizedSmoothing
        except ImportError as error:
            print(f"\nART is not here: {error}")
            return None
        model = made(net, nn.CrossEntropyLoss(), (1, 28, 28), 10, scale=SIGMA, sample_size=N0, alpha=ALPHA, device_type="cpu")
        np.random.seed(0)
        began = time.process_time()
        label, radius = model.certify(x.numpy(), n=n, batch_size=250)
        seconds = time.process_time() - began
    right = label == y.numpy()
    shares = [float((right & (radius >= one) & (radius > 0)).mean()) for one in RADII]
    rate = len(x) * (n + N0) / seconds
    row(f"ART, {len(x)} images, n {n:,}", shares, f"{rate:,.0f} copies/s")
    return {"shares": shares, "copies_per_second": rate, "version": importlib.import_module("art").__version__}


def coverage(trials: int = 10_000, n: int = 1000, most: int = 10_000, alpha: float = 0.05) -> list[dict[str, Any]]:
    """How often the bound exceeds the true probability: after n draws, and at any look of the sequence up to `most` draws."""
    rows, generator = [], np.random.default_rng(0)
    print(f"\n{trials:,} trials, alpha {alpha:g}: false bounds\n{'true share':>12}{f'after {n:,}':>14}{f'at any look to {most:,}':>24}")
    for truth in (0.55, 0.8, 0.95, 0.99, 0.999):
        once = [lower_bound(hits, n, alpha) > truth for hits in range(n + 1)]
        fixed_false = float(np.mean([once[hits] for hits in generator.binomial(n, truth, trials).tolist()]))

        def hits_of(turn: int, count: int, truth: float = truth) -> int:
            return int(generator.binomial(count, truth))

        def enough(low: float, truth: float = truth) -> bool:
            return low > truth  # the worst ending: as soon as the bound is false

        ever = sum(looks(hits_of, most, alpha, enough).low > truth for _ in range(trials)) / trials
        rows.append({"truth": truth, "fixed": fixed_false, "any look": ever})
        print(f"{truth:12g}{fixed_false:14.4f}{ever:24.4f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--parts", nargs="+", default=["fixed", "sequential", "deep", "sound", "peer", "coverage"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    net = lenet()
    net.load_state_dict(load_file(asked.weights))
    net.eval()
    x, y = (part[:: len(part) // asked.images][: asked.images] for part in mnist("test"))
    kept: dict[str, Any] = {"environment": environment(), "published": PUBLISHED}
    print(f"{'certified at L2 radius':44}", *(f"{radius:6g}" for radius in RADII))
    row("published, 10,000 images, n 100,000", [share / 100 for share in PUBLISHED])
    few = slice(0, max(1, asked.images // 10))
    if "fixed" in asked.parts:
        kept["fixed"], found = fixed(net, x, y, asked.n)
        if "sequential" in asked.parts:
            kept["sequential"] = sequential(net, x, y, asked.n, found)
    if "deep" in asked.parts:
        kept["deep"] = deep(net, x[::5], y[::5])
    if "sound" in asked.parts:
        kept["sound"] = sound(net, x[few], y[few], asked.n)
    if "peer" in asked.parts:
        kept["peer"] = peer(net, x[few], y[few], asked.n)
    if "coverage" in asked.parts:
        kept["coverage"] = coverage()
    print(json.dumps(kept))


if __name__ == "__main__":
    main()
