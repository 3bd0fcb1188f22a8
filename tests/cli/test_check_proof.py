"""spar check-proof, and the options of spar certify that write what it reads."""

import subprocess
import sys
from pathlib import Path

import pytest
from certification.vnnlib.small import absolute, identity, write_property

import sparring_check
from sparring.certification.vnnlib import instance


@pytest.fixture
def files(folder):
    absolute(folder / "absolute.onnx")
    identity(folder / "identity.onnx")
    write_property(folder / "safe.vnnlib", -1, 1, "(>= Y_0 2.5)")
    write_property(folder / "unsafe.vnnlib", 0, 1, "(>= Y_0 0.5)")
    (folder / "instances.csv").write_text("absolute.onnx,safe.vnnlib,10\nidentity.onnx,unsafe.vnnlib,10\n")
    instance._network.cache_clear()
    instance._property.cache_clear()
    return folder


def test_a_property_with_its_proof(spar, files):
    said = spar("certify", "absolute.onnx", "safe.vnnlib", "--timeout", "10", "--proof", "a.proof")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "proof: a.proof"
    for more in ((), ("--network", "absolute.onnx")):
        checked = spar("check-proof", "a.proof", *more)
        assert checked.code == 0
        verified, counted, statement, *compared = checked.out.splitlines()
        assert verified == "verified:"
        assert counted.startswith("1 statements of the network with sha256 ")
        assert statement == "for no input from -1.0 to 1.0 does this hold: -1 y0 +2.5 <= 0"
        assert [line.split(":")[0] for line in compared] == (["the same network as absolute.onnx"] if more else [])
    other = spar("check-proof", "a.proof", "--network", "identity.onnx")
    assert (other.code, other.out) == (1, "REJECTED: it was not made from identity.onnx\n")
    assert spar("check-proof", "absolute.onnx").code == 2
    assert spar("check-proof", "nothing.proof").code == 2


def test_the_checker_is_a_command_of_its_own(spar, files):
    """`python -m sparring_check` prints what `spar check-proof` prints, where nothing of sparring can be imported."""
    spar("certify", "absolute.onnx", "safe.vnnlib", "--timeout", "10", "--proof", "a.proof")
    source = Path(sparring_check.__file__).parents[1]
    alone = (
        f"import sys; sys.modules['sparring'] = None; sys.path.insert(0, {str(source)!r}); import runpy; runpy.run_module('sparring_check', None, '__main__')"
    )
    for more, code in (((), 0), (("--network", "absolute.onnx"), 0), (("--network", "identity.onnx"), 1)):
        done = subprocess.run([sys.executable, "-c", alone, "a.proof", *more], cwd=files, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (code, spar("check-proof", "a.proof", *more).out)


def test_no_proof_of_what_is_false(spar, files):
    said = spar("certify", "identity.onnx", "unsafe.vnnlib", "--proof", "a.proof")
    assert said.out.startswith("sat\n")
    assert not (files / "a.proof").exists()


def test_instances_with_proofs(spar, files):
    said = spar("certify", "--instances", "instances.csv", "--out", "results.csv", "--proofs", "proofs")
    assert said.code == 0
    (written,) = (files / "proofs").iterdir()
    assert spar("check-proof", str(written)).code == 0


def test_a_model_with_proofs(spar, folder):
    said = spar("certify", "model=zoo:digits-robust", "data=digits", "threat=linf 0.02", "take=6", "--proof", "digits.proof")
    assert said.code == 0
    assert "proved 5 of 6" in said.out
    assert said.out.splitlines()[-1] == "proof: digits.proof, of 5 samples"
    checked = spar("check-proof", "digits.proof")
    assert checked.code == 0
    assert checked.out.count("is greater than each other of the 10") == 5
    two = spar("certify", "model=zoo:digits-robust", "data=digits", 'threat=["linf 0.02", "linf 0.01"]', "take=2", "--proof", "two.proof")
    assert two.code == 2
    assert "a proof file holds one model and threat" in two.err


def test_names_control_no_terminal(tmp_path, capfd):
    """Of the checker alone, which shares no code with the command."""
    path = tmp_path / "a\x1b[2J\nverified: b\u202e.proof"
    assert sparring_check.check(str(path)) == 2
    assert capfd.readouterr().out.removesuffix("\n").isprintable()
