"""Reproduce: the plan, the command, versions, seeds, hashes and a glossary."""

from typing import Any

from sparring.core.taxonomy import VERSIONS
from sparring.report.markup import Cell, Column, Markup, details, markup, table, terms
from sparring.report.section import section
from sparring.report.view import View
from sparring.report.wording import DASH

LONGEST = 20_000
"""Number of characters of the plan that are printed."""

GLOSSARY = {
    "clean accuracy": "Share of the samples that the model classifies correctly without attack.",
    "robust accuracy": "Share of samples that the model classifies correctly and no attack broke. It is an upper bound: a stronger attack can lower it.",
    "attack": "A search for an allowed change that makes the model wrong.",
    "broken": "An allowed change was found that meets the adversary's goal, and the deployed model confirmed it.",
    "held": "The attack ended without finding such a change.",
    "out of budget": "The budget was exhausted before the attack ended. The sample counts as not broken.",
    "radius": "The largest allowed change, in the unit of the threat.",
    "margin": "Distance of the model's scores from the adversary's goal. It is negative if the goal is met.",
    "95 % interval": "Wilson's interval: if the samples are drawn at random, it contains the true share in 95 of 100 such evaluations.",
    "query": "One answer of the model. A forward is one pass through the model, a backward is one gradient.",
    "masked gradients": "The model hides or destroys its gradients, so that attacks fail although it is not robust.",
}


@section(order=140, title="Reproduce", aim=None)
def reproduce(view: View) -> Markup:
    """Show everything that is needed to repeat the run."""
    header = view.header
    environment = header.get("environment") or {}
    pairs: list[tuple[object, object]] = [
        ("Command", markup("<code>{command}</code>", command=header.get("command") or DASH)),
        ("Run", markup("<code>{id}</code>", id=header.get("id") or DASH)),
        ("Started", header.get("started") or DASH),
        ("Ended", header.get("ended") or DASH),
        ("Seed", _seed(header.get("plan") or {})),
        ("Python", environment.get("python") or DASH),
        ("Commit", environment.get("commit") or DASH),
        ("Packages", _packages(environment.get("packages") or {})),
    ]
    plan = markup("<pre><code>{plan}</code></pre>", plan=_yaml(header.get("plan") or {}))
    return markup(
        "{facts}{plan}{attacks}{hashes}<h3>Glossary</h3>{words}",
        facts=terms(pairs),
        plan=details("The plan with all defaults", plan, opened=True),
        attacks=details("The attacks and their sources", _attacks(view), kind="fold"),
        hashes=details("Hashes", _hashes(view), kind="fold"),
        words=terms(GLOSSARY.items()),
    )


def _seed(plan: dict[str, Any]) -> str:
    seed = plan.get("seed", (plan.get("settings") or {}).get("seed") if isinstance(plan.get("settings"), dict) else None)
    return "see the plan" if seed is None else str(seed)


def _packages(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version) or DASH


def _yaml(plan: dict[str, Any]) -> str:
    import yaml

    if not plan:
        return "# no plan was recorded"
    written = yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=100)
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}\n# ... {len(written) - LONGEST:,} more characters are in run.json"


def _attacks(view: View) -> Markup:
    different = {cell["attack"]["say"]: cell["attack"] for case in view.cases for cell in case.cells}
    rows: list[tuple[Cell, ...]] = [
        (
            said,
            ", ".join(f"{name}={value}" for name, value in (attack.get("settings") or {}).items()) or DASH,
            attack.get("cites") or DASH,
            " · ".join(filter(None, (attack.get("nist"), attack.get("atlas")))) or DASH,
        )
        for said, attack in different.items()
    ]
    return table("Attacks", [Column("attack"), Column("settings"), Column("source"), Column(f"class ({VERSIONS})")], rows, quiet=True)


def _hashes(view: View) -> Markup:
    rows: list[tuple[Cell, ...]] = []
    for kind in ("model", "data"):
        rows += dict.fromkeys(
            (kind, str(getattr(case, kind).get("name")), markup("<code>{sha}</code>", sha=getattr(case, kind).get("sha256") or DASH)) for case in view.cases
        )
    rows += [(f"cell {cell['attack']['say']}", case.name, markup("<code>{key}</code>", key=cell["key"])) for case in view.cases for cell in case.cells]
    return table("Hashes", [Column("what"), Column("name"), Column("SHA-256 or key")], rows, quiet=True)
