"""What attacks, methods and certifiers have in common: a name, and settings that differ from the defaults."""

from collections.abc import Mapping
from typing import Any, ClassVar

from sparring.core.registry import named_in

WORK = frozenset({"steps", "queries", "tries"})
"""Settings that say how long an attack searches or asks; 0 would mean that it does nothing."""


class Configured:
    """Represent a registered thing with its settings, as a plan writes it.

    `settings` holds those that differ from `defaults`.
    """

    name: str
    settings: dict[str, Any]
    defaults: Mapping[str, Any]
    quoted: ClassVar[bool] = True
    """Whether strings in settings are written in quotes."""

    def __str__(self) -> str:
        """Return the thing as it is written in a plan: pgd(steps=50)."""
        written = ", ".join(f"{name}={value!r}" if self.quoted else f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}({written})" if written else self.name

    @property
    def filled(self) -> dict[str, Any]:
        """Return every setting, with its default where it was not given."""
        return {**self.defaults, **self.settings}

    @property
    def parts(self) -> tuple[Any, ...]:
        """Return the registered things that the settings name, such as losses and verifiers.

        Their code decides the results as well.
        """
        return tuple(named_in(self.filled))
