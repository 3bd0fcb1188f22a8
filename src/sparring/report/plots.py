"""Matplotlib figures as inline SVG: colours follow the page, ids stay apart, the same bytes every time."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from sparring.report.markup import markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#010a01",
    "quiet": "#010a02",
    "grid": "#010a03",
    "paper": "#010a04",
    "held": "#010a05",
    "broken": "#010a06",
    "wrong": "#010a07",
    "out_of_budget": "#010a08",
    "infeasible": "#010a09",
    "error": "#010a0a",
    "blank": "#010a0b",
    "proved": "#010a0c",
    "unknown": "#010a0d",
    **{f"line-{turn}": f"#010b0{turn}" for turn in range(6)},
}
"""Stand-ins while drawing; in the page each becomes the CSS variable --plot-NAME of style.css."""

LINES = 6
"""How many lines can be told apart by colour."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sparring",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["quiet"],
    "axes.facecolor": "none",
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["quiet"],
    "ytick.labelcolor": COLOURS["quiet"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
}


def figure(width: float, height: float) -> "Figure":
    """Return an empty figure in inches; draw inside `matplotlib.rc_context(SETTINGS)`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def svg(drawn: "Figure", name: str, title: str, description: str) -> Markup:
    """Return the figure as an inline element.

    name: unique on the page. title and description: for screen readers.
    """
    written = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the letters
        drawn.savefig(written, format="svg", bbox_inches="tight", pad_inches=0.04, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    source = written.getvalue()
    source = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", source, flags=re.DOTALL)
    source = source.replace("xlink:href", "href")
    source = _own_ids(source, name)
    for word, colour in COLOURS.items():
        source = source.replace(colour, f"var(--plot-{word})")
    head, body = source.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    opening = markup(
        '<svg class="plot" viewBox="{box}" role="img" aria-labelledby="{name}-title {name}-desc">'
        '<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>',
        box=box.group(1) if box else "0 0 100 100", name=name, title=title, description=description,
    )  # fmt: skip
    return opening + Markup(body.strip())


def _own_ids(source: str, name: str) -> str:
    """Drop the ids nobody refers to and put the name of the plot before the others."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', source))
    source = re.sub(r'\s+id="([^"]+)"', lambda found: f' id="{name}-{found.group(1)}"' if found.group(1) in used else "", source)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", source)


def key(entries: list[tuple[str, str]]) -> Markup:
    """Return the key of a plot: names of `COLOURS` and what they mean."""
    items = (
        markup('<li><span class="swatch" style="background:var(--plot-{colour})"></span>{text}</li>', colour=colour, text=text) for colour, text in entries
    )
    return markup('<ul class="key">{items}</ul>', items=Markup("").join(items))
