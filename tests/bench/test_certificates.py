"""The band in a run: what is proved is not attacked, the first attack audits it, a contradiction stops the case."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import ARENAS

import sparring as sp
from sparring.bench.run import Run
from sparring.certification.certificate import Certificate, Verdict
from sparring.certification.certifier import Certifier
from sparring.cli.summary import exit_code
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.registry import find
from sparring.data.dataset import Data
from sparring.metrics.band import band_at
from sparring.report.html import write_report

ARENA = ARENAS["linf"]
BOUNDS = 'network(effort="bounds")'


def data(rows=range(6)):
    rows = torch.tensor(list(rows))
    return Data.of(ARENA.x[rows], ARENA.y[rows], ARENA.victim.domain, ids=[f"s{place}" for place in rows.tolist()])


def run(out, radius=0.01, **settings):
    return sp.evaluate(
        ARENA.victim, settings.pop("data", data()), sp.linf(radius), settings.pop("attacks", ["pgd(steps=5)", "fgsm", "noise"]), out=out, **settings
    )


def said(table):
    """What was said of whom, in any order."""
    return sorted(map(str, table[["id", "attack", "status", "note", "size"]].to_numpy().tolist()))


def planted(answer):
    """A certifier that says the same of every sample."""
    return Certifier("planted", lambda victim, x, y, threat, rng, *, seconds=None: [answer] * len(x), lambda victim, threat: "", "nobody", 1, False)


def test_band_and_rows(tmp_path):
    done = run(tmp_path, certify=BOUNDS)
    table = done.table()
    rows = table[table.attack == "network(effort=bounds)"].set_index("id")
    proved = set(rows.index[rows.status == "proved"])
    assert proved
    assert set(rows.status) <= {"proved", "unknown", "skipped"}
    assert (rows.note[rows.status == "proved"].isin(["ibp", "crown"])).all()
    assert (rows["size"][rows.status == "proved"] == 0.01).all()
    assert (rows.margin[rows.status == "proved"] > 0).all()
    assert rows.status[5:].tolist() == ["skipped"]  # wrong without attack: nothing to prove
    assert done.certified_accuracy.value == len(proved) / 6
    assert done.band.certified.value <= done.band.empirical.value <= done.clean_accuracy.value
    assert done.summary()[0]["proved_by"] == rows.note[rows.status == "proved"].value_counts().to_dict()


def test_the_first_attack_audits_and_the_rest_is_spared(tmp_path):
    table = run(tmp_path, certify=BOUNDS).table()
    proved = set(table.id[table.status == "proved"])
    seen = {attack: set(rows.id[rows.status != "skipped"]) for attack, rows in table.groupby("attack")}
    assert proved <= seen["pgd(steps=5)"]
    assert not proved & seen["fgsm"]
    assert proved <= seen["noise"]  # a control meets every sample that is right
    assert set(table.note[(table.attack == "fgsm") & table.id.isin(proved)]) == {"proved by network(effort=bounds)"}


def test_without_a_cascade_every_attack_meets_every_sample(tmp_path):
    table = run(tmp_path, certify=BOUNDS, cascade=False).table()
    assert set(table.id[table.status == "proved"]) <= set(table.id[(table.attack == "fgsm") & (table.status != "skipped")])


def test_none_and_default(tmp_path):
    without = run(tmp_path / "none", certify="none")
    assert without.summary()[0]["certified_accuracy"] is None
    assert set(without.table().attack) == {"clean", "pgd(steps=5)", "fgsm", "noise"}
    assert run(tmp_path / "default").summary()[0]["certified_accuracy"] is not None


def test_shards_batches_and_resumption_say_the_same(tmp_path):
    whole = run(tmp_path / "whole", 0.05).table()
    pieces = run(tmp_path / "pieces", 0.05, batch=2).table()
    assert said(whole) == said(pieces)
    folder = run(tmp_path / "again", 0.05)
    part = next(iter((tmp_path / "again").glob("*/cells/*/part-*.parquet")))
    part.unlink()
    again = run(tmp_path / "again", 0.05)
    assert folder.path == again.path
    assert said(again.table()) == said(whole)


def test_a_contradicted_certificate_stops_the_case_and_is_kept(tmp_path):
    lying = planted(Certificate(Verdict.PROVED, "wishing", 0.5))
    done = run(tmp_path, 0.5, certify=lying)
    assert done.status == "contradicted"
    assert exit_code(done) == 3
    (one,) = done.record.header["contradictions"]
    assert one["certificate"] == "planted"
    assert one["attack"] == "pgd(steps=5)"
    assert "fgsm" not in set(done.table().attack)
    kept = np.load(f"{done.path}/{one['file']}", allow_pickle=False)
    broken = ARENA.own(torch.from_numpy(kept["after"]))
    labels = {f"s{place}": int(label) for place, label in enumerate(ARENA.y)}
    assert len(broken)
    assert all(int(label) != labels[str(name)] for label, name in zip(broken, kept["points_of"], strict=True))
    page = Path(write_report(done.record, tmp_path / "page.html")).read_text(encoding="utf-8")
    assert "had certified" in page
    assert "these results are invalid" in page
    assert run(tmp_path, 0.5, certify=lying).status == "contradicted"  # and again when the command is repeated


def test_a_refuted_sample_is_judged_and_needs_no_attack(tmp_path):
    region = sp.linf(0.5).space.around(ARENA.x, ARENA.victim.domain)
    points = find("attack", "pgd")(ARENA.victim, ARENA.x, ARENA.y, sp.linf(0.5), steps=40)
    assert bool(region.inside(points).all())
    counterexamples = iter([Certificate(Verdict.REFUTED, "looking", counterexample=points[place]) for place in range(5)])
    seen = Certifier(
        "seeing", lambda victim, x, y, threat, rng, *, seconds=None: [next(counterexamples) for _ in x], lambda victim, threat: "", "nobody", 1, False
    )
    done = run(tmp_path, 0.5, certify=seen)
    table = done.table()
    fallen = table[(table.attack == "seeing") & (table.status == "broken")]
    assert len(fallen) >= 1
    assert set(table.note[(table.attack == "pgd(steps=5)") & table.id.isin(fallen.id)]) == {"broken by seeing"}
    assert done.summary()[0]["fell_to"]["seeing"] == len(fallen)


def test_a_false_counterexample_is_no_success(tmp_path):
    lying = Certifier(
        "lying",
        lambda victim, x, y, threat, rng, *, seconds=None: [Certificate(Verdict.REFUTED, "lie", counterexample=one) for one in x],
        lambda victim, threat: "",
        "nobody",
        1,
        False,
    )
    table = run(tmp_path, 0.01, certify=lying).table()
    assert set(table.status[table.attack == "lying"]) == {"held", "skipped"}


def test_a_certifier_that_fails_is_an_error_of_its_own(tmp_path):
    def prove(victim, x, y, threat, rng, *, seconds=None):
        raise RuntimeError("out of luck")

    done = run(tmp_path, certify=Certifier("failing", prove, lambda victim, threat: "", "nobody", 1, False))
    rows = done.table()
    rows = rows[(rows.attack == "failing") & (rows.status != "skipped")]
    assert set(rows.note) == {"RuntimeError: out of luck"}
    assert exit_code(done) == 3


def test_distances_give_a_band_at_every_radius(tmp_path):
    done = sp.evaluate(ARENA.victim, data(), sp.linf(0.5).smallest(), ["fab"], out=tmp_path, certify=BOUNDS)
    case = done.table()
    bands = [band_at(case, radius) for radius in (0.0, 0.02, 0.1, 0.3, 0.5)]
    assert all(one.certified.value <= one.empirical.value for one in bands)
    assert all(
        one.certified.value >= other.certified.value and one.empirical.value >= other.empirical.value for one, other in zip(bands, bands[1:], strict=False)
    )
    assert bands[0] == (done.clean_accuracy, done.clean_accuracy)
    assert bands[1].certified.value > 0
    assert "size" in case


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("netwerk", UnknownName),
        ("network(efort=1)", UnknownName),
        ("network(1)", PlanError),
        ('network(effort="much")', PlanError),
        ("trees", NeedsError),
        (["network", "network"], PlanError),
    ],
)
def test_wrong_words_fail_before_the_first_question(written, error, tmp_path):
    with pytest.raises(error):
        run(tmp_path, certify=written)


def test_a_run_is_opened_as_it_was(tmp_path):
    """The band of the opened run, counted from its parquet files without the library."""

    def prove(victim, x, y, threat, rng, *, seconds=None):
        certificates = {True: Certificate(Verdict.PROVED, "knowing", 0.05), False: Certificate(Verdict.UNKNOWN, reason="bounds: planted")}
        return [certificates[torch.equal(one, ARENA.x[1])] for one in x]

    done = run(tmp_path, 0.05, certify=Certifier("first", prove, lambda victim, threat: "", "nobody", 1, False))
    rows = pd.concat([pd.read_parquet(part) for part in Path(done.path).glob("cells/*/*.parquet")])
    proved, broken = (set(rows.id[rows.status == status]) for status in ("proved", "broken"))
    band = Run.open(done.path).band
    assert proved == {"s1"}
    assert {"s5"} < broken < {"s0", "s2", "s3", "s4", "s5"}  # the last is wrong without attack
    assert (band.certified.value, band.certified.n) == (1 / 6, 6)
    assert (band.empirical.value, band.empirical.n) == ((6 - len(broken)) / 6, 6)
