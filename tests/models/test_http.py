"""Models behind an address: the same answers as in process, nothing paid twice, every failure a sentence."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring.attacks.evasion.query.hopskipjump import hopskipjump
from sparring.attacks.evasion.query.square import square
from sparring.bench.plan import Plan
from sparring.core.errors import EndpointError, LoadError, PlanError, RecordError, UnknownName
from sparring.core.threat import Threat
from sparring.data.load import load
from sparring.domains.image import Image, image
from sparring.domains.table import Column, Table
from sparring.domains.text import Text
from sparring.models.adapter import victim as as_victim
from sparring.models.callable import CallableVictim
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.form import example_of, written
from sparring.models.http.ledger import bills
from sparring.models.http.victim import HttpVictim
from sparring.models.http.wire import retry_after
from sparring.models.load import load_model
from sparring.threats.balls import L2, Linf
from sparring.threats.goals import Untargeted

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

SOURCES = Path(__file__).parents[2] / "src"
TRAIN = load("digits", split="train")
MEANS = np.stack([TRAIN.x[TRAIN.y == number].double().mean(0).numpy().ravel() for number in range(10)])
QUICK = {"pause": 0.0, "retries": 2, "timeout": 5.0}
TINY = ["data=digits", "take=6", "threat=linf 0.2", "access=scores", "attacks=square(queries=6)", "batch=3", "points=none"]


def answer(x):
    """float64 scores [n, 10], how near the mean of each class is; row by row, so that no batch changes a bit."""
    rows = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    return np.stack([-((MEANS - row) ** 2).sum(1) for row in rows])


class Service:
    """What the server does: answers, counts, and misbehaves as told."""

    def __init__(self):
        self.fresh()

    def fresh(self):
        self.asked = Counter()  # input as JSON -> how often it was answered, that is, charged
        self.requests = []  # (headers, inputs of the request) of all that came
        self.quota = None
        self.behave = None  # (inputs, turn) -> Response, or None to answer
        self.shift = 0.0
        self.extra = {}
        self.hold_at, self.held, self.go = None, threading.Event(), threading.Event()

    @property
    def charged(self):
        return sum(self.asked.values())

    def respond(self, body, headers):
        inputs = body["inputs"]
        turn = len(self.requests)
        self.requests.append((headers, inputs))
        if self.hold_at == turn:
            self.held.set()
            self.go.wait(20)
            return fastapi.Response(status_code=503)
        if self.behave is not None and (response := self.behave(inputs, turn)) is not None:
            return response
        if self.quota is not None and self.charged + len(inputs) > self.quota:
            return fastapi.Response("no more", status_code=429)
        self.asked.update(json.dumps(one) for one in inputs)
        scores = answer(inputs) + self.shift * np.eye(10)[0]
        return {"scores": scores.tolist(), **self.extra}


class Cut(fastapi.Response):
    """Promises more than it sends, and the connection breaks off."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})


@contextlib.contextmanager
def served(app, **settings):
    """The port on which a server answers inside."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="off", **settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def app_of(service):
    app = fastapi.FastAPI()

    @app.post("/scores")
    def scores(request: fastapi.Request, body: dict):
        return service.respond(body, dict(request.headers))

    @app.post("/labels")
    def labels(request: fastapi.Request, body: dict):
        said = service.respond(body, dict(request.headers))
        return {"labels": np.argmax(said["scores"], 1).tolist()} if isinstance(said, dict) else said

    return app


@pytest.fixture(scope="module")
def running():
    service = Service()
    with served(app_of(service)) as port:
        yield f"http://127.0.0.1:{port}", service


@pytest.fixture
def web(running, tmp_path, monkeypatch):
    """(address, service), with nothing remembered: the ledger lies in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    running[1].fresh()
    return running


@pytest.fixture
def spar(monkeypatch, capsys):
    """Call the command line in process: (code, standard output, standard error)."""
    from sparring.cli.app import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["spar", *words])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def digits():
    return load("digits", take=8)


def at(web, path="/scores", **settings):
    return Endpoint(web[0] + path, **{**QUICK, **settings})


def charges(path="runs/http-ledger.sqlite"):
    (bill,) = bills(path)
    return bill


