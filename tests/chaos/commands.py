"""Runs commands as forks of a command server, or as whole processes, and says what no command may ever do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import CLI

ROOT = Path(__file__).resolve().parents[2]
MAX_MEMORY = 1500
"""MiB of address space that a command may take before it is refused more."""
MAX_RESIDENT = 700
"""MiB of memory that a command may use."""
MAX_SECONDS, MAX_CPU = 90.0, 25.0
"""How long a command may take on a busy machine, and how much of a processor."""
NOBODY = 65534


@dataclass(frozen=True)
class Ended:
    """What became of a command; a negative ``status`` is the signal that ended it."""

    arguments: Sequence[str]
    status: int
    out: str
    err: str
    late: bool = False
    cpu: float = 0.0
    memory: int = 0

    @property
    def name(self) -> str:
        """The command as it is typed."""
        return " ".join(self.arguments)

    def problem(self, statuses: Collection[int] = (0, 1)) -> str:
        """What it did that no command may; empty if nothing. ``statuses``: its documented exit statuses."""
        if self.late:
            return f"hang: {self.name}: not done in {MAX_SECONDS:g} s"
        if self.status < 0:
            return f"crash: {self.name}: ended by signal {-self.status}: {self.err[-500:]}"
        # A log is the user's own program's.
        for text in (self.err, self.out if self.arguments[:1] != ("logs",) else ""):
            for mark in ("Traceback (most recent call last)", "(a bug in cronsemble", "Exception ignored in", "ResourceWarning"):
                if mark in text:
                    return f"traceback {_exception(text)}: {self.name}: {text[max(0, text.index(mark) - 300) :][-1500:]}"
        if self.status not in statuses:
            return f"status: {self.name}: exit status {self.status}: {self.err[-500:]}"
        if self.cpu > MAX_CPU:
            return f"time: {self.name}: {self.cpu:.0f} s of processor time"
        if self.memory > MAX_RESIDENT:
            return f"memory: {self.name}: {self.memory} MiB"
        return ""


def _exception(text: str) -> str:
    """The type of the exception that a command printed last."""
    names = re.findall(r"^(?:cronsemble: )?([\w.]*(?:Error|Exception|Warning|Interrupt|Exit)[\w.]*)\b", text, re.MULTILINE)
    return names[-1] if names else ""


class Commands:
    """A command server, and the folder for what its commands print."""

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="cronsemble-chaos-")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))), "TERM": "xterm"}
        Path(self.scratch.name).chmod(0o755)
        home = Path(self.scratch.name) / "home"
        home.mkdir()
        # No configuration of the machine's user, no cluster, and no cache that tells one case of another.
        environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "CRONSEMBLE_CACHE": str(home), "KUBECONFIG": "/dev/null"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "chaos.command_server"],
            cwd=self.scratch.name,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.environment = environment

    def run(
        self,
        folder: Path,
        *arguments: str,
        program: str = "cronsemble",
        user: int | None = None,
        memory: int = MAX_MEMORY,
        terminal: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """What a command did in a folder; ``user``: as whom, ``terminal``: the path of one that it writes to."""
        assert self._server.stdin is not None and self._server.stdout is not None
        files = [Path(self.scratch.name) / name for name in ("out", "err")]
        for file in files:
            file.write_bytes(b"")
        streams = [terminal] * 3 if terminal else [os.devnull, *map(str, files)]
        request: dict[str, object] = {
            "folder": str(folder),
            "arguments": arguments,
            "program": program,
            "streams": streams,
            "user": user,
        }
        request |= {"memory": memory, "seconds": MAX_SECONDS, "env": dict(env or {})}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        out, err = (file.read_bytes().decode(errors="backslashreplace") for file in files)
        return Ended(arguments, answer["status"], out, err, answer["late"], answer["cpu"], answer["memory"])

    def run_process(self, folder: Path, *arguments: str) -> Ended:
        """The same, as a process that starts from nothing."""
        try:
            done = subprocess.run(
                [*CLI, *arguments],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=MAX_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Ended(arguments, 0, "", "", late=True)
        return Ended(
            arguments,
            done.returncode,
            done.stdout.decode(errors="backslashreplace"),
            done.stderr.decode(errors="backslashreplace"),
        )

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        self.scratch.cleanup()


def control_characters(text: str) -> str:
    """The first character of a text that is neither printable nor the end of a line, with what is around it; empty for none."""
    for number, character in enumerate(text):
        if character != "\n" and not character.isprintable():
            return repr(text[max(0, number - 40) : number + 40])
    return ""


def strict_json(text: str) -> object:
    """The value of a JSON text that has no NaN, no Infinity and no key twice; raises ValueError."""

    def refuse(name: str) -> object:
        raise ValueError(f"{name} is no JSON")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
