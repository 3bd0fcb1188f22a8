"""ACAS Xu: all 186 instances of the competition of 2022, with its limit of 116 s each, against the labels.

python -m benchmarks.acasxu [--take 186] [--every 1] [--seconds 116] [--only 65 73 ...]

One process, one thread, one instance after another; networks and properties are read once. A label is "sat" where a published counterexample
was replayed and "unsat" where at least two trusted tools agree. "sat" here needs a point that onnxruntime confirms.

Table: for each property how many instances were decided and how many against their label, median and largest seconds (reading included), and
the verifiers that decided. What was not decided is named with its reason. Last line: one JSON object.
"""

import argparse
import csv
import json
import statistics
import time
from collections import Counter, defaultdict
from typing import Any

import torch

from benchmarks import networks
from sparring.bench.environment import environment
from sparring.certification.vnnlib.instance import decide_instance

SHARED = networks.WEIGHTS.parent / "vnncomp" / "acasxu"


def measure(chosen: list[tuple[int, str, str, float]], labels: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    found = []
    for place, network, asked, limit in chosen:
        answer = decide_instance(SHARED / network, SHARED / asked, limit)
        label = labels[network, asked]
        wrong = answer.decided and label in ("sat", "unsat") and answer.result != label
        row = {"place": place, "network": network, "property": asked, "result": answer.result, "label": label, "wrong": wrong}
        found.append({**row, "seconds": answer.seconds, "verifier": answer.verifier, "reason": answer.reason})
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [row["seconds"] for row in rows]
    decided = [row for row in rows if row["result"] in ("sat", "unsat")]
    return {
        "instances": len(rows),
        "decided": len(decided),
        "sat": sum(row["result"] == "sat" for row in rows),
        "wrong": sum(row["wrong"] for row in rows),
        "median_seconds": statistics.median(seconds),
        "largest_seconds": max(seconds),
        "total_seconds": sum(seconds),
        "verifiers": dict(Counter(row["verifier"] for row in decided)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--take", type=int, default=186, help="only the first so many")
    parser.add_argument("--every", type=int, default=1, help="only every so many")
    parser.add_argument("--only", type=int, nargs="+", default=[], help="places in the list of instances, from 0")
    parser.add_argument("--seconds", type=float, help="a limit of our own instead of the competition's")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the shared data is not beside the checkout")
        return
    torch.set_num_threads(1)
    with (SHARED / "labels.csv").open(newline="") as file:
        labels = {(row["onnx"], row["vnnlib"]): row["label"] for row in csv.DictReader(file)}
    with (SHARED / "instances.csv").open(newline="") as file:
        listed = [(place, network, asked, options.seconds or float(limit)) for place, (network, asked, limit) in enumerate(csv.reader(file))]
    chosen = [one for one in listed[: options.take : options.every] if not options.only or one[0] in options.only]
    rows = measure(chosen, labels)
    of_property = defaultdict(list)
    for row in rows:
        of_property[row["property"].split("/")[-1].removesuffix(".vnnlib")].append(row)
    print(f"{'':10} {'decided':>9} {'sat':>4} {'wrong':>6} {'median s':>9} {'largest s':>10}  verifiers")
    for name, some in [*of_property.items(), ("all", rows)]:
        one = summary(some)
        figures = f"{one['decided']:4}/{one['instances']:<4} {one['sat']:4} {one['wrong']:6} {one['median_seconds']:9.3f} {one['largest_seconds']:10.2f}"
        print(f"{name:10} {figures}  {', '.join(f'{verifier} {count}' for verifier, count in one['verifiers'].items())}")
    for row in rows:
        if row["wrong"] or row["result"] not in ("sat", "unsat"):
            print(f"{row['place']} {row['network']} {row['property']}: {row['result']}, label {row['label']}: {row['reason']}")
    print(
        json.dumps(
            {"environment": environment(), "date": time.strftime("%Y-%m-%d"), **summary(rows), "slowest": sorted(rows, key=lambda row: -row["seconds"])[:5]}
        )
    )


if __name__ == "__main__":
    main()
