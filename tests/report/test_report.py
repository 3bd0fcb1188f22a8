"""The report of a run: complete, escaped, offline, small, and drawn whatever the run came to."""

import logging
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sparring.report.html import render, write_report
from sparring.report.lights import lights, trust
from sparring.report.section import in_order
from sparring.report.view import View

ALL = ["verdict", "threat-card", "sources", "headline", "curve", "falls", "sanity", "classes", "gallery", "trouble", "reproduce"]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What is on a page: tags with their attributes, the text, and whether all tags are closed in order."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.words, self.quiet = [], [], [], False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    @property
    def sections(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


@pytest.fixture(autouse=True)
def no_section_fails(caplog):
    """A section that cannot be drawn says so on the page and in the log; here it is an error."""
    caplog.set_level(logging.ERROR)
    yield
    assert not caplog.records, caplog.text


def drawn(record):
    page = Page(render(record))
    assert not page.open
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"][1:] for tag, attrs in page.tags if tag in ("a", "use") and attrs.get("href", "").startswith("#")}
    assert anchors <= set(ids)
    return page


def test_a_finished_run_has_every_section_and_its_numbers(full):
    page = drawn(full(n=200))
    assert page.sections == ALL
    known = [one.name.replace("_", "-") for one in in_order() if one.aim in (None, "evasion")]
    assert [name for name in known if name in ALL] == ALL
    said = r"cnn gets [\d.]+ % of 200 images from digits right\. When every pixel value may move by at most 0\.1, no more than [\d.]+ % stay right"
    assert re.search(said, page.text)
    assert "None: every sample got a verdict from every method" in page.text
    assert "3 of 64 predictions differ when asked twice." in page.text


def test_the_numbers_are_those_of_the_metrics(blank, adder):
    record = blank()
    adder(record, name="a", n=100, fall=(0.0, 1.0, 0.0))
    page = drawn(record)
    clean = int((record.table().query("attack == 'clean'").status == "held").sum())
    assert f"{clean:.1f} % of 100 images" in page.text
    assert "none stay right" in page.text
    assert f"\N{MINUS SIGN}{clean}" in page.text


@pytest.mark.parametrize(("kind", "space"), [("image", "linf"), ("image", "l2"), ("table", "rules"), ("text", "words"), ("image", "something new")])
def test_foreign_strings_are_escaped(full, hostile, kind, space):
    names = [hostile, "<b>bold</b>", "$x_1$", "_quiet"]
    gate = [{"rule": hostile, "value": 0.1, "low": 0.0, "met": False}]
    record = full(header={"command": hostile, "warnings": [hostile], "plan": {hostile: [hostile]}, "gate": gate},
                  kind=kind, space=space, model=hostile, name=hostile, classes=names, attacks=(hostile, "$a_b$", "_c"))  # fmt: skip
    page = drawn(record)
    assert "script" not in {tag for tag, _ in page.tags}
    assert hostile in page.text
    assert "b" not in {tag for tag, attrs in page.tags if attrs.get("class") == "bold"}
    assert "<b>bold" not in render(record)


def test_ids_of_samples_and_notes_are_escaped(full, rows, hostile):
    record = full(points=False)
    cell = record.header["cases"][0]["cells"][1]["key"]
    record.add_part(cell, "part-9", rows(1, id=[hostile], status=["error"], note=[hostile]))
    page = drawn(record)
    assert "script" not in {tag for tag, _ in page.tags}
    assert hostile in page.text


def test_nothing_is_loaded_and_nothing_runs(full):
    source = render(full())
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    for tag, attrs in Page(source).tags:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:"))


def test_a_thousand_samples_stay_small(full):
    size = len(render(full(n=1000, classes=[f"class {number}" for number in range(100)])).encode())
    assert size < 500_000


def test_the_same_record_gives_the_same_bytes(full):
    record = full()
    assert render(record) == render(record)


def test_accessible_in_the_plain_ways(full):
    page = drawn(full())
    tags = page.tags
    assert ("html", {"lang": "en"}) in tags
    assert {"main", "nav", "header", "footer"} <= {tag for tag, _ in tags}
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    pictures = [attrs for tag, attrs in tags if tag == "svg"]
    assert all(attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs.get("aria-labelledby")) for attrs in pictures)
    assert all(attrs.get("scope") for tag, attrs in tags if tag == "th")
    assert sum(tag == "caption" for tag, _ in tags) >= sum(attrs.get("class") == "scroll" for _, attrs in tags) > 5


def test_a_run_without_cases(blank):
    page = drawn(blank(status="running", ended=None, environment={}, plan={}, command=None))
    assert "This run has no cases" in page.text


def test_a_run_that_has_not_begun(full):
    page = drawn(full(header={"status": "running"}, ran=()))
    assert "has not been evaluated on any sample yet" in page.text
    assert "no sample was judged" in page.text


def test_a_run_with_clean_rows_only(full):
    page = drawn(full(header={"status": "interrupted"}, ran=("clean",)))
    assert "nothing is known about its robustness" in page.text
    assert "pgd(steps=40) did not start" in page.text
    assert "curve" not in page.sections


def test_attacks_without_clean_rows(full):
    page = drawn(full(ran=("pgd(steps=40)",)))
    assert "verdict" in page.text.lower()


