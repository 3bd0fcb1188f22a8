"""Exact robust error: how many test images of a network are proved, refuted and left open, image by image.

python -m benchmarks.exact [--net wk17a] [--radius 0.1] [--take 1000] [--start 0] [--seconds 30] [--together 50] [--verifiers attack ibp ...]

One process, one thread. `together` images are asked at once and share seconds times their number; an image the network gets wrong counts as an error without a
search. attacked: errors with a counterexample, a lower bound of the true error; certified: errors and open images, an upper bound. Published for wk17a at 0.1
over all 10,000 images: exact error 4.38 %, error under PGD 4.11 %, bound of the dual 5.82 % (MIPVerify; Wong and Kolter 2018).
Last line: one JSON object.
"""

import argparse
import json
import sys
import time
from collections import Counter

import torch

from benchmarks import networks
from benchmarks.steps import images
from sparring.bench.environment import environment
from sparring.certification.certificate import Verdict
from sparring.certification.networks.bounds.inputs import InputSet
from sparring.certification.networks.decide import decide
from sparring.certification.networks.query import Query
from sparring.graph.from_torch import from_torch

RADII = {"wk17a": 0.1, "conv_ibp": 0.3, "conv_adv03": 0.3, "wong01": 0.1, "cifar_conv_adv2": 2 / 255, "cifar_conv_mix4": 2 / 255}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", default="wk17a")
    parser.add_argument("--radius", type=float, help="Linf, images in [0, 1]; by default what the network was trained for")
    parser.add_argument("--take", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=30.0, help="an image")
    parser.add_argument("--together", type=int, default=50)
    parser.add_argument("--verifiers", nargs="+", help="by default the whole portfolio")
    options = parser.parse_args()
    if not networks.WEIGHTS.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    torch.set_num_threads(1)
    network = from_torch(networks.load(options.net).eval(), tuple(images(options.net, 1)[0].shape[1:]))
    x, y = (value[options.start :] for value in images(options.net, options.start + options.take))
    x, radius = x.double(), options.radius or RADII[options.net]
    verdicts: Counter[str] = Counter()
    reasons: list[tuple[int, str]] = []
    began = time.monotonic()
    for place in range(0, len(x), options.together):
        some, label = x[place : place + options.together], y[place : place + options.together]
        with torch.no_grad():
            right = network(some).argmax(1) == label
        verdicts["wrong"] += int((~right).sum())
        inputs = InputSet((some[right] - radius).clamp_min(0), (some[right] + radius).clamp_max(1))
        answers = decide(Query.robustness(network, inputs, label[right]), seconds=options.seconds * len(label), verifiers=options.verifiers)
        for row, answer in zip(right.nonzero().squeeze(1).tolist(), answers, strict=True):
            verdicts[f"{answer.verdict} by {answer.verifier}" if answer.verifier else str(answer.verdict)] += 1
            if answer.verdict is Verdict.UNKNOWN:
                reasons.append((options.start + place + row, answer.reason))
        sys.stderr.write(f"\r{place + len(some)} of {len(x)}, {time.monotonic() - began:.0f} s ")
    spent, total = time.monotonic() - began, len(x)
    attacked = verdicts["wrong"] + sum(count for name, count in verdicts.items() if name.startswith("refuted"))
    result = {"net": options.net, "radius": radius, "images": total, "start": options.start, "attacked_error": attacked / total}
    result |= {"certified_error": (attacked + len(reasons)) / total, "open": len(reasons), "seconds": spent}
    print(f"{'net':16} {'radius':>8} {'images':>7} {'attacked':>9} {'certified':>10} {'open':>5} {'seconds':>9}")
    print(f"{options.net:16} {radius:8.4f} {total:7} {attacked / total:9.2%} {result['certified_error']:10.2%} {len(reasons):5} {spent:9.1f}")
    for name, count in verdicts.most_common():
        print(f"  {name:24} {count}")
    for image, reason in reasons:
        print(f"  image {image}: {reason}")
    print(json.dumps({"environment": environment(), "date": time.strftime("%Y-%m-%d"), **result, "verdicts": verdicts}))


if __name__ == "__main__":
    main()
