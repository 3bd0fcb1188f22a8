"""Full and read-only disks, signals, two processes at once: a sentence, a true status, and the same command goes on to the same verdicts."""

import errno
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from killing import SOURCES, before_search, parts

from sparring.bench.plan import Plan
from sparring.bench.run import Run
from sparring.records.store import Store

TINY = ("model=zoo:digits-plain", "data=digits", "take=20", "threat=linf 0.1", "attacks=noise(tries=3), fgsm", "certify=none")
LONG = ("model=zoo:digits-plain", "data=digits", "take=120", "threat=linf 0.05", "attacks=pgd(steps=100), square(queries=200)", "certify=none", "batch=10")
"""Plans that take a fraction of a second, and some seconds in 36 parts."""


@pytest.fixture(autouse=True)
def _no_report(request, monkeypatch):
    """Reports have tests of their own and take longer than the runs here."""
    if "disk" not in request.fixturenames:
        monkeypatch.setattr("sparring.bench.run.write_report", lambda record, path=None: "")


def rows(folder):
    return Run.open(folder).table().drop(columns=["seconds", "cell"]).sort_values(["attack", "position"], ignore_index=True)


def header(folder):
    return json.loads((folder / "run.json").read_text())


def left(out):
    return [one for one in Path(out).rglob("*") if one.name.endswith(".tmp")]


