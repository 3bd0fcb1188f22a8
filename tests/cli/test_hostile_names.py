"""Names from files, models and records control no terminal and are no markup, whatever command prints them."""

import json
import logging
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from payloads import BROWSER, TERMINAL

import sparring as sp
from sparring.cli.display import Display
from sparring.core.visible import visible

ALL = "".join(TERMINAL)
IN_UTF_8 = re.sub(r"[\ud800-\udfff]", "", ALL)
KEPT = {"schema", "id", "status", "kind", "verdict", "key", "sha256", "settings", "aim", "domain", "task"}
"""What a header needs as it is."""


def harm_in(said):
    """What is neither text nor an end of a line: characters that control a terminal, and tracebacks."""
    strange = {one for one in said if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
    return strange | {word for word in ("Traceback",) if word in said}


def spoiled(content, payload):
    """A header with the payload at the end of every name and sentence, and in the keys of the plan."""
    if isinstance(content, dict):
        return {name: one if name in KEPT else spoiled(one, payload) for name, one in content.items()}
    if isinstance(content, list):
        return [spoiled(one, payload) for one in content]
    return f"{content}{payload}" if isinstance(content, str) and content != "clean" else content


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The path of a run with a check that is not in order, a gate and a warning, on data whose names are hostile already."""
    data = sp.load("digits", take=6)
    ids = [f"sample {place} {ALL}" for place in range(6)]
    named = sp.Data(f"digits {ALL}", ids, data.x, data.y, data.domain, [f"class {number} {ALL}" for number in range(10)])
    model, out = sp.load_model("zoo:digits-plain"), tmp_path_factory.mktemp("runs")
    run = sp.evaluate(model, named, sp.linf(0.2), ["noise(tries=2)", "fgsm"], certify="none", self_check=False, out=out)
    header = run.record.header
    rate = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 6}
    check = {"code": "D1", "name": "check", "title": "Check", "verdict": "bad", "finding": "Something is wrong.", "cure": "Look at it.", "value": "much"}
    look = {"plain": "pgd", "clean": rate, "claimed": rate, "best_known": rate, "verdict": "caution", "model": "net", "threat": "linf"}
    remedy = {"name": "eot", "newly_broken": 1, "accuracy": 0.5, "tried": ["something"]}
    case = header["cases"][0]
    case["checks"] = [check]
    case["reevaluation"] = {**look, "remedies": [remedy], "checks": [check]}
    header["gate"] = [{"rule": "robust_accuracy <= 0.1", "case": case["name"], "cell": "fgsm", "value": 0.5, "low": 0.1, "high": 0.9, "share": True,
                       "met": False, "controls": [{"cell": "noise", "value": 0.1}]}]  # fmt: skip
    header["warnings"] = ["something happened"]
    header["contradictions"] = [{"case": case["name"], "certificate": "network", "attack": "fgsm", "ids": ["a"], "file": "contradictions/x.npz"}]
    header["error"] = "ValueError: it failed"
    header["plan"] = {"model": ["net"], f"key {ALL}": "value"}
    run.record.save_header()
    return Path(run.path)


def spoil(honest, folder, payload):
    """A copy of the run with the payload everywhere."""
    run = Path(shutil.copytree(honest, folder / "runs" / "bad"))
    header = json.loads((run / "run.json").read_text())
    header.pop("checksum", None)
    header["cases"][0]["name"] = "case"
    header["contradictions"][0]["case"] = header["gate"][0]["case"] = "case"
    (run / "run.json").write_text(json.dumps(spoiled(header, payload)))
    return run


def of_a_run(spar, run):
    """What every command prints about the run."""
    sample = sp.Run.open(run).table()["id"].iloc[0]
    yield from (spar("show", run), spar("show", run, "--sample", sample), spar("report", run), spar("gate", run), spar("ls", "runs"), spar("show", "nothing"))
    yield from (spar("gate", run, "--rule", "robust_accuracy >= 0"), spar("merge", run, run), spar("ls", "runs", "--quiet"), spar("show", run, "--json"))


@pytest.mark.parametrize("terminal", [False, True])
def test_all_names_of_a_run_at_once(spar, folder, honest, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    for said in of_a_run(spar, spoil(honest, folder, ALL)):
        for stream in (said.out, said.err):
            assert not harm_in(re.sub(r"\x1b\[[0-9;]*m", "", stream) if terminal else stream)
        assert said.code in (0, 1, 2, 3)
    shown = spar("show", "bad").out
    joined = "".join(shown.split())
    for one in ("\\x1b[2J", "\\x1b]0;title\\x07", "\\u202e", "[/red]", "[@click=app.bell]", ":smile:", "a\\nverdict:reliable"):
        assert one in joined
    assert not any(line.startswith("verdict: reliable") for line in shown.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("payload", TERMINAL, ids=range(len(TERMINAL)))
def test_each_name_of_a_run(spar, folder, honest, payload):
    for said in of_a_run(spar, spoil(honest, folder, payload)):
        assert not harm_in(said.out + said.err)


WRONG = [
    ("run", "model={}"), ("run", "{}=1"), ("run", "--{}", "x"), ("run", "{}.yaml"), ("run", "model=zoo:{}", "data=digits", "threat=linf 0.1"),
    ("run", "model=zoo:digits-plain", "data={}", "threat=linf 0.1"), ("run", "model=zoo:digits-plain", "data=digits", "threat={}"),
    ("run", "model=zoo:digits-plain", "data=digits", "threat=linf 0.1", "attacks={}"), ("run", "take={}"), ("run", "shard={}"), ("run", "aim={}"),
    ("run", "model=https://{}/x", "data=digits", "threat=linf 0.1"), ("run", "model={}:factory", "data=digits", "threat=linf 0.1"),
    ("doctor", "{}", "data=digits"), ("certify", "{}.onnx", "{}.vnnlib"), ("certify", "model={}", "data=digits", "threat=linf 0.1"),
    ("harden", "model={}", "data=digits", "threat=linf 0.1", "out=x.safetensors"), ("ls", "{}"), ("ls", "attacks", "{}"), ("show", "{}"), ("report", "{}"),
    ("gate", "{}"), ("gate", "--{}"), ("merge", "{}", "{}"), ("new", "{}", "x"), ("new", "attack", "{}"), ("check-proof", "{}"), ("{}",),
]  # fmt: skip
ARGUMENTS = ["\udc80", *(one for one in TERMINAL if not re.search(r"[\ud800-\udfff]", one))]
"""What words of a command can hold: bytes that are no UTF-8 arrive as the first of them."""


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_is_typed_wrongly(spar, words):
    """The command fails with a message, or finds nothing."""
    said = spar(*(word.replace("{}", "".join(ARGUMENTS)) for word in words))
    assert "nothing found" in said.out if said.code == 0 else said.err
    assert not harm_in(said.out + said.err)


@pytest.mark.slow
@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_each_that_is_typed_wrongly(spar, words):
    for payload in ARGUMENTS:
        said = spar(*(word.replace("{}", payload) for word in words))
        assert not harm_in(said.out + said.err)


def test_files_with_hostile_names(spar, folder):
    """A table with columns, classes, a name and a plan that are hostile, and a model whose own message is."""
    name = IN_UTF_8.replace("/", "")[:60]
    with (folder / f"{name}.csv").open("w", newline="") as file:
        file.write("a,b,c\n" + "".join(f'{place},{place % 3},"{name.replace(chr(34), "")}{place % 2}"\n' for place in range(12)))
    (folder / "hostile_maker.py").write_text(f"def made():\n    raise ValueError({name!r})\n")
    (folder / "plan.yaml").write_text(json.dumps({f"model{name}": 1}))
    for words in (
        ("run", "model=hostile_maker:made", f"data={name}.csv", "threat=linf 0.1"),
        ("run", "model=hostile_maker:made", "data=digits", "threat=linf 0.1"),
        ("run", f"data={name}.csv", "target=z", "model=zoo:digits-plain", "threat=linf 0.1"),
        ("doctor", "zoo:digits-plain", f"data={name}.csv", "target=c"),
        ("run", "plan.yaml"),
    ):
        said = spar(*words)
        assert said.code != 0
        assert not harm_in(said.out + said.err)


def test_bytes_of_paths_that_are_no_utf_8(spar, folder):
    """A file named in Latin-1 is evaluated, and its name stands in the record with an escape."""
    name = "B\udce4r.npz"
    np.savez(folder / name, x=np.zeros((4, 8, 8), dtype=np.float32), y=np.arange(4) % 2)
    (folder / "hostile_zeros.py").write_text("def made():\n    return lambda x: [[0.0, 1.0]] * len(x)\n")
    said = spar("run", "model=hostile_zeros:made", f"data={name}", "threat=linf 0.1", "attacks=noise", "access=scores", "self_check=false")
    assert said.code == 0, said.err
    shown = spar("show", "last", "--sample", "B\\udce4r/00000")
    assert shown.code == 0, shown.err
    assert not harm_in(shown.out)


@pytest.mark.parametrize("strange", ["\ud800", "\0"])
@pytest.mark.parametrize("key", ["model", "data", "threat", "attacks", "out", "weights", "goal"])
def test_text_that_no_file_can_hold(spar, folder, key, strange):
    """In a plan; from a shell it cannot come."""
    plan = {"model": "zoo:digits-plain", "data": "digits", "threat": "linf 0.1", key: f"some{strange}"}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    said = spar("run", "plan.yaml")
    assert said.code == 2
    assert not harm_in(said.err)
    assert f"plan key '{key}'" in said.err or "is not YAML" in said.err


def test_the_bar_and_the_lines_of_progress(capsys, monkeypatch):
    for forced in ("", "1"):
        monkeypatch.setenv("FORCE_COLOR", forced)
        with Display(quiet=False) as display:
            display("started", {"record": ALL, "total": 2, "cases": 1})
            display("case", {"case": ALL, "unit": "sample"})
            display.last = -100
            display("batch", {"case": ALL, "attack": ALL, "samples": 1})
            display.bar.refresh()
        said = capsys.readouterr().err
        assert not harm_in(re.sub(r"\x1b\[(\?25[lh]|[0-9;]*m|[0-9]*[AK])|\r", "", said) if forced else said)
        assert "\\x1b[2J" in said


def test_warnings_and_the_log(spar, folder):
    """Those of models and libraries pass too."""
    (folder / "hostile_noise.py").write_text(
        "import logging, warnings\nfrom sparring.models.zoo import zoo\n\nlog = logging.getLogger('some')\n\ndef made():\n"
        f"    warnings.warn({ALL!r}, stacklevel=2)\n    log.warning('%s', {ALL!r})\n    try:\n        raise KeyError({ALL!r})\n"
        "    except KeyError:\n        log.exception('failed')\n    return zoo('digits-plain').build()\n"
    )
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        with pytest.warns(UserWarning, match=r"x1b") as told:
            said = spar("run", "model=hostile_noise:made", "data=digits", "take=2", "threat=linf 0.1", "attacks=fgsm", "certify=none", "self_check=false")
    finally:
        root.handlers = before
    assert said.code == 0
    assert said.err.count("\\x1b[2J") == 3, "message, error and its line in the source"
    assert not harm_in(said.err.replace("Traceback", ""))
    assert "\\x1b[2J" in str(told[0].message)
    assert not harm_in(str(told[0].message))


def test_completion_offers_no_hostile_names(folder):
    from sparring.cli.completion import complete_models, complete_runs

    (folder / "runs" / "a\x1b[2J").mkdir(parents=True)
    (folder / "runs" / "a\x1b[2J" / "run.json").touch()
    (folder / "runs" / "fine").mkdir()
    (folder / "runs" / "fine" / "run.json").touch()
    assert complete_runs("") == ["last", "fine"]
    assert complete_runs("runs/") == ["runs/fine/"]
    (folder / "net\x1b[2J.onnx").touch()
    assert complete_models("ne") == []


def test_everything_is_printed_through_one_door():
    """No command prints past `cli/terminal.py`, but for JSON, which is ASCII, and completion, which offers printable names."""
    sources = Path(sp.__file__).parent / "cli"
    allowed = {"terminal.py", "completion.py"}
    past = [
        f"{path.name}: {line.strip()}"
        for path in sources.glob("*.py")
        if path.name not in allowed
        for line in path.read_text().splitlines()
        if re.search(r"typer\.echo\(|(?<![\w.])print\(|Console\(|sys\.std(out|err)\.write|secho", line) and "json_text" not in line
    ]
    assert past == []


def test_honest_names_are_printed_as_they_are(spar, folder):
    rng = np.random.default_rng(0)
    np.savez(folder / "Bären & [Katzen].npz", x=rng.random((4, 8, 8)).astype(np.float32), y=np.arange(4) % 2, classes=np.array(["Bär [braun]", "猫"]))
    (folder / "hostile_linear.py").write_text("from torch import nn\n\n\ndef made():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()\n")
    said = spar("run", "model=hostile_linear:made", "data=Bären & [Katzen].npz", "threat=linf 0.1", "attacks=fgsm", "certify=none", "self_check=false")
    assert said.code == 0
    assert "made · linf 0.1" in said.out
    listed = spar("show", "last", "--sample", "Bären & [Katzen]/00000")
    assert "Bär [braun]" in listed.out + listed.err
    assert visible(BROWSER[0]) == BROWSER[0]