def test_samples_not_yet_attacked_do_not_count_as_robust(full, rows):
    """An interrupted batch has clean rows and nothing else."""
    record = full(n=50, fall=(0.0, 1.0, 0.0), points=False)
    record.header["cases"][0]["data"]["n"] = 90
    record.add_part(record.header["cases"][0]["cells"][0]["key"], "part-1", rows(20, id=[f"late/{place}" for place in range(20)], position=list(range(50, 70))))
    page = drawn(record)
    assert "none stay right" in page.text
    assert "40 images of 90 are not judged yet" in page.text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("status", ["error", "infeasible", "out_of_budget", "broken", "skipped", "held"])
def test_one_status_for_every_row(blank, adder, rows, status):
    record = blank()
    adder(record, name="one", n=6, ran=())
    for cell in record.header["cases"][0]["cells"]:
        answers = ["" if status == "error" else "1"] * 6
        record.add_part(cell["key"], "part-0", rows(6, status=[status] * 6, margin=[np.nan] * 6, given=answers, note=["ValueError: <x>"] * 6))
    page = drawn(record)
    if status == "error":
        assert trust(View.of(record)).word == "unreliable"
        assert "got no verdict" in page.text
        assert "ValueError: <x>" in page.text


def test_one_sample_and_labels_only(full):
    record = full(n=1)
    record.header["cases"][0]["model"]["exposes"] = ["labels"]
    assert "became NaN" not in drawn(record).text


def test_missing_margins_are_told(full, rows):
    record = full(n=3, points=False)
    record.add_part(record.header["cases"][0]["cells"][0]["key"], "part-1", rows(1, id=["x"], margin=[np.nan]))
    assert "1 margin became NaN" in drawn(record).text.replace("\N{NO-BREAK SPACE}", " ")


def test_radius_and_target_per_sample(full):
    record = full(n=5)
    threat = record.header["cases"][0]["threat"]
    threat["space"]["radius"], threat["goal"] = [0.1] * 5, {"kind": "targeted", "target": [1, 2, 3, 0, 1]}
    page = drawn(record)
    assert "every pixel value may move by at most an amount given per sample" in page.text
    assert "curve" not in page.sections


def test_several_models_and_radii_make_lines(blank, adder):
    record = blank()
    for model in ("plain", "hardened"):
        for radius in (0.05, 0.1, 0.2):
            adder(record, name=f"{model} {radius}", model=model, radius=radius, points=False)
    page = drawn(record)
    assert page.sections == ALL
    assert sum(attrs.get("class") == "plot" and "curve" in attrs["aria-labelledby"] for tag, attrs in page.tags if tag == "svg") == 1
    assert "How robust are these 2 models?" in page.text
    assert "Every pixel value may move by at most 0.05, 0.1 or 0.2." in page.text


def test_an_unknown_kind_of_input_is_told(full):
    record = full()
    record.header["cases"][0]["data"]["domain"] = {"kind": "smell"}
    assert "cannot display inputs of the kind smell" in drawn(record).text


def test_the_gallery_is_chosen_by_rule(full):
    page = drawn(full(n=100))
    for rule in ("smallest change", "median change", "largest change", "held"):
        assert rule in page.text


@pytest.mark.parametrize(
    ("checks", "word"),
    [(["ok"], "reliable"), (["ok", "not applicable"], "reliable"), (["ok", "caution"], "caution"), (["bad", "caution"], "unreliable"), ([], "caution")],
)
def test_the_worst_check_decides_the_word(full, checks, word):
    record = full(checks=[{"code": "D1", "title": "t", "verdict": one, "finding": f"found {one}", "cure": ""} for one in checks])
    assert trust(View.of(record)).word == word
    assert drawn(record).text.count(word)


def test_noise_that_beats_the_search_is_bad(full):
    case = View.of(full()).cases[0]
    assert next(light for light in lights(case) if light.code == "R1").verdict == "ok"
    late = View.of(full(attacks=("pgd", "square", "noise"), fall=(0.3, 0.0, 0.9))).cases[0]
    assert next(light for light in lights(late) if light.code == "R1").verdict == "bad"


@pytest.mark.parametrize("met", [True, False])
def test_the_gate_is_told(full, met):
    page = drawn(full(header={"gate": [{"rule": "robust_accuracy >= 0.3", "value": 0.31, "low": 0.28, "met": met}]}))
    assert ("Gate met" if met else "Gate missed") in page.text


def test_a_failed_run_says_so(full):
    page = drawn(full(header={"status": "failed", "error": "RuntimeError: <out of memory>", "resumed": 2, "warnings": ["careful"]}))
    for words in ("The run failed.", "RuntimeError: <out of memory>", "resumed 2 times", "Warning: careful"):
        assert words in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_where_it_is_written(full, tmp_path):
    record = full()
    assert write_report(record) == f"{record.store.url}/report.html"
    assert record.store.read("report.html").decode() == render(record)
    assert write_report(record, tmp_path / "new" / "a.html") == str(tmp_path / "new" / "a.html")
    assert (tmp_path / "new" / "a.html").read_text(encoding="utf-8") == render(record)
    assert write_report(record, f"{tmp_path}/") == f"{tmp_path}/report.html"
    assert write_report(record, "memory://elsewhere/deep/a.html") == "memory://elsewhere/deep/a.html"


def test_a_bare_name_is_a_file_here(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_report(full(), "a.html") == "a.html"
    assert (tmp_path / "a.html").exists()


def test_what_a_model_answers_is_said_in_words(full):
    """No plain JSON of the record reaches the page."""
    page = drawn(full(n=4))
    assert "4 classes" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "'kind'" not in page.text
