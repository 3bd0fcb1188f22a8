"""The result of an evaluation: numbers, table, report."""

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparring.core.errors import RecordError
from sparring.core.foreign import in_our_words
from sparring.core.rate import Rate
from sparring.core.show import facts_table, rows_table
from sparring.metrics.band import Band, band, certified_accuracy, proved_by
from sparring.metrics.measures import Measure, measures, measures_of_task
from sparring.metrics.outcome import CLEAN, clean_accuracy, outcomes, robust_accuracy
from sparring.records.record import Record, aim_of
from sparring.report.html import write_report


class Run:
    """Read a finished (or interrupted) evaluation from its record.

    `evaluate` returns a run, and `Run.open` reads one from its folder.

    Args:
        record: The record that holds all that is known of the run.

    Example:
        >>> import sparring as sp
        >>> from sparring.bench.api import evaluate
        >>> data = sp.load("digits", take=4)
        >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
        >>> run.status
        'done'
    """

    def __init__(self, record: Record):
        self.record = record

    @classmethod
    @in_our_words
    def open(cls, url: str | os.PathLike[str]) -> "Run":
        """Return the run in this folder.

        Args:
            url: A run folder, or the fsspec URL of one.

        Returns:
            The `Run`, whatever its status is.

        Raises:
            LoadError: Where there is no run folder.
            RecordError: For a record that contradicts itself.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> Run.open(run.path).status
            'done'
        """
        return cls(Record.open(url))

    def __repr__(self) -> str:
        cases = self.record.header.get("cases", [])
        return f"<run {self.path}: {self.status}, {len(cases)} case{'' if len(cases) == 1 else 's'}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: per case the clean accuracy and the band."""
        rows = []
        for name, case in self.cases().items():
            found = band(case)
            certified = f"{found.certified}" if any(one["certified_accuracy"] for one in self.summary() if one["case"] == name) else "not asked"
            rows.append((name, clean_accuracy(case), certified, found.empirical))
        return rows_table(("case", "clean accuracy", "certified accuracy", "robust accuracy, at most"), rows) + facts_table(
            {"record": self.path, "status": self.status, **({"missing": shortened(lacking)} if (lacking := self.missing()) else {})}
        )

    @property
    def path(self) -> str:
        """Return the folder or URL in which the record lies.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.path.startswith("memory://example/")
            True
        """
        return self.record.store.url

    @property
    def status(self) -> str:
        """Return the status: running, done, partial (a shard), interrupted or failed.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.status
            'done'
        """
        return self.record.header["status"]

    def table(self) -> pd.DataFrame:
        """Return one row per sample and attack; columns as in `records.record.ROW`.

        Returns:
            A data frame with the columns case, attack, id, status, wanted, given, quality, margin, size, queries and others.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> sorted(run.table().attack.unique())
            ['clean', 'fgsm']
        """
        return self.record.table()

    def cases(self) -> dict[str, pd.DataFrame]:
        """Return the table of each case (model, data, threat) by name.

        Returns:
            From the name of a case to its rows of `table()`.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> list(run.cases())
            ['digits-plain · linf 0.1']
        """
        table = self.table()
        return {case["name"]: table[table.case == case["name"]] for case in self.record.header["cases"]}

    def missing(self) -> list[str]:
        """Return what the record lacks of what it announces, one sentence per cell.

        Returns:
            Cases and cells with their counts of rows; nothing where the record is complete.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.missing()
            []
        """
        return self.record.missing()

    @property
    def clean_accuracy(self) -> Rate:
        """Return the share of samples that are right without attack; for runs with one case.

        Raises:
            RecordError: For a run with several cases, and for one that lacks rows.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.clean_accuracy.n
            4
        """
        return clean_accuracy(self._only())

    @property
    def robust_accuracy(self) -> Rate:
        """Return the share of samples that are right and unbroken; for runs with one case.

        Raises:
            RecordError: For a run with several cases, and for one that lacks rows.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.robust_accuracy.value <= run.clean_accuracy.value
            True
        """
        return robust_accuracy(self._only())

    @property
    def certified_accuracy(self) -> Rate:
        """Return the share of samples that are right and certified; for runs with one case.

        Raises:
            RecordError: For a run with several cases, and for one that lacks rows.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.certified_accuracy.value
            0.0
        """
        return certified_accuracy(self._only())

    @property
    def band(self) -> Band:
        """Return certified and empirical robust accuracy; for runs with one case.

        Robust accuracy lies between these two rates.

        Raises:
            RecordError: For a run with several cases, and for one that lacks rows.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.band.certified.value <= run.band.empirical.value
            True
        """
        return band(self._only())

    def _only(self) -> pd.DataFrame:
        cases = self.cases()
        if len(cases) != 1:
            raise RecordError(f"this run has {len(cases)} cases, not one: use summary(), or cases() and sparring.metrics")
        if lacking := self.missing():
            raise RecordError(f"{self.path} lacks {shortened(lacking)}: run the same command again, or look at what is there with table() and summary()")
        return next(iter(cases.values()))

    def summary(self) -> list[dict[str, Any]]:
        """Return, per case, the rates with intervals and the count that each attack broke.

        The cost is there too, and `measures` for what is not evasion.

        Returns:
            One dictionary per case. Rates hold value, low, high and n; low and high are the ends of the 95 % interval, all in [0, 1].

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.summary()[0]["clean_accuracy"]["n"]
            4
        """
        cases = self.cases()
        return [_summary(case, cases[case["name"]]) for case in self.record.header["cases"]]

    @in_our_words
    def report(self, path: str | os.PathLike[str] | None = None) -> str:
        """Write the report, one offline HTML file, and return its path.

        Args:
            path: Where to write, report.html in the run folder if left out.

        Returns:
            The path or URL of the file.

        Example:
            >>> import sparring as sp
            >>> from sparring.bench.api import evaluate
            >>> data = sp.load("digits", take=4)
            >>> run = evaluate("zoo:digits-plain", data, sp.linf(0.1), ["fgsm"], certify="none", self_check=False, out="memory://example")
            >>> run.report().endswith("report.html")
            True
        """
        return write_report(self.record, path)


