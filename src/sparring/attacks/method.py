"""`@method`: one file adds an attack of an aim other than evasion."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sparring.attacks.attack_set import known_sets, written_in
from sparring.core.configured import WORK, Configured
from sparring.core.errors import NeedsError, PlanError, UnknownName
from sparring.core.expression import parse
from sparring.core.registry import everything, find, register
from sparring.core.signature import check_signature
from sparring.core.taxonomy import Taxonomy


@dataclass(frozen=True)
class Method(Configured):
    """Represent a registered attack of an aim, with its settings.

    It never decides whether it succeeded.

    Attributes:
        name: As in a plan.
        carry_out: What the aim calls; its signature is the aim's.
        aim: The kind of harm.
        cites: Paper and official code.
        control: Whether it is no attack but what attacks are compared with.
        settings: Where they differ from the defaults.
        nist: Identifier in NIST AI 100-2.
        atlas: Identifier in MITRE ATLAS.
    """

    name: str
    carry_out: Callable[..., Any]
    aim: str
    cites: str
    control: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    nist: str = ""
    atlas: str = ""

    def __call__(self, subject: Any) -> Any:
        """Carry out the method on the subject that the aim passes."""
        return self.carry_out(subject, **self.settings)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Return the settings and their defaults."""
        return {one.name: one.default for one in list(inspect.signature(self.carry_out).parameters.values())[1:]}

    def configure(self, **settings: Any) -> "Method":
        """Return the same attack with these settings, checked.

        An unknown one names the nearest; a wrong type is refused.
        """
        chosen = dict(settings)
        for name, value in settings.items():
            if name not in self.defaults:
                raise UnknownName(f"setting of {self.name}", name, self.defaults)
            default = self.defaults[name]
            if isinstance(default, int | float) and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
                raise PlanError(f"{self.name}({name}={value!r}): give a number of at least 0, the default is {default!r}")
            if isinstance(default, int):
                if value != int(value):
                    raise PlanError(f"{self.name}({name}={value!r}): give a whole number, the default is {default!r}")
                if name in WORK and value < 1:
                    raise PlanError(f"{self.name}({name}={value!r}) would do nothing: give a whole number of at least 1")
                chosen[name] = int(value)
            if isinstance(default, str) and not isinstance(value, str):
                raise PlanError(f"{self.name}({name}={value!r}): give a name, the default is {default!r}")
        return replace(self, settings={**self.settings, **chosen})

    def describe(self) -> dict[str, Any]:
        """Return plain JSON with every setting filled in."""
        return {"name": self.name, "settings": self.filled, "cites": self.cites, "control": self.control}


def method(*, aim: str, cites: str, control: bool = False, taxonomy: Taxonomy | None = None) -> Callable[[Callable[..., Any]], Method]:
    """Register a function as an attack of an aim under its own name; see `Method`."""

    def enter(carry_out: Callable[..., Any]) -> Method:
        check_signature("method", carry_out, ("subject",))
        made = Method(carry_out.__name__, carry_out, aim, cites, control, {}, *(taxonomy or ("", "")))
        object.__setattr__(made, "__doc__", carry_out.__doc__)
        object.__setattr__(made, "__module__", carry_out.__module__)
        return register("method", made.name)(made)

    return enter


def methods_of(aim: str, written: Any) -> list[Method]:
    """Return the attacks of an aim as a plan names them, then its controls.

    Nobody can leave the controls out.

    Args:
        aim: The kind of harm.
        written: The name of a set of the aim, or a list such as ["knockoff(queries=100)"]. "default" is every attack of the aim that is
            no control, where no set is called so.

    Raises:
        UnknownName, PlanError, NeedsError: for what is not an attack of the aim.
    """
    known: dict[str, Method] = {name: one for name, one in everything("method").items() if one.aim == aim}
    listed = [written] if isinstance(written, str | Method) else list(written)
    if listed == ["default"] and "default" not in known_sets(aim):
        chosen = [one for one in known.values() if not one.control]
    else:
        chosen = [one if isinstance(one, Method) else _read(one, aim, known) for one in written_in(aim, listed)]
    if wrong := [one for one in chosen if one.aim != aim]:
        raise NeedsError(f"{wrong[0].name} is an attack of {wrong[0].aim}; {aim} has {', '.join(known)}")
    said = [str(one) for one in chosen]
    if twice := {one for one in said if said.count(one) > 1}:
        raise PlanError(f"{twice.pop()} is listed twice: change a setting, or leave one out")
    named = {one.name for one in chosen}
    chosen += [one for one in known.values() if one.control and one.name not in named]
    return sorted(chosen, key=lambda one: one.control)


def _read(text: str, aim: str, known: dict[str, Method]) -> Method:
    expression = parse(str(text))
    if expression.name not in everything("method"):
        raise UnknownName(f"attack of {aim}", expression.name, known)
    found: Method = find("method", expression.name)
    if expression.arguments:
        raise PlanError(f"cannot read {text!r}: settings of an attack need their names, {expression.name}({next(iter(found.defaults), 'key')}=...)")
    return found.configure(**expression.settings)
