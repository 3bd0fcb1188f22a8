"""Promises 2, 4 and 5 through a whole evaluation: what is recorded, counted, continued and merged."""

import math

import pandas as pd
import pytest
import torch
from support import ARENAS, Instrumented, fitting, short, tiny_net
from torch import nn

from sparring.aims.case import Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.attacks.attack import Attack
from sparring.bench.evaluate import carry_out
from sparring.core.rate import Rate
from sparring.core.registry import find
from sparring.data.dataset import Data
from sparring.domains.image import Image
from sparring.metrics.outcome import accuracy_under, clean_accuracy, outcomes, robust_accuracy
from sparring.models.torch import TorchVictim
from sparring.records.merge import merge
from sparring.records.record import Record


def case_of(arena, attacks, victim=None, threat=None, y=None):
    victim = victim or arena.victim
    data = Data.of(arena.x, arena.y if y is None else y, victim.domain, classes=[str(number) for number in range(victim.classes)])
    return EvasionCase(arena.name, victim, data, threat or arena.threat, tuple(attacks))


def attacks_of(arena, most=8):
    return [short(find("attack", name), most) for name, _ in fitting(arena.name)]


def content(run):
    """The table without what may differ between equal runs."""
    return run.table().drop(columns="seconds").sort_values(["attack", "position"], ignore_index=True)


@pytest.mark.few(8)
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("arena", ARENAS.attacked())
def test_recorded_successes_hold_on_the_users_own_model(arena, every, tmp_path):
    """Every stored point of a broken row is allowed and fools the model when it is asked without Sparring."""
    arena = ARENAS[arena]
    run = carry_out([case_of(arena, attacks_of(arena)[::every])], tmp_path, {}, Settings(cascade=False, points="all"))
    rows = run.table()
    checked = 0
    for cell, part in rows[rows.attack != "clean"].groupby("cell"):
        stored = run.record.points(cell)
        if not stored.ids:
            continue
        points = dict(zip(stored.ids, arena.own(arena.victim.domain.unpack(stored.after)).tolist(), strict=True))
        after = dict(zip(stored.ids, arena.victim.domain.unpack(stored.after), strict=True))
        for row in part[part.status.isin(["broken", "held"])].itertuples():
            met = points[row.id] != int(row.wanted) if pd.isna(row.aimed) else points[row.id] == int(row.aimed)
            assert met == (row.status == "broken")
            assert int(row.given) == points[row.id]
            if met:
                assert arena.allowed(arena.x[row.position], after[row.id], arena.radii()[row.position])
                checked += 1
    assert checked


@pytest.mark.few(2)
@pytest.mark.parametrize("arena", ["linf", "linf-targeted", "l2", "columns-l1", "forest", "text"])
def test_radius_zero_is_clean_accuracy(arena, tmp_path):
    """At radius 0 robust accuracy is clean accuracy, and that is what the user's own model gets right."""
    arena = ARENAS[arena]
    run = carry_out([case_of(arena, attacks_of(arena), threat=arena.threat.at(0.0))], tmp_path, {}, Settings())
    case = run.table()
    assert clean_accuracy(case).value == robust_accuracy(case).value == pytest.approx(float(arena.right().double().mean()))
    attacked = case[(case.attack != "clean") & (case.status != "skipped")]
    assert set(attacked["size"]) == {0.0}


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_wider_balls_never_help_the_defender(every, tmp_path):
    """Over nested radii, the union of what broke up to a radius only grows, and the record counts it so."""
    arena = ARENAS["linf"]
    fallen, rates = set(), []
    for radius in (0.0, 0.02, 0.06, 0.2):
        run = carry_out([case_of(arena, attacks_of(arena, 20)[::every], threat=arena.threat.at(radius))], tmp_path, {}, Settings())
        rows = run.table()
        now = {row.id for row in outcomes(rows).reset_index().itertuples() if not row.robust}
        fallen |= now
        rates.append(robust_accuracy(rows).value)
        assert fallen == now  # the default effort already finds at a wider radius what it found at a narrower one
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_the_second_time_nothing_is_asked(tmp_path):
    """The same call reads its record: no question to the model, the same rows."""
    arena = ARENAS["linf"]
    one, other = Instrumented(arena.victim), Instrumented(arena.victim)  # of one class, whose code belongs to the address
    for victim in (one, other):
        object.__setattr__(victim, "describe", arena.victim.describe)
    first = carry_out([case_of(arena, attacks_of(arena)[::2], one)], tmp_path, {}, Settings(batch=4))
    again = carry_out([case_of(arena, attacks_of(arena)[::2], other)], tmp_path, {}, Settings(batch=4))
    assert one.asked > 0
    assert other.asked == 0
    pd.testing.assert_frame_equal(content(first), content(again))
    assert first.path == again.path
    assert again.record.header["resumed"] == 1


