"""The header of a record as it may be: checked when a record is opened, because the file may come from anywhere."""

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparring.core.arguments import shown
from sparring.core.errors import LoadError
from sparring.core.visible import in_utf_8
from sparring.records.store import Store

NAME = "run.json"
LARGEST = 1 << 26
"""Bytes of a header that are read."""

DEEPEST = 40
"""Lists and mappings inside each other."""

DIGITS = 40
"""Digits of a whole number; the seeds of people are shorter."""

CURE = "delete it and run the same command again; finished batches are kept"

Text = Annotated[str, Field(max_length=100_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    """Represent a part of a header; plugins and later versions may add fields."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Rate(_Part):
    value: float
    low: float
    high: float
    n: Count


class _Check(_Part):
    verdict: Text = "not applicable"
    code: Text = ""
    name: Text | None = None
    title: Text | None = None
    finding: Text | None = None
    cure: Text | None = None


class _Remedy(_Part):
    name: Text
    newly_broken: Count
    accuracy: float
    tried: list[Text]


class _Reevaluation(_Part):
    plain: Text
    clean: _Rate
    claimed: _Rate
    best_known: _Rate
    remedies: list[_Remedy]
    checks: list[_Check] = []


class _Attack(_Part):
    say: Text
    settings: dict[str, Any] | None = None
    certificate: bool = False
    statistical: bool = False
    control: bool = False
    sources: list[dict[str, Any]] | None = None


class _Cell(_Part):
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Also the name of a folder in the record."""

    attack: _Attack


class _Aim(_Part):
    name: Text = "evasion"
    unit: Text = "sample"
    baseline: Text | None = None
    controls: list[Text] = []
    metrics: list[Text] = []
    sections: list[Text] = []
    columns: dict[str, Text] = {}


class _Kind(_Part):
    """Represent a task, a domain or a goal."""

    kind: Text | None = None


class _Task(_Kind):
    classes: Count | None = None


class _Model(_Part):
    name: Text
    sha256: Text | None = None
    adapter: Text | None = None
    exposes: list[Text] | None = None
    task: _Task | None = None


class _Data(_Part):
    name: Text
    n: Count
    sha256: Text | None = None
    classes: list[Text] | None = None
    task: _Task | None = None
    domain: _Kind | None = None
    licence: Text | None = None
    source: Text | None = None


class _Threat(_Part):
    say_short: Text
    say: Text | None = None
    kind: Text | None = None
    space: _Kind = _Kind()
    goal: _Kind = _Kind()
    access: Text | None = None
    budget: dict[str, float | None] | None = None


class _Case(_Part):
    name: Text
    aim: _Aim | None = None
    n: Count | None = None
    model: _Model
    data: _Data
    threat: _Threat
    checks: list[_Check] | None = None
    cells: Annotated[list[_Cell], Field(min_length=1)]
    reevaluation: _Reevaluation | None = None
    networks: list[Any] | None = None
    asked: Count | None = None


class _Control(_Part):
    cell: Text
    value: float | None = None


class _Judged(_Part):
    rule: Text
    case: Text
    met: bool
    cell: Text = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    share: bool = True
    controls: list[_Control] = []


class _Contradiction(_Part):
    case: Text
    certificate: Text
    attack: Text
    ids: list[Text]
    file: Text


class _Environment(_Part):
    packages: dict[str, Text | None] = {}
    cores: Count | None = None
    threads: Count | None = None


class _Header(_Part):
    id: Text
    status: Text
    started: Text
    ended: Text | None = None
    resumed: Count
    command: Text | None = None
    plan: dict[str, Any] | None = None
    environment: _Environment | None = None
    cases: list[_Case]
    gate: list[_Judged]
    warnings: list[Text] = []
    contradictions: list[_Contradiction] = []
    error: Text | None = None


def header_of(store: Store) -> dict[str, Any]:
    """Return what run.json holds, as plain JSON.

    Raises:
        LoadError: Where it is no file, too large, or not a mapping in JSON.
    """
    where = f"{store.url}/{NAME}"
    try:
        about = store.files.info(store.path(NAME))
        if about["type"] != "file":
            raise LoadError(f"{where} is not a file: remove it and run the same command again; finished batches are kept")
        if (about.get("size") or 0) > LARGEST:
            raise LoadError(f"{where} has {about['size']:,} bytes, more than {LARGEST:,}: {CURE}")
        content = store.read(NAME)
    except OSError as error:
        raise LoadError(f"{where} cannot be read ({error.strerror or error}): check the permissions and the path") from error
    try:
        header = json.loads(content, object_pairs_hook=_once, parse_constant=_refused, parse_int=_whole, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise LoadError(f"{where} is not JSON ({said}): {CURE}") from error
    if not isinstance(header, dict):
        raise LoadError(f"{where} holds a {type(header).__name__}, not the header of a record: {CURE}")
    if _depth(header) > DEEPEST:
        raise LoadError(f"{where} is nested more than {DEEPEST} times: {CURE}")
    return all_in_utf_8(header)


def all_in_utf_8(content: Any) -> Any:
    """Return plain JSON whose texts are as `core.visible.in_utf_8` returns them."""
    if isinstance(content, str):
        return in_utf_8(content)
    if isinstance(content, dict):
        return {all_in_utf_8(name): all_in_utf_8(one) for name, one in content.items()}
    return [all_in_utf_8(one) for one in content] if isinstance(content, list | tuple) else content


def check_header(header: dict[str, Any], url: str) -> None:
    """Refuse a header that no version of Sparring can have written.

    What older versions left out is filled in.

    Raises:
        LoadError: For a field that is missing or holds something else; the message names it.
    """
    try:
        _Header.model_validate(header)
    except ValidationError as errors:
        error = errors.errors(include_url=False)[0]
        place, lacks = ".".join(map(str, error["loc"])), error["type"] == "missing"
        said = f"lacks {place}" if lacks else f"has {place} = {shown(error['input'])}, which is wrong: {error['msg'].lower()}"
        raise LoadError(f"{url}/{NAME} {said}: {CURE}") from errors
    names = [case["name"] for case in header["cases"]]
    if len(set(names)) < len(names):
        raise LoadError(f"{url}/{NAME} has two cases named {next(name for name in names if names.count(name) > 1)!r}: {CURE}")
    for name in ("warnings", "contradictions"):
        header.setdefault(name, [])
    for case in header["cases"]:
        case["checks"] = case.get("checks") or []
    for judged in header["gate"]:
        for name, value in {"cell": "", "value": None, "low": None, "high": None, "share": True, "controls": []}.items():
            judged.setdefault(name, value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _refused(written: str) -> None:
    raise ValueError(f"{written} is no number")


def _whole(written: str) -> int:
    if len(written) > DIGITS:
        raise ValueError(f"a number has {len(written)} digits")
    return int(written)


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(f"{written[:DIGITS]} is too large")
    return number


def _depth(content: Any) -> int:
    """How many lists and mappings are inside each other, counted without recursion."""
    deepest, level = 0, [content]
    while level := [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]:
        deepest += 1
    return deepest
