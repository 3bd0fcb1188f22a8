"""Endpoints that stall, flood, repeat secrets or answer nonsense: a sentence in time, nothing secret kept, every query counted."""

import base64
import contextlib
import gzip
import json
import socket
import sqlite3
import threading
import time
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest

from sparring.bench.plan import Plan
from sparring.core.address import public, without_secrets
from sparring.core.errors import EndpointError, LoadError
from sparring.data.load import load
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.ledger import bills
from sparring.models.http.redaction import redacted
from sparring.models.http.victim import HttpVictim

pytest.importorskip("httpx")

SECRET = "s3cret/Value+of%20mine"
FINE = json.dumps({"scores": [[0.25, 0.75]]}).encode()


def head(status="200 OK", **fields):
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def reply(content, status="200 OK", **fields):
    return [head(status, Content_Type="application/json", Content_Length=len(content), **fields) + content]


def drip(pieces, seconds=0.05):
    """The pieces one after the other, until the client has gone."""
    for piece in pieces:
        yield piece
        time.sleep(seconds)


def endless(piece):
    while True:
        yield piece


class Server:
    """A server of sockets: every request is answered by the pieces of `behave(body, turn)`, which may take for ever."""

    def __init__(self):
        self.requests = []
        self.behave = None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.socket.accept()[0],), daemon=True).start()

    def serve(self, line):
        with contextlib.suppress(OSError), line:
            while True:
                held = b""
                while b"\r\n\r\n" not in held:
                    if not (piece := line.recv(65536)):
                        return
                    held += piece
                top, _, body = held.partition(b"\r\n\r\n")
                size = next(int(one.split(b":")[1]) for one in top.lower().split(b"\r\n") if one.startswith(b"content-length"))
                while len(body) < size:
                    body += line.recv(65536)
                self.requests.append((top.decode(), json.loads(body)))
                for piece in self.behave(json.loads(body), len(self.requests) - 1):
                    line.sendall(piece)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Server()
    yield made
    made.socket.close()


@pytest.fixture(scope="module")
def digits():
    return load("digits", take=4)


def victim(server, digits, path="/x", **settings):
    return HttpVictim(Endpoint(f"http://127.0.0.1:{server.port}{path}", **{"pause": 0.0, "retries": 0, "timeout": 5.0, **settings}), digits.domain)


def fine(body, turn):
    return reply(json.dumps({"scores": [[0.25, 0.75]] * len(body["inputs"])}).encode())


def sent():
    return sum(bill.sent for bill in bills("runs/http-ledger.sqlite"))


# Deadline and size ---------------------------------------------------------------------------------------------------

STALLS = {
    "nothing": lambda: drip(iter(lambda: b"", None)),
    "headers one by one": lambda: drip(iter([b"HTTP/1.1 200 OK\r\n", *(b"X-%d: 1\r\n" % n for n in range(10**4))])),
    "one header by letters": lambda: drip(iter([b"HTTP/1.1 200 OK\r\nX: ", *[b"a"] * 10**4])),
    "body by letters": lambda: drip(iter([head(Content_Length=10**6), *[b" "] * 10**4])),
    "chunks without end": lambda: drip(iter([head(Transfer_Encoding="chunked"), *[b"1\r\n \r\n"] * 10**4])),
    "informal answers": lambda: drip(iter([b"HTTP/1.1 103 Early\r\n\r\n"] * 10**4)),
    "half of a status": lambda: drip(iter([b"HTT", *[b""] * 10**4])),
    "error by letters": lambda: drip(iter([head("500 No", Content_Length=10**6), *[b" "] * 10**4])),
}


@pytest.mark.few(3)
@pytest.mark.parametrize("stall", STALLS)
def test_the_deadline_is_for_the_whole_request(server, digits, stall):
    server.behave = fine
    one = victim(server, digits, timeout=0.3, retries=1)
    server.behave = lambda body, turn: STALLS[stall]()
    before, began = sent(), time.monotonic()
    with pytest.raises(EndpointError, match=r"did not answer within 0.3 s: give a longer timeout= .*\(2 tries\)"):
        one.label(digits.x[1:3])
    took = time.monotonic() - began
    assert 0.6 <= took < 0.6 * 1.1 + 0.5, "two tries, and half a second for a busy machine"
    assert sent() - before == 4


