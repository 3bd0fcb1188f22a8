"""Sparring attacks, hardens and certifies machine-learning models, and writes down what held."""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring import attacks as attacks
    from sparring import defences as defences
    from sparring import tasks as tasks
    from sparring import threats as threats
    from sparring.attacks.attack import attack as attack
    from sparring.attacks.evasion.learned.generator import generator as generator
    from sparring.attacks.evasion.learned.rl_square import reinforce as reinforce
    from sparring.attacks.evasion.transfer.substitute import substitute as substitute
    from sparring.attacks.evasion.transfer.transfer import transfer as transfer
    from sparring.attacks.evasion.universal.universal import universal as universal
    from sparring.bench.api import doctor as doctor
    from sparring.bench.api import evaluate as evaluate
    from sparring.bench.api import reevaluate as reevaluate
    from sparring.bench.corruption_error import corruption_error as corruption_error
    from sparring.bench.run import Run as Run
    from sparring.bench.transfer import transfer_matrix as transfer_matrix
    from sparring.certification import smoothing as smoothing
    from sparring.certification.certify import certified_radius as certified_radius
    from sparring.certification.certify import certify as certify
    from sparring.certification.smoothing.noise import ablation as ablation
    from sparring.certification.smoothing.noise import gaussian as gaussian
    from sparring.certification.smoothing.noise import uniform as uniform
    from sparring.certification.smoothing.patch_cleanser import patch_cleanser as patch_cleanser
    from sparring.certification.smoothing.patch_smoothing import band_vote as band_vote
    from sparring.certification.smoothing.smoothed import smoothed as smoothed
    from sparring.core import errors as errors
    from sparring.core.threat import Threat as Threat
    from sparring.data.dataset import Data as Data
    from sparring.data.load import load as load
    from sparring.defences.training.harden import harden as harden
    from sparring.domains.image import image as image
    from sparring.domains.table import table as table
    from sparring.domains.text import text as text
    from sparring.models.adapter import victim as victim
    from sparring.models.bpda import bpda as bpda
    from sparring.models.eot import eot as eot
    from sparring.models.load import load_model as load_model
    from sparring.threats.goals import Targeted as Targeted
    from sparring.threats.goals import Untargeted as Untargeted
    from sparring.threats.threats import colour as colour
    from sparring.threats.threats import corruptions as corruptions
    from sparring.threats.threats import flow as flow
    from sparring.threats.threats import l0 as l0
    from sparring.threats.threats import l1 as l1
    from sparring.threats.threats import l2 as l2
    from sparring.threats.threats import linf as linf
    from sparring.threats.threats import patch as patch
    from sparring.threats.threats import rules as rules
    from sparring.threats.threats import spatial as spatial
    from sparring.threats.threats import words as words

__version__ = "0.1.0"

_PLACES = {
    "victim": "models.adapter",
    "image": "domains.image",
    "table": "domains.table",
    "text": "domains.text",
    "Data": "data.dataset",
    "load": "data.load",
    "load_model": "models.load",
    "linf": "threats.threats",
    "l2": "threats.threats",
    "l1": "threats.threats",
    "l0": "threats.threats",
    "patch": "threats.threats",
    "rules": "threats.threats",
    "words": "threats.threats",
    "spatial": "threats.threats",
    "flow": "threats.threats",
    "colour": "threats.threats",
    "corruptions": "threats.threats",
    "corruption_error": "bench.corruption_error",
    "Threat": "core.threat",
    "evaluate": "bench.api",
    "universal": "attacks.evasion.universal.universal",
    "reinforce": "attacks.evasion.learned.rl_square",
    "generator": "attacks.evasion.learned.generator",
    "transfer": "attacks.evasion.transfer.transfer",
    "substitute": "attacks.evasion.transfer.substitute",
    "transfer_matrix": "bench.transfer",
    "doctor": "bench.api",
    "harden": "defences.training.harden",
    "smoothed": "certification.smoothing.smoothed",
    "gaussian": "certification.smoothing.noise",
    "uniform": "certification.smoothing.noise",
    "ablation": "certification.smoothing.noise",
    "band_vote": "certification.smoothing.patch_smoothing",
    "patch_cleanser": "certification.smoothing.patch_cleanser",
    "certified_radius": "certification.certify",
    "certify": "certification.certify",
    "reevaluate": "bench.api",
    "eot": "models.eot",
    "bpda": "models.bpda",
    "Run": "bench.run",
    "Targeted": "threats.goals",
    "Untargeted": "threats.goals",
    "attack": "attacks.attack",
}
_RENAMED = {"second_look": "reevaluate"}
"""Names by the spelling that they had before, which is understood with a warning."""
_GROUPS = {
    "attacks": "attacks",
    "threats": "threats",
    "defences": "defences",
    "smoothing": "certification.smoothing",
    "tasks": "tasks",
    "errors": "core.errors",
}
"""Groups of names, by the module that holds each."""

__all__ = [
    "Data",
    "Run",
    "Targeted",
    "Threat",
    "Untargeted",
    "ablation",
    "attack",
    "attacks",
    "band_vote",
    "bpda",
    "certified_radius",
    "certify",
    "colour",
    "corruption_error",
    "corruptions",
    "defences",
    "doctor",
    "eot",
    "errors",
    "evaluate",
    "flow",
    "gaussian",
    "generator",
    "harden",
    "image",
    "l0",
    "l1",
    "l2",
    "linf",
    "load",
    "load_model",
    "patch",
    "patch_cleanser",
    "reevaluate",
    "reinforce",
    "rules",
    "smoothed",
    "smoothing",
    "spatial",
    "substitute",
    "table",
    "tasks",
    "text",
    "threats",
    "transfer",
    "transfer_matrix",
    "uniform",
    "universal",
    "victim",
    "words",
]  # fmt: skip

_SHOWN = [
    "Data", "Run", "Threat", "attack", "certified_radius", "certify", "doctor", "evaluate", "harden", "image", "l0", "l1", "l2", "linf", "load",
    "load_model", "reevaluate", "table", "text", "transfer", "transfer_matrix", "victim", *_GROUPS,
]  # fmt: skip
"""What `dir` lists; the other names stand in a group and are reachable here too."""


def __getattr__(name: str) -> Any:
    """Names are imported when first used, so `import sparring` (and `spar --help`) costs nothing."""
    if name in _GROUPS:
        return importlib.import_module(f"sparring.{_GROUPS[name]}")
    if name in _RENAMED:
        warnings.warn(f"sparring.{name} is called sparring.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name not in _PLACES:
        raise AttributeError(f"module 'sparring' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"sparring.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*_SHOWN, "__doc__", "__version__"])
