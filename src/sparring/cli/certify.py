"""spar certify: prove that a model is robust under a threat, or decide VNN-LIB properties of a network."""

from typing import Annotated, Any

import typer

from sparring.cli.completion import complete_plan
from sparring.cli.terminal import echo
from sparring.cli.words import is_setting, read_words


def command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NET.onnx PROPERTY.vnnlib | key=value ...]",
            help="A network and a property, or the keys of a plan.",
            show_default=False,
            autocompletion=complete_plan,
        ),
    ] = None,
    instances: Annotated[str | None, typer.Option(help="A file with lines network,property,seconds, in the format of the competition VNN-COMP.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds per instance or sample, instead of those in the file of instances.")] = None,
    out: Annotated[str | None, typer.Option(help="Where to write the answer in the format of VNN-COMP, or a table (csv).")] = None,
    counterexamples: Annotated[str | None, typer.Option(help="With --instances, a folder for one answer per instance in the format of VNN-COMP.")] = None,
    proof: Annotated[str | None, typer.Option(help="Where to write the proof, for spar check-proof.")] = None,
    proofs: Annotated[str | None, typer.Option(help="With --instances, a folder for one proof per instance.")] = None,
    witnesses: Annotated[str | None, typer.Option(hidden=True)] = None,
    workers: Annotated[int, typer.Option(min=1, help="With --instances, the number of processes.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing; use the exit code.")] = False,
) -> None:
    """Prove that no change within a threat breaks a model.

    It takes a model with data, or one VNN-LIB property of an ONNX network, or a list of them; the same command continues a list.

    Exit codes: 0 decided, 2 wrong use, 3 open. For a model on data 3 says that nothing was decided, for a list that an instance could not
    be used.

    Examples:

    \b
      spar certify model=zoo:digits-robust data=digits \\
          threat="linf 0.1" take=50
      spar certify network.onnx property.vnnlib --timeout 60 --out answer.txt
      spar certify --instances instances.csv --out results.csv
    """
    from sparring.core.errors import PlanError

    if witnesses is not None:
        echo("--witnesses is now called --counterexamples", err=True)
        counterexamples = counterexamples or witnesses
    given = [*(words or []), *context.args]
    if timeout is not None and not 0 < timeout < float("inf"):
        raise PlanError(f"--timeout {timeout:g}: give a positive number of seconds, or leave it out for no limit")
    if instances is not None:
        if given or out is None:
            raise PlanError("spar certify --instances FILE needs --out FILE for the table, and takes no further arguments")
        raise typer.Exit(_list(instances, out, timeout, counterexamples, proofs, workers, json, quiet))
    if len(given) == 2 and not any(is_setting(word) for word in given):
        raise typer.Exit(_one(given[0], given[1], timeout, out, proof, json, quiet))
    stray, changes = read_words(given)
    if stray or not changes:
        raise PlanError("spar certify takes NET.onnx PROPERTY.vnnlib, or model=... data=... threat=..., or --instances FILE --out FILE")
    raise typer.Exit(_model(changes, timeout, out, proof, json, quiet))


def _one(network: str, asked: str, timeout: float | None, out: str | None, proof: str | None, json: bool, quiet: bool) -> int:
    from sparring.certification.vnnlib.instance import decide_instance
    from sparring.certification.vnnlib.instances import write_answer

    answer = decide_instance(network, asked, timeout, proof=proof)
    found = answer.counterexample
    if out is not None:
        write_answer(out, answer)
    if json:
        from sparring.cli.summary import print_json  # which brings statistics with it: a second that a short answer need not wait for

        shown = None if found is None else {"x": found.x.tolist(), "y": found.y.tolist()}
        print_json(
            {
                "result": answer.result,
                "seconds": answer.seconds,
                "verifier": answer.verifier,
                "reason": answer.reason,
                "proof": answer.proof,
                "counterexample": shown,
            }
        )
    elif not quiet:
        echo(answer.result)
        if found is not None and out is None:
            echo(found.text().rstrip("\n"), lines=True)
        echo(f"{f'decided by {answer.verifier}' if answer.decided else answer.reason}, {answer.seconds:.2f} s")
        if proof is not None and answer.result == "unsat":
            echo(f"proof: {answer.proof}" if answer.proof else answer.reason)
    return 0 if answer.decided else 3


