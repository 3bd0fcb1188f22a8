"""A plan: what to evaluate, with the same keys on the command line, in YAML and in Python."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparring.core import documents
from sparring.core.arguments import said, shown
from sparring.core.documents import parse_yaml
from sparring.core.errors import LoadError, PlanError, UnknownName
from sparring.core.events import Listener
from sparring.core.expression import numbers_of, split_list, unquoted
from sparring.core.files import is_there, read_file
from sparring.core.foreign import ours
from sparring.core.registry import everything, find

if TYPE_CHECKING:
    from sparring.aims.case import Case, Settings
    from sparring.aims.evasion.case import EvasionCase
    from sparring.bench.run import Run

OF_THE_RUN = ("seed", "batch", "cascade", "points", "self_check", "shard", "out", "gate", "evaluations")
"""Keys that hold for a whole run, so none of its evaluations may have its own."""


OF_MODELS = ("search", "mean", "std", "scale", "layout", "output")
"""Keys that say how models are wrapped."""


WRITTEN: dict[Any, str] = {
    list[str]: "a string, or a list of strings",
    list[float]: "a number, or a list of numbers",
    list[dict[str, Any]]: "a list of mappings from key to value",
}
"""What keys of these types hold, where the words for arguments of functions do not fit."""


class Plan(BaseModel):
    """Describe a run with typed fields. Lists of models and threats multiply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aim: str = Field(default="evasion", description="the kind of harm (spar ls aims)")
    model: list[str] = Field(
        default=[], description="zoo:NAME, package.module:factory, FILE.onnx, FILE.skops, FILE.pt2, FILE.json or FILE.txt of trees, or https://HOST/PATH"
    )
    source: list[str] = Field(
        default=[], description="for aim=transfer: networks on which points are found, with + between several together; by default the models themselves"
    )
    members: str | None = Field(
        default=None, description="for aim=membership with a model: its training samples, as a file with one id per line or a split such as train"
    )
    weights: str | None = Field(default=None, description="safetensors or state dict for a factory")
    mean: list[float] = Field(default=[], description="the model gets (x * scale - mean) / std: one number, or one per channel or column")
    std: list[float] = Field(default=[], description="see mean; above 0")
    scale: list[float] = Field(default=[], description="see mean; 255 where a network of whole numbers up to 255 meets inputs in [0, 1]")
    layout: str | None = Field(default=None, description="channels last, for models that take [n, height, width, channels]")
    output: str | None = Field(default=None, description="name or place of the output with the scores, where the model returns several")
    search: str | None = Field(default=None, description="how gradients of torch models are computed: fast, bfloat16 or plain")
    data: str | None = Field(default=None, description="a data set by name, or a file or folder")
    split: str | None = Field(default=None, description="train, test or all, if the data has splits")
    task: str | None = Field(default=None, description="type of the true answers, if not classes: values(tolerance=20), labels(5), mask(count=2)")
    take: int | None = Field(default=None, description="number of samples to evaluate, from the first one on")
    target: str | None = Field(default=None, description="for tables: the column with the classes; for labels and values, several: cat,dog")
    classes: list[str] = Field(default=[], description="names of all classes in the order of the model, for data that lacks some or orders them otherwise")
    deployed: str | None = Field(default=None, description="form in which images reach the model: float or 8bit")
    threat: list[str] = Field(
        default=[], description="what the adversary may change, such as linf 8/255, l2 0.5, patch 6, spatial 20 3, rules FILE or words 0.2 FILE"
    )
    goal: str = Field(
        default="untargeted",
        description=(
            "what it wants: untargeted, targeted next, targeted random or targeted CLASS; for values, up 5; for masks, erase CLASS; "
            "for labels, erase LABEL or add LABEL"
        ),
    )
    smallest: bool = Field(default=False, description="look for the smallest change within the radius; the column size then holds distances")
    access: str | None = Field(default=None, description="what the adversary can observe: gradients, scores or labels")
    queries: int | None = Field(default=None, description="budget per sample and attack: queries to the victim")
    steps: int | None = Field(default=None, description="budget per sample and attack: iterations")
    seconds: float | None = Field(default=None, description="budget per sample and attack: seconds")
    attacks: list[str] = Field(default=["default"], description="a set of attacks, or attacks such as pgd(steps=50)")
    fit: list[str] = Field(default=["mlp"], description="how models are trained, for aims that train some: mlp(hidden=64, epochs=30) (spar ls fits)")
    trials: int = Field(default=10, description="for aim=poisoning: number of trials, each with another seed")
    certify: list[str] = Field(default=["default"], description="certifiers to run before the attacks: default, none, or some such as network(effort=thorough)")
    seed: int = Field(default=0, ge=0, description="seed of all random draws")
    batch: int = Field(default=250, description="number of samples per batch")
    cascade: bool = Field(default=True, description="each attack sees only the samples that the earlier ones did not break")
    points: str = Field(default="gallery", description="adversarial inputs to keep: none, gallery or all")
    self_check: bool = Field(default=True, description="if a check fails, try adaptive attacks on some samples and report their result too")
    shard: str = Field(default="1/1", description="do only the k-th of n shares of the batches: k/n")
    out: str = Field(default="runs", description="folder or URL in which the run folder is created")
    gate: list[str] = Field(default=[], description="rules that set the exit code, such as robust_accuracy >= 0.45")
    evaluations: list[dict[str, Any]] = Field(default=[], description="several plans in one run; their keys override the outer ones")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Plan":
        """Return a plan from plain values.

        Unknown keys name the nearest, and wrong types say which key.
        """
        written = {RENAMED.get(str(name), str(name)): value for name, value in given.items()}
        values = dict(written)
        for old in RENAMED.keys() & given.keys():
            warnings.warn(f"the plan key {old} is now called {RENAMED[old]}: write {RENAMED[old]}=...", FutureWarning, stacklevel=2)
        for name in values:
            if name not in cls.model_fields:
                raise UnknownName("plan key", str(name), cls.model_fields, hint=ours(name, cls.model_fields))
            _check_text(name, values[name])
        for name in ("model", "source", "threat", "gate", "attacks", "certify", "fit", "classes"):
            if isinstance(values.get(name), str):
                values[name] = _listed(name, values[name])
        for name in ("mean", "std", "scale"):
            if name in values:
                values[name] = numbers_of(values[name])
        if isinstance(values.get("output"), int) and not isinstance(values["output"], bool):
            values["output"] = str(values["output"])
        if isinstance(values.get("classes"), list):
            values["classes"] = [unquoted(str(name)) for name in values["classes"]]
        try:
            for name, value in values.items():
                one = next((each for each in value if isinstance(each, bool)), None) if isinstance(value, list) else value
                if isinstance(one, bool) and cls.model_fields[name].annotation is not bool:
                    raise _wrong_type(name, written[name])  # pydantic would read true as 1
            return cls(**values)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            raise _wrong_type(name, written[name]) from error

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None, changes: Mapping[str, Any] | None = None) -> "Plan":
        """Return the plan in a YAML file, with some keys changed.

        Without a file it is the embedded default.
        """
        file = Path(path) if path is not None else Path(__file__).parent / "default.yaml"
        content = parse_yaml(read_file(file, f"plan {file}", most=documents.BYTES), f"plan {file}")
        if not isinstance(content, dict):
            raise LoadError(f"plan {file} must hold keys and values, got {type(content).__name__}")
        return cls.of({**content, **(changes or {})})

    def parts(self) -> Iterator["Plan"]:
        """Return the single evaluations of this plan, each merged with the outer keys."""
        if not self.evaluations:
            yield self
            return
        outer = self.model_dump(exclude={"evaluations"}, exclude_unset=True)
        for inner in self.evaluations:
            if common := [name for name in inner if name in OF_THE_RUN]:
                raise PlanError(f"plan key {common[0]!r} applies to the whole run: move it from evaluations to the top level")
            yield Plan.of({**outer, **inner})

    def cases(self) -> "list[Case]":
        """Return the cases, loaded and checked against each other.

        Raises UsageError for what does not fit.
        """
        from sparring.bench.cases import cases_of  # here, as in the methods below, so that a wrong key is answered before torch is imported

        return cases_of(self)

    def evasion_cases(self) -> "list[EvasionCase]":
        """Return the cases of a plan that is about evasion alone.

        `spar certify` and `spar doctor` need them.
        """
        from sparring.bench.cases import evasion_cases_of

        return evasion_cases_of(self)

    def of_models(self) -> dict[str, Any]:
        """Return the settings with which the models are wrapped."""
        return {name: value for name in OF_MODELS if (value := getattr(self, name))}

    def settings(self) -> "Settings":
        """Return the settings with which to run the plan."""
        from sparring.aims.case import Settings

        read = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.shard)
        if read is None:
            raise PlanError(f"shard={shown(self.shard)}: write k/n, 1/4 for the first of four parts")
        return Settings(self.seed, self.batch, self.cascade, self.points, (int(read[1]) - 1, int(read[2])), self.self_check)

    def resolved(self) -> dict[str, Any]:
        """Return the plan with its defaults filled in and its set named by version.

        It can be run again.
        """
        from sparring.attacks.attack_set import known_sets
        from sparring.bench.cases import keys_of_others

        known = known_sets(self.aim)
        silent = set() if self.evaluations else keys_of_others(find("aim", self.aim))
        plain = self.model_dump(exclude={"shard", *silent}, exclude_defaults=bool(self.evaluations))
        return {**plain, "attacks": [known[name].name if name in known else name for name in self.attacks]}

    def run(self, listen: Listener | None = None) -> "Run":
        """Run the plan or continue an interrupted run, and judge its gate; a shard is not judged."""
        from sparring.bench.evaluate import carry_out
        from sparring.bench.gate import check_gate, conclude

        settings = self.settings()
        cases = self.cases()
        if self.gate:
            check_gate(self.gate, {case.name: case.aim for case in cases}, {case.name: case.task for case in cases})
        run = carry_out(cases, self.out, self.resolved(), settings, listen)
        conclude(run, self.gate)
        return run


