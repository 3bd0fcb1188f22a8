"""Broken defences under doubt: what a plain attack claims, which checks fire, what remedies leave, and what the undefended twin has left.

    python -m benchmarks.self_check                       # all of the test-bed, some minutes on one core
    python -m benchmarks.self_check "temperature" "vote"  # some

The defences are those of tests/diagnosis/defences.py: small networks for scikit-learn's digits, the first 64 test images,
Linf 0.15. The last line is one JSON object.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sparring.core.threat import Threat
from sparring.diagnosis.reevaluate import Reevaluation, reevaluate
from sparring.threats.balls import Linf
from sparring.threats.goals import Untargeted

BED = Path(__file__).resolve().parents[1] / "tests" / "diagnosis" / "defences.py"


def read_bed() -> Any:
    spec = importlib.util.spec_from_file_location("defences", BED)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["defences"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def passes(look: Reevaluation) -> int:
    return sum(one.forwards + one.backwards for one in look.remedies)


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    bed = read_bed()
    data, known, rows = bed.digits().take(bed.SAMPLES), {}, []
    print(f"{'defence':20} {'clean':>6} {'claimed':>8} {'best known':>10} {'twin':>6} {'seconds':>8}  verdict     checks not in order; on the twin")
    for name in names or list(bed.DEFENCES):
        one, began = bed.DEFENCES[name], time.process_time()
        look = reevaluate(one.victim(), data, one.threat())
        seconds = time.process_time() - began
        if one.twin not in known:
            known[one.twin] = reevaluate(one.undefended(), data, Threat(Linf(bed.RADIUS), Untargeted()))
        twin = known[one.twin]
        after = {remedy.name: remedy.accuracy for remedy in look.remedies if remedy.tried}
        rows.append(
            {
                "defence": name,
                "clean": look.clean.value,
                "claimed": look.claimed.value,
                "after": after,
                "best_known": look.best_known.value,
                "twin_claimed": twin.claimed.value,
                "twin_best_known": twin.best_known.value,
                "verdict": look.verdict,
                "fired": look.fired,
                "fired_on_twin": twin.fired,
                "passes": passes(look),
                "seconds": round(seconds, 1),
            }
        )
        print(
            f"{name:20} {look.clean.value:6.1%} {look.claimed.value:8.1%} {look.best_known.value:10.1%} {twin.best_known.value:6.1%} {seconds:8.1f}  "
            f"{look.verdict:11} {' '.join(look.fired) or '-'}; {' '.join(twin.fired) or '-'}",
            flush=True,
        )
    print(json.dumps({"benchmark": "doubt", "radius": bed.RADIUS, "samples": bed.SAMPLES, "torch": torch.__version__, "threads": 1, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