# The same answers as in process ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "attack", "space", "settings"),
    [("/scores", square, Linf(0.1), {"queries": 12}), ("/labels", hopskipjump, L2(2.5), {"steps": 2, "probes": 4, "most_probes": 4, "start_tries": 4})],
)
def test_an_attack_finds_what_it_finds_in_process(web, digits, path, attack, space, settings):
    near = CallableVictim(answer, digits.domain, classes=10, labels_only=False)
    access = path[1:]
    threat = Threat(space, Untargeted(), access).within(queries=40)
    far = HttpVictim(at(web, path), digits.domain, classes=10, example=digits.x[:1])
    y = near.label(digits.x)
    expected = attack(near, digits.x, y, threat, **settings)
    found = attack(far, digits.x, y, threat, **settings)
    assert torch.equal(found, expected)
    assert not torch.equal(found, digits.x)
    assert far.exposes == frozenset({"labels", "scores"} if path == "/scores" else {"labels"})
    again = web[1].charged
    assert torch.equal(attack(far, digits.x, y, threat, **settings), expected)
    assert web[1].charged == again, "a second run was paid for"


def test_each_input_is_paid_once(web, digits):
    victim = HttpVictim(at(web, batch=3), digits.domain, example=digits.x[:1])
    assert web[1].charged == 2, "opening asks the first sample twice"
    twice = torch.cat([digits.x, digits.x])
    with victim.session():
        scores = victim.scores(twice)
    assert scores.dtype == torch.float64
    assert torch.equal(scores, torch.from_numpy(answer(twice.numpy())))
    assert [len(inputs) for _, inputs in web[1].requests] == [1, 1, 3, 3, 1]
    assert torch.equal(victim.label(digits.x), scores[:8].argmax(1))
    bill = charges()
    assert (bill.paid, bill.sent, bill.remembered) == (9, 9, 9 + 8)
    HttpVictim(at(web), digits.domain, example=digits.x[:1])
    assert web[1].charged == 10, "opening again asks once"
    assert charges().paid == 10


def test_without_a_ledger_every_question_is_asked(web, digits):
    victim = HttpVictim(at(web, ledger="none"), digits.domain, example=digits.x[:1])
    victim.label(digits.x), victim.label(digits.x)
    assert web[1].charged == 1 + 16
    assert not Path("runs").exists()
    assert not victim.remembers


def test_retries_are_sent_but_not_paid(web, digits):
    victim = HttpVictim(at(web), digits.domain, example=digits.x[:1])
    web[1].behave = lambda inputs, turn: fastapi.Response(status_code=503) if turn < 4 else None
    victim.label(digits.x[1:4])
    assert (charges().paid, charges().sent) == (5, 2 + 9)


# What is sent --------------------------------------------------------------------------------------------------------


def test_floats_keep_every_bit(digits):
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for one in (x, x.double() / 3):
        read = np.array([json.loads(row) for row in written(Image((1, 2, 2)), one)])
        assert np.array_equal(read, one.double().numpy())


def test_eight_bits_are_whole_numbers():
    domain = Image((1, 1, 3), low=-1.0, high=1.0, deployed="8bit")
    x = torch.tensor([0.0, 128.0, 255.0]).reshape(1, 1, 1, 3) * (2 / 255) - 1
    assert written(domain, x) == [b"[[[0,128,255]]]"]


def test_rows_of_tables_have_types():
    domain = Table((Column("age", "integer", 0, 99), Column("shop", "category", levels=("corner", "näher")), Column("sum")))
    x = torch.tensor([[41.0, 1.0, 2.5]], dtype=torch.float64)
    assert written(domain, x) == ['[41,"näher",2.5]'.encode()]
    assert json.loads(written(domain, x, named_columns=True)[0]) == {"age": 41, "shop": "näher", "sum": 2.5}


def test_texts_are_strings():
    assert written(Text(), Text().check(['say "no"'])) == [b'"say \\"no\\""']


@pytest.mark.parametrize("domain", [Image((1, 2, 2)), Text(), Table((Column("a", low=3, high=5), Column("b"), Column("c", high=-2.0)))])
def test_the_first_question_lies_in_the_domain(domain):
    assert bool(np.asarray(domain.valid(domain.check(example_of(domain)))).all())


