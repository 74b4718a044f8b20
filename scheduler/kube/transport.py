"""Connections to one API server: each request with the login of now, and sockets of the caller's own."""

from __future__ import annotations

import base64
import http.client
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from scheduler.kube import proxy, tls
from scheduler.kube.credentials import Login
from scheduler.kube.errors import CONNECT_TIMEOUT, TIMEOUT, KubeError, ProxyFailed
from scheduler.kube.kubeconfig import Access
from scheduler.kube.pools import ConnectionBroken, cause, manager_for


class Transport:
    """Those to one server. Safe to use from several threads."""

    def __init__(self, access: Access, timeout: float = TIMEOUT) -> None:
        """``timeout``: seconds without a word after which a connection counts as broken."""
        self.access, self._timeout = access, timeout
        self.login = Login(access)
        try:
            url = urlsplit(access.server)
            port = url.port
            parse_url(access.server)  # it refuses more names of hosts
            host = url.hostname if url.scheme in ("https", "http") else None
        except (ValueError, LocationParseError):
            host = None
        if host is None:
            raise KubeError(f"context {access.context}: server {access.server} is not an address, e.g. https://host:6443")
        self._secure = url.scheme == "https"
        self.host, self.port, self.prefix = host, port or (443 if self._secure else 80), url.path.rstrip("/")
        self._origin = f"{url.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        self._userinfo = (unquote(url.username), unquote(url.password or "")) if url.username else None
        self._proxy = proxy.choose(url, access.cluster.get("proxy-url"), os.environ)
        self._manager: urllib3.PoolManager | None = None
        self._pair: tuple[bytes, bytes] | None = None
        self._lock = threading.Lock()

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None, stream: bool = False
    ) -> urllib3.BaseHTTPResponse:
        """The answer to one request, whatever its status; with ``stream`` its body is yet to be read.

        ``target`` is a path and query, ``headers`` those beside the login. Raises OSError where there is no answer, and
        KubeError where there is no login.
        """
        pool = self._pool()
        fields = urllib3.HTTPHeaderDict(headers or {})
        for name, value in self.login_headers():
            # http.client writes Latin-1; Go, and whoever reads it, take UTF-8.
            fields.add(name, value.encode().decode("latin-1"))
        if pool.proxy is not None and not self._secure:
            target = self._origin + target
        try:
            answer: urllib3.BaseHTTPResponse = pool.urlopen(
                method, target, body, fields, retries=False, redirect=False, assert_same_host=False, timeout=self._timeouts(),
                preload_content=not stream, decode_content=not stream,
            )  # fmt: skip
        except HTTPError as error:
            raise cause(error, self._proxy) from error
        except http.client.HTTPException as error:
            raise ConnectionBroken(str(error) or type(error).__name__) from error
        if answer.status == 407 and self._proxy is not None:
            raise ProxyFailed(f"proxy {self._proxy.address}: it requires another login ({answer.status} {answer.reason})")
        return answer

    def connect(self) -> Any:
        """A connected socket to the server, through the proxy and TLS, of the caller's own; raises OSError and KubeError."""
        pool = self._pool()
        connection = pool._new_conn()
        connection.timeout = min(CONNECT_TIMEOUT, self._timeout)
        try:
            if pool.proxy is not None:
                scheme = "https" if pool.proxy.scheme == "https" else "http"
                connection.set_tunnel(self.host, self.port, pool.proxy_headers, scheme)
            connection.connect()
        except (HTTPError, http.client.HTTPException) as error:
            connection.close()
            raise cause(error, self._proxy) from error
        except OSError as error:
            connection.close()
            raise (ProxyFailed(f"proxy {self._proxy.address}: {error}") if pool.proxy and self._proxy else error) from error
        return connection.sock

    def _timeouts(self) -> urllib3.Timeout:
        return urllib3.Timeout(connect=min(CONNECT_TIMEOUT, self._timeout), read=self._timeout)

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            if self._manager is not None:
                self._manager.clear()

    def login_headers(self) -> list[tuple[str, str]]:
        """The headers of the login, which :meth:`request` sends by itself; raises KubeError where there is no login."""
        headers = self.login.headers()
        if self._userinfo and not any(name == "Authorization" for name, _ in headers):
            headers.append(("Authorization", f"Basic {base64.b64encode(':'.join(self._userinfo).encode()).decode()}"))
        return headers

    def _pool(self) -> Any:
        pair = self.login.certificate()
        with self._lock:
            if self._manager is None or pair != self._pair:
                self._manager, self._pair = self._new_manager(pair), pair
            return self._manager.connection_from_url(self._origin)

    def _new_manager(self, pair: tuple[bytes, bytes] | None) -> urllib3.PoolManager:
        access, context = self.access, None
        if self._secure:
            context = tls.make_context(access.authority, access.insecure, pair, f"context {access.context}")
        return manager_for(self._origin, context, self._proxy, self.login.configuration())


def pieces(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body of an answer that was asked for with ``stream``, as it comes; raises OSError where it breaks off."""
    try:
        sock = getattr(answer.connection, "sock", None)
        if sock is not None:
            sock.settimeout(None)
        while data := answer.read1(1 << 16):
            yield data
    except (HTTPError, http.client.HTTPException) as error:
        raise cause(error) from error
