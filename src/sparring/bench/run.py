"""What an evaluation gives back: numbers, table, report."""

import os
from typing import Any

import pandas as pd

from sparring.core.errors import RecordError
from sparring.metrics.band import Band, band, certified_accuracy, proved_by
from sparring.metrics.outcome import CLEAN, clean_accuracy, outcomes, robust_accuracy
from sparring.metrics.rate import Rate
from sparring.records.record import Record
from sparring.report.html import write_report


class Run:
    """A finished (or interrupted) evaluation; everything is read from its record."""

    def __init__(self, record: Record):
        self.record = record

    @classmethod
    def open(cls, url: str | os.PathLike[str]) -> "Run":
        """The run in this folder."""
        return cls(Record.open(url))

    @property
    def path(self) -> str:
        """Where the record lies."""
        return self.record.store.url

    @property
    def status(self) -> str:
        """running, done, partial (a shard), interrupted or failed."""
        return self.record.header["status"]

    def table(self) -> pd.DataFrame:
        """One row for every sample under every attack; columns as in `records.record.ROW`."""
        return self.record.table()

    def cases(self) -> dict[str, pd.DataFrame]:
        """The table of each case (model, data, threat) by name."""
        table = self.table()
        return {case["name"]: table[table.case == case["name"]] for case in self.record.header["cases"]}

    @property
    def clean_accuracy(self) -> Rate:
        """Share of samples that are right without attack; for runs with one case."""
        return clean_accuracy(self._only())

    @property
    def robust_accuracy(self) -> Rate:
        """Share of samples that are right and that no attack broke; for runs with one case."""
        return robust_accuracy(self._only())

    @property
    def certified_accuracy(self) -> Rate:
        """Share of samples that are right and proved to stay so; for runs with one case."""
        return certified_accuracy(self._only())

    @property
    def band(self) -> Band:
        """Robust accuracy lies between its two rates: certified and empirical; for runs with one case."""
        return band(self._only())

    def _only(self) -> pd.DataFrame:
        cases = self.cases()
        if len(cases) != 1:
            raise RecordError(f"this run has {len(cases)} cases: use summary(), or cases() and sparring.metrics")
        return next(iter(cases.values()))

    def summary(self) -> list[dict[str, Any]]:
        """Per case, plain JSON: rates with their intervals, what each attack took, cost."""
        rows = []
        certifiers = {
            case["name"]: {cell["attack"]["say"] for cell in case["cells"] if cell["attack"].get("certificate")} for case in self.record.header["cases"]
        }
        for name, case in self.cases().items():
            found = outcomes(case)
            taken = found.fell_to.value_counts()
            order = [attack for attack in dict.fromkeys(case.attack) if attack != CLEAN and (attack not in certifiers[name] or attack in taken)]
            rows.append(
                {
                    "case": name,
                    "clean_accuracy": vars(clean_accuracy(case)),
                    "robust_accuracy": vars(robust_accuracy(case)),
                    "certified_accuracy": vars(certified_accuracy(case)) if certifiers[name] else None,
                    "proved_by": proved_by(case),
                    "fell_to": {attack: int(taken.get(attack, 0)) for attack in order},
                    "errors": int((case.status == "error").sum()),
                    "forwards": int(case.forwards.sum()),
                    "backwards": int(case.backwards.sum()),
                    "seconds": float(case.seconds.sum()),
                }
            )
        return rows

    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the report, one offline HTML file; by default report.html in the run folder. Returns its path."""
        return write_report(self.record, path)
