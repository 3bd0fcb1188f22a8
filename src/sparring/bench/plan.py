"""A plan: what to evaluate, in the words of the command line, YAML and Python."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sparring.bench.evaluate import Case, Listener, Settings, carry_out
from sparring.bench.expression import parse, split_list
from sparring.bench.run import Run
from sparring.bench.sets import ALIASES, choose, choose_certifiers
from sparring.core.errors import LoadError, PlanError, UnknownName
from sparring.core.registry import find
from sparring.core.threat import Budget, Goal, Threat
from sparring.core.victim import Victim
from sparring.data.dataset import Data
from sparring.data.load import load
from sparring.models.load import load_model

OF_THE_RUN = ("seed", "batch", "cascade", "points", "doubt", "shard", "out", "gate", "evaluations")
"""Keys that hold for a whole run, so none of its evaluations may have its own."""


class Plan(BaseModel):
    """One typed description of a run. Lists of models and threats multiply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: list[str] = Field(
        default=[], description="zoo:NAME, package.module:factory, FILE.onnx, FILE.skops, FILE.pt2, FILE.json or FILE.txt of trees, or https://HOST/PATH"
    )
    weights: str | None = Field(default=None, description="safetensors or state dict for a factory")
    search: str | None = Field(default=None, description="fast, bfloat16 or plain: how gradients of torch models are taken")
    data: str | None = Field(default=None, description="digits, breast-cancer, or a file or folder")
    split: str | None = Field(default=None, description="train, test or all, where the data has them")
    take: int | None = Field(default=None, description="evaluate only so many samples, the first ones")
    target: str | None = Field(default=None, description="column of the classes, in tables")
    deployed: str | None = Field(default=None, description="float or 8bit: the form in which images reach the model")
    threat: list[str] = Field(default=[], description="linf 8/255, l2 0.5, l1 10, l0 5, patch 6, spatial 20 3, corruptions 3, rules FILE, words 0.2 FILE")
    goal: str = Field(default="untargeted", description="untargeted, targeted next, targeted random or targeted CLASS")
    smallest: bool = Field(default=False, description="within the radius look for the smallest change, not for any: sizes are then distances")
    access: str | None = Field(default=None, description="gradients, scores or labels: what the adversary sees")
    queries: int | None = Field(default=None, description="budget a sample and attack: answers of the victim")
    steps: int | None = Field(default=None, description="budget: iterations of an attack")
    seconds: float | None = Field(default=None, description="budget: seconds a sample")
    attacks: list[str] = Field(default=["default"], description="a set, or attacks such as pgd(steps=50)")
    certify: list[str] = Field(default=["default"], description="default, none, or certifiers such as network(effort=thorough)")
    seed: int = Field(default=0, description="of all random draws")
    batch: int = Field(default=250, description="samples searched together")
    cascade: bool = Field(default=True, description="an attack sees only what the earlier ones left standing")
    points: str = Field(default="gallery", description="which adversarial inputs to keep: none, gallery or all")
    doubt: bool = Field(default=True, description="where a check fails, try what an adaptive adversary would on some samples, and report that too")
    shard: str = Field(default="1/1", description="do the k-th of n parts of the batches: k/n")
    out: str = Field(default="runs", description="folder or URL under which the run folder is made")
    gate: list[str] = Field(default=[], description="rules such as robust_accuracy >= 0.45, for the exit code")
    evaluations: list[dict[str, Any]] = Field(default=[], description="several plans in one run; keys here override the ones above")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Plan":
        """A plan from plain values. Unknown keys name the nearest; wrong types say which key."""
        values = dict(given)
        for name in values:
            if name not in cls.model_fields:
                raise UnknownName("plan key", str(name), cls.model_fields)
        for name in ("model", "threat", "gate", "attacks", "certify"):
            if isinstance(values.get(name), str):
                values[name] = split_list(values[name])
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            raise PlanError(f"plan key {first['loc'][0]!r} = {first['input']!r}: {first['msg'].lower()}") from error

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None, changes: Mapping[str, Any] | None = None) -> "Plan":
        """The plan in a YAML file (the embedded default without one), with some keys changed."""
        file = Path(path) if path is not None else Path(__file__).parent / "default.yaml"
        try:
            content = yaml.safe_load(file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise LoadError(f"plan {file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        except yaml.YAMLError as error:
            raise LoadError(f"plan {file} is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise LoadError(f"plan {file} must hold keys and values, got {type(content).__name__}")
        return cls.of({**content, **(changes or {})})

    def parts(self) -> Iterator["Plan"]:
        """The single evaluations of this plan, each with the outer keys it does not override."""
        if not self.evaluations:
            yield self
            return
        outer = self.model_dump(exclude={"evaluations"}, exclude_unset=True)
        for inner in self.evaluations:
            if common := [name for name in inner if name in OF_THE_RUN]:
                raise PlanError(f"plan key {common[0]!r} is of the whole run: put it beside evaluations, not inside")
            yield Plan.of({**outer, **inner})

    def cases(self) -> list[Case]:
        """Everything loaded and checked against each other; raises UsageError for what does not fit."""
        found: list[Case] = []
        for part in self.parts():
            for missing in ("model", "data", "threat"):
                if not getattr(part, missing):
                    raise PlanError(f"the plan has no {missing}: add {missing}=..., or run without arguments for the embedded default")
            data = load(str(part.data), split=part.split, take=part.take, target=part.target, deployed=part.deployed)
            for reference in part.model:
                settings = {"search": part.search} if part.search else {}
                victim = load_model(reference, data, weights=part.weights, settings=settings)
                for written in part.threat:
                    found.append(part._case(victim, data, part._threat(written)))
        return _named_apart(found)

    def _threat(self, written: str) -> Threat:
        expression, goal = parse(written), parse(self.goal)
        try:
            space = find("space", expression.name).parse(*expression.arguments, **expression.settings)
            aim: Goal = find("goal", goal.name)(*goal.arguments, **goal.settings)
        except TypeError as error:
            forms = f"a threat as {Plan.model_fields['threat'].description}, a goal as {Plan.model_fields['goal'].description}"
            raise PlanError(f"cannot read the threat {written!r} with goal {self.goal!r}: write {forms}") from error
        return Threat(space, aim, self.access or "gradients", Budget(self.queries, self.steps, self.seconds), minimal=self.smallest)

    def _case(self, victim: Victim, data: Data, threat: Threat) -> Case:
        return Case(
            f"{victim.name} · {threat.space.short()}",
            victim,
            data,
            threat,
            choose(self.attacks, victim, threat),
            choose_certifiers(self.certify, victim, threat),
        )

    def settings(self) -> Settings:
        """How to carry the plan out."""
        numbers = self.shard.split("/")
        if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            raise PlanError(f"shard={self.shard!r}: write k/n, 1/4 for the first of four parts")
        return Settings(self.seed, self.batch, self.cascade, self.points, (int(numbers[0]) - 1, int(numbers[1])), self.doubt)

    def resolved(self) -> dict[str, Any]:
        """The plan with its defaults filled in and its set named by version: it can be run again."""
        plain = self.model_dump(exclude={"shard"}, exclude_defaults=bool(self.evaluations))
        return {**plain, "attacks": [ALIASES.get(name, name) for name in self.attacks]}

    def run(self, listen: Listener | None = None) -> Run:
        """Carry the plan out, or go on where it stopped, and judge its gate."""
        from sparring.bench.gate import check_gate, judge_gate

        settings = self.settings()
        cases = self.cases()
        check_gate(self.gate, (case.name for case in cases))
        run = carry_out(cases, self.out, self.resolved(), settings, listen)
        run.record.header["gate"] = judge_gate(run, self.gate)
        run.record.save_header()
        return run


def _named_apart(cases: list[Case]) -> list[Case]:
    """Cases of one name (the same model on other data, say) get numbers."""
    import dataclasses

    names = [case.name for case in cases]
    return [
        case if names.count(case.name) == 1 else dataclasses.replace(case, name=f"{case.name} ({names[: place + 1].count(case.name)})")
        for place, case in enumerate(cases)
    ]
