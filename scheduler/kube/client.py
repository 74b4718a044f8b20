"""Requests to the Kubernetes API: over kept connections, tried again where that is safe; values or one clear error come back."""

from __future__ import annotations

import random
import socket
import ssl
import string
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from jobs.supervisor.log_writer import LineCutter
from scheduler.kube.errors import TIMEOUT, Expired, KubeError, ProxyFailed, api_error, is_admission, refuse_page, unreachable
from scheduler.kube.kinds import ACCESS_REVIEW, SUBJECT_REVIEW, Kind
from scheduler.notices import notify
from scheduler.times import format_duration

if TYPE_CHECKING:
    from scheduler.kube.kubeconfig import Access

PAGE = 500
CLOCK_TOLERANCE = 15.0
"""Seconds by which this machine's clock may differ from a server's without a warning: an answer's Date is cut, and takes time."""
PATIENCE = 60.0
"""Seconds for which a request is tried again once the server has answered before."""
_FIRST = 3.0
"""The same before the first answer."""
_WEBHOOK = 3.0
"""The same where a webhook of the cluster fails or denies: what is the matter with it stays so."""
_AGAIN = (429, 500, 502, 503, 504)
_HOPELESS = (ConnectionRefusedError, socket.gaierror, ssl.SSLError, ProxyFailed)
_clock_warning = threading.Lock()
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class _Metadata(msgspec.Struct):
    """What all metadata may have."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _StoredMetadata(_Metadata, kw_only=True):
    """What the metadata of an object that the server keeps has."""

    name: str
    uid: str


class _Shape(msgspec.Struct, kw_only=True):
    """What every object of Kubernetes has, as far as commands rely on it."""

    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None
    data: dict[str, str] | None = None


class _StoredShape(_Shape, kw_only=True):
    """Also of one that the server keeps."""

    metadata: _StoredMetadata


class _ListShape(msgspec.Struct):
    """A page of a list."""

    items: list[_StoredShape] | None
    metadata: dict[str, Any]


# msgspec prepares a class when it is first read, and ends the process (SIGSEGV) if another thread reads it meanwhile: a decoder
# prepares it here, in the thread that imports.
for _shape in (_Shape, _StoredShape, _ListShape):
    msgspec.json.Decoder(_shape)


class KubeClient:
    """One server, over connections that are kept while the block runs. Safe to use from several threads."""

    def __init__(self, access: Access, patience: float = PATIENCE, timeout: float = TIMEOUT) -> None:
        """``patience``: seconds for which a request is tried again; ``timeout``: seconds in which each must be answered."""
        self.access = access
        # Late: with urllib3 and kubernetes come 0.1 s.
        from scheduler.kube.transport import Transport

        self.connections = Transport(access, timeout)
        self._patience = patience
        self._answered = False
        self._shaken = -1e9  # when a connection last broke: a server that starts refuses what it will allow
        self._clock: tuple[datetime, float] | None = None

    def __enter__(self) -> KubeClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def now(self) -> datetime:
        """The server's clock, by the Date of its latest answer."""
        if self._clock is None:
            raise KubeError(f"{self.access.server}: no answer yet that bears a date")
        date, received = self._clock
        return date + timedelta(seconds=time.monotonic() - received)

    def server_time(self) -> datetime:
        """The server's clock, which is asked if it has not answered yet; raises KubeError if it does not answer."""
        try:
            return self.now()
        except KubeError:
            self.version()
            return self.now()

    def get(self, kind: Kind, namespace: str | None, name: str, metadata_only: bool = False) -> dict[str, Any]:
        """One object, or its metadata alone; raises NotFound, Forbidden and other KubeErrors, as all that follow do."""
        accept = METADATA if metadata_only else "application/json"
        return self._object("GET", kind, namespace, name, accept=accept)

    def create(self, kind: Kind, namespace: str | None, body: Mapping[str, Any], manager: str = "cronsemble") -> dict[str, Any]:
        """Create an object whose fields ``manager`` owns then; raises Conflict where there is one of its name."""
        query = {} if kind in (ACCESS_REVIEW, SUBJECT_REVIEW) else {"fieldManager": manager}
        return self._object("POST", kind, namespace, None, query, body)

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], manager: str = "cronsemble"
    ) -> dict[str, Any]:
        """Put the body in the place of an object; raises Conflict where it has changed since its resourceVersion."""
        return self._object("PUT", kind, namespace, name, {"fieldManager": manager}, body)

    def apply(
        self, kind: Kind, namespace: str | None, body: Mapping[str, Any], manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply; answers with the object as the server keeps it, or would with ``dry_run``."""
        query = {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        name = body["metadata"]["name"]
        return self._object("PATCH", kind, namespace, name, query, body, "application/apply-patch+yaml")

    def patch(self, kind: Kind, namespace: str, name: str, body: Any, manager: str = "cronsemble") -> dict[str, Any]:
        """A merge patch (a dictionary) or a JSON patch (a list)."""
        content = "application/json-patch+json" if isinstance(body, list) else "application/merge-patch+json"
        return self._object("PATCH", kind, namespace, name, {"fieldManager": manager}, body, content, METADATA)

    def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """That very object, and what it owns after it."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        self._object("DELETE", kind, namespace, name, body=body)

    def list(
        self,
        kind: Kind,
        namespace: str | None,
        selector: str = "",
        fields: str = "",
        metadata_only: bool = False,
        first_page: bool = False,
        decoder: msgspec.json.Decoder[Any] | None = None,
    ) -> Iterator[Any]:
        """Every object that matches, in pages, or only the first; begins anew when the server has forgotten where we were."""
        query = {"limit": str(PAGE), "labelSelector": selector, "fieldSelector": fields}
        query = {key: value for key, value in query.items() if value}
        accept = METADATA_LIST if metadata_only else "application/json"
        where = f" in namespace {namespace}" if namespace else ""
        decode = decoder.decode if decoder else msgspec.json.decode
        for _ in range(4):
            items: list[Any] = []
            more = ""
            try:
                while True:
                    ask = {**query, "continue": more} if more else query
                    answer = self.request(
                        "GET", kind.path(namespace), ask, accept=accept, verb="list", what=kind.resource, where=where
                    )
                    page = self._decode(answer, decode)
                    if decoder is None:
                        self._check_shape(page, _ListShape)
                    items += (page["items"] if isinstance(page, dict) else page.items) or []
                    more = page["metadata"].get("continue", "") if isinstance(page, dict) else page.metadata.next
                    if not more or first_page:
                        yield from items
                        return
            except Expired:
                continue
        raise KubeError(f"{kind.resource}: the list changed faster than it could be read: try again")

    def version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        version = self._decode(self.request("GET", "/version", what="version"))
        try:
            return int(version["major"]), int("".join(digit for digit in version["minor"] if digit in string.digits))
        except (KeyError, TypeError, ValueError) as error:
            raise KubeError(f"{self.access.server}: answered with what is no version of Kubernetes: {version!r:.200}") from error

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
        verb: str = "",
        what: str = "",
        where: str = "",
    ) -> bytes:
        """The body of a good answer; broken connections, 429 and 5xx are tried again for as long as patience lasts."""
        target = self.connections.prefix + path + ("?" + urlencode(query) if query else "")
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Accept": accept, "User-Agent": "cronsemble"}
        if data is not None:
            headers["Content-Type"] = content
        began = time.monotonic()
        pause, renewed = 0.05, False
        while True:
            generation, asked = self.connections.login.generation, time.monotonic()
            wait: float | None = None
            try:
                status, answered, text = self._once(method, target, data, headers)
            except OSError as error:
                self.close()
                self._shaken = time.monotonic()
                # Nothing is there: no patience before the first answer.
                hopeless = not self._answered and isinstance(error, _HOPELESS)
                wrong = isinstance(error, ssl.SSLCertVerificationError)
                if hopeless or wrong or time.monotonic() - began > (self._patience if self._answered else _FIRST):
                    raise unreachable(self.access.server, self.access.context, error, time.monotonic() - asked) from error
            else:
                if status < 400:
                    refuse_page(self.access.server, status, answered, text)
                    return text
                if status == 401 and not renewed and self.connections.login.renew(generation):
                    renewed = True
                    self.close()
                    continue
                starting = status in (401, 403) and time.monotonic() - self._shaken < 5
                patience = _WEBHOOK if is_admission(text) else self._patience
                if not (status in _AGAIN or starting) or time.monotonic() - began > patience:
                    refuse_page(self.access.server, status, answered, text)
                    raise api_error(method, what or path, verb or _VERBS[method], where, status, decode(text))
                wait = _seconds(answered)
            # Jitter, so that eight threads do not come back as one.
            time.sleep(wait if wait is not None else pause * (0.5 + random.random()))  # noqa: S311
            pause = min(pause * 2, 2.0)

    def stream(
        self, path: str, query: Mapping[str, str] | None = None, what: str = "", where: str = "", is_log: bool = False
    ) -> Iterator[bytes]:
        """The lines of an answer that goes on until the server ends it: a followed log, or a watch's events.

        They come as they are written, however long that takes; of a log's, those that are very long are cut, with a word.
        Closing the iterator closes the connection. Raises what :meth:`request` raises, and Unreachable when the connection
        breaks; what was not read then is for the caller to ask again.
        """
        from scheduler.kube.transport import pieces

        target = self.connections.prefix + path + ("?" + urlencode(query) if query else "")
        renewed = False
        while True:
            generation, asked = self.connections.login.generation, time.monotonic()
            try:
                answer = self.connections.request("GET", target, headers={"User-Agent": "cronsemble"}, stream=True)
                try:
                    if answer.status < 400:
                        refuse_page(self.access.server, answer.status, answer.headers, b"")
                        yield from _lines(_cut_lines(pieces(answer)) if is_log else pieces(answer))
                        return
                    text = b"".join(pieces(answer))
                finally:
                    answer.close()
            except OSError as error:
                raise unreachable(self.access.server, self.access.context, error, time.monotonic() - asked) from error
            if answer.status != 401 or renewed or not self.connections.login.renew(generation):
                refuse_page(self.access.server, answer.status, answer.headers, text)
                raise api_error("GET", what or path, "get", where, answer.status, decode(text))
            renewed = True

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        self.connections.close()

    def _object(
        self,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str | None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        what = f"{kind.resource}/{name}" if name else kind.resource
        where = f" in namespace {namespace}" if namespace else ""
        answer = self.request(method, kind.path(namespace, name), query, body, content, accept, what=what, where=where)
        value = self._decode(answer)
        if method != "DELETE":
            # A review is answered, not kept: it has no name.
            self._check_shape(value, _Shape if kind in (ACCESS_REVIEW, SUBJECT_REVIEW) else _StoredShape)
        return dict(value)

    def _check_shape(self, value: Any, shape: type[msgspec.Struct]) -> None:
        """Raise KubeError unless an answer has what every object has, of the type that it must have."""
        try:
            msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise KubeError(f"{self.access.server}: answered with what is no object of Kubernetes ({error})") from error

    def _decode(self, answer: bytes, decode: Callable[[bytes], Any] = msgspec.json.decode) -> Any:
        try:
            return decode(answer)
        except (msgspec.DecodeError, RecursionError) as error:
            beginning = answer[:80].decode(errors="replace")
            raise KubeError(
                f"{self.access.server}: answered with what is not Kubernetes' JSON ({error}): {beginning!r}"
            ) from error

    def _once(
        self, method: str, target: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        answer = self.connections.request(method, target, data, headers)
        received = time.monotonic()
        if date := answer.headers.get("Date"):
            server_time = parsedate_to_datetime(date).astimezone(UTC)
            if self._clock is None:
                _warn_of_clock((datetime.now(UTC) - server_time).total_seconds())
            self._clock = (server_time, received)
        self._answered = True
        return answer.status, answer.headers, answer.data


def _warn_of_clock(ahead: float) -> None:
    """Say once that this machine's clock is so many seconds ahead of the server's, or behind if they are negative."""
    # Whoever takes the lock, which is never given back, prints: several threads may have the first answer.
    if abs(ahead) > CLOCK_TOLERANCE and _clock_warning.acquire(blocking=False):
        difference = format_duration(round(abs(ahead), -1)) + (" ahead of" if ahead > 0 else " behind")
        text = f"warning: this machine's clock is about {difference} the cluster's, by which slots and runs are counted"
        notify(text)


def _cut_lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of an answer without what is too long of its lines."""
    lines = LineCutter()
    for data in parts:
        yield lines.cut(data)
    yield lines.finish()


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Each line once it is whole."""
    rest = b""
    for data in parts:
        *whole, rest = (rest + data).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def _seconds(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return min(float(value), PATIENCE) if value.isdigit() else None


def decode(text: bytes) -> dict[str, Any]:
    """What a server says of an error, whatever it is written in."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"message": text[:300].decode(errors="replace")}
    return value if isinstance(value, dict) else {"message": str(value)}
