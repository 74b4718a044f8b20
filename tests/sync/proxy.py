"""A proxy of ours before the real API server, which answers some requests itself or breaks their connections."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import yaml

BREAK_BEFORE, BREAK_AFTER = -1, -2
"""Answers of a fault: close the connection, before the server sees the request or after it has done it."""

Fault = Callable[[str, str], int | None]


class Proxy:
    """Speaks plain HTTP on loopback, and to the server with an administrator's certificate.

    ``answers`` holds bodies by path. ``fault(method, path)`` says what becomes of a request: None for the server's own
    answer, a status, or a break. ``ahead``: by how much the server's clock is ahead of this machine's, as its answers say.
    """

    def __init__(self, kubeconfig: Path, folder: Path, fault: Fault, retry_after: int = 0) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self._server = urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self._fault, self.faults = fault, 0
        self._retry_after = retry_after
        self.answers: dict[str, bytes] = {}
        self.ahead = timedelta()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                proxy.handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.kubeconfig = folder / "proxy.kubeconfig"
        content["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self._http.server_port}"}
        content["users"][0]["user"] = {}
        self.kubeconfig.write_text(json.dumps(content))

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            fault = self._fault(request.command, request.path)
            self.faults += fault is not None
        if fault == BREAK_BEFORE:
            request.close_connection = True
            return
        if fault is not None and fault > 0:
            status, headers, answer = (
                fault,
                {"Retry-After": str(self._retry_after)} if fault == 429 else {},
                b'{"message":"by the proxy"}',
            )
        elif request.path in self.answers:
            status, headers, answer = 200, {}, self.answers[request.path]
        else:
            status, headers, answer = self._ask(request, body)
        if fault == BREAK_AFTER:
            request.close_connection = True
            return
        request.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(answer)

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPSConnection(self._server.hostname or "", self._server.port, context=self._tls)
        kept = {
            name: value for name, value in request.headers.items() if name.lower() in ("accept", "content-type", "user-agent")
        }
        connection.request(request.command, request.path, body or None, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        date = format_datetime(parsedate_to_datetime(answer.headers["Date"]) + self.ahead, usegmt=True)
        return answer.status, {"Date": date, "Content-Type": answer.headers["Content-Type"]}, content
