"""The connection to an endpoint: rate limits, deadlines, retries, and errors that explain a missing answer."""

import contextlib
import datetime
import email.utils
import json
import logging
import math
import os
import re
import ssl
import time
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from sparring.core.address import public
from sparring.core.errors import EndpointError, LoadError
from sparring.models.http.answer import Answer, parsed, read_answer
from sparring.models.http.endpoint import Endpoint
from sparring.models.http.redaction import redacted

AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Status codes after which a retry may succeed."""

EXCERPT = 1 << 16
"""Bytes of a refusal that are read."""

PACKED = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Encodings of the content that are understood, by the window bits of zlib."""

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


class Response(NamedTuple):
    """Hold what came back: status, headers and content.

    headers: of httpx, by name in any case. content: unpacked.
    """

    status: int
    headers: Any
    content: bytes

    @property
    def is_page(self) -> bool:
        """Return whether it is a page for people."""
        return "html" in self.headers.get("Content-Type", "").lower() or self.content.lstrip()[:1] == b"<"


class Wire:
    """Send requests to an endpoint, inside `line()`.

    `sent` counts inputs in all requests, retries included; those that found no server are not counted.
    """

    def __init__(self, endpoint: Endpoint):
        try:
            import anyio.from_thread
            import httpx
        except ImportError as error:
            raise LoadError("models behind an address need httpx: pip install 'sparring[http]'") from error
        self.httpx = httpx
        self.anyio = anyio
        self.endpoint = endpoint
        self.sent = 0
        self._address = ""
        self._secrets: list[str] = []
        self._portal: Any = None
        self._client: Any = None
        self._free_at = -math.inf  # on the monotonic clock: when the next request may go

    @contextlib.contextmanager
    def line(self) -> Iterator[None]:
        """Keep the connection open inside the context.

        It lives in an event loop of its own, because only there can a request be ended at its deadline, whatever it waits for.
        """
        one, verify = self.endpoint, True
        if one.certificates:
            try:
                verify = ssl.create_default_context(cafile=one.certificates)
            except (OSError, ssl.SSLError) as error:
                raise LoadError(f"certificates={one.certificates!r} cannot be read ({error}): give a PEM file") from error
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "sparring"}
        self._address, self._secrets = one.address(), one.secrets()
        client = self.httpx.AsyncClient(timeout=None, headers={**headers, **one.sent_headers()}, verify=verify, trust_env=one.trust_env)
        log = logging.getLogger("httpx")
        log.addFilter(_says_nothing)
        try:
            with self.anyio.from_thread.start_blocking_portal() as self._portal, self._portal.wrap_async_context_manager(client) as self._client:
                yield
        finally:
            log.removeFilter(_says_nothing)

    def ask(self, rows: list[bytes]) -> Answer:
        """Return the answer for these inputs, each given as JSON.

        Raises EndpointError when all tries are used up, and at once where another try would not help; Refused for inputs that
        are not taken.
        """
        one, trouble = self.endpoint, ""
        for turn in range(one.retries + 1):
            self._keep_pace(len(rows))
            self.sent += len(rows)
            pause = one.pause * 2.0 ** min(turn, 60)
            try:
                response = self._portal.call(self._post, self._body(rows))
            except TimeoutError:
                trouble = f"did not answer within {one.timeout:g} s: give a longer timeout= or a smaller batch="
            except self.httpx.InvalidURL as error:
                raise LoadError(f"the address of {one} cannot be used ({self.hide(str(error))}): write https://HOST/PATH") from error
            except self.httpx.ConnectError as error:
                self.sent -= len(rows)
                trouble = self._say_failure(error)
            except self.httpx.RequestError as error:
                trouble = self._say_failure(error)
            else:
                if 200 <= response.status < 300:
                    return self._read(response, len(rows))
                trouble = self._say_status(response)
                asked = retry_after(response.headers.get("Retry-After", ""))
                if response.status not in AGAIN or (asked or 0) > one.patience:
                    waits = f" (it asks to wait {asked:.0f} s, longer than patience={one.patience:g})" if asked else ""
                    raise EndpointError(f"{one} {trouble}{waits}")
                pause = pause if asked is None else asked
            if turn < one.retries:
                time.sleep(min(pause, one.patience))
        raise EndpointError(f"{one} {trouble} ({one.retries + 1} tries)")

    def hide(self, text: str) -> str:
        """Return a text from the server as it may be stored and shown."""
        if not text:
            return text
        cookies = [cookie.value or "" for cookie in self._client.cookies.jar] if self._client is not None else []
        return redacted(text, [*self._secrets, *cookies])

    async def _post(self, body: bytes) -> Response:
        """Send one request and read what comes back; the deadline is for all of it."""
        with self.anyio.fail_after(self.endpoint.timeout):
            async with self._client.stream("POST", self._address, content=body) as response:
                most = self.endpoint.answer_bytes if response.is_success else EXCERPT
                held = bytearray()
                async for piece in response.aiter_raw():
                    held += piece
                    if len(held) > most:
                        break
                return Response(response.status_code, response.headers, self._unpacked(bytes(held), response, most))

    def _unpacked(self, content: bytes, response: Any, most: int) -> bytes:
        """The content without its encoding; of a refusal the beginning."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in PACKED:
            try:
                content = zlib.decompressobj(PACKED[encoding]).decompress(content, most + 1)
            except zlib.error as error:
                raise EndpointError(f"{self.endpoint} answered with {encoding} that cannot be unpacked ({error}): check the server") from error
        elif encoding not in ("identity", "") and response.is_success:
            raise EndpointError(f"{self.endpoint} answered in the encoding {self.hide(encoding)!r}, which was not asked for: gzip and deflate are understood")
        if len(content) > most and response.is_success:
            raise EndpointError(f"{self.endpoint} answered with more than answer_bytes={most}: give a smaller batch=, or a larger answer_bytes=")
        return content[:most]

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
        cause = _cause(error)
        known = isinstance(cause, ConnectionError) and cause.errno  # of which asyncio says less than the system
        said = self.hide(os.strerror(known) if known else str(cause)) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise EndpointError(f"{self.endpoint} shows a certificate that cannot be verified: give certificates=FILE.pem if it is your own ({said})") from None
        if isinstance(error, self.httpx.ConnectError):
            return f"cannot be reached ({said}): is it running, and is the address right?"
        return f"closed the connection ({said}): check the server, or give a smaller batch="

    def _say_status(self, response: Response) -> str:
        """What a refusal means and what to do; raises Refused where the inputs are at fault."""
        code, said = response.status, self._excerpt(response)
        if code in (400, 422):
            raise Refused(f"{self.endpoint} does not accept the inputs (HTTP {code}: {said}): see docs/http.md for their format")
        if 300 <= code < 400 and "Location" in response.headers:
            said = "to " + self.hide(public(response.headers["Location"]).partition("?")[0])
            return f"redirects to another address (HTTP {code} {said}): give that address if it is the right one"
        cure = CURES.get(code, "the server has failed: look at its log" if code >= 500 else "look up this status in the documentation of the endpoint")
        return f"answered HTTP {code} ({said}): {cure}"

    def _excerpt(self, response: Response) -> str:
        """The beginning of an answer, for a message: the title of a page."""
        text = response.content[:EXCERPT].decode(errors="replace")
        if response.is_page:
            title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
            return "an HTML page" + (f", {self.hide(title[1])!r}" if title else "")
        return self.hide(text) or "nothing more"

    def _read(self, response: Response, count: int) -> Answer:
        one = self.endpoint
        if response.is_page:
            raise EndpointError(f"{one} answered with {self._excerpt(response)}, not JSON: check that this is the address of the model and not a login page")
        try:
            content = parsed(response.content)
        except ValueError as error:
            said = f"{self._excerpt(response)}; {self.hide(str(error))}"
            raise EndpointError(f"{one} answered with invalid JSON ({said}): check that this is the address of the model") from error
        return read_answer(one, content, count, response.headers.get(one.version_header, "") if one.version_header else "", self.hide)


def _says_nothing(record: logging.LogRecord) -> bool:
    """Keeps httpx from logging whole addresses, in which our secrets may stand."""
    return False


def _cause(error: BaseException) -> BaseException:
    """What the operating system said first; the errors above it say only that something failed."""
    while below := error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__:
        error = below
    return error


def retry_after(said: str) -> float | None:
    """Return seconds that a Retry-After header asks for, as a number or as a date.

    None where it says nothing that can be read.
    """
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", said, re.ASCII):
        return float(said)
    try:
        until = email.utils.parsedate_to_datetime(said)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())