def shortened(listed: Sequence[str], most: int = 3) -> str:
    """Return the first entries of a list of what is missing, and how many follow."""
    return "; ".join(listed[:most]) + (f"; and {len(listed) - most} more" if len(listed) > most else "")


def _summary(case: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    """Return one case as plain JSON."""
    cost = {name: int(rows[name].sum()) for name in ("forwards", "backwards")}
    common = {"errors": int((rows.status == "error").sum()), **cost, "seconds": float(rows.seconds.sum())}
    if aim_of(case) != "evasion":
        return {"case": case["name"], "aim": aim_of(case), "measures": _plain(measures(case, rows)), **common}
    certifiers = {cell["attack"]["say"] for cell in case["cells"] if cell["attack"].get("certificate")}
    taken = outcomes(rows).fell_to.value_counts()
    order = [attack for attack in dict.fromkeys(rows.attack) if attack != CLEAN and (attack not in certifiers or attack in taken)]
    return {
        "case": case["name"],
        "clean_accuracy": vars(clean_accuracy(rows)),
        "robust_accuracy": vars(robust_accuracy(rows)),
        "certified_accuracy": vars(certified_accuracy(rows)) if certifiers else None,
        "proved_by": proved_by(rows),
        "fell_to": {attack: int(taken.get(attack, 0)) for attack in order},
        "of_the_task": _plain(measures_of_task(case, rows)),
        **common,
    }


def _plain(measured: list[Measure]) -> list[dict[str, Any]]:
    """Measures in plain JSON."""
    return [{**vars(one.rate), "cell": one.cell, "metric": one.metric, "role": one.role, "control": one.control, "share": one.share} for one in measured]
