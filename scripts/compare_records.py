"""Show that two versions of the code give the same verdicts on a fixed plan.

    python scripts/compare_records.py run SOURCE OUT.parquet   # SOURCE: a checkout; its src is what runs
    python scripts/compare_records.py compare BEFORE.parquet AFTER.parquet

`run` carries out `CASES` with the package in SOURCE/src, in a process of its own with one thread, and writes all rows of the records to
OUT.parquet and a header (commit, versions, seconds and exit code of each case) beside it in OUT.json. Every setting is spelled out, so a changed
default changes nothing. It takes about a minute on one core. It exits with 1 where a case fails; the rows of the others are written all the same.

`compare` exits with 0 where both hold the same rows with the same verdicts and costs, with 1 where they differ, after a table of at most 20
differences, and with 2 where there is nothing to compare. Rows are matched by case, attack and sample, an attack by its name and by its turn
among those of that name in the case. The last line of both commands is one JSON object.

Of the package only the command `spar run` and `sparring.Run.open(folder).table()` are used.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

COLUMNS = {
    "case": ("case",),
    "attack": ("attack",),
    "id": ("id",),
    "status": ("status",),
    "wanted": ("wanted", "label"),
    "given": ("given", "predicted"),
    "aimed": ("aimed", "target"),
    "margin": ("margin",),
    "size": ("size",),
    "queries": ("queries",),
    "forwards": ("forwards",),
    "backwards": ("backwards",),
}
"""What is compared, and the names of the column in the record, the newest first."""
NEWER = "wanted"
"""Records with this column hold answers as text, "3" for a class, and a margin that is positive where the answer is right; without it
classes are numbers, -1 for none, and the margin of a point is positive where it meets its goal."""
OF_CERTIFICATES = ("proved", "unknown")
"""Statuses of certificates. Their margin is a lower bound of that of the right class, so in all records its sign is the same."""
KEY = ["case", "attack", "id"]
NUMBERS = ["margin", "size"]
MOST_SHOWN = 20
FORMER = {"self_check": "doubt", "verifiers": "rungs"}
"""Keys and settings of the plan by the names that trees without `self_check` know."""
TEXT = Path(__file__).resolve().parents[2] / "shared" / "data" / "text"
MESSAGES, NEIGHBOURS = TEXT / "sms_spam.tsv.gz", TEXT / "counterfitted_neighbors.json.gz"


def bag_of_words() -> Any:
    """Train the model of the case on words: a linear classifier of counts, on the messages that come last."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    messages = pd.read_csv(MESSAGES, sep="\t", header=None, names=["label", "text"], quoting=3).tail(2000)
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression(C=1.0, max_iter=1000))
    return pipeline.fit(messages["text"].tolist(), (messages["label"] == "spam").astype(int).tolist())


