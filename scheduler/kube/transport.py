"""Connections to the API server: its address, TLS, a proxy, and the login of each request; kept while nobody uses them."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from urllib.parse import urlsplit

from scheduler.kube.credentials import Login
from scheduler.kube.errors import KubeError
from scheduler.kube.kubeconfig import Access

TIMEOUT = 60.0
BROKEN = (OSError, http.client.HTTPException)
"""What a connection that breaks raises."""


class Connections:
    """Those to one server. Safe to use from several threads."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.login = Login(access)
        self._idle: list[tuple[int, http.client.HTTPConnection]] = []
        url = urlsplit(access.server)
        if url.scheme not in ("https", "http") or not url.hostname:
            raise KubeError(f"context {access.context}: server {access.server} is not an address, e.g. https://host:6443")
        self._secure = url.scheme == "https"
        self.host, self.port, self.prefix = url.hostname, url.port or (443 if self._secure else 80), url.path.rstrip("/")
        self._tls: tuple[int, ssl.SSLContext] | None = None
        self._lock = threading.Lock()

    def take(self) -> tuple[int, http.client.HTTPConnection]:
        """A connection that was made with the login of now, and the login's generation."""
        generation = self.login.generation
        while True:
            with self._lock:
                made, connection = self._idle.pop() if self._idle else (-1, None)
            if connection is None:
                return generation, self.connect()
            if made == generation:
                return generation, connection
            connection.close()

    def keep(self, generation: int, connection: http.client.HTTPConnection) -> None:
        """Keep one for the next request."""
        with self._lock:
            self._idle.append((generation, connection))

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of the caller's own; it connects with its first request, or by ``connect()``."""
        host, port, proxy = self.host, self.port, self.access.proxy
        if proxy:
            via = urlsplit(proxy)
            host, port = via.hostname or "", via.port or 3128
        connection: http.client.HTTPConnection
        if self._secure:
            connection = _Https(host, port, timeout=TIMEOUT, context=self._context())
            connection.server_name = self.access.server_name or self.host
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        if proxy:
            connection.set_tunnel(self.host, self.port)
        return connection

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None or self._tls[0] != self.login.generation:
                self._tls = (self.login.generation, self.login.tls())
            return self._tls[1]


class _Https(http.client.HTTPSConnection):
    """TLS to a name that may differ from the address."""

    server_name: str

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        # Requests are written in two parts; the second must not wait for the first one's acknowledgement.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.server_name)  # type: ignore[attr-defined]


def keep_alive(sock: socket.socket) -> None:
    """Notice within about a minute that the other side is gone, however long it says nothing."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