@pytest.fixture
def words():
    return (*TINY, "batch=4")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run that nothing disturbs."""
    keys = dict(word.split("=", 1) for word in TINY)
    return Path(Plan.of({**keys, "take": int(keys["take"]), "batch": 4, "out": str(tmp_path_factory.mktemp("undisturbed"))}).run().path)


@pytest.fixture
def whole(undisturbed, folder):
    """Its rows; whole/ holds a copy of it."""
    shutil.copytree(undisturbed, Path("whole") / undisturbed.name)
    return rows(undisturbed)


def assert_goes_on(spar, words, whole):
    """The same command completes the run."""
    assert spar("run", *words, "--quiet").code == 0
    (folder,) = Path("runs").iterdir()
    pd.testing.assert_frame_equal(rows(folder), whole)
    assert header(folder)["status"] == "done"
    assert "error" not in header(folder)
    assert not left("runs")


# Disks -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch):
    """Fails from the n-th write on, as a full or read-only disk does; a file that is begun takes half of its content."""

    def fails(number, after=0):
        pipe, count = Store("x").files.pipe_file, itertools.count()

        def fail(path, content):
            if next(count) >= after:
                if number == errno.ENOSPC:
                    pipe(path, content[: len(content) // 2])
                raise OSError(number, os.strerror(number), path)
            pipe(path, content)

        context = monkeypatch.context()
        patch = context.__enter__()
        patch.setattr(type(Store("x").files), "pipe_file", staticmethod(fail))
        return context

    return fails


@pytest.mark.few(2)
@pytest.mark.parametrize("after", [1, 2, 4, 9])
def test_a_disk_that_fills_up(after, spar, words, whole, disk):
    """Code 3, no temporary file, and the header says "failed" though no second header fits beside the first."""
    context = disk(errno.ENOSPC, after)
    said = spar("run", *words)
    context.__exit__(None, None, None)
    (folder,) = Path("runs").iterdir()
    assert said.code == 3
    assert "cannot be written (No space left on device): free space" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    assert header(folder)["status"] == "failed"
    assert not left("runs")
    assert_goes_on(spar, words, whole)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_disk_on_which_nothing_can_begin(number, spar, words, disk):
    """Code 2, before the first question."""
    context = disk(number)
    said = spar("run", *words)
    context.__exit__(None, None, None)
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("spar: the run cannot begin: ")
    assert os.strerror(number) in said.err
    assert "Traceback" not in said.err
    assert not [one for one in Path("runs").rglob("*") if one.is_file()]


def a_file(out):
    out.write_text("mine")


def a_dangling_link(out):
    out.symlink_to("nowhere")


@pytest.mark.parametrize("way", [a_file, a_dangling_link])
def test_out_is_no_folder(way, spar, words):
    """Code 2, and what is there stays as it is."""
    way(Path("out"))
    said = spar("run", *words, "out=out")
    assert said.code == 2
    assert "the run cannot begin: " in said.err
    assert "cannot be written" in said.err
    assert "Traceback" not in said.err
    assert Path("out").is_symlink() or Path("out").read_text() == "mine"


def test_a_finished_run_on_a_read_only_disk_can_be_read(spar, words, whole, disk):
    """`show` and `gate` write nothing."""
    folder = next(Path("whole").iterdir())
    context = disk(errno.EROFS)
    assert spar("show", folder).code == 0
    assert spar("gate", folder, "--rule", "clean_accuracy >= 0.01").code == 0
    said = spar("report", folder)
    context.__exit__(None, None, None)
    assert said.code == 3
    assert "report.html cannot be written (Read-only file system)" in said.err


@pytest.mark.slow
def test_a_file_size_limit_of_the_system(spar, words, whole):
    """A real error of a real write, in a child process."""
    script = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); from sparring.cli.app import main; main()"
    child = subprocess.run([sys.executable, "-c", script, "run", *words, "out=runs"], env=environment(), capture_output=True, text=True, check=False)
    assert child.returncode in (2, 3)
    assert "cannot be written (File too large)" in child.stderr
    assert "Traceback" not in child.stderr
    assert not left("runs")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 9000
    assert_goes_on(spar, words, whole)


@pytest.fixture
def mounted(folder):
    """A function that makes a file system of so many kilobytes under runs/, or mounts it anew with these options."""
    Path("runs").mkdir()

    def mount(options, again=""):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", "runs"], capture_output=True, check=False)
        if done.returncode and not again:
            pytest.skip("file systems may not be mounted here")
        assert done.returncode == 0

    yield mount
    subprocess.run(["umount", "runs"], capture_output=True, check=False)


@pytest.mark.few(1)
@pytest.mark.parametrize("size", [32, 44, 56])
def test_a_file_system_that_is_full(size, spar, words, whole, mounted):
    """A real one; it becomes larger, and then read-only."""
    mounted(f"size={size}k")
    said = spar("run", *words)
    assert said.code == 3
    assert "cannot be written (No space left on device)" in said.err.splitlines()[-1]
    (folder,) = Path("runs").iterdir()
    assert header(folder)["status"] == "failed"
    assert not left("runs")
    mounted("size=4m", "remount,")
    assert_goes_on(spar, words, whole)
    mounted("ro", "remount,")
    said = spar("run", *words)
    assert (said.code, "the run cannot begin" in said.err, "Read-only file system" in said.err) == (2, True, True)
    assert spar("show", folder).code == 0


# Signals ---------------------------------------------------------------------------------------------------------------

SIGNALS = {
    signal.SIGTERM: (3, "stopped by SIGTERM: the record is valid; run the same command again to continue"),
    signal.SIGHUP: (3, "stopped by SIGHUP: the record is valid; run the same command again to continue"),
    signal.SIGINT: (130, "interrupted: the record is valid; run the same command again to continue"),
}


@pytest.fixture
def handlers():
    """Handlers of signals as a new process has them, and afterwards as they were."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_signals(number, spar, words, whole, handlers):
    """In the middle of a search: the status is written, and a second signal does not keep it from being written."""
    count = itertools.count()

    def strike(problem):
        if next(count) == 3:
            os.kill(os.getpid(), number)
            time.sleep(1)

    with before_search("fgsm", strike):
        said = spar("run", *words)
    (folder,) = Path("runs").iterdir()
    code, sentence = SIGNALS[number]
    assert (said.code, said.err.splitlines()[-1]) == (code, sentence)
    assert "Traceback" not in said.err
    assert header(folder)["status"] == "interrupted"
    assert 0 < len(rows(folder)) < len(whole)
    assert_goes_on(spar, words, whole)


def test_an_ignored_hangup_stays_ignored(spar, words, handlers):
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with before_search("fgsm", lambda problem: os.kill(os.getpid(), signal.SIGHUP)):
        assert spar("run", *words, "--quiet").code == 0


def environment():
    return {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGKILL])
