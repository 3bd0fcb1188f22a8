"""A web endpoint: its address, the format of requests and answers, rate limits and retries."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from sparring.core.address import HIDDEN, SECRET, VARIABLE, is_key, public
from sparring.core.errors import LoadError, PlanError, UnknownName

PLACE = re.compile(rf"(?<=[=/]){VARIABLE.pattern}(?=[/&?#]|$)")
"""A value of the query, or a part of the path, that stands in the environment."""


@dataclass(frozen=True, repr=False)
class Endpoint:
    """Represent a model behind an address.

    url: where to POST; whatever selects the model belongs here or into `constants`, because both are part of the fingerprint. A part
    of the path or a value of the query that is written $NAME is read from the environment. The address is stored and shown
    without values of the query and keys in the path.
    headers: sent along, for tokens; never written anywhere, and not part of the fingerprint. token: name of an environment
    variable whose value is sent as `Authorization: Bearer ...`.

    batch: inputs in one request. single: the input itself stands in the request instead of a list, one in a request.
    requests_per_second, samples_per_second: limits of our own, 0 is none. retries: further tries of a request. pause: seconds
    before the second try, doubled for each further one; Retry-After goes before it. patience: longest pause in seconds; if the
    endpoint asks for a longer one the run ends. timeout: seconds for one request, from connecting to the last byte.
    answer_bytes: the largest answer, as it comes and unpacked.

    ledger: file in which answers are remembered, or "none". canary: ask the first sample on opening and compare.
    inputs_field, scores_field, labels_field: names in request and answer; dots lead inward, "result.scores". names: the classes,
    where labels are answered as words. constants: further fields of every request. named_columns: rows of tables as objects.
    version_field, version_header: where an answer declares the version of its model.
    trust_env: follow HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and .netrc of the environment. certificates: file of certificates to
    trust instead of the usual ones; they are always verified.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    token: str = ""
    batch: int = 32
    single: bool = False
    requests_per_second: float = 0.0
    samples_per_second: float = 0.0
    retries: int = 5
    pause: float = 0.5
    patience: float = 60.0
    timeout: float = 30.0
    answer_bytes: int = 1 << 25
    ledger: str = "runs/http-ledger.sqlite"
    inputs_field: str = "inputs"
    scores_field: str = "scores"
    labels_field: str = "labels"
    names: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict, repr=False)
    named_columns: bool = False
    version_field: str = "version"
    version_header: str = "x-model-version"
    trust_env: bool = False
    certificates: str = ""

    def __post_init__(self) -> None:
        self._check_address()
        for name, least in {"batch": 1, "answer_bytes": 1, "retries": 0, "requests_per_second": 0, "samples_per_second": 0, "pause": 0, "patience": 0}.items():
            if not getattr(self, name) >= least:
                raise PlanError(f"endpoint {self}: {name}={getattr(self, name)!r} must be at least {least}")
        if not self.timeout > 0:
            raise PlanError(f"endpoint {self}: timeout={self.timeout!r} must be above 0 seconds")
        if not self.inputs_field:
            raise PlanError(f"endpoint {self}: inputs_field is empty: name the field of the request that holds the inputs")
        try:
            json.dumps(dict(self.constants), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PlanError(f"endpoint {self}: constants cannot be written as JSON ({error}): give numbers, strings and lists") from error
        for name, value in self.headers.items():  # checked here, because others would repeat the value in their complaint
            if not (isinstance(value, str) and value.isascii() and value.isprintable() and re.fullmatch(r"[!#$%&'*+\-.^_`|~\w]+", name, re.ASCII)):
                raise PlanError(f"endpoint {self}: header {name!r} has a value that cannot be sent: give one line of ASCII text")

    def _check_address(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise LoadError(f"the address of the model cannot be read ({error}): write https://HOST/PATH") from error
        if parts.scheme not in ("http", "https") or not host or not self.url.isprintable() or " " in self.url:
            raise LoadError(f"{str(self)!r} is not an address of a model: write https://HOST/PATH")
        if parts.username is not None or parts.password is not None:
            raise LoadError(f"the address of {self} holds a password, which others can read there: use token=VARIABLE or headers")
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if SECRET.search(name) and not VARIABLE.fullmatch(value):
                raise LoadError(
                    f"the address of {self} holds {name}=..., which others can read there: write {name}=$VARIABLE, or use token=VARIABLE or headers"
                )
        if HIDDEN in self.url:
            raise LoadError(f"the address of {self} holds {HIDDEN}, with which a record replaces what is secret: write the value, or $VARIABLE")
        if parts.fragment:
            raise LoadError(f"the address of {self} has settings after #: use Endpoint.read, or pass the settings by name, Endpoint(url, ...)")
        if self.token and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.token):
            raise LoadError(f"token= for {self} is not the name of an environment variable: put the token into one and give its name, token=VARIABLE")

    @classmethod
    def read(cls, written: str) -> "Endpoint":
        """Return the endpoint as a plan names it.

        Settings that are numbers, words or true and false may stand behind #.

        >>> Endpoint.read("https://host/predict#batch=8&token=MY_TOKEN").batch
        8
        """
        url, _, behind = written.partition("#")
        kinds = {one.name: type(one.default) for one in fields(cls) if isinstance(one.default, int | float | str)}
        settings: dict[str, Any] = {}
        if behind and not all("=" in part for part in behind.split("&")):
            raise PlanError(f"cannot read {behind!r} after the address: write #name=value&name=value")
        for name, value in parse_qsl(behind, keep_blank_values=True):
            if name not in kinds:
                raise UnknownName("setting of an endpoint", name, kinds)
            settings[name] = _plain(name, value, kinds[name])
        return cls(url, **settings)

    def __repr__(self) -> str:
        changed = [f"{one.name}={value!r}" for one in fields(self) if one.repr and (value := getattr(self, one.name)) != one.default]
        return f"Endpoint({', '.join([repr(public(self.url)), *changed])})"

    def __str__(self) -> str:
        """Return host and path, without anything that may be secret."""
        return re.sub(r"^\w+://", "", public(self.url)).partition("#")[0].partition("?")[0]

    def address(self) -> str:
        """Return the address to which requests go, with the values that stand in the environment."""
        return PLACE.sub(lambda found: quote(self._from_environment(found[0][1:]), safe=""), self.url)

    def sent_headers(self) -> dict[str, str]:
        """Return the headers that are sent, the token read from the environment."""
        return {**self.headers, **({"Authorization": f"Bearer {self._from_environment(self.token)}"} if self.token else {})}

    def secrets(self) -> list[str]:
        """Return what must not be stored or shown.

        These are the values of headers and of the query, and keys in the path.
        """
        parts = urlsplit(self.address())
        values = [value for _, _, value in (part.partition("=") for part in parts.query.split("&"))]
        keys = [part for part, written in zip(parts.path.split("/"), urlsplit(self.url).path.split("/"), strict=True) if part != written or is_key(part)]
        return [*self.sent_headers().values(), *values, *(unquote(one) for one in keys)]

    def _from_environment(self, name: str) -> str:
        value = os.environ.get(name, "")
        if not (value and value.isascii() and value.isprintable()):
            raise LoadError(f"the environment variable {name} for {self} is not set or is not one line of text: set it")
        return value


def _plain(name: str, value: str, kind: type) -> Any:
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise PlanError(f"{name}={value!r} after the address: write true or false")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError as error:
        raise PlanError(f"{name}={value!r} after the address: give a {'whole number' if kind is int else 'number'}") from error