def test_inputs_outside_the_domain_may_be_refused(web, digits):
    """The checks ask about badly scaled images: who refuses them gives no answer, and nothing ends."""
    victim = HttpVictim(at(web), digits.domain, example=digits.x[:1])
    web[1].behave = lambda inputs, turn: fastapi.Response("too large", status_code=422) if np.max(inputs) > 1 else None
    mixed = torch.cat([digits.x[:2], digits.x[:1] * 255])
    with victim.session():
        assert victim.label(mixed).tolist() == [*victim.label(digits.x[:2]).tolist(), -1]
        assert bool(torch.isnan(victim.scores(mixed)[2]).all())
    web[1].behave = says(422, "too small")
    with pytest.raises(EndpointError, match=r"does not accept the inputs \(HTTP 422: too small\)"):
        victim.label(digits.x[2:4])
    web[1].fresh()
    eight = HttpVictim(at(web), image(8, 8, deployed="8bit"), example=digits.x[:1])
    assert eight.label(digits.x[:1] * 255).tolist() == [-1]
    assert web[1].charged == 2


# Endpoints of another shape --------------------------------------------------------------------------------------------


def test_other_fields(tmp_path, digits):
    app = fastapi.FastAPI()

    @app.post("/v1")
    def ask(body: dict):
        assert body["model"] == "m2"
        return {"result": {"probabilities": answer([body["instance"]])[0].tolist(), "class": "c3"}, "meta": {"build": 7}}

    with served(app) as port:
        shape = {"inputs_field": "instance", "scores_field": "result.probabilities", "labels_field": "result.class", "version_field": "meta.build"}
        names = tuple(f"c{number}" for number in range(10))
        endpoint = Endpoint(
            f"http://127.0.0.1:{port}/v1?lang=en", single=True, constants={"model": "m2"}, names=names, ledger=str(tmp_path / "l"), **shape, **QUICK
        )
        victim = HttpVictim(endpoint, digits.domain)
        scores = victim.scores(digits.x)
        assert torch.equal(scores, torch.from_numpy(answer(digits.x.numpy())))
        assert victim.decide(digits.x, scores).tolist() == victim.label(digits.x).tolist() == [3] * 8
        assert victim.version == "7"
        labels = HttpVictim(Endpoint(**{**vars(endpoint), "scores_field": ""}), digits.domain)
        assert labels.exposes == frozenset({"labels"})
        with pytest.raises(EndpointError, match=r"gave result.class 'c3' for input 0: classes are numbers from 0; give Endpoint\(names=...\)"):
            HttpVictim(Endpoint(**{**vars(endpoint), "names": ()}), digits.domain)


def test_settings_behind_the_address(monkeypatch):
    read = Endpoint.read("https://host/path?a=1#batch=7&samples_per_second=2.5&trust_env=true&ledger=none&token=MINE")
    assert (read.url, read.batch, read.samples_per_second, read.trust_env, read.ledger) == ("https://host/path?a=1", 7, 2.5, True, "none")
    monkeypatch.setenv("MINE", "abc")
    assert read.sent_headers() == {"Authorization": "Bearer abc"}
    assert Endpoint("https://h").trust_env is False


@pytest.mark.parametrize(
    ("written", "kind", "sentence"),
    [
        ("https://", LoadError, "not an address of a model: write https://HOST/PATH"),
        ("https://host:port/x", LoadError, "cannot be read"),
        ("https://me:hunter2@host/x", LoadError, r"address of host/x holds a password"),
        ("https://host/x?api_key=hunter2", LoadError, r"holds api_key=\.\.\."),
        ("https://host/x#batsh=3", UnknownName, "did you mean batch"),
        ("https://host/x#batch=many", PlanError, "give a whole number"),
        ("https://host/x#batch=0", PlanError, "batch=0 must be at least 1"),
        ("https://host/x#trust_env=1", PlanError, "true or false"),
        ("https://host/x#fragment", PlanError, "cannot read 'fragment' after the address: write #name=value"),
        ("https://host/x#timeout=0", PlanError, "must be above 0"),
        ("https://host/x#requests_per_second=nan", PlanError, "must be at least 0"),
    ],
)
def test_wrong_addresses_and_settings(written, kind, sentence):
    with pytest.raises(kind, match=sentence) as error:
        Endpoint.read(written)
    assert "hunter2" not in str(error.value)


# Secrets ---------------------------------------------------------------------------------------------------------------


