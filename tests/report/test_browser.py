"""The report in a real browser: it draws in light, dark and print, asks the network for nothing and complains about nothing."""

from pathlib import Path

import pytest

from sparring.report.html import write_report

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
