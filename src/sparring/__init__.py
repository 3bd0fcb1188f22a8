"""Sparring attacks, hardens and certifies machine-learning models, and writes down what held."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring import attacks as attacks
    from sparring.bench.api import doctor as doctor
    from sparring.bench.api import evaluate as evaluate
    from sparring.bench.run import Run as Run
    from sparring.core.threat import Threat as Threat
    from sparring.data.dataset import Data as Data
    from sparring.data.load import load as load
    from sparring.domains.image import image as image
    from sparring.domains.table import table as table
    from sparring.domains.text import text as text
    from sparring.models.adapter import victim as victim
    from sparring.threats.threats import l1 as l1
    from sparring.threats.threats import l2 as l2
    from sparring.threats.threats import linf as linf
    from sparring.threats.threats import rules as rules
    from sparring.threats.threats import words as words

__version__ = "0.1.0"

_PLACES = {
    "victim": "models.adapter",
    "image": "domains.image",
    "table": "domains.table",
    "text": "domains.text",
    "Data": "data.dataset",
    "load": "data.load",
    "linf": "threats.threats",
    "l2": "threats.threats",
    "l1": "threats.threats",
    "rules": "threats.threats",
    "words": "threats.threats",
    "Threat": "core.threat",
    "evaluate": "bench.api",
    "doctor": "bench.api",
    "Run": "bench.run",
}
__all__ = ["attacks", *_PLACES]


def __getattr__(name: str) -> Any:
    """Names are imported when first used, so `import sparring` (and `spar --help`) costs nothing."""
    if name == "attacks":
        return importlib.import_module("sparring.attacks")
    if name not in _PLACES:
        raise AttributeError(f"module 'sparring' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"sparring.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