def test_tokens_are_sent_and_written_nowhere(web, digits, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cret-token")
    endpoint = at(web, token="MY_TOKEN", headers={"X-Team": "red s3cret-team"})
    victim = HttpVictim(endpoint, digits.domain, example=digits.x[:1])
    victim.label(digits.x)
    sent = web[1].requests[-1][0]
    assert (sent["authorization"], sent["x-team"]) == ("Bearer s3cret-token", "red s3cret-team")
    web[1].behave = lambda inputs, turn: fastapi.Response("token s3cret-token of s3cret-team is stale", status_code=401)
    with pytest.raises(EndpointError, match=r"HTTP 401 \(token \*\*\* of \*\*\* is stale\): it wants a \(valid\) token") as error:
        victim.label(digits.x + 1e-3)
    told = [str(error.value), repr(endpoint), json.dumps(victim.describe()), *(repr(value) for value in vars(victim).values())]
    assert not any("s3cret" in one for one in told)
    assert all(b"s3cret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    other = at(web, headers={"X-Team": "other"})
    web[1].behave = None
    assert HttpVictim(other, digits.domain, example=digits.x[:1]).fingerprint == victim.fingerprint
    with pytest.raises(PlanError, match="header 'X-Team' has a value that cannot be sent") as error:
        at(web, headers={"X-Team": "s3cret\nX-Other: 1"})
    assert "s3cret" not in str(error.value)
    with pytest.raises(LoadError, match=r"environment variable NO_SUCH_TOKEN .* is not set"):
        HttpVictim(at(web, token="NO_SUCH_TOKEN"), digits.domain)


def test_proxies_of_the_environment_are_not_followed(web, digits, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    HttpVictim(at(web), digits.domain, example=digits.x[:1])
    with pytest.raises(EndpointError, match="cannot be reached"):
        HttpVictim(at(web, trust_env=True), digits.domain, example=digits.x[:1])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT TESTED: certificates, which need openssl")
def test_certificates_are_verified(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=x"
    subprocess.run([*made.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with served(app_of(Service()), ssl_keyfile="key.pem", ssl_certfile="cert.pem") as port:
        with pytest.raises(EndpointError, match=r"shows a certificate that cannot be verified: give certificates=FILE.pem"):
            HttpVictim(Endpoint(f"https://127.0.0.1:{port}/scores", **QUICK), digits.domain)
        victim = HttpVictim(Endpoint(f"https://127.0.0.1:{port}/scores", certificates="cert.pem", **QUICK), digits.domain)
        assert victim.label(digits.x).tolist() == answer(digits.x.numpy()).argmax(1).tolist()
        with pytest.raises(LoadError, match=r"certificates='key\.pem' cannot be read"):
            HttpVictim(Endpoint(f"https://127.0.0.1:{port}/scores", certificates="key.pem", **QUICK), digits.domain)


# Everything that goes wrong ------------------------------------------------------------------------------------------


def says(status, text="sorry", **headers):
    return lambda inputs, turn: fastapi.Response(text, status_code=status, headers=headers)


def gives(content):
    return lambda inputs, turn: fastapi.Response(content if isinstance(content, str) else json.dumps(content), media_type="application/json")


def scores_of(change):
    return lambda inputs, turn: gives({"scores": change(answer(inputs).tolist())})(inputs, turn)


@pytest.mark.parametrize(
    ("behave", "sentence", "tries"),
    [
        (says(401), r"HTTP 401 \(sorry\): it wants a \(valid\) token", 1),
        (says(403), "HTTP 403 .*: the token has no permission", 1),
        (says(404), "HTTP 404 .*: the address does not exist", 1),
        (says(413), "HTTP 413 .*: the request is too large: give a smaller batch=", 1),
        (says(400, "bad row"), r"does not accept the inputs \(HTTP 400: bad row\)", 1),
        (says(422, "bad row"), r"does not accept the inputs \(HTTP 422: bad row\)", 1),
        (says(418), "HTTP 418 .*: look up this status", 1),
        (says(302, Location="https://log.in/x?state=1"), "redirects to another address .*to https://log.in/x\\)", 1),
        (says(402), "HTTP 402 .*: the quota is exhausted", 1),
        (says(429), r"HTTP 429 .*: the quota is exhausted: run the same command again later .* \(3 tries\)", 3),
        (says(429, **{"Retry-After": "3600"}), "asks to wait 3600 s, longer than patience=60", 1),
        (says(500), r"HTTP 500 .*: the server has failed: look at its log \(3 tries\)", 3),
        (says(503), r"HTTP 503 .* \(3 tries\)", 3),
        (lambda inputs, turn: Cut(), r"closed the connection .*\(3 tries\)", 3),
        (lambda inputs, turn: fastapi.responses.HTMLResponse("<html><title>Log in</title>"), "answered with an HTML page, 'Log in', not JSON", 1),
        (says(404, "<!doctype html><title>Not here</title>"), "HTTP 404 .an HTML page, 'Not here'.: the address does not exist", 1),
        (gives("{half"), r"answered with invalid JSON \({half; Expecting", 1),
        (gives({"logits": [], "meta": 1}), "the fields logits, meta, neither 'scores' nor 'labels': name the right one with scores_field=", 1),
        (gives([1]), "answered a list, neither", 1),
        (gives({"scores": 3}), "gave scores with a int for 2 inputs", 1),
        (scores_of(lambda rows: rows[:1]), "with 1 rows for 2 inputs: it must answer one list of scores per input", 1),
        (scores_of(lambda rows: [row[:4] for row in rows]), "returned 4 scores per input, at first it returned 10", 1),
        (scores_of(lambda rows: [rows[0], rows[1][:3]]), "with 3 classes for input 1 and 10 for input 0", 1),
        (scores_of(lambda rows: [[1.0]] * len(rows)), "with 1 classes .* give a score for every class", 1),
        (scores_of(lambda rows: [["0.1"] * 10] * len(rows)), r"\['0.1', .* for input 0: return a list of numbers per input", 1),
        (gives('{"scores": [[NaN, 1], [0, 1]]}'), r"\[nan, 1\] for input 0: the model returns NaN", 1),
        (gives('{"scores": [[null, 1], [0, 1]]}'), "return a list of numbers per input", 1),
        (gives({"labels": [1, 2]}), "returned labels only, at first it returned 10 scores", 1),
        (gives({"scores": [[0.0] * 10] * 2, "labels": [1, 2]}), "returns classes with its scores in some answers only", 1),
        (gives({"scores": [[0.0] * 10] * 2, "version": "2"}), "has changed during the run, from version '' to '2'", 1),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(web, digits, behave, sentence, tries):
    victim = HttpVictim(at(web), digits.domain, example=digits.x[:1])
    before = len(web[1].requests)
    web[1].behave = behave
    with pytest.raises(EndpointError, match=sentence) as error:
        victim.label(digits.x[1:3])
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3
    assert len(web[1].requests) - before == tries


def test_labels_that_are_none(web, digits):
    victim = HttpVictim(at(web, "/labels"), digits.domain, classes=10, example=digits.x[:1])
    for labels, sentence in {
        (11, 0): "returned the class 11, but the classes are 0 to 9",
        (1,): "with 1 entries for 2 inputs",
        (1.5, 0): r"1.5 for input 0: classes are numbers",
        (-1, 0): r"-1 for input 0",
        (True, 0): "True for input 0",
    }.items():
        web[1].behave = gives({"labels": labels})
        with pytest.raises(EndpointError, match=sentence):
            victim.label(digits.x[1:3])
    web[1].behave = None
    with pytest.raises(LoadError, match="labels only: give the number of classes"):
        HttpVictim(at(web, "/labels"), digits.domain)


def test_nobody_there(digits, tmp_path):
    with pytest.raises(EndpointError, match=r"127.0.0.1:9/x cannot be reached \(.*refused\): is it running, .* \(3 tries\)"):
        HttpVictim(Endpoint("http://127.0.0.1:9/x", ledger=str(tmp_path / "l"), **QUICK), digits.domain)
    assert not (tmp_path / "l").exists()


def test_slow(web, digits):
    """A server that answers only when the test is over; the limit is set after the victim was made, so that a busy machine may take its time for that."""
    over = threading.Event()
    victim = HttpVictim(at(web, timeout=60, retries=1), digits.domain, example=digits.x[:1])
    victim._wire.endpoint = dataclasses.replace(victim._wire.endpoint, timeout=0.3)
    web[1].behave = lambda inputs, turn: over.wait(60) and None
    try:
        with pytest.raises(EndpointError, match=r"did not answer within 0.3 s: give a longer timeout= or a smaller batch= \(2 tries\)"):
            victim.label(digits.x[1:3])
    finally:
        over.set()


# Pace --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Pauses are written down instead of waited for."""
    pauses, now = [], [0.0]

    class Clock:
        @staticmethod
        def monotonic():
            return now[0]

        @staticmethod
        def sleep(seconds):
            pauses.append(seconds)
            now[0] += seconds

    monkeypatch.setattr("sparring.models.http.wire.time", Clock)
    return pauses


def test_pauses_double_up_to_the_patience(web, digits, clock):
    victim = HttpVictim(at(web, pause=0.5, retries=5, patience=3.0), digits.domain, example=digits.x[:1])
    web[1].behave = says(503)
    with pytest.raises(EndpointError):
        victim.label(digits.x[1:3])
    assert clock == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_retry_after_goes_before_the_own_pause(web, digits, clock):
    victim = HttpVictim(at(web, pause=0.5), digits.domain, example=digits.x[:1])
    first = len(web[1].requests)
    web[1].behave = lambda inputs, turn: fastapi.Response(status_code=429, headers={"Retry-After": "7"}) if turn == first else None
    victim.label(digits.x[1:3])
    assert clock == [7.0]


def test_retry_after_as_a_date():
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("Fri, 01 Jan 2100 00:00:00 GMT") > 1e9
    assert retry_after("12") == 12.0
    assert retry_after("soon") is None
    assert retry_after("") is None


@pytest.mark.parametrize(
    ("settings", "pauses"),
    [({"samples_per_second": 2.0}, [0.5, 0.5, 1.5, 1.5]), ({"requests_per_second": 4.0}, [0.25] * 4), ({}, [])],
)
def test_the_agreed_pace(web, digits, clock, settings, pauses):
    """Two requests of one sample on opening, then 3, 3 and 1: the wait before each but the first is what the one before takes."""
    victim = HttpVictim(at(web, batch=3, **settings), digits.domain, example=digits.x[:1])
    victim.label(digits.x)
    assert clock == pauses


# The model behind the address ---------------------------------------------------------------------------------------


def test_the_canary_sees_that_the_model_changed(web, digits):
    HttpVictim(at(web), digits.domain, example=digits.x[:1])
    web[1].shift = 1e-7
    HttpVictim(at(web), digits.domain, example=digits.x[:1])  # rounding is no change
    web[1].shift = 5.0
    with pytest.raises(EndpointError, match=r"the model behind .* has changed: it answers scores .*, but the answer scores .* is stored in .*http-ledger"):
        HttpVictim(at(web), digits.domain, example=digits.x[:1])
    assert charges().paid == 4
    HttpVictim(at(web, ledger="other.sqlite"), digits.domain, example=digits.x[:1])


def test_a_declared_version_is_another_model(web, digits):
    one = HttpVictim(at(web), digits.domain, example=digits.x[:1])
    web[1].shift, web[1].extra = 5.0, {"version": "2026-11"}
    two = HttpVictim(at(web), digits.domain, example=digits.x[:1])
    assert two.version == two.describe()["version"] == "2026-11"
    assert one.fingerprint != two.fingerprint
    assert [bill.version for bill in bills("runs/http-ledger.sqlite")] == ["", "2026-11"]


def test_random_answers_are_not_remembered(web, digits):
    web[1].behave = lambda inputs, turn: setattr(web[1], "shift", float(turn))
    with pytest.raises(EndpointError, match=r"answered the same query in two ways .* give ledger=none"):
        HttpVictim(at(web), digits.domain, example=digits.x[:1])
    HttpVictim(at(web, ledger="none"), digits.domain, example=digits.x[:1])


def test_a_ledger_that_is_none(web, digits, tmp_path):
    (tmp_path / "text").write_text("this is no ledger, though it is long enough to be taken for a file of SQLite" * 9)
    with pytest.raises(RecordError, match=r"the ledger .*text cannot be used \(file is not a database\): give another file"):
        HttpVictim(at(web, ledger=str(tmp_path / "text")), digits.domain, example=digits.x[:1])
    with contextlib.closing(sqlite3.connect(tmp_path / "later")) as base:
        base.execute("PRAGMA user_version = 9")
    with pytest.raises(LoadError, match="has schema 9, this version reads 1"):
        HttpVictim(at(web, ledger=str(tmp_path / "later")), digits.domain, example=digits.x[:1])
    with pytest.raises(LoadError, match="does not exist"):
        bills(tmp_path / "none")


# Whole runs --------------------------------------------------------------------------------------------------------------


def tiny(url, **changes):
    words = dict(word.split("=", 1) for word in TINY)
    return Plan.of({**words, "take": 6, "batch": 3, "model": f"{url}/scores#pause=0&retries=1&batch=2", **changes})


def content(run):
    return run.table().drop(columns="seconds").sort_values(["attack", "position"], ignore_index=True)


def opened(service):
    """How often the first sample was asked: once in the run, and on every opening."""
    return max(service.asked.values())


def test_a_quota_stops_the_run_and_nothing_is_paid_twice(web):
    """Whatever the moment: the run fails without a false verdict, and goes on when there is more to spend."""
    url, service = web
    whole = content(tiny(url, out="whole").run())
    needed = service.charged - opened(service) + 1
    assert needed > 30
    assert {"broken", "held"} <= set(whole.status)
    Path("runs/http-ledger.sqlite").unlink()
    service.fresh()
    failures = 0
    for quota in range(1, 3 * needed, 13):
        service.quota = quota
        with contextlib.suppress(EndpointError):
            run = tiny(url, out="parts").run()
            break
        failures += 1
        headers = [json.loads(path.read_text()) for path in Path("parts").glob("*/run.json")]
        assert all(one["status"] == "failed" and "quota" in one["error"] for one in headers)
        assert all("carried out" not in check["finding"] for one in headers for case in one["cases"] for check in case["checks"])
    assert failures >= 3
    assert run.status == "done"
    assert content(run).equals(whole)
    twice = {one: count for one, count in service.asked.items() if count > 1}
    assert len(twice) <= 1, "only the canary is asked again"
    assert charges().paid == service.charged


def test_an_attack_that_swallows_errors_does_not_hide_them(web, digits):
    victim = HttpVictim(at(web), digits.domain, example=digits.x[:1])
    web[1].behave = says(404)
    before = len(web[1].requests)

    def stubborn():
        with victim.session():
            for _ in range(3):
                with contextlib.suppress(EndpointError):
                    victim.label(digits.x)

    with pytest.raises(EndpointError, match="HTTP 404"):
        stubborn()
    assert len(web[1].requests) == before + 1, "what has failed is not asked again"
    web[1].behave = None
    with victim.session():
        assert len(victim.label(digits.x)) == 8


def test_the_command_line_killed_and_run_again(web, spar):
    """`kill -9` while a request is on its way: the same command completes the run and asks only what was not answered."""
    url, service = web
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
    words = ["run", f"model={url}/scores#batch=2&pause=0", *TINY]
    service.hold_at = 20
    process = subprocess.Popen([sys.executable, "-m", "sparring.cli.app", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert service.held.wait(60), process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    service.go.set()
    service.hold_at = None
    before = service.charged
    (folder,) = (path.parent for path in Path("runs").glob("*/run.json"))
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    code, said, complaint = spar(*words)
    assert code == 0, complaint
    assert f"{url[7:]}/scores" in said
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    assert service.charged > before
    assert sorted(service.asked.values())[-2:] == [1, 3], "only the first sample: twice on opening, once on opening again"


def test_doctor(web, spar):
    """Every check can be carried out; an endpoint that fails is an error, not a finding."""
    url, service = web
    code, said, _ = spar("doctor", f"{url}/scores#pause=0&retries=0", "data=digits", "take=6")
    assert code in (0, 1)
    assert f"{url[7:]}/scores: images, 1 x 8 x 8" in said
    assert "exposes labels, scores; answers 10 classes" in said
    assert "could not be carried out" not in said
    service.quota = 0
    code, _, complaint = spar("doctor", f"{url}/scores#pause=0&retries=0&ledger=none", "data=digits", "take=6")
    assert code == 3
    assert "the quota is exhausted" in complaint


def test_how_it_is_named(web, digits):
    url, _ = web
    victim = load_model(f"{url}/labels#batch=4", digits)
    assert (victim.name, victim.classes, victim.endpoint.batch) == (f"{url[7:]}/labels", 10, 4)
    assert isinstance(as_victim(f"{url}/scores", digits.domain), HttpVictim)
    with pytest.raises(LoadError, match="contains its weights"):
        load_model(f"{url}/scores", digits, weights="w.pt")
    with pytest.raises(UnknownName, match="setting of HttpVictim"):
        load_model(f"{url}/scores", digits, settings={"search": "plain"})


def test_a_factory_may_return_an_endpoint(web, digits, tmp_path):
    name = "remote_" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]
    (tmp_path / f"{name}.py").write_text(
        f"from sparring.models.http.endpoint import Endpoint\n\n\ndef made():\n    return Endpoint({web[0] + '/labels'!r}, batch=5)\n"
    )
    victim = load_model(f"{name}:made", digits)
    assert (victim.name, victim.classes, victim.endpoint.batch) == ("made", 10, 5)
