"""Renders the record of a run as one self-contained HTML file."""

import logging
import os
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sparring.core.visible import visible
from sparring.records.record import Record
from sparring.records.store import Store
from sparring.report.markup import markup
from sparring.report.section import Section, in_order
from sparring.report.view import View
from sparring.report.wording import short

log = logging.getLogger(__name__)

NAME = "report.html"


def write_report(record: Record, path: str | os.PathLike[str] | None = None) -> str:
    """Draw the report of a run and write it.

    path: a file, on disk or at any URL that fsspec reaches; a folder (with a slash at the end) gets a
    report.html. By default report.html in the folder of the run. Returns where it lies.
    """
    content = render(record).encode()
    if path is None:
        record.store.write(NAME, content)
        return f"{record.store.url.rstrip('/')}/{NAME}"
    where = os.fspath(path)
    scheme, mark, place = where.rpartition("://")
    folder, name = os.path.split(place)
    parent = scheme + mark + folder if mark else folder or os.curdir
    Store(parent).write(name or NAME, content)
    return where if name else f"{where}{NAME}"


def render(record: Record) -> str:
    """Return the report as a string; the same record gives the same bytes."""
    view = View.of(record)
    drawn = [(one, _draw(one, view)) for one in in_order()]
    page = resources.files("sparring.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(page)
    page = template.render(
        view=view,
        title=_title(view),
        style=Markup(resources.files("sparring.report").joinpath("style.css").read_text(encoding="utf-8")),
        sections=[{"name": one.name.replace("_", "-"), "title": one.title, "body": body} for one, body in drawn if body is not None],
    )
    return visible(page, lines=True)  # marks of direction and the like would turn around what stands beside a name


def _draw(one: Section, view: View) -> Markup | None:
    """One section; a section that fails says so in its place and takes no other with it."""
    own = view if one.aim is None else view.about(one.aim, one.name)
    if view.cases and not own.cases:
        return None
    if one.shows and not any(held.get(one.shows) for held in (view.header, *view.header.get("cases", []))):
        return None
    try:
        body = one.draw(own)
    except Exception as error:
        log.warning(
            "the section %r of the report could not be rendered (%s: %s)", one.name, type(error).__name__, error, exc_info=log.isEnabledFor(logging.DEBUG)
        )
        return markup('<p class="failed">This section could not be rendered: {kind}: {error}</p>', kind=type(error).__name__, error=error)
    return None if body is None else Markup(body)


def _title(view: View) -> str:
    models = view.models
    if not models:
        return "A run without cases"
    aims = {case.aim for case in view.cases}
    if aims != {"evasion"}:
        return f"{' and '.join(sorted(aims)).capitalize()}: {short(models, 2)}"
    return f"How robust is {models[0]}?" if len(models) == 1 else f"How robust are these {len(models)} models?"
