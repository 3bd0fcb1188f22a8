"""The connection to an endpoint: rate limits, retries, and errors that explain a missing answer."""

import contextlib
import datetime
import email.utils
import json
import math
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sparring.core.errors import EndpointError, LoadError
from sparring.models.http.endpoint import Endpoint

AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Status codes after which a retry may succeed."""

CURES = {
    401: "it wants a (valid) token: give token=VARIABLE, or headers",
    402: "the quota is exhausted: run the same command again when it is renewed; all answers so far are kept",
    403: "the token has no permission for this: give another one, token=VARIABLE, or headers",
    404: "the address does not exist: check the path",
    405: "this address does not accept POST: check the path",
    413: "the request is too large: give a smaller batch=",
    415: "it does not accept JSON: see docs/http.md for the contract",
    429: "the quota is exhausted: run the same command again later (all answers so far are kept), or give a lower samples_per_second=",
}


class Refused(EndpointError):
    """Report an endpoint that does not accept these inputs."""


class Answer(NamedTuple):
    """Represent one request's answer.

    scores: float64 [n, classes], or None. labels: n whole numbers, or None. version: as declared.
    """

    scores: np.ndarray | None
    labels: list[int] | None
    version: str


class Wire:
    """Send requests to an endpoint, inside `line()`.

    `sent` counts inputs in all requests, retries included.
    """

    def __init__(self, endpoint: Endpoint):
        try:
            import httpx
        except ImportError as error:
            raise LoadError("models behind an address need httpx: pip install 'sparring[http]'") from error
        self.httpx = httpx
        self.endpoint = endpoint
        self.sent = 0
        self._client: Any = None
        self._free_at = -math.inf  # on the monotonic clock: when the next request may go

    @contextlib.contextmanager
    def line(self) -> Iterator[None]:
        """Keep the connection open inside the context."""
        one, verify = self.endpoint, True
        if one.certificates:
            try:
                verify = ssl.create_default_context(cafile=one.certificates)
            except (OSError, ssl.SSLError) as error:
                raise LoadError(f"certificates={one.certificates!r} cannot be read ({error}): give a PEM file") from error
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "sparring", **one.secrets()}
        with self.httpx.Client(timeout=one.timeout, headers=headers, verify=verify, trust_env=one.trust_env) as self._client:
            yield

    def ask(self, rows: list[bytes]) -> Answer:
        """Return the answer for these inputs, each given as JSON.

        Raises EndpointError when all tries are used up, and at once where another try would not help; Refused for inputs that
        are not taken.
        """
        one, trouble = self.endpoint, ""
        for turn in range(one.retries + 1):
            self._keep_pace(len(rows))
            self.sent += len(rows)
            pause = one.pause * 2**turn
            try:
                response = self._client.post(one.url, content=self._body(rows))
            except self.httpx.TimeoutException:
                trouble = f"did not answer within {one.timeout:g} s: give a longer timeout= or a smaller batch="
            except self.httpx.InvalidURL as error:
                raise LoadError(f"the address of {one} cannot be used ({error}): write https://HOST/PATH") from error
            except self.httpx.RequestError as error:
                trouble = self._say_failure(error)
            else:
                if response.is_success:
                    return self._read(response, len(rows))
                trouble = self._say_status(response)
                asked = retry_after(response.headers.get("Retry-After", ""))
                if response.status_code not in AGAIN or (asked or 0) > one.patience:
                    waits = f" (it asks to wait {asked:.0f} s, longer than patience={one.patience:g})" if asked else ""
                    raise EndpointError(f"{one} {trouble}{waits}")
                pause = pause if asked is None else asked
            if turn < one.retries:
                time.sleep(min(pause, one.patience))
        raise EndpointError(f"{one} {trouble} ({one.retries + 1} tries)")

    def _body(self, rows: list[bytes]) -> bytes:
        one = self.endpoint
        if one.single and len(rows) != 1:
            raise ValueError(f"{len(rows)} inputs for an endpoint that takes one: give batch=1")
        fixed = "".join(f"{json.dumps(name)}:{json.dumps(value)}," for name, value in one.constants.items()).encode()
        inputs = rows[0] if one.single else b"[" + b",".join(rows) + b"]"
        return b"{" + fixed + json.dumps(one.inputs_field).encode() + b":" + inputs + b"}"

    def _keep_pace(self, count: int) -> None:
        """Wait until the request may go. A request takes up as much time as its samples, or itself, are allowed."""
        one, now = self.endpoint, time.monotonic()
        if self._free_at > now:
            time.sleep(self._free_at - now)
        takes = max(1 / one.requests_per_second if one.requests_per_second else 0.0, count / one.samples_per_second if one.samples_per_second else 0.0)
        self._free_at = max(self._free_at, now) + takes

    def _say_failure(self, error: Exception) -> str:
        said = self.endpoint.hide(str(error)) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise EndpointError(f"{self.endpoint} shows a certificate that cannot be verified: give certificates=FILE.pem if it is your own ({said})") from None
        if isinstance(error, self.httpx.ConnectError):
            return f"cannot be reached ({said}): is it running, and is the address right?"
        return f"closed the connection ({said}): check the server, or give a smaller batch="

    def _say_status(self, response: Any) -> str:
        """What a refusal means and what to do; raises Refused where the inputs are at fault."""
        code, said = response.status_code, self._excerpt(response)
        if code in (400, 422):
            raise Refused(f"{self.endpoint} does not accept the inputs (HTTP {code}: {said}): see docs/http.md for their format")
        if response.is_redirect:
            said = "to " + self.endpoint.hide(response.headers.get("Location", "?").partition("?")[0])
            return f"redirects to another address (HTTP {code} {said}): give that address if it is the right one"
        cure = CURES.get(code, "the server has failed: look at its log" if code >= 500 else "look up this status in the documentation of the endpoint")
        return f"answered HTTP {code} ({said}): {cure}"

    def _excerpt(self, response: Any) -> str:
        """The beginning of an answer, for a message: the title of a page."""
        if _is_page(response):
            title = re.search(r"<title[^>]*>(.*?)</title>", response.text, re.IGNORECASE | re.DOTALL)
            return "an HTML page" + (f", {self.endpoint.hide(title[1])!r}" if title else "")
        return self.endpoint.hide(response.text[:2000]) or "nothing more"

    def _read(self, response: Any, count: int) -> Answer:
        one = self.endpoint
        if _is_page(response):
            raise EndpointError(f"{one} answered with {self._excerpt(response)}, not JSON: check that this is the address of the model and not a login page")
        try:
            content = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise EndpointError(f"{one} answered with invalid JSON ({self._excerpt(response)}): check that this is the address of the model") from error
        scores, labels = _inner(content, one.scores_field), _inner(content, one.labels_field)
        if scores is None and labels is None:
            held = f"the fields {', '.join(map(str, content))}" if isinstance(content, dict) else f"a {type(content).__name__}"
            wanted = f"{one.scores_field!r} nor {one.labels_field!r}"
            raise EndpointError(f"{one} answered {one.hide(held)}, neither {wanted}: name the right one with scores_field= or labels_field=")
        if one.single:
            scores, labels = None if scores is None else [scores], None if labels is None else [labels]
        version = _inner(content, one.version_field)
        return Answer(
            None if scores is None else self._scores(scores, count),
            None if labels is None else self._labels(labels, count),
            str(version if version is not None else response.headers.get(one.version_header, "") if one.version_header else ""),
        )

    def _scores(self, scores: Any, count: int) -> np.ndarray:
        name = f"{self.endpoint} gave {self.endpoint.scores_field}"
        if not isinstance(scores, list) or len(scores) != count:
            found = f"{len(scores)} rows" if isinstance(scores, list) else f"a {type(scores).__name__}"
            raise EndpointError(f"{name} with {found} for {count} inputs: it must answer one list of scores per input, in the same order")
        for place, row in enumerate(scores):
            if not isinstance(row, list) or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in row):
                raise EndpointError(f"{name} {self.endpoint.hide(repr(row))} for input {place}: return a list of numbers per input, one per class")
            if len(row) != len(scores[0]) or len(row) < 2:
                cure = "give a score for every class" if len(row) < 2 else "the classes must be the same for every input"
                raise EndpointError(f"{name} with {len(row)} classes for input {place} and {len(scores[0])} for input 0: {cure}")
            if not all(math.isfinite(one) for one in row):
                raise EndpointError(f"{name} {row} for input {place}: the model returns NaN or infinity and must be fixed first")
        return np.asarray(scores, dtype=np.float64)

    def _labels(self, labels: Any, count: int) -> list[int]:
        name = f"{self.endpoint} gave {self.endpoint.labels_field}"
        if not isinstance(labels, list) or len(labels) != count:
            held = f"{len(labels)} entries" if isinstance(labels, list) else f"a {type(labels).__name__}"
            raise EndpointError(f"{name} with {held} for {count} inputs: it must answer one class per input, in the same order")
        known = {name: number for number, name in enumerate(self.endpoint.names)}
        found: list[int] = []
        for place, said in enumerate(labels):
            one = known.get(said, said) if isinstance(said, str) else said
            if isinstance(one, bool) or not isinstance(one, int) or one < 0:
                cure = f"known are {', '.join(known)}" if known else "give Endpoint(names=...) if these are names of classes"
                raise EndpointError(f"{name} {self.endpoint.hide(repr(one))} for input {place}: classes are numbers from 0; {cure}")
            found.append(one)
        return found


def retry_after(said: str) -> float | None:
    """Return seconds that a Retry-After header asks for, as a number or as a date.

    None where it says nothing that can be read.
    """
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", said):
        return float(said)
    try:
        until = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())


def _inner(content: Any, path: str) -> Any:
    """The field at a path such as result.scores; None where there is none."""
    for name in path.split(".") if path else [""]:
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _is_page(response: Any) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower() or response.content.lstrip()[:1] == b"<"