def chunked(pieces):
    yield head(Content_Type="application/json", Transfer_Encoding="chunked")
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


def bomb(packer):
    packed = b"".join([packer.compress(b" " * (1 << 20)) for _ in range(64)] + [packer.flush()])
    assert len(packed) < 1 << 17
    return packed


FLOODS = {
    "chunks": (lambda: chunked(endless(b" " * 65536)), "more than answer_bytes=1000000: give a smaller batch="),
    "until the end": (lambda: iter([head(), *[b" " * 65536] * 10**4]), "more than answer_bytes=1000000"),
    "a header": (lambda: iter([b"HTTP/1.1 200 OK\r\nX: ", *[b"a" * 65536] * 100]), "closed the connection"),
    "gzip": (lambda: iter(reply(bomb(zlib.compressobj(9, wbits=31)), Content_Encoding="gzip")), "more than answer_bytes=1000000"),
    "deflate": (lambda: iter(reply(bomb(zlib.compressobj(9)), Content_Encoding="deflate")), "more than answer_bytes=1000000"),
    "no gzip": (lambda: iter(reply(b"no gzip", Content_Encoding="gzip")), "cannot be unpacked"),
    "brotli": (lambda: iter(reply(b"x", Content_Encoding="br")), "in the encoding 'br', which was not asked for"),
    "an error": (lambda: iter([head("404 No"), *[b"a" * 65536] * 10**4]), r"HTTP 404 \(a+\.\.\.\): the address does not exist"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_are_cut_off(server, digits, flood):
    server.behave = fine
    one = victim(server, digits, answer_bytes=10**6)
    pieces, sentence = FLOODS[flood]
    server.behave = lambda body, turn: pieces()
    before = sent()
    with pytest.raises(EndpointError, match=sentence) as error:
        one.label(digits.x[1:3])
    assert len(str(error.value)) < 500
    assert sent() - before == 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_packed_answers_are_read(server, digits, encoding):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[encoding]
    server.behave = lambda body, turn: reply(pack(json.dumps({"scores": [[0.25, 0.75]] * len(body["inputs"])}).encode()), Content_Encoding=encoding)
    assert victim(server, digits).label(digits.x).tolist() == [1] * 4


# Nonsense -------------------------------------------------------------------------------------------------------------

HUGE = "1" + "0" * 400
NONSENSE = {
    f'{{"scores": [[{HUGE}, 1]]}}': "the model returns numbers beyond 3.4e",
    f'{{"scores": [[-{HUGE}, 1]]}}': "the model returns numbers beyond",
    f'{{"scores": [[{"9" * 5000}, 1]]}}': "invalid JSON",
    '{"scores": [[1e308, 1]]}': "the model returns numbers beyond",
    '{"scores": [[1e999, 1]]}': "the model returns NaN or infinity",
    '{"scores": [[-Infinity, NaN]]}': "the model returns NaN or infinity",
    '{"scores": [[true, false]]}': "return a list of numbers per input",
    '{"scores": [[[1], [2]]]}': "return a list of numbers per input",
    '{"scores": [{"0": 1, "1": 2}]}': "return a list of numbers per input",
    '{"scores": [[]]}': "with 0 classes",
    '{"scores": []}': "with 0 rows for 1 inputs",
    '{"scores": [[1, 2], [1, 2]]}': "with 2 rows for 1 inputs",
    '{"scores": [["1", "2"]]}': "return a list of numbers per input",
    '{"scores": [[0, 1]], "scores": [[1, 0]]}': "the field 'scores' twice",
    '{"scores": ' + "[" * 10**5 + "]" * 10**5 + "}": "nested too deeply",
    '{"scores": [[0, 1]]}\u202e': "invalid JSON",
    b'{"scores": "\xff\xfe\x80"}': "invalid JSON",
    '{"labels": [1e30]}': r"1e\+30 for input 0: classes are numbers from 0",
    '{"labels": [1.5]}': "1.5 for input 0",
    '{"labels": [-1]}': "-1 for input 0",
    '{"labels": [true]}': "True for input 0",
    '{"labels": [[1]]}': r"\[1\] for input 0",
    '{"labels": [null]}': "None for input 0",
    f'{{"labels": [{HUGE}]}}': "returned the class 1000.*, but the classes are 0 to 9",
    '{"labels": [10]}': "returned the class 10, but the classes are 0 to 9",
    '{"labels": ["\\u001b[2J\\ud800cat"]}': r"'\\x1b\[2J\\ud800cat' for input 0",
    "[]": "answered a list, neither",
    "null": "answered a NoneType, neither",
    "": "invalid JSON",
}


@pytest.mark.few(12)
@pytest.mark.parametrize("content", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("when", ["opening", "later"])
def test_answers_that_are_none(server, digits, content, when):
    """Refused with a short sentence, at the first answer as later; what was asked is in the ledger."""
    raw = content if isinstance(content, bytes) else content.encode()
    labels_only = b'{"labels": [1]}'
    server.behave = lambda body, turn: reply(raw if when == "opening" or turn > 1 else labels_only if b"labels" in raw else FINE)
    endpoint = Endpoint(f"http://127.0.0.1:{server.port}/x", retries=0)
    made = HttpVictim(endpoint, digits.domain, classes=10) if when == "later" else None
    with pytest.raises(EndpointError, match=NONSENSE[content]) as error:
        made.label(digits.x[:1]) if made else HttpVictim(endpoint, digits.domain, classes=10)
    assert len(str(error.value)) < 700
    assert str(error.value).isprintable()
    assert sent() == len(server.requests)


def test_retry_after_of_any_size(server, digits):
    for asked in ("9" * 5000, "Wed, 99 Oct 99999 99:99:99 GMT", "-1", "\u0663", "1e999"):
        server.behave = lambda body, turn, asked=asked: reply(b"", "503 Busy", Retry_After=asked.encode("latin-1", "replace").decode())
        with pytest.raises(EndpointError, match="HTTP 503"):
            victim(server, digits, ledger="none")


# Secrets ---------------------------------------------------------------------------------------------------------------


def forms(secret):
    raw = secret.encode()
    return {
        "plain": secret,
        "percent": quote(secret, safe=""),
        "small percent": quote(secret, safe="").lower(),
        "base64": base64.b64encode(raw).decode(),
        "base64 of a header": base64.b64encode(b"Authorization: Bearer " + raw + b"\r\n").decode(),
        "base64 for addresses": base64.urlsafe_b64encode(b"x" + raw).decode(),
        "hexadecimal": raw.hex(),
        "JSON": json.dumps(secret),
        "broken over lines": secret,
    }


@pytest.mark.parametrize("form", forms(SECRET))
def test_secrets_are_taken_out_in_every_form(form):
    said = redacted(f"you sent <{forms(SECRET)[form]}> to us", [f"Bearer {SECRET}"])
    assert "***" in said
    assert all(
        part not in said.lower() for part in ("s3cret", "value", "mine", SECRET.encode().hex()[8:20], base64.b64encode(SECRET.encode()).decode()[4:12].lower())
    )
    assert said.startswith("you sent <")


def test_the_password_of_basic_access_is_a_secret():
    header = "Basic " + base64.b64encode(b"me:hunter2-long").decode()
    assert redacted("user me, password hunter2-long", [header]) == "user me, password ***"


def test_texts_from_servers_are_short_and_harmless():
    said = redacted("\x1b]0;x\x07 a\r\nb\u202e " + "c" * 10**6, [])
    assert said.isprintable()
    assert len(said) <= 203
    assert redacted("version 2 of resnet-50", ["Bearer abcdef"]) == "version 2 of resnet-50"


def test_what_a_server_echoes_is_stored_nowhere(server, digits, tmp_path, monkeypatch, capfd, caplog):
    """The version repeats headers, address and cookies; afterwards no file, no message and no log has them."""
    caplog.set_level("INFO")
    monkeypatch.setenv("MY_CODE", "c0de-of-mine")
    monkeypatch.setenv("MY_TOKEN", "t0ken-of-mine")

    def echo(body, turn):
        top = server.requests[-1][0]
        return reply(
            json.dumps({"scores": [[0.5] * 9 + [0.25]] * len(body["inputs"]), "version": top}).encode(),
            Set_Cookie="session=c00kie-of-mine",
            X_Echo="t0ken-of-mine",
        )

    server.behave = echo
    words = {"data": "digits", "take": 2, "threat": "linf 0.1", "access": "scores", "attacks": "square(queries=4)", "points": "none", "self_check": False}
    address = f"http://127.0.0.1:{server.port}/k3y0f0mine0abcdefg/x?code=$MY_CODE&lang=eng-lish#token=MY_TOKEN&version_field="
    run = Plan.of({**words, "model": address}).run()
    run.report()
    top = server.requests[0][0]
    assert "code=c0de-of-mine" in top
    assert "k3y0f0mine0abcdefg" in top
    header = json.loads((Path(run.path) / "run.json").read_text())
    assert header["plan"]["model"] == [f"http://127.0.0.1:{server.port}/***/x?code=$MY_CODE&lang=***#token=MY_TOKEN&version_field="]
    seen = HttpVictim(Endpoint.read(address.replace("&version_field=", "") + "&ledger=other"), digits.domain)  # this one reads the version
    assert "***" in seen.version
    server.behave = lambda body, turn: reply(server.requests[-1][0].encode() + b"\nc00kie-of-mine", "403 No")
    with pytest.raises(EndpointError, match="HTTP 403") as error:
        seen.label(digits.x)
    told = [str(error.value), repr(seen.endpoint), str(seen), json.dumps(seen.describe()), caplog.text, *capfd.readouterr()]
    told += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    told += [
        str(row) for file in (tmp_path / "other", tmp_path / "runs/http-ledger.sqlite") for row in sqlite3.connect(file).execute("SELECT * FROM endpoints")
    ]
    assert not any(secret in one for one in told for secret in ("-of-mine", "k3y0f0mine0abcdefg", "eng-lish"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/predict?code=abc&sas=d&key=e", "https://host/predict?code=***&sas=***&key=***"),
        ("https://host/p?abcdef", "https://host/p?***"),
        ("https://me:pw@host:8/p", "https://host:8/p"),
        ("https://host/bot123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11/p", "https://host/***/p"),
        ("https://host/v1/models/resnet50-imagenet2012:predict", "https://host/v1/models/resnet50-imagenet2012:predict"),
        ("https://host/p#batch=8&token=NAME&ledger=none", "https://host/p#batch=8&token=NAME&ledger=none"),
        ("https://host/p#access_token=abc", "https://host/p#access_token=***"),
        ("s3://bucket/run?versionId=7", "s3://bucket/run?versionId=***"),
        ("https://[::1", "***"),
    ],
)
def test_addresses_are_shown_without_secrets(address, shown):
    assert public(address) == shown
    assert without_secrets(f"spar run 'model={address}' data=digits") == f"spar run 'model={shown}' data=digits"


def test_an_address_from_a_record_asks_for_what_is_left_out():
    with pytest.raises(LoadError, match=r"host/p holds \*\*\*, with which a record replaces what is secret"):
        Endpoint.read("https://host/p?code=***")
    with pytest.raises(LoadError, match="is not the name of an environment variable") as error:
        Endpoint.read("https://host/p#token=sk-abc")
    assert "sk-abc" not in str(error.value)
    assert repr(Endpoint("https://host/p?code=abc", batch=8)) == "Endpoint('https://host/p?code=***', batch=8)"
    with pytest.raises(LoadError, match="environment variable NOT_SET_HERE for host/p is not set"):
        Endpoint("https://host/p?code=$NOT_SET_HERE").address()


def test_redirects_are_not_followed_and_told_without_secrets(server, digits):
    server.behave = lambda body, turn: reply(b"", "307 Elsewhere", Location="http://me:pw@127.0.0.2:9/k3y0f0mine0abcdefg?code=abc")
    with pytest.raises(EndpointError, match=r"redirects to another address \(HTTP 307 to http://127.0.0.2:9/\*\*\*\)"):
        victim(server, digits, headers={"Authorization": "Bearer abcdef"})
    assert len(server.requests) == 1
