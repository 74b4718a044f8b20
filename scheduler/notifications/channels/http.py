"""POST requests to receivers, with the standard library: a time limit for all of it, no redirects, certificates verified.

Proxies are those of the environment (``https_proxy``, ``no_proxy``).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from jobs.text import one_line
from scheduler import VERSION
from scheduler.notifications.channels.errors import DeliveryError

_LARGEST_ANSWER = 4096
_SHOWN = 160
"""Characters of an answer that an error quotes."""


@dataclass(frozen=True)
class Answer:
    """What a receiver said."""

    status: int
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".strip()


def post(address: str, body: bytes, headers: Mapping[str, str], seconds: float, ca: str = "") -> Answer:
    """Send a body within a time limit; raises DeliveryError unless the receiver has taken it.

    ``ca``: certificates (PEM) of the authorities that are trusted in the place of the system's. Nothing of the address but its
    host is in an error.
    """
    try:
        split = urlsplit(address)
        host, port = split.hostname, split.port
    except ValueError:
        host, port = None, None
    if not host or split.scheme not in ("http", "https") or any(ord(char) <= 32 or ord(char) == 127 for char in address):
        raise DeliveryError("its address is no http:// or https:// address")
    place = f"{host}:{port}" if port else host
    deadline = _Deadline(seconds)
    request = urllib.request.Request(address, body, {"User-Agent": f"cronsemble/{VERSION}", **headers}, method="POST")
    try:
        opener = urllib.request.build_opener(_NoRedirects, _HttpHandler(deadline), _HttpsHandler(deadline, tls_context(ca)))
        # What `build_opener` adds beside these (ftp, file, data) is for other schemes, which were refused above.
        with deadline, opener.open(request, timeout=seconds) as response:
            text = response.read(_LARGEST_ANSWER).decode(errors="replace")
            answer = Answer(response.status, response.reason or "", text)
    except urllib.error.HTTPError as error:
        with error:
            raise DeliveryError(_refusal(place, error, deadline), _retry_after(error.headers)) from None
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        if deadline.has_passed:
            raise DeliveryError(f"{place} gave no answer within {seconds:.0f}s") from None
        raise DeliveryError(f"{place}: {_why(error)}") from None
    if deadline.is_over:
        # What had come until then looks like an answer that has ended.
        raise DeliveryError(f"{place} gave no answer within {seconds:.0f}s")
    return answer


def _refusal(place: str, error: urllib.error.HTTPError, deadline: _Deadline) -> str:
    if error.code in (301, 302, 303, 307, 308):
        target = urlsplit(error.headers.get("Location") or "").hostname or "nowhere"
        return f"{place} answers {error.code}, a redirect to {target}, and none is followed: give the address that it leads to"
    text = ""
    with suppress(OSError, http.client.HTTPException), deadline:
        text = one_line(error.read(_LARGEST_ANSWER).decode(errors="replace"), _SHOWN)
    return f"{place} answers {error.code} {one_line(str(error.reason), 80)}" + (f": {text}" if text else "")


def _retry_after(headers: Message) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After") or 0))
    except ValueError:
        return 0.0


def _why(error: BaseException) -> str:
    """Why there was no answer; no text of an address is in it."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {one_line(cause.verify_message, _SHOWN)}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {one_line(str(cause.reason or 'no connection'), _SHOWN)}"
    if isinstance(cause, socket.gaierror):
        return "there is no such host"
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return one_line(cause.strerror, _SHOWN)
    if isinstance(cause, http.client.InvalidURL | ValueError):
        return "its address cannot be used"
    return f"no proper answer ({type(cause).__name__})"


def tls_context(ca: str) -> ssl.SSLContext:
    """Certificates and names are verified, by the system's authorities or by ``ca`` (PEM) alone."""
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise DeliveryError("ca_file holds no certificate that can be read") from None


class _Deadline:
    """Ends a connection when its time is over, however slowly the other side goes on."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._sockets: list[Any] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._is_started = False
        self._ends = time.monotonic() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether its time is over, also where a socket's own limit was first to say so."""
        return self.is_over or time.monotonic() >= self._ends

    def __enter__(self) -> _Deadline:
        if not self._is_started:
            self._is_started = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, sock: Any) -> None:
        """A socket that is in use."""
        self._sockets.append(sock)

    def _end(self) -> None:
        self.is_over = True
        for sock in self._sockets:
            # Not close(): its thread still reads.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect may lead a message and its secrets anywhere."""

    def redirect_request(self, *_: Any) -> None:
        """None: it is an error."""
        return


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, request: Any) -> Any:
        """Open a connection that the deadline ends."""

        class Connection(http.client.HTTPConnection):
            deadline = self._deadline

            def connect(self) -> None:
                super().connect()
                self.deadline.watch(self.sock)

        return self.do_open(Connection, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._deadline, self._tls = deadline, context

    def https_open(self, request: Any) -> Any:
        """The same with TLS, a proxy's tunnel and the handshake included."""

        class Connection(http.client.HTTPSConnection):
            deadline = self._deadline

            def _create_connection(self, *arguments: Any, **named: Any) -> socket.socket:
                sock = socket.create_connection(*arguments, **named)
                self.deadline.watch(sock)
                return sock

            def connect(self) -> None:
                super().connect()
                self.deadline.watch(self.sock)

        return self.do_open(Connection, request, context=self._tls)
