"""Transfer matrix: points found on one network and evaluated on another."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from sparring.aims.aim import Request
from sparring.aims.case import Settings
from sparring.attacks.attack import Attack
from sparring.bench.evaluate import carry_out
from sparring.bench.gate import check_complete
from sparring.bench.run import Run
from sparring.core.domain import Domain
from sparring.core.errors import InputError
from sparring.core.events import Listener
from sparring.core.foreign import in_our_words
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.core.threat import Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.metrics.transfer import transfer_rate
from sparring.models.wanted import listed_of, threat_of, victim_of
from sparring.records.merge import merge
from sparring.records.record import Record
from sparring.records.store import Store

Source = Victim | Sequence[Victim]
"""A network to take gradients from, or several together."""


class Cell(NamedTuple):
    """Hold one attack from one source against one target.

    Attributes:
        attack: The attack as written.
        source: The name of the source; "no network" for the control.
        target: The name of the target.
        rate: Share broken, with its Wilson interval.
        errors: Points without a verdict, counted as not broken.
        own: Whether the target is the source or one of several sources, which is not transfer.
    """

    attack: str
    source: str
    target: str
    rate: Rate
    errors: int
    own: bool


@dataclass(frozen=True)
class TransferMatrix:
    """Hold how often each attack from each source breaks each target.

    Attributes:
        cells: One for every attack, source and target, and one per target for the control `random_corner`.
        n: Number of samples that every network classifies correctly; all rates refer to them.
        asked: Samples in the data.
        run: The record behind it, with one case per target.
    """

    cells: tuple[Cell, ...]
    n: int
    asked: int
    run: Run

    @classmethod
    def of(cls, run: Run) -> "TransferMatrix":
        """Return the matrix of a run of the aim "transfer".

        Raises:
            RecordError: For a run that is not complete.
        """
        check_complete(run)
        cases, tables = run.record.header["cases"], run.cases()
        cells = [_cell(cell["attack"], case, tables[case["name"]]) for case in cases for cell in case["cells"] if cell["attack"]["say"] != "clean"]
        order = list(dict.fromkeys((one.attack, one.source) for one in cells))
        return cls(tuple(sorted(cells, key=lambda one: order.index((one.attack, one.source)))), int(cases[0]["n"]), int(cases[0]["asked"]), run)

    def table(self) -> pd.DataFrame:
        """Return one row per cell: attack, source, target, rate, low, high, n, errors, own."""
        rows = [
            {"attack": one.attack, "source": one.source, "target": one.target, "rate": one.rate.value, "low": one.rate.low, "high": one.rate.high,
             "n": one.rate.n, "errors": one.errors, "own": one.own} for one in self.cells
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def rate(self, attack: str, source: str, target: str) -> Rate:
        """Return the rate of one cell."""
        for one in self.cells:
            if (one.attack, one.source, one.target) == (attack, source, target):
                return one.rate
        known = "; ".join(f"{one.attack} from {one.source} to {one.target}" for one in self.cells[:6])
        raise InputError(f"no cell {attack} from {source} to {target}; the cells include {known} ...")

    def save(self, folder: str | os.PathLike[str]) -> str:
        """Copy the record to a folder or fsspec URL, with the table as transfer.csv.

        `Run.open` reads it. Returns the folder or URL.
        """
        kept = Record(Store(folder), copy.deepcopy(self.run.record.header))
        merge(kept, [self.run.record])
        kept.store.write("transfer.csv", self.table().to_csv(index=False).encode())
        kept.save_header()
        return kept.store.url

    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the report, one offline HTML file, and return its path.

        By default it is report.html in the folder of the run.
        """
        return self.run.report(path)


@in_our_words
def transfer_matrix(
    sources: Sequence[Source], targets: Sequence[Victim], data: Data, threat: Threat, attacks: Sequence[str | Attack] = ("transfer",), *,
    seed: int = 0, batch: int = 250, out: str | os.PathLike[str] = "runs", listen: Listener | None = None,
) -> TransferMatrix:  # fmt: skip
    """Attack every source, evaluate the points on every target, and let the judge decide.

    The same call continues an interrupted run, and so does `spar run aim=transfer`.

    Args:
        sources: Victims that expose the access that the attacks need, or lists of victims for an ensemble.
        targets: Victims of any kind; each is queried once per point for its label.
        data: Samples in a domain that all networks accept; only those that every network classifies correctly are attacked and counted.
        threat: Its access and budget are the target's; queries to a source are free.
        attacks: As in a plan, "pgd(steps=20)" or 'transfer(changes="mi+di")', without a surrogate, because the source is used. Attacks
            other than `transfer` stop as soon as they break the source; such points transfer less.
        seed: As in `evaluate`.
        batch: As in `evaluate`.
        out: Folder or URL in which the run folder is created, "memory://here" for none on disk.
        listen: Called with (event, details).

    Returns:
        A `TransferMatrix` with one cell for every attack, source and target, and the control `random_corner` for every target.

    Raises:
        UsageError: For arguments that do not fit, before the first attack.

    Example:
        >>> import sparring as sp
        >>> victim, data = sp.load_model("zoo:digits-plain"), sp.load("digits", take=8)
        >>> matrix = transfer_matrix([victim], [sp.load_model("zoo:digits-robust")], data, sp.linf(0.1), out="memory://matrix")
        >>> [(cell.attack, cell.source) for cell in matrix.cells]
        [('transfer', 'digits-plain'), ('random_corner', 'no network')]
    """
    if not isinstance(data, Data):
        raise InputError(f"the data is a {type(data).__name__}: give sp.load(...) or sp.Data.of(x, y, domain)")
    threat = threat_of(threat)
    groups = [_group(one, data.domain) for one in sources]
    targets = [victim_of(one, data.domain, "a target") for one in targets]
    request = Request(data, targets, [threat], list(attacks), seed=seed, sources=groups)
    cases = find("aim", "transfer").cases(request)
    plan = {"transfer_matrix": {"sources": ["+".join(one.name for one in group) for group in groups], "targets": [one.name for one in targets],
            "attacks": [str(one) for one in attacks]}, "seed": seed, "batch": batch}  # fmt: skip
    return TransferMatrix.of(carry_out(cases, out, plan, Settings(seed, batch), listen))


def _group(source: Any, domain: Domain) -> tuple[Victim, ...]:
    """Return a source: one victim, or several for an ensemble. A pair (model, domain) is one victim."""
    return tuple(victim_of(one, domain, "a source") for one in listed_of(source))


def _cell(about: dict[str, Any], case: dict[str, Any], rows: pd.DataFrame) -> Cell:
    """Return the cell of one attack from one source, from the record of a case."""
    here, origin = rows[rows.attack == about["say"]], "+".join(one["name"] for one in about.get("sources", [])) or "no network"
    errors = int((here.status == "error").sum())
    return Cell(about.get("inner", about["say"]), origin, case["model"]["name"], transfer_rate(here), errors, bool(about.get("reference")))