def test_signals_to_a_process(number, spar):
    """To `python -m sparring run` from outside, twice in a row; nothing is left running, and no lock stays."""
    for turn in range(2):
        child = subprocess.Popen([sys.executable, "-m", "sparring", "run", *LONG], env=environment(), stderr=subprocess.PIPE, text=True)
        while parts(Path("runs")) < 5 * (turn + 1) and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
        (folder,) = Path("runs").iterdir()
        if number == signal.SIGKILL:
            assert header(folder)["status"] == "running"
            assert Run.open(folder).status == "interrupted"
        else:
            assert (child.returncode, err.splitlines()[-1]) == SIGNALS[number]
            assert header(folder)["status"] == "interrupted"
            assert not left("runs")
    assert spar("run", *LONG, "out=whole", "--quiet").code == 0
    assert_goes_on(spar, LONG, rows(next(Path("whole").iterdir())))


# Two at once -----------------------------------------------------------------------------------------------------------


def test_two_runs_into_one_folder(spar, words, whole, monkeypatch):
    """The second gets a sentence and changes nothing; when the first is over, it may."""
    monkeypatch.setattr("sparring.records.store.PATIENCE", 0.05)
    folder = next(Path("whole").iterdir())
    before = (folder / "run.json").read_bytes()
    with Store(folder).locked():
        said = spar("run", *words, "out=whole")
        other = spar("merge", folder, folder)
        shard = spar("run", *words, "out=whole", "shard=1/2")
    for one in (said, other, shard):
        assert one.code == 3
        assert "another process is writing into" in one.err
        assert "wait until it has ended, or give another out=" in one.err
    assert (folder / "run.json").read_bytes() == before
    assert spar("run", *words, "out=whole", "--quiet").code == 0


def test_one_shard_is_not_computed_twice_at_once(spar, folder):
    """Another shard is, and the same one when the first process has ended, however it ended."""
    settings = ("model=zoo:digits-plain", "data=digits", "take=8", "batch=4", "threat=linf 0.1", "attacks=noise", "certify=none", "self_check=false")
    assert "another process" not in spar("run", *settings, "out=shards", "shard=1/2").err
    (made,) = (folder / "shards").iterdir()
    store = Store(made)
    with store.locked(shared=True), store.only("shard 1 of 2"):
        again, other = (spar("run", *settings, "out=shards", f"shard={shard}/2") for shard in (1, 2))
        assert again.code == 3
        assert "another process is computing shard 1 of 2 in " in again.err
        assert again.err.rstrip().endswith("wait until it has ended, or choose another shard")
        assert "another process" not in other.err
        assert [one.name for one in made.glob(".*.lock")] == [".shard-1-of-2.lock"]
    assert len(Run.open(str(made)).table()) == 8 * 2
    assert not list(made.glob(".*.lock"))
    (made / ".shard-1-of-2.lock").write_bytes(b"")  # as a killed process leaves it
    assert "another process" not in spar("run", *settings, "out=shards", "shard=1/2").err
    assert not list(made.glob(".*.lock"))


def test_shards_share_a_folder(tmp_path, monkeypatch):
    """Two shards may write at once; a whole run may not beside them."""
    monkeypatch.setattr("sparring.records.store.PATIENCE", 0.05)
    store = Store(tmp_path / "run")
    with store.locked(shared=True), store.locked(shared=True):
        assert store.busy()
        with pytest.raises(Exception, match="another process is writing"), store.locked():
            pass
    assert not store.busy()


def test_half_written_files_of_a_killed_run_are_swept(spar, words, whole):
    """By the next run, and not by a shard beside another one; files of other people stay."""
    folder = next(Path("whole").iterdir())
    cell = next(folder.glob("cells/*"))
    mine, ours = cell / "notes.tmp", cell / f"part-0000000-0000003.parquet.{'0' * 32}.tmp"
    for file in (mine, ours):
        file.write_text("half")
    store = Store(folder)
    with store.locked(shared=True):
        ours.write_text("half")
        with store.locked(shared=True):
            assert ours.exists()
    assert spar("run", *words, "out=whole", "--quiet").code == 0
    assert mine.exists()
    assert not ours.exists()