def test_an_interrupted_run_continues_where_it_stopped(tmp_path):
    """Interrupted in the middle, the same call computes only what is missing and ends with the same rows."""
    arena = ARENAS["linf"]
    attacks = attacks_of(arena)[::4]
    whole = carry_out([case_of(arena, attacks)], tmp_path / "whole", {}, Settings(batch=2))
    count = iter(range(100))

    def stop(event, details):
        if event == "batch" and next(count) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out([case_of(arena, attacks)], tmp_path / "part", {}, Settings(batch=2), stop)
    half = Record.open(next((tmp_path / "part").iterdir()))
    assert half.header["status"] == "interrupted"
    assert 0 < len(half.table()) < len(whole.table())
    pd.testing.assert_frame_equal(content(carry_out([case_of(arena, attacks)], tmp_path / "part", {}, Settings(batch=2))), content(whole))


def test_shards_add_up_to_the_whole(tmp_path):
    """Two shards merged are the run of one worker, row by row."""
    arena = ARENAS["l2"]
    attacks = attacks_of(arena)[::4]
    whole = carry_out([case_of(arena, attacks)], tmp_path / "whole", {}, Settings(batch=2))
    parts = [carry_out([case_of(arena, attacks)], tmp_path / f"part{turn}", {}, Settings(batch=2, shard=(turn, 2))) for turn in range(2)]
    assert [part.status for part in parts] == ["partial", "partial"]
    assert len(parts[0].table()) + len(parts[1].table()) == len(whole.table())
    merge(parts[0].record, [parts[1].record])
    pd.testing.assert_frame_equal(content(parts[0]), content(whole))


def test_batches_do_not_show_in_the_record(tmp_path):
    """Another batch size gives the same rows, up to rounding."""
    arena = ARENAS["linf"]
    one, other = (content(carry_out([case_of(arena, attacks_of(arena)[::4])], tmp_path / str(batch), {}, Settings(batch=batch))) for batch in (1, 6))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-6)


KEYS = {
    "seed": lambda case: (case, Settings(seed=1)),
    "radius": lambda case: (EvasionCase(case.name, case.victim, case.data, case.threat.at(0.081), case.attacks), Settings()),
    "budget": lambda case: (EvasionCase(case.name, case.victim, case.data, case.threat.within(queries=3), case.attacks), Settings()),
    "access": lambda case: (EvasionCase(case.name, case.victim, case.data, case.threat.seeing("scores"), case.attacks), Settings()),
    "settings": lambda case: (EvasionCase(case.name, case.victim, case.data, case.threat, (case.attacks[0].configure(steps=5),)), Settings()),
    "weights": lambda case: (EvasionCase(case.name, other_net(), case.data, case.threat, case.attacks), Settings()),
    "labels": lambda case: (case_of(ARENAS["linf"], case.attacks, y=(ARENAS["linf"].y + 1) % 3), Settings()),
    "earlier": lambda case: (EvasionCase(case.name, case.victim, case.data, case.threat, (find("attack", "fgsm"), *case.attacks)), Settings()),
}


def other_net():
    return TorchVictim(tiny_net(3, seed=9), Image((1, 6, 6)), name="linf", search="plain")


@pytest.mark.parametrize("what", KEYS)
def test_a_cache_never_answers_for_something_else(what):
    """The address of an attack's rows changes with everything that could change them, and with nothing else."""
    case = case_of(ARENAS["linf"], [find("attack", "pgd").configure(steps=4)])
    same = case_of(ARENAS["linf"], [find("attack", "pgd").configure(steps=4)])
    other, settings = KEYS[what](case)
    assert case.cells(Settings()) == same.cells(Settings())
    assert case.cells(Settings())[-1].key != other.cells(Settings(seed=settings.seed))[-1].key


