"""Real receivers on this machine: an HTTP server that behaves as a test says, and what it was sent."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler, bytes], None]
"""Answers a request."""


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes
    taken: bool = True

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """``status``: what it answers; ``behaviour`` answers in another way, if there is one."""

    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    status: int = 200
    text: str = "ok"
    behaviour: Behaviour | None = None
    requests: list[Request] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    more: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, number: int, seconds: float = 60) -> bool:
        """Whether so many requests arrive in time."""
        with self.more:
            return self.more.wait_for(lambda: len(self.requests) >= number, seconds)

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    @property
    def taken(self) -> list[Request]:
        return [request for request in self.requests if request.taken]

    @property
    def subjects(self) -> list[str]:
        return [request.document["subject"] for request in self.taken]


@contextmanager
def receiving(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Receiver]:
    receiver = Receiver(host=host)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.path, dict(self.headers), body, receiver.status < 300 and receiver.behaviour is None)
            with receiver.more:
                receiver.requests.append(request)
                receiver.more.notify_all()
            receiver.arrived.set()
            if receiver.behaviour is not None:
                receiver.behaviour(self, body)
                return
            self.answer(receiver.status, receiver.text)

        do_GET = do_POST

        def answer(self, status: int, text: str, **headers: str) -> None:
            data = text.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.scheme = "https"
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check_schema(schema: dict[str, Any], value: Any) -> None:
    """As much of JSON Schema as this one uses."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
    if "const" in schema:
        assert value == schema["const"]
    if "enum" in schema:
        assert value in schema["enum"]
    wanted = schema.get("type")
    if wanted is not None:
        assert isinstance(value, tuple(kinds[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted)))
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value)
        assert set(value) <= set(schema["properties"])
        for key, item in value.items():
            check_schema(schema["properties"][key], item)
    if isinstance(value, list):
        for item in value:
            check_schema(schema["items"], item)