RENAMED = {"doubt": "self_check"}
"""Keys by the names that they had before, which are understood with a warning."""


NAMED = {"aim": ("aim",), "data": ("dataset",), "threat": ("space", "tampering"), "goal": ("goal",)}
"""Keys whose values begin with the name of a registered thing, by the kinds of these things, where they are few."""


def meanings() -> dict[str, str]:
    """Return the keys of a plan and what they mean, with the registered names that some take."""
    return {name: meaning(name) for name in Plan.model_fields}


def meaning(key: str) -> str:
    """Return what a key of a plan means, with the registered names that it takes."""
    said = str(Plan.model_fields[key].description)
    return f"{said}; known: {', '.join(name for kind in NAMED[key] for name in everything(kind))}" if key in NAMED else said


def _listed(name: str, written: str) -> list[str]:
    """Return the items of a list that is written with commas; a file whose path has commas is one of them."""
    if name in ("model", "source") and is_there(written):
        return [written]
    items = split_list(written)
    if name != "threat" or len(items) < 2:
        return items
    known = {*everything("space"), *everything("tampering")}
    threats: list[str] = []
    for item in items:
        joined = [f"{threats[-1]}{comma}{item}" for comma in (",", ", ")] if threats and re.split(r"[\s(]", item)[0] not in known else []
        whole = next((one for one in joined if is_there(one.partition(" ")[2])), None)
        if whole is None:
            threats.append(item)
        else:  # the item was the rest of a path
            threats[-1] = whole
    return threats


def _check_text(name: str, value: Any) -> None:
    """Refuse characters that no file and no record can hold."""
    for text in value if isinstance(value, list) else [value]:
        try:
            held = isinstance(text, str) and b"\0" in os.fsencode(text)
        except UnicodeEncodeError:
            held = True
        if held:
            raise PlanError(f"plan key {name!r} = {shown(text)}: it holds a character that no name can have, so leave that out")


def _wrong_type(name: str, value: Any) -> PlanError:
    """Return the error for a key that holds what it cannot hold."""
    field = Plan.model_fields[name]
    cure = WRITTEN.get(field.annotation) or said(field.annotation).removesuffix(", or None")
    return PlanError(f"plan key {name!r} = {shown(value)}: give {cure} ({meaning(name)})")
