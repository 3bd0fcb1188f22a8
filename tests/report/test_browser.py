"""The report in a real browser: it draws in light, dark and print, asks the network for nothing and complains about nothing."""

import re
from pathlib import Path

import pytest
from payloads import BROWSER, TERMINAL

from sparring.core.visible import visible
from sparring.report.html import render, write_report

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium: apt-get install -y chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CONTRAST = """() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const behind = e => {
    for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/^rgba\\(.*, 0\\)$|color\\(/.test(c)) return c }
    return "rgb(255,255,255)" };
  const walker = document.createTreeWalker(document.querySelector("body"), NodeFilter.SHOW_TEXT), low = [];
  while (walker.nextNode()) { const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest("svg, .shade")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push(e.className + ": " + walker.currentNode.data.slice(0, 40)) }
  return low }"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as session:
        started = session.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def report(full, adder, tmp_path):
    record = full(header={"gate": [{"rule": "robust_accuracy >= 0.45", "value": 0.31, "low": 0.28, "met": False}]})
    adder(record, name="trees", kind="table", space="rules", model="trees")
    adder(record, name="words", kind="text", space="words", model="words")
    return Path(write_report(record, tmp_path / "report.html"))


@pytest.mark.parametrize(("look", "width"), [("light", 1280), ("dark", 1280), ("print", 680), ("light", 390), ("dark", 390)])
def test_it_draws_without_network_or_complaint(browser, report, look, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if look == "dark" else "light", offline=True)
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    if look == "print":
        page.emulate_media(media="print")
    page.goto(report.as_uri())
    assert page.locator("section").count() == 11
    assert page.locator("svg.plot").first.bounding_box()["width"] > 300
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (look != "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    assert not page.evaluate("[...document.images].filter(image => !image.naturalWidth).length")
    assert page.screenshot(full_page=True)
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_it_prints(browser, report):
    page = browser.new_page()
    page.goto(report.as_uri())
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")
    page.close()


IN_UTF_8 = [one for one in TERMINAL if not re.search(r"[\ud800-\udfff]", one)]
"""Others are escaped when a header is read or begun."""


def hostile_record(full, adder, payloads):
    """A record with every payload in every place where a name enters: one case per kind of input."""
    checks = [{"code": "D1", "name": one, "title": one, "value": one, "threshold": one, "verdict": "bad", "finding": one, "cure": one} for one in payloads]
    rate = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 6}
    every = " ".join(payloads)
    remedy = {"name": every, "newly_broken": 1, "accuracy": 0.5, "tried": payloads}
    record = full(
        header={
            "command": every, "plan": {one: one for one in payloads}, "warnings": payloads, "error": every, "status": "failed", "id": payloads[0],
            "started": payloads[1], "ended": payloads[2],
            "gate": [{**rate, "rule": one, "case": one, "cell": one, "share": True, "met": False, "controls": []} for one in payloads],
        },
        name="images", model=every, classes=[f"{one} {every}" for one in payloads], checks=checks, attacks=(f"pgd {every}", every, f"noise {every}"),
    )  # fmt: skip
    adder(record, name="rows", kind="table", space="rules", model=every, classes=payloads)
    adder(record, name="words", kind="text", space="words", model=every, classes=payloads)
    for case in record.header["cases"]:
        case["name"] += f" {every}"
        case["threat"].update(say=every, say_short=every, access=every, channel=every)
        case["data"].update(name=every, licence=every, source=every)
        case["model"].update(adapter=every, exposes=payloads)
        case["reevaluation"] = {"plain": every, "clean": rate, "claimed": rate, "best_known": rate, "verdict": every, "remedies": [remedy], "checks": checks}
    record.header["environment"].update(system=every, processor=every, device=every, commit=every, packages={one: one for one in payloads})
    return record


def test_hostile_names_are_text(browser, full, adder, tmp_path):
    """Nothing runs, nothing is loaded, nothing is hidden, and every name stands there as text."""
    path = Path(write_report(hostile_record(full, adder, [*BROWSER, *IN_UTF_8]), tmp_path / "report.html"))
    context = browser.new_context(offline=True)
    page = context.new_page()
    ran, requests = [], []
    page.expose_function("ran", lambda what: ran.append(what))
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert ran == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert page.locator("script, iframe, object, embed, base, form, input, video, template, noscript, math, a[href^='javascript' i]").count() == 0
    assert page.evaluate("[...document.querySelectorAll('*')].filter(one => [...one.attributes].some(name => /^on/i.test(name.name))).length") == 0
    assert "evil" not in page.evaluate("[...document.querySelectorAll('style')].map(one => one.textContent).join()")
    assert page.evaluate("getComputedStyle(document.body).display") != "none"
    text = page.evaluate("document.body.textContent")
    assert "could not be rendered" not in text
    for payload in BROWSER:
        assert payload in text, payload
    for payload in IN_UTF_8:
        assert visible(payload, lines=True) in text, payload
    context.close()


def test_hostile_names_leave_no_control_characters(full, adder):
    """The bytes of the page hold nothing that a terminal or an editor obeys, without a browser."""
    page = render(hostile_record(full, adder, IN_UTF_8))
    assert page == visible(page, lines=True)
    assert "could not be rendered" not in page