def _list(instances: str, out: str, timeout: float | None, counterexamples: str | None, proofs: str | None, workers: int, json: bool, quiet: bool) -> int:
    from collections import Counter

    from sparring.certification.vnnlib.instances import Row, run_instances

    def tell(row: Row) -> None:
        if row.result == "error":
            echo(f"{row.network} {row.asked}: {row.reason}", err=True)
        elif not quiet and not json:
            echo(f"{row.result:8}{row.seconds:9.2f} s  {row.network} {row.asked}  {row.verifier or row.reason}")

    rows = run_instances(instances, out, seconds=timeout, counterexamples=counterexamples, proofs=proofs, workers=workers, listen=tell)
    counts = Counter(row.result for row in rows)
    if json:
        from sparring.cli.summary import print_json

        print_json({"instances": len(rows), "results": counts, "seconds": sum(row.seconds for row in rows), "table": out})
    elif not quiet:
        echo(f"{len(rows)} instances: {', '.join(f'{count} {result}' for result, count in counts.most_common())}; {sum(row.seconds for row in rows):.1f} s")
    return 3 if counts["error"] else 0


def _model(changes: dict[str, Any], timeout: float | None, out: str | None, proof: str | None, json: bool, quiet: bool) -> int:
    from sparring.bench.plan import Plan
    from sparring.core.errors import PlanError

    plan = Plan.of(changes)

    from dataclasses import replace

    import pandas as pd

    from sparring.certification.certify import certify
    from sparring.core.space import has_gaps

    if proof is not None and len(plan.evasion_cases()) > 1:
        raise PlanError(f"--proof {proof}: a proof file holds one model and threat, but the plan has {len(plan.evasion_cases())} cases: name one")
    tables, kept = {}, 0
    for case in plan.evasion_cases():
        x = case.data.x
        whole = case.data.rows((~x.isnan().any(1)).nonzero().squeeze(1)) if has_gaps(x) else case.data  # other rows are unknown under any threat
        replace(case, data=whole).check()
        settings: dict[str, Any] = {} if proof is None else {"proofs": True}
        answers = certify(case.victim, case.data.x, case.data.y, case.threat, case.certifiers or None, seconds=timeout, seed=plan.seed, **settings)
        if proof is not None and bool(answers.proved.any()):
            kept = answers.write_proofs(proof)
        found = answers.table()
        found.insert(0, "id", list(case.data.ids))
        tables[case.name] = found
    whole = pd.concat(tables, names=["case"]).reset_index(level="case")
    if out is not None:
        whole.to_csv(out, index=False)
    counts = {name: one.value_counts(["verdict", "method"]) for name, one in tables.items()}
    if json:
        from sparring.cli.summary import print_json

        print_json({name: one.reset_index(name="samples").to_dict("records") for name, one in counts.items()})
    elif not quiet:
        for name, one in counts.items():
            for verdict in ("proved", "refuted", "unknown"):
                by = {method: count for (said, method), count in one.items() if said == verdict}  # type: ignore[misc]
                named = ", ".join(f"{method} {count}" for method, count in by.items())
                echo(f"{name}: {verdict} {sum(by.values())} of {len(tables[name])}" + (f" ({named})" if by and verdict != "unknown" else ""))
            for reason, count in tables[name].query("verdict == 'unknown'").reason.value_counts().head(3).items():
                echo(f"  {count} unknown: {reason}")
        if proof is not None:
            echo(f"proof: {proof}, of {kept} samples" if kept else "proof: not written, because nothing was proved")
    return 3 if (whole.verdict == "unknown").all() else 0
