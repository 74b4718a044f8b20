"""The HTTP endpoint of `serve --listen`: reports, /metrics and /healthz, read-only, whatever its clients do."""

from __future__ import annotations

import gzip
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from html import escape
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from jobs.text import one_line
from scheduler.errors import CronsembleError
from scheduler.server.live_report import LiveReport

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether the server is well, and the facts that /healthz answers with."""

SILENT_CLIENT = 10.0
"""Seconds without a byte from a client, or without it taking one, after which its connection is closed."""
LONGEST_REQUEST = 30.0
"""Seconds after which a connection is closed in any case: a client may send a byte every few seconds."""
CONNECTIONS = 32
"""Connections at a time. One more closes the oldest, so that a new client is always answered."""


class _RequestHandler(WSGIRequestHandler):
    timeout = SILENT_CLIENT

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests do not belong in the journal."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection; closing waits for none of them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(self, *args: Any) -> None:
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, after closing what is too old or too many."""
        with self._lock:
            now = time.monotonic()
            for connection, since in list(self._since.items()):  # the oldest first
                if now - since > LONGEST_REQUEST or len(self._since) >= CONNECTIONS:
                    self._disconnect(connection)
            self._since[request] = now
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and forget it."""
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close what is too old; called twice a second."""
        with self._lock:
            now = time.monotonic()
            for connection, since in list(self._since.items()):
                if now - since > LONGEST_REQUEST:
                    self._disconnect(connection)

    def server_close(self) -> None:
        """Close the listening socket and every connection."""
        super().server_close()
        with self._lock:
            for connection in list(self._since):
                self._disconnect(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that went away is no error of ours."""

    def _disconnect(self, connection: socket.socket) -> None:
        """End both directions: its thread sees the end and closes the socket. The lock is held."""
        self._since.pop(connection, None)
        with suppress(OSError):  # it may be closed already
            connection.shutdown(socket.SHUT_RDWR)


def parse_address(text: str, allowed_hosts: Collection[str] = ()) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9000``, ``[::1]:9000`` or ``:9000``.

    Raises CronsembleError if it is none, and for one that others reach unless it is said by which names (``allowed_hosts``).
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    host = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
        if not 0 <= int(port) < 65536:
            raise ValueError(port)
    except ValueError as error:
        raise CronsembleError(f"--listen {text}: type an address and a port, e.g. 127.0.0.1:9000") from error
    if not loopback and not allowed_hosts:
        raise CronsembleError(
            f"--listen {text}: there is no login, so only this machine may connect: type 127.0.0.1:{port}, "
            "or name with --allow-host what others type in their browser"
        )
    return host, int(port)


def is_allowed_host(header: str, allowed_hosts: Collection[str]) -> bool:
    """Whether a request's Host names this server: a loopback name or address, or one of ``allowed_hosts``.

    Any other is a web page's own name that was made to mean this machine (DNS rebinding), to read what is answered.
    """
    name = header.strip().lower()
    host = name[: name.rindex("]") + 1].strip("[]") if name.startswith("[") and "]" in name else name.partition(":")[0]
    if host in {allowed.lower() for allowed in allowed_hosts} or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url(server: WSGIServer) -> str:
    """The address that a client types, with the port that was chosen if 0 was asked for."""
    host = str(server.server_address[0])
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"


_HEADERS = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]
_Answer = tuple[str, str, bytes]
"""Status, content type and body."""


def answer_report(path: str, host: str, reports: Mapping[str, LiveReport], allowed_hosts: Collection[str]) -> _Answer:
    """What is answered at ``/`` and ``/NAME/``: a report, of several experiments a list first; at ``/NAME/state`` its state."""
    if not is_allowed_host(host, allowed_hosts):
        return "403 Forbidden", "text/plain", b"this name is not the server's: type localhost, or name it with --allow-host\n"
    name, _, rest = path.lstrip("/").partition("/")
    if path == "/" and len(reports) == 1:
        name, rest = next(iter(reports)), ""
    elif path == "/":
        items = "".join(f'<li><a href="{escape(each)}/">{escape(each)}</a>' for each in sorted(reports))
        return "200 OK", "text/html; charset=utf-8", f"<!doctype html><title>cronsemble</title><ul>{items}</ul>\n".encode()
    report = reports.get(name)
    if report is None or rest not in ("", "state") or (path != "/" and "/" not in path[1:]):
        return "404 Not Found", "text/plain", b"/, /metrics or /healthz\n"
    if rest == "state":
        return "200 OK", "text/plain", report.state().encode()
    page = report.page()
    if page is None or page.problem:
        problem = page.problem if page else "it is still being made: ask again"
        return "503 Service Unavailable", "text/plain; charset=utf-8", f"{one_line(problem)}\n".encode()
    return "200 OK", "text/html; charset=utf-8", page.html


_OPENMETRICS_END = b"# EOF\n"


def answer_metrics(accept: str, registry: CollectorRegistry, store_text: bytes) -> _Answer:
    """What is answered at /metrics, in the format that the client prefers: what `serve` counts, and what the stores say.

    ``store_text``: gauges in the text format, whose lines are the same in OpenMetrics'.
    """
    encode, kind = choose_encoder(accept)
    text = encode(registry)
    end = _OPENMETRICS_END if text.endswith(_OPENMETRICS_END) else b""
    return "200 OK", kind, text.removesuffix(end) + store_text + end


def listen(
    host: str,
    port: int,
    registry: CollectorRegistry,
    health: Health,
    reports: Mapping[str, LiveReport] | None = None,
    allowed_hosts: Collection[str] = (),
    store_text: Callable[[], bytes] = bytes,
) -> WSGIServer:
    """Answer reports, /metrics and /healthz in a thread of its own; raises CronsembleError if the port is taken.

    ``store_text`` gives what the stores say, for /metrics.
    """

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        is_head = environ.get("REQUEST_METHOD") == "HEAD"
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "GET, HEAD")])
            return [b"nothing can be changed here\n"]
        if path == "/metrics" and is_allowed_host(environ.get("HTTP_HOST", ""), allowed_hosts):
            status, kind, body = answer_metrics(environ.get("HTTP_ACCEPT", ""), registry, store_text())
            headers = [("Content-Type", kind), ("Vary", "Accept, Accept-Encoding")]
            if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
                body = gzip.compress(body, 1)
                headers.append(("Content-Encoding", "gzip"))
            start(status, [*headers, ("Content-Length", str(len(body))), *_HEADERS])
            return [b"" if is_head else body]
        if path != "/healthz":
            status, kind, body = answer_report(path, environ.get("HTTP_HOST", ""), reports or {}, allowed_hosts)
            start(status, [("Content-Type", kind), *_HEADERS])
            return [b"" if is_head else body]
        is_healthy, facts = health()
        start("200 OK" if is_healthy else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps({"ok": is_healthy, **facts}).encode() + b"\n"]

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = make_server(host, port, app, Server, _RequestHandler)
    except OSError as error:
        raise CronsembleError(f"--listen {host}:{port}: {error.strerror}: type another port") from error
    threading.Thread(target=server.serve_forever, name="http endpoint", daemon=True).start()
    return server
