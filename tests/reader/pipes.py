"""The program that serves a store as a process of this machine, and what tests do with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from jobs import contract as c
from jobs.store import Store
from scheduler.snapshots.program import build_program
from scheduler.stores.remote.client import ConnectionLost, StoreClient
from scheduler.stores.remote.files import RemoteFiles
from stores import Builder, minute


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
            raise ConnectionLost("far: it has gone") from error

    def read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        return bytes(self.process.stdout.read1(size))  # type: ignore[attr-defined]

    def error_output(self) -> str:
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
        self._program.write_bytes(build_program())
        self.pipes: list[Pipe] = []
        self.sessions: list[StoreClient] = []

    def connect(self) -> StoreClient:
        pipe = Pipe([sys.executable, "-I", str(self._program), "serve-store", str(self.root)])
        self.pipes.append(pipe)
        self.sessions.append(StoreClient(pipe, "far"))
        return self.sessions[-1]

    def received(self) -> int:
        return sum(session.received for session in self.sessions)

    def files(self, mirror: Path) -> RemoteFiles:
        return RemoteFiles(mirror, "claim/store", self.connect)

    def remote(self, mirror: Path) -> Store:
        return Store(self.files(mirror))

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
            assert pipe.process.stderr is not None
            pipe.process.stderr.close()


def content(store: Store, *folders: str) -> dict[str, bytes]:
    """The files under some folders of a store, by path; hidden ones are left out."""
    files = {}
    for folder in folders:
        for path in sorted((store.root / folder).rglob("*")):
            name = path.relative_to(store.root).as_posix()
            if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
                files[name] = path.read_bytes()
    return files


DAILY = {"train-a": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}}


def example_store(root: Path) -> Builder:
    """Runs of every status, in two months."""
    builder = Builder(root)
    builder.revise("2024-10-29T00:00", DAILY)
    for day in ("2024-10-30", "2024-10-31", "2024-11-01", "2024-11-02"):
        builder.run("train-a", f"{day}T01:00", files={c.LOG: b"trained\n", c.MODEL: b"{}", "model.h5": b"w" * 5000})
        builder.run("ensemble", f"{day}T06:00", files={c.CSV: b"item\n", "members/a.csv": b"item\n"})
    builder.run("train-a", "2024-11-03T01:00", "failed", reason="killed by SIGKILL", files={c.LOG: b"oh\n"})
    builder.run("train-a", "2024-11-04T01:00", "running")
    builder.note("2024-11-05T00:00", "skipped", task="train-a", minute=minute("2024-11-05T01:00"), reason="no room")
    for kind in ("program", "task"):
        builder.store.put_snapshot(kind, b"{}")
    return builder


def age(root: Path, seconds: float = 3600) -> None:
    """As if nothing had changed for a while."""
    then = time.time() - seconds
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then))
