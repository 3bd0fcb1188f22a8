"""mnist_fc: all 90 instances of the competition of 2022, with its limits of 120 and 300 s each, against the labels.

python -m benchmarks.mnist_fc [--take 90] [--every 1] [--seconds S] [--nets 256x2 256x4 256x6] [--only 3 17 ...]

Fully connected networks of 2, 4 and 6 layers of 256 ReLUs. One process, one thread, one instance after another; networks are read once. A label is "sat"
where a published counterexample was replayed and "unsat" where at least two trusted tools agree. "sat" here needs a point that onnxruntime confirms.

Table: for each network how many instances were decided and how many against their label, median and largest seconds (reading included), and the verifiers
that decided. What was not decided is named with its reason. Last line: one JSON object.
"""

import argparse
import csv
import json
import time
from typing import Any

import torch

from benchmarks import networks
from benchmarks.acasxu import summary
from sparring.bench.environment import environment
from sparring.certification.vnnlib.instance import decide_instance

SHARED = networks.WEIGHTS.parent / "vnncomp" / "mnist_fc"


def measure(place: int, network: str, asked: str, limit: float, label: str) -> dict[str, Any]:
    """One row."""
    answer = decide_instance(SHARED / network, SHARED / asked, limit)
    wrong = answer.decided and label in ("sat", "unsat") and answer.result != label
    row = {"place": place, "network": size(network), "property": asked.split("/")[-1], "result": answer.result, "label": label, "wrong": wrong}
    return {**row, "seconds": answer.seconds, "verifier": answer.verifier, "reason": answer.reason}


def size(network: str) -> str:
    """The part of a file's name that says how large its network is."""
    return network.split("_")[-1].removesuffix(".onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--take", type=int, default=90, help="only the first so many")
    parser.add_argument("--every", type=int, default=1, help="only every so many")
    parser.add_argument("--nets", nargs="+", default=["256x2", "256x4", "256x6"])
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
    rows = []
    for place, network, asked, limit in listed[: options.take : options.every]:
        if size(network) in options.nets and (not options.only or place in options.only):
            row = measure(place, network, asked, limit, labels[network, asked])
            rows.append(row)
            asked, label, said = row["property"], row["label"], row["verifier"] or row["reason"]
            print(
                f"{place:3} {row['network']} {asked:22} {label:14} {row['result']:8} {row['seconds']:7.2f} {said}{'  WRONG' if row['wrong'] else ''}",
                flush=True,
            )
    print(f"{'':10} {'decided':>9} {'sat':>4} {'wrong':>6} {'median s':>9} {'largest s':>10}  verifiers")
    for name, some in [*((one, [row for row in rows if row["network"] == one]) for one in options.nets), ("all", rows)]:
        if some:
            one = summary(some)
            figures = f"{one['decided']:4}/{one['instances']:<4} {one['sat']:4} {one['wrong']:6} {one['median_seconds']:9.3f} {one['largest_seconds']:10.2f}"
            print(f"{name:10} {figures}  {', '.join(f'{verifier} {count}' for verifier, count in one['verifiers'].items())}")
    print(json.dumps({"environment": environment(), "date": time.strftime("%Y-%m-%d"), **summary(rows), "rows": rows}))


if __name__ == "__main__":
    main()
