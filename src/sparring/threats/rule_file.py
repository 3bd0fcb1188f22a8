"""Rule files for table rows: YAML, packaged or written by the user."""

import os
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparring.core import documents
from sparring.core.documents import parse_yaml
from sparring.core.errors import LoadError, UnknownName
from sparring.core.files import is_there, path_of, read_file

PACKAGED = files("sparring.threats") / "rule_files"
"""The folder of the packaged rule files."""


WANTED = {
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "keys and values"),
    "finite_number": "a finite number",
    "greater_than_equal": "a number of at least 0",
    "list_type": "a list",
    "literal_error": "both, up, down or none",
    "string_type": "a name",
    "too_short": "at least one",
}
"""What a key of a rule file holds, by the type of the error where it holds something else."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnRule(_Strict):
    """Hold the rule for one column; see `threats.rules.Rule`.

    unit: of reach, a note for the reader.
    """

    reach: float = Field(default=float("inf"), ge=0)
    direction: Literal["both", "up", "down", "none"] = "both"
    cost: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    unit: str = ""


class RelationRule(_Strict):
    """Hold a relation, sum of weight * column <= bound (or ==); see `threats.rules.Relation`."""

    weights: dict[str, float] = Field(min_length=1)
    bound: float = Field(default=0.0, allow_inf_nan=False)
    equal: bool = False
    repair: str | None = None


class RuleFile(_Strict):
    """Represent a file of rules.

    Columns that are not listed are immutable. radius: the total cost allowed, unless the caller says otherwise. one_hot:
    groups of columns of which exactly one is 1.
    """

    radius: float = Field(ge=0, allow_inf_nan=False)
    columns: dict[str, ColumnRule] = Field(min_length=1)
    relations: list[RelationRule] = []
    one_hot: list[list[str]] = []


def read_rule_file(name_or_path: str | os.PathLike[str]) -> RuleFile:
    """Read rules from a YAML file, or the packaged rules of that name ("breast-cancer").

    A name wins over a path; write "./breast-cancer" for the path. Raises LoadError for a file that cannot be read or says
    something wrong, UnknownName for an unknown name or key.
    """
    packaged = {one.name.removesuffix(".yaml"): one for one in PACKAGED.iterdir() if one.name.endswith(".yaml")}
    path = path_of(name_or_path)
    written: str | bytes
    if isinstance(name_or_path, str) and name_or_path in packaged:
        written, where = packaged[name_or_path].read_text("utf-8"), f"packaged rules {name_or_path}"
    elif not is_there(path) and not path.suffix and len(path.parts) == 1:
        raise UnknownName("rules (and no such path)", str(name_or_path), packaged)
    else:
        where = f"rule file {path}"
        written = read_file(path, where, most=documents.BYTES)
    return _validated(_parsed(written, where), where)


def _parsed(written: str | bytes, where: str) -> dict[str, Any]:
    content = parse_yaml(written, where)
    if not isinstance(content, dict):
        raise LoadError(f"{where}: expected keys and values ({', '.join(RuleFile.model_fields)}), got {type(content).__name__}")
    return content


def _validated(content: dict[str, Any], where: str) -> RuleFile:
    try:
        return RuleFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(step) for step in first["loc"]]
        said = ", ".join(place[:-1])
        if first["type"] == "extra_forbidden":
            known = {"columns": ColumnRule, "relations": RelationRule}.get(place[0], RuleFile) if len(place) > 1 else RuleFile
            raise UnknownName(f"key of {where}" + (f", {said}" if said else ""), place[-1], known.model_fields) from error
        if first["type"] == "missing":
            raise LoadError(f"{where}: the key {place[-1]!r} is missing" + (f" in {said}" if said else "")) from error
        raise LoadError(f"{where}: {', '.join(place)} is {first['input']!r}: give {WANTED.get(first['type'], 'another value')}") from error