def method(name: str, **settings: Any) -> str:
    """Write an attack or a certifier as a plan does."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"


def attack(name: str, *, within: float = 0.0, **settings: Any) -> str:
    """Write an attack as a plan does, with the setting that all attacks have."""
    return method(name, **settings, within=within)


def plan(
    model: str,
    threat: str,
    take: int,
    attacks: list[str],
    *,
    data: str = "digits",
    split: str | None = "test",
    search: str | None = "fast",
    goal: str = "untargeted",
    smallest: bool = False,
    access: str = "gradients",
    queries: int | None = None,
    steps: int | None = None,
    certify: tuple[str, ...] = ("none",),
    seed: int = 0,
    batch: int = 250,
    cascade: bool = False,
) -> dict[str, Any]:
    """Write a plan with every key. This is the only place where the keys are spelled."""
    return {
        "model": [model],
        "weights": None,
        "search": search,
        "data": data,
        "split": split,
        "take": take,
        "target": None,
        "deployed": None,
        "threat": [threat],
        "goal": goal,
        "smallest": smallest,
        "access": access,
        "queries": queries,
        "steps": steps,
        "seconds": None,
        "attacks": attacks,
        "certify": list(certify),
        "seed": seed,
        "batch": batch,
        "cascade": cascade,
        "points": "none",
        "self_check": False,
        "shard": "1/1",
        "gate": [],
    }


PLAIN, ROBUST, FOREST = "zoo:digits-plain", "zoo:digits-robust", "zoo:breast-cancer-forest"
TABLE: dict[str, Any] = {"data": "breast-cancer", "search": None}
PGD = attack("pgd", steps=10, step_size=0.0, loss="ce", restarts=1, momentum=0.0, random_start=True, decay="none")
STEADY_PGD = attack("pgd", steps=10, step_size=1.0, loss="pm", restarts=2, momentum=0.75, random_start=False, decay="cosine")
APGD = attack("apgd", steps=20, loss="ce", restarts=2, draws=1)
APGD_T = attack("apgd_t", steps=15, loss="dlr", targets=3, restarts=1, order="scores", skip=0, draws=1)
ODI = attack("odi", steps=10, warmup=3, restarts=2, loss="margin", step_size=1.0, bias=0.8, warm=False)
FAB = attack("fab", steps=15, restarts=1, candidates=5, overshoot=0.05, bias=0.1, backward=0.9)
FMN = attack("fmn", steps=40, step_size=1.0, factor=0.1, start=3.0, loss="margin")
DDN = attack("ddn", steps=30, factor=0.1, start=3.0, loss="ce")
DEEPFOOL = attack("deepfool", steps=30, candidates=10, overshoot=0.02, search=8)
SQUARE = attack("square", queries=100, share=0.8, restarts=1, warm=False)
HOPSKIPJUMP = attack("hopskipjump", steps=5, probes=50, most_probes=1000, start_tries=50)
NOISE = attack("noise", tries=20)
BLUNT = attack("fgsm", loss="ce")
CASCADE = [
    BLUNT,
    attack("square", queries=60, share=0.8, restarts=1, warm=True, within=0.7),
    attack("odi", steps=5, warmup=2, restarts=1, loss="margin", step_size=1.0, bias=0.8, warm=True, within=0.5),
    APGD_T,
    attack("square", queries=100, share=0.4, restarts=1, warm=False),
    NOISE,
]

# `minimal` is left out: it runs another attack with the defaults of that one
CASES: dict[str, dict[str, Any]] = {
    "linf, plain": plan(PLAIN, "linf 0.05", 100, [BLUNT, PGD, APGD, ODI, FAB, SQUARE, NOISE]),
    "linf, robust": plan(ROBUST, "linf 0.15", 100, [PGD, STEADY_PGD, APGD, APGD_T, ODI, FAB, SQUARE, NOISE]),
    "linf, more searches": plan(
        ROBUST,
        "linf 0.15",
        20,
        [
            attack("md", steps=10, restarts=2, step_size=2.0),
            attack("multi_targeted", steps=10, targets=4, restarts=1, step_size=1.0, order="scores"),
            attack("fab_t", steps=10, targets=3, restarts=1, overshoot=0.05, bias=0.1, backward=0.9),
            attack("nes", steps=5, samples=20, reach=0.001, step_size=0.1, directions="gaussian", momentum=0.9, loss="margin"),
            attack("signhunter", queries=100),
            attack("cmaes", generations=8, population=0, tiles=4),
            attack("genetic", generations=20, population=6, rate=0.5, reach=0.4),
        ],
        seed=3,
    ),
    "l2": plan(
        ROBUST,
        "l2 0.8",
        30,
        [
            PGD,
            DDN,
            attack("cw", steps=30, turns=3, step_size=3.0, start=40.0),
            attack("square_l2", queries=100, share=0.8, restarts=1, warm=False),
            NOISE,
        ],
    ),
    "l1": plan(
        ROBUST,
        "l1 1.6",
        30,
        [
            attack("apgd_l1", steps=20, loss="ce", restarts=2, draws=1),
            attack("apgd_l1_t", steps=15, loss="dlr", targets=3, restarts=1, draws=1),
            attack("ead", steps=30, turns=3, step_size=0.1, elastic=1.0, start=4.0),
            attack("square_l1", queries=100, share=0.8, restarts=1, warm=False),
        ],
    ),
    "l0": plan(
        PLAIN,
        "l0 2",
        30,
        [
            attack("sparse_rs", queries=150, share=0.3, restarts=1),
            attack("sigma_zero", steps=40, step_size=1.0, softness=0.001, threshold=0.3, threshold_step=0.01),
            attack("jsma", steps=10, pixels=1, targets=3),
            attack("one_pixel", generations=4, population=20),
        ],
    ),
    "patch": plan(PLAIN, "patch 2", 30, [PGD, attack("sparse_rs_patch", queries=150, share=0.4, reach=0.75, restarts=1)]),
    "spatial": plan(PLAIN, "spatial(5, 0.05, 7, 3)", 40, [attack("spatial_grid"), attack("spatial_random", tries=5)]),
    "flow": plan(PLAIN, "flow 0.3", 20, [attack("stadv", steps=10, restarts=1, loss="margin", smoothness=0.05)]),
    "colour": plan(PLAIN, "colour(0.3, 8)", 20, [attack("recoloradv", steps=10, restarts=1, loss="margin")]),
    "corruptions": plan(PLAIN, 'corruptions(3, "all", 0)', 20, [attack("corruption", names="all")]),
    "targeted, next": plan(PLAIN, "linf 0.15", 40, [PGD, APGD, SQUARE], goal="targeted next"),
    "targeted, drawn": plan(PLAIN, "l2 1.0", 30, [PGD, DDN], goal="targeted random", seed=1),
    "smallest, linf": plan(
        PLAIN,
        "linf 0.12",
        25,
        [FMN, DEEPFOOL, FAB, attack("cw_linf", steps=20, patience=10, step_size=1.0, start=0.3, cut=0.1)],
        smallest=True,
    ),
    "smallest, l2": plan(
        ROBUST,
        "l2 1.2",
        25,
        [
            FMN,
            DEEPFOOL,
            DDN,
            attack("superdeepfool", steps=20, candidates=10, overshoot=0.02, search=10),
            attack("pdpgd", steps=30, step_size=1.0, weight=0.1, dual_step=0.2),
            attack("brendel_bethge", steps=15, trust=0.3, overshoot=1.0, start_steps=30, search=10),
        ],
        smallest=True,
    ),
    "labels, l2": plan(
        PLAIN,
        "l2 1",
        15,
        [
            HOPSKIPJUMP,
            attack("boundary", steps=100, aside=0.1, closer=0.03, start_tries=50),
            attack("sign_flip", steps=100, shrink=0.03, flipped=0.01, start_tries=50),
            attack("surfree", steps=30, widest=30.0, angles=1, halvings=7, frequencies=0.5, start_tries=50),
        ],
        access="labels",
        queries=400,
    ),
    "labels, blunt": plan(
        PLAIN,
        "l2 2",
        20,
        [attack("blur", tries=10), attack("contrast", tries=10), attack("salt_and_pepper", tries=10)],
        access="labels",
    ),
    "labels, linf": plan(PLAIN, "linf 0.15", 15, [HOPSKIPJUMP, attack("rays", flips=200)], access="labels", queries=300),
    "scores": plan(PLAIN, "l2 0.7", 20, [attack("simba", steps=100, step_size=0.5, basis="pixel", frequencies=0.125)], access="scores", queries=150),
    "forest, rules": plan(FOREST, "rules breast-cancer", 40, [attack("coordinate", steps=10, restarts=2), NOISE], access="labels", **TABLE),
    "forest, linf": plan(
        FOREST,
        "linf 1",
        25,
        [SQUARE, NOISE],
        access="scores",
        certify=(method("trees", minimal=True, states=5000, max_clique=2, max_level=1, milp=False, proofs=False),),
        **TABLE,
    ),
    "certificates, bounds": plan(
        ROBUST,
        "linf 0.08",
        40,
        [PGD, APGD],
        certify=(method("network", effort="bounds", verifiers=None, execution="real", proofs=False, batch=100),),
        cascade=True,
    ),
    "certificates, quick": plan(
        ROBUST,
        "l2 0.3",
        20,
        [PGD],
        certify=(method("network", effort="quick", verifiers=None, execution="real", proofs=False, batch=6), method("lipschitz")),
        batch=11,
    ),
    "budget of queries": plan(ROBUST, "linf 0.2", 30, [PGD, APGD, SQUARE], queries=25),
    "budget of steps": plan(ROBUST, "linf 0.2", 30, [APGD, ODI], steps=7),
    "cascade": plan(ROBUST, "linf 0.15", 60, CASCADE, cascade=True),
    "cascade, split": plan(ROBUST, "linf 0.15", 60, CASCADE, cascade=True, batch=7),
    "plain search": plan(ROBUST, "linf 0.1", 30, [PGD, SQUARE], search="plain", split="train", seed=5),
}
if MESSAGES.exists() and NEIGHBOURS.exists():
    CASES["words"] = plan(
        "compare_records:bag_of_words",
        f'words(0.2, "{NEIGHBOURS}")',
        30,
        [attack("greedy", ranking="both")],
        data=str(MESSAGES),
        split=None,
        search=None,
        access="scores",
        certify=(method("words", effort="bounds", verifiers=None, batch=20),),
    )


def run_plan(source: Path, out: Path) -> int:
    """Carry out the plan with the package in a source tree, in a process of its own. Returns the exit code."""
    package = source.resolve() / "src"
    if not (package / "sparring").is_dir():
        raise SystemExit(f"{source} holds no src/sparring: name a checkout")
    if "words" not in CASES:
        print(f"SKIPPED: the case on words needs {MESSAGES.name} and {NEIGHBOURS.name} in {TEXT}", file=sys.stderr)
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "carry-out", str(source.resolve()), str(out.resolve())]
        return subprocess.run(command, env=environment, cwd=folder, check=False).returncode


def carry_out(source: Path, out: Path) -> int:
    """Carry out every case in the current folder, then write the rows and the header."""
    import torch

    import sparring

    if not Path(sparring.__file__).is_relative_to(source):
        raise SystemExit(f"sparring is imported from {sparring.__file__}, not from {source}")
    torch.set_num_threads(1)
    tables, cases = [], {}
    for number, (name, given) in enumerate(CASES.items()):
        folder, began = Path(f"case-{number:02d}"), time.perf_counter()
        code, table = carry_out_case(given, folder)
        cases[name] = {"code": code, "rows": len(table), "seconds": round(time.perf_counter() - began, 2)}
        print(f"{name:24} {len(table):5d} rows {cases[name]['seconds']:7.2f} s" + (f"  FAILED with exit code {code}" if code else ""), file=sys.stderr)
        tables.append(table.assign(case=name))
    if not any(len(table) for table in tables):
        raise SystemExit(f"every case failed, so {out} is not written")
    pd.concat([table for table in tables if len(table)], ignore_index=True).to_parquet(out)
    header = {
        "commit": commit_of(source),
        "plan": hashlib.sha256(json.dumps(CASES).encode()).hexdigest()[:16],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "seconds": round(sum(case["seconds"] for case in cases.values()), 1),
        "cases": cases,
    }
    out.with_suffix(".json").write_text(json.dumps(header, indent=1))
    print(json.dumps({**header, "cases": len(cases), "failed": [name for name, case in cases.items() if case["code"]]}))
    return int(any(case["code"] for case in cases.values()))


def carry_out_case(given: dict[str, Any], folder: Path) -> tuple[int, pd.DataFrame]:
    """Run one plan through the command line. Returns the exit code and the table of the record, empty where the command failed."""
    import yaml

    import sparring
    from sparring.cli.app import main

    folder.mkdir()
    file = folder / "plan.yaml"
    written = yaml.safe_dump({**given, "out": str(folder / "runs")}, sort_keys=False)
    if "self_check" not in (Path(sparring.__file__).parent / "bench" / "plan.py").read_text():
        for name, former in FORMER.items():
            written = written.replace(name, former)
    file.write_text(written)
    sys.argv = ["spar", "run", str(file), "--quiet"]
    try:
        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    found = list(folder.glob("runs/*/run.json"))
    if code or len(found) != 1:
        return code or 3, pd.DataFrame()
    return 0, sparring.Run.open(found[0].parent).table()


def commit_of(source: Path) -> str | None:
    """Name the commit that is checked out there, with -dirty where files were changed, if the folder itself is a checkout."""
    ceiling = {**os.environ, "GIT_CEILING_DIRECTORIES": str(source.parent)}
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, env=ceiling, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None


class Comparison(NamedTuple):
    """Differences, one a row with both values; how many rows were compared; how far numbers are apart at most."""

    differences: pd.DataFrame
    rows: int
    largest: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """How many differences there are of each kind."""
        return {str(name): int(count) for name, count in self.differences["column"].value_counts().items()}


def normalise(record: pd.DataFrame) -> pd.DataFrame:
    """Bring the table of a record of either schema into the columns of `COLUMNS`, indexed by `KEY`.

    Attacks become name and turn ("odi 2" for the second odi of a case), since how a record writes their settings may change. Answers become
    text, none where there is none, and margins positive where the answer is right.
    """
    table = pd.DataFrame(index=record.index)
    for name, spellings in COLUMNS.items():
        present = [spelling for spelling in spellings if spelling in record]
        if not present:
            raise ValueError(f"the record has no column {' or '.join(spellings)}; it has {', '.join(map(str, record.columns))}: add its new name to COLUMNS")
        table[name] = record[present[0]]
    names = table["attack"].astype(str).str.split("(").str[0]
    written = pd.DataFrame({"case": table["case"], "attack": table["attack"], "name": names}).drop_duplicates()
    turns = written.assign(turn=written.groupby(["case", "name"]).cumcount() + 1).set_index(["case", "attack"])["turn"]
    turn = turns.reindex(pd.MultiIndex.from_frame(table[["case", "attack"]])).to_numpy()
    table["attack"] = names.where(turn == 1, names + " " + pd.Series(turn, index=table.index).astype(str))
    for name in ("wanted", "given", "aimed"):
        table[name] = [_answer(value) for value in table[name]]
    for name in NUMBERS:
        table[name] = table[name].astype(float)
    if NEWER not in record:
        table["margin"] = table["margin"].where(table["status"].isin(OF_CERTIFICATES), -table["margin"])
    table = table.set_index(KEY)
    if table.index.has_duplicates:
        raise ValueError(f"the record holds a sample twice: {table.index[table.index.duplicated()][0]}")
    return table


def _answer(value: Any) -> str:
    """Write a class as text, whether the record holds it as a number or as text; "none" where there is none."""
    if pd.isna(value) or value in (-1, "", "-1"):
        return "none"
    return value if isinstance(value, str) else str(int(value))


def compare(first: pd.DataFrame, second: pd.DataFrame, tolerance: float) -> Comparison:
    """Compare the tables of two records.

    Args:
        first: The rows of one record, of either schema.
        second: The rows of the other.
        tolerance: How far margins and sizes may be apart, in their own unit up to 1 and as a share of the first above.
    """
    a, b = normalise(first), normalise(second)
    both = a.index.intersection(b.index, sort=False)
    found = [pd.DataFrame({"column": "row", "first": here, "second": there}, index=lone) for lone, here, there in _lone(a.index, b.index)]
    a, b, largest = a.loc[both], b.loc[both], {}
    for name in a.columns:
        ours, theirs = a[name].to_numpy(), b[name].to_numpy()
        if name in NUMBERS:
            with np.errstate(invalid="ignore"):
                apart = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
            apart = np.where(np.isnan(apart), np.inf, apart)
            largest[name] = float(apart.max(initial=0.0))
            differs = apart > tolerance * np.maximum(1.0, np.where(np.isfinite(ours), np.abs(ours), 1.0))
        else:
            differs = ours != theirs
        found.append(pd.DataFrame({"column": name, "first": ours[differs], "second": theirs[differs]}, index=both[differs], dtype=object))
    return Comparison(pd.concat(found).rename_axis(KEY).reset_index(), len(both), largest)


def _lone(first: pd.Index, second: pd.Index) -> list[tuple[pd.Index, str, str]]:
    """Rows that only one of the two has, with what to show for each side."""
    return [(first.difference(second, sort=False), "there", "missing"), (second.difference(first, sort=False), "missing", "there")]


def compare_files(first: Path, second: Path, tolerance: float) -> int:
    """Compare two outputs of `run` and print what differs. Returns the exit code."""
    try:
        before, after = pd.read_parquet(first), pd.read_parquet(second)
        headers = [json.loads(path.with_suffix(".json").read_text()) for path in (first, second)]
        found = compare(before, after, tolerance)
    except (OSError, ValueError) as error:
        print(f"cannot compare {first} and {second}: {error}", file=sys.stderr)
        return 2
    for name in ("plan", "python", "torch", "machine"):
        if headers[0][name] != headers[1][name]:
            print(f"note: {name} is {headers[0][name]} in the first and {headers[1][name]} in the second")
    if not found.rows:
        print("the two have no row in common: nothing was compared", file=sys.stderr)
        return 2
    failed = sorted({name for header in headers for name, case in header["cases"].items() if case["code"]})
    if failed:
        print(f"failed when run, in one or both: {', '.join(failed)}")
    same = found.differences.empty and not failed
    if not found.differences.empty:
        with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_colwidth", 50):
            print(found.differences.head(MOST_SHOWN).to_string(index=False))
        print(f"{len(found.differences)} differences, {min(MOST_SHOWN, len(found.differences))} shown")
    outcome = {
        "same": same,
        "rows": found.rows,
        "cases": int(before["case"].nunique()),
        "differences": found.counts,
        "failed": failed,
        "largest": {name: value if np.isfinite(value) else str(value) for name, value in found.largest.items()},
        "tolerance": tolerance,
        "commits": [header["commit"] for header in headers],
    }
    print(json.dumps(outcome))
    return 0 if same else 1


def main() -> int:
    """Read the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{run,compare}")
    for name in ("run", "carry-out"):
        running = commands.add_parser(name)
        running.add_argument("source", type=Path, help="a checkout, the folder that holds src")
        running.add_argument("out", type=Path, help="Parquet file to write; the header goes beside it, with the suffix .json")
    comparing = commands.add_parser("compare")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("second", type=Path)
    comparing.add_argument("--tolerance", type=float, default=1e-6, help="of margin and size: absolute up to 1, relative above (default: %(default)s)")
    asked = parser.parse_args()
    if asked.command == "compare":
        return compare_files(asked.first, asked.second, asked.tolerance)
    if asked.out.suffix == ".json":
        parser.error(f"{asked.out}: the rows are written as Parquet, and the header takes the name with .json: write OUT.parquet")
    return (run_plan if asked.command == "run" else carry_out)(asked.source, asked.out)


if __name__ == "__main__":
    sys.exit(main())
