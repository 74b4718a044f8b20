"""A forwarder of TCP connections before an API server, which cuts them in the middle or stops listening."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import yaml


class Forwarder:
    """``kubeconfig`` leads through it. ``cut_after``: bytes to the server after which a connection breaks, one for each."""

    def __init__(self, kubeconfig: Path, folder: Path, cut_after: list[int] | None = None) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster = content["clusters"][0]["cluster"]
        url = urlsplit(cluster["server"])
        self._server = (url.hostname or "", url.port or 443)
        self.cuts = list(cut_after or [])
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        cluster |= {"server": f"https://127.0.0.1:{port}", "tls-server-name": url.hostname}
        self.kubeconfig = folder / "forwarder.kubeconfig"
        self.kubeconfig.write_text(json.dumps(content))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody gets through any more."""
        self._close(self._listener)
        for connection in list(self._open):
            self._close(connection)
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._server)
            self._open += [near, far]
            self._start(self._carry, near, far, True)
            self._start(self._carry, far, near, False)

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                sent += len(data)
                if counted and self.cuts and sent > self.cuts[0]:
                    self.cuts.pop(0)
                    break
        self._close(source)
        self._close(target)

    def _close(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
