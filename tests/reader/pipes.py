"""The program that serves a store as a process of this machine, and what tests do with it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from jobs.store import Store
from scheduler.cluster.remote import RemoteStore
from scheduler.cluster.session import Lost, Session
from scheduler.program import build_beside


class Pipe:
    """A process's stdin and stdout."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Lost("far: it has gone") from error

    def read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        return bytes(self.process.stdout.read1(size))  # type: ignore[attr-defined]

    def said(self) -> str:
        self.close()
        assert self.process.stderr is not None
        return self.process.stderr.read().decode().strip()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.process.wait(10)


class Far:
    """A store at ``root`` that is reached as one on a cluster is: by the program's own bytes, over pipes."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._program, self.root = folder / "program.pyz", root
        self._program.write_bytes(build_beside())
        self.pipes: list[Pipe] = []
        self.sessions: list[Session] = []

    def connect(self) -> Session:
        pipe = Pipe([sys.executable, "-I", str(self._program), "serve-store", str(self.root)])
        self.pipes.append(pipe)
        self.sessions.append(Session(pipe, "far"))
        return self.sessions[-1]

    def received(self) -> int:
        return sum(session.received for session in self.sessions)

    def remote(self, mirror: Path) -> RemoteStore:
        return RemoteStore(mirror, "claim/store", self.connect)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
            assert pipe.process.stderr is not None
            pipe.process.stderr.close()


def content(store: Store, *parts: str) -> dict[str, bytes]:
    """The files under some folders of a store, by path; hidden ones are left out."""
    found = {}
    for part in parts:
        for path in sorted((store.root / part).rglob("*")):
            name = path.relative_to(store.root).as_posix()
            if path.is_file() and not any(each.startswith(".") for each in name.split("/")):
                found[name] = path.read_bytes()
    return found