class NotANumber(nn.Module):
    """NaN for bright inputs, sensible otherwise."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(36, 3)

    def forward(self, x):
        scores = self.line(x.flatten(1))
        return torch.where(x[:, 0, 0, :1] > 0.5, torch.nan, scores)


def test_a_model_of_nan_gets_error_rows(tmp_path):
    """Without an answer there is no verdict: rows of status "error", which never count as standing."""
    arena, net = ARENAS["linf"], NotANumber()
    victim = TorchVictim(net, Image((1, 6, 6)), search="plain")
    x = arena.x.clone()
    x[:, 0, 0, 0] = torch.tensor([0.9, 0.9, 0.1, 0.1, 0.49, 0.1])
    with torch.no_grad():
        y = net(x).nan_to_num().argmax(1)
    data = Data.of(x, y, victim.domain, classes=["a", "b", "c"])
    run = carry_out([EvasionCase("nan", victim, data, arena.threat.at(0.0), (find("attack", "fgsm"),))], tmp_path, {}, Settings())
    rows = run.table()
    clean = rows[rows.attack == "clean"].status.tolist()
    assert clean == ["error", "error", "held", "held", "held", "held"]
    assert all("NaN" in note for note in rows[(rows.attack == "clean") & (rows.status == "error")].note)
    assert clean_accuracy(rows).value == robust_accuracy(rows).value == pytest.approx(4 / 6)


def test_an_attack_that_fails_is_no_verdict(tmp_path):
    """An exception inside an attack becomes rows of status "error", which count against the model; the run goes on."""

    def explode(problem):
        raise RuntimeError("out of memory")

    arena = ARENAS["linf"]
    broken = Attack("explode", explode, frozenset({"labels"}), frozenset(), "nobody")
    run = carry_out([case_of(arena, [broken, find("attack", "noise").configure(tries=2)])], tmp_path, {}, Settings(cascade=False))
    rows = run.table()
    failed = rows[rows.attack == "explode"]
    assert failed.status.tolist() == ["error"] * 5 + ["skipped"]
    assert "out of memory" in failed.note.iloc[0]
    assert robust_accuracy(rows).value == 0
    assert "held" in rows[rows.attack == "noise(tries=2)"].status.tolist()
    assert run.status == "done"


def row(attack, number, status):
    return {"attack": attack, "id": f"s{number}", "status": status, "wanted": "0"}


def test_outcomes_by_hand():
    """Clean, robust and fell_to of seven samples, worked out on paper."""
    clean = ["held", "held", "held", "broken", "held", "skipped", "error"]
    first = ["held", "broken", "error", "skipped", "infeasible", "skipped", "skipped"]
    second = ["held", "skipped", "skipped", "skipped", "out_of_budget", "skipped", "skipped"]
    listed = [row(name, number, status) for name, column in (("clean", clean), ("a", first), ("b", second)) for number, status in enumerate(column)]
    case = pd.DataFrame(listed)
    found = outcomes(case)
    assert found.index.tolist() == ["s0", "s1", "s2", "s3", "s4", "s6"]
    assert found.clean.tolist() == [True, True, True, False, True, False]
    assert found.robust.tolist() == [True, False, False, False, True, False]
    assert found.fell_to.tolist() == [None, "a", "a", None, None, None]
    assert (clean_accuracy(case).value, robust_accuracy(case).value) == (4 / 6, 2 / 6)
    assert accuracy_under(case, "a").value == 2 / 6


def wilson(hits, n, z=1.959963984540054):
    """Wilson 1927, from the textbook."""
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 3), (43, 100), (997, 1000), (1, 1)])
def test_intervals_are_wilsons(hits, n):
    """Both ends of the 95 % Wilson interval; no interval is empty, not even at 0 of n."""
    rate = Rate.of(hits, n)
    assert (rate.value, rate.n) == (hits / n, n)
    assert (rate.low, rate.high) == pytest.approx(wilson(hits, n), abs=1e-9)
    assert rate.low < rate.high


def test_no_trials_no_rate():
    """Without samples the rate is NaN and the interval says nothing."""
    rate = Rate.of(0, 0)
    assert math.isnan(rate.value)
    assert (rate.low, rate.high, rate.n) == (0.0, 1.0, 0)


# Promise 9 (a certificate never contradicts an attack) has no test here: nothing registers certificates yet. It belongs into this
# folder with the first of them.
