"""Servers on loopback that write down what came: an API server that answers /version, proxies, an OpenID provider.

They are stand-ins, for no real API server says what TLS and headers it saw; both clients meet the same ones.
"""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

NAME = "api.example.test"
"""A name that only our proxies know."""
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}


@dataclass
class Records:
    """What the servers saw, each once, in the order of arrival."""

    lines: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, line: str) -> None:
        with self.lock:
            if line not in self.lines:
                self.lines.append(line)

    def take(self) -> list[str]:
        with self.lock:
            lines, self.lines = self.lines, []
        return lines


class _Server(ThreadingHTTPServer):
    """HTTP, or with ``context`` HTTPS whose handshake is made in the connection's own thread."""

    daemon_threads = True
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(20)
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Server6(_Server):
    address_family = socket.AF_INET6


def _remember_name(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
    connection.requested_name = name


def _subject(connection: Any) -> str | None:
    certificate = connection.getpeercert() if hasattr(connection, "getpeercert") else None
    pairs = {key: value for part in (certificate or {}).get("subject", ()) for key, value in part}
    return pairs.get("commonName")


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None, ipv6: bool = False) -> Iterator[int]:
    """The port of an HTTP server on loopback."""
    if context is not None:
        context.sni_callback = _remember_name
    server = (_Server6 if ipv6 else _Server)(("::1" if ipv6 else "127.0.0.1", 0), handler)
    server.context = context
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def api_handler(
    records: Records, answer: Callable[[str], tuple[int, dict[str, str], bytes]] | None = None
) -> type[BaseHTTPRequestHandler]:
    """What answers /version at the end of any path, and with ``answer`` anything else."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = [f"{name.lower()}: {value}" for name, value in self.headers.items() if _told(name)]
            seen = {"sni": getattr(self.connection, "requested_name", None), "certificate": _subject(self.connection)}
            records.add(json.dumps(["api", self.path, sorted(headers), seen]))
            status, more, body = (200, {"Content-Type": "application/json"}, json.dumps(VERSION).encode())
            if answer is not None:
                status, more, body = answer(self.path)
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _told(name: str) -> bool:
    return name.lower() == "authorization" or name.lower().startswith("impersonate-")


class _Splice(socketserver.StreamRequestHandler):
    server: Any

    def splice(self, host: str, port: int, first: bytes = b"") -> None:
        address = ("::1" if ":" in host else "127.0.0.1", port)
        with socket.create_connection(address, 10) as other:
            other.sendall(first)
            ends = {self.connection: other, other: self.connection}
            while True:
                waiting = isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()
                ready = [self.connection] if waiting else select.select(list(ends), [], [], 20)[0]
                if not ready:
                    return
                for end in ready:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)


def connect_handler(records: Records, name: str, login: str | None) -> type[_Splice]:
    """An HTTP proxy: CONNECT, and requests that name a whole URL."""

    class Handler(_Splice):
        # Nothing may be read ahead of what is passed on.
        rbufsize = 0

        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = self.connection.recv(1)
                if not byte:
                    return
                head += byte
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
            given = headers.get("proxy-authorization")
            seen = {
                "login": given,
                "sni": getattr(self.connection, "requested_name", None),
                "certificate": _subject(self.connection),
            }
            records.add(json.dumps([name, method, target, seen]))
            if login is not None and given != "Basic " + base64.b64encode(login.encode()).decode():
                self.connection.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.splice(host, int(port))
                return
            address, _, path = target.removeprefix("http://").partition("/")
            kept = [line for line in lines[1:-2] if not line.lower().startswith("proxy-")]
            first = "\r\n".join([f"{method} /{path} HTTP/1.1", *kept, "", ""]).encode("latin-1")
            self.splice("", int(address.rpartition(":")[2]), first)

    return Handler


def socks_handler(records: Records, name: str, login: str | None) -> type[_Splice]:
    """A SOCKS5 proxy (RFC 1928, RFC 1929)."""

    class Handler(_Splice):
        rbufsize = 0

        def take(self, count: int) -> bytes:
            data = b""
            while len(data) < count:
                more = self.connection.recv(count - len(data))
                if not more:
                    raise ConnectionError
                data += more
            return data

        def handle(self) -> None:
            methods = self.take(self.take(2)[1])
            given = None
            if login is not None and 2 in methods:
                self.connection.sendall(b"\x05\x02")
                username = self.take(self.take(2)[1]).decode()
                given = f"{username}:{self.take(self.take(1)[0]).decode()}"
                self.connection.sendall(b"\x01\x00" if given == login else b"\x01\x01")
            elif login is None and 0 in methods:
                self.connection.sendall(b"\x05\x00")
            else:
                records.add(json.dumps([name, "no common method"]))
                self.connection.sendall(b"\x05\xff")
                return
            kind = self.take(4)[3]
            host = self.take(self.take(1)[0]).decode() if kind == 3 else socket.inet_ntop(
                *((socket.AF_INET, self.take(4)) if kind == 1 else (socket.AF_INET6, self.take(16)))
            )  # fmt: skip
            port = int.from_bytes(self.take(2), "big")
            records.add(json.dumps([name, "name" if kind == 3 else "address", f"{host}:{port}", {"login": given}]))
            if given != login:
                return
            self.connection.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            self.splice(host, port)

    return Handler


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(20)
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextlib.contextmanager
def proxying(handler: type[_Splice], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a proxy on loopback."""
    if context is not None:
        context.sni_callback = _remember_name
    server = _Proxy(("127.0.0.1", 0), handler)
    server.context = context
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def id_token(ends_in: float, name: str = "") -> str:
    """A JSON Web Token without a signature, which no client looks at; ``name`` makes it another."""
    parts = [{"alg": "none"}, {"exp": int(time.time() + ends_in) if not name else 4_000_000_000, "name": name}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2ln"])


def provider_handler(records: Records, in_body: bool, rotates: bool) -> type[BaseHTTPRequestHandler]:
    """An OpenID provider that renews tokens, and takes the client's login in the header, or ``in_body`` alone."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            records.add(json.dumps(["provider", self.path]))
            host = self.headers["Host"]
            self._answer(200, {"issuer": f"https://{host}", "token_endpoint": f"https://{host}/token"})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            login = self.headers.get("Authorization")
            records.add(json.dumps(["provider", self.path, sorted(form.items()), login]))
            if form.get("refresh_token") != ["first"] or (in_body and login):
                self._answer(400, {"error": "invalid_grant" if not in_body else "invalid_client"})
                return
            answer = {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": id_token(0, "second")}
            self._answer(200, {**answer, **({"refresh_token": "second"} if rotates else {})})

        def _answer(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
