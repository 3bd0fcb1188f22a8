"""A plan: what to evaluate, with the same keys on the command line, in YAML and in Python."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparring.aims.aim import Aim, Request
from sparring.aims.case import Case, Settings
from sparring.aims.evasion.case import EvasionCase
from sparring.attacks.attack_set import known_sets
from sparring.bench.evaluate import carry_out
from sparring.bench.run import Run
from sparring.core import documents
from sparring.core.arguments import said, shown
from sparring.core.documents import parse_yaml
from sparring.core.errors import LoadError, PlanError, UnknownName
from sparring.core.events import Listener
from sparring.core.expression import split_list, unquoted
from sparring.core.files import is_there, read_file
from sparring.core.fit import read_fit
from sparring.core.foreign import ours
from sparring.core.registry import everything, find, read_thing
from sparring.core.threat import Budget, Threat
from sparring.data.load import load
from sparring.data.members import is_list, read_members
from sparring.models.load import load_model

OF_THE_RUN = ("seed", "batch", "cascade", "points", "self_check", "shard", "out", "gate", "evaluations")
"""Keys that hold for a whole run, so none of its evaluations may have its own."""


WRITTEN: dict[Any, str] = {list[str]: "a string, or a list of strings", list[dict[str, Any]]: "a list of mappings from key to value"}
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
        values = {RENAMED.get(str(name), str(name)): value for name, value in given.items()}
        for old in RENAMED.keys() & given.keys():
            warnings.warn(f"the plan key {old} is now called {RENAMED[old]}: write {RENAMED[old]}=...", FutureWarning, stacklevel=2)
        for name in values:
            if name not in cls.model_fields:
                raise UnknownName("plan key", str(name), cls.model_fields, hint=ours(name, cls.model_fields))
        for name in ("model", "source", "threat", "gate", "attacks", "certify", "fit", "classes"):
            if isinstance(values.get(name), str):
                values[name] = _listed(name, values[name])
        if isinstance(values.get("classes"), list):
            values["classes"] = [unquoted(str(name)) for name in values["classes"]]
        try:
            for name, value in values.items():
                if isinstance(value, bool) and cls.model_fields[name].annotation is not bool:
                    raise _wrong_type(name, value)  # pydantic would read true as 1
            return cls(**values)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            raise _wrong_type(name, values[name]) from error

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

    def cases(self) -> list[Case]:
        """Return the cases, loaded and checked against each other.

        Raises UsageError for what does not fit.
        """
        found: list[Case] = []
        for part in self.parts():
            chosen: Aim = find("aim", part.aim)
            part._check_keys(chosen)
            found += chosen.cases(part._request(chosen))
        return _named_apart(found)

    def evasion_cases(self) -> list[EvasionCase]:
        """Return the cases of a plan that is about evasion alone.

        `spar certify` and `spar doctor` need them.
        """
        found = self.cases()
        if other := [one for one in found if one.aim != "evasion"]:
            raise PlanError(f"this command supports aim=evasion only, but the plan has aim={other[0].aim}: use spar run")
        return [one for one in found if isinstance(one, EvasionCase)]

    def _check_keys(self, chosen: Aim) -> None:
        """Refuse keys that only other aims understand, and plans that lack a key."""
        for name in sorted(self.model_fields_set & _keys_of_others(chosen)):
            raise PlanError(f"plan key {name!r} does not apply to aim={chosen.name}, which has the keys {', '.join(sorted(chosen.keys))}")
        for missing in ("model", "data", "threat"):
            if not getattr(self, missing) and (missing == "data" or missing in chosen.keys - chosen.optional):
                raise PlanError(f"the plan has no {missing}: add {missing}=..., or run without arguments for the default plan")

    def _request(self, chosen: Aim) -> Request:
        """Return the request for the aim, with everything loaded."""
        split = self.split or ("all" if self.members and not is_list(self.members) else None)
        data = load(str(self.data), split=split, take=self.take, target=self.target, deployed=self.deployed, task=self.task, classes=self.classes or None)
        settings = {"search": self.search} if self.search else {}
        victims = [load_model(reference, data, weights=self.weights, settings=settings) for reference in self.model]
        sources = [[load_model(part.strip(), data, settings=settings) for part in written.split("+")] for written in self.source]
        threats = [self._threat(written) if chosen.threat == "space" else read_thing(chosen.threat, written) for written in self.threat]
        fits = [read_fit(written) for written in self.fit] if "fit" in chosen.keys else []
        members = read_members(self.members, str(self.data), target=self.target, deployed=self.deployed, task=self.task) if self.members else None
        apart = "fit" in chosen.keys and chosen.train and self.split != "train"
        alike = {"target": self.target, "deployed": self.deployed, "task": self.task, "classes": self.classes or None}
        train = load(str(self.data), split="train", **alike) if apart else None
        return Request(data, victims, threats, self.attacks, self.certify, train, fits, self.trials, self.seed, sources or None, members)

    def _threat(self, written: str) -> Threat:
        space, goal = read_thing("space", written, "parse"), read_thing("goal", self.goal)
        return Threat(space, goal, "gradients" if self.access is None else self.access, Budget(self.queries, self.steps, self.seconds), minimal=self.smallest)

    def settings(self) -> Settings:
        """Return the settings with which to run the plan."""
        read = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.shard)
        if read is None:
            raise PlanError(f"shard={shown(self.shard)}: write k/n, 1/4 for the first of four parts")
        return Settings(self.seed, self.batch, self.cascade, self.points, (int(read[1]) - 1, int(read[2])), self.self_check)

    def resolved(self) -> dict[str, Any]:
        """Return the plan with its defaults filled in and its set named by version.

        It can be run again.
        """
        known = known_sets(self.aim)
        silent = set() if self.evaluations else _keys_of_others(find("aim", self.aim))
        plain = self.model_dump(exclude={"shard", *silent}, exclude_defaults=bool(self.evaluations))
        return {**plain, "attacks": [known[name].name if name in known else name for name in self.attacks]}

    def run(self, listen: Listener | None = None) -> Run:
        """Run the plan or continue an interrupted run, and judge its gate."""
        from sparring.bench.gate import check_gate, judge_gate

        settings = self.settings()
        cases = self.cases()
        if self.gate:
            check_gate(self.gate, {case.name: case.aim for case in cases}, {case.name: case.task for case in cases})
        run = carry_out(cases, self.out, self.resolved(), settings, listen)
        if self.gate:
            run.record.header["gate"] = judge_gate(run, self.gate)
            run.record.save_header()
        return run


RENAMED = {"doubt": "self_check"}
"""Keys by the names that they had before, which are understood with a warning."""


NAMED = {"aim": ("aim",), "data": ("dataset",), "threat": ("space", "tampering"), "goal": ("goal",)}
"""Keys whose values begin with the name of a registered thing, by the kinds of these things, where they are few."""


def meanings() -> dict[str, str]:
    """Return the keys of a plan and what they mean, with the registered names that some take."""
    found = {name: str(field.description) for name, field in Plan.model_fields.items()}
    names = {key: ", ".join(name for kind in kinds for name in everything(kind)) for key, kinds in NAMED.items()}
    return {key: f"{meaning}; known: {names[key]}" if key in names else meaning for key, meaning in found.items()}


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


def _wrong_type(name: str, value: Any) -> PlanError:
    """Return the error for a key that holds what it cannot hold."""
    field = Plan.model_fields[name]
    cure = WRITTEN.get(field.annotation) or said(field.annotation).removesuffix(", or None")
    return PlanError(f"plan key {name!r} = {shown(value)}: give {cure} ({meanings()[name]})")


def _keys_of_others(chosen: Aim) -> set[str]:
    """Return the keys that have a meaning for other aims only."""
    return {key for one in everything("aim").values() for key in one.keys} - chosen.keys


def _named_apart(cases: list[Case]) -> list[Case]:
    """Return the cases with numbers added to names that occur twice."""
    import dataclasses

    names = [case.name for case in cases]
    return [
        case if names.count(case.name) == 1 else dataclasses.replace(cast(Any, case), name=f"{case.name} ({names[: place + 1].count(case.name)})")
        for place, case in enumerate(cases)
    ]
