"""Runs the tool's commands for tests, each as a process of its own, forked from one that has imported the tool.

The tests type a thousand commands, and an interpreter that imports the tool takes half a second of a processor. A fork is as
whole a process (its folder, environment, streams, session, signals and end are its own) but for its start: what is imported when,
and what an interpreter makes of its environment. Tests of that, and those that talk to a command while it runs, start `CLI`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import json
import os
import pty
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLI = [sys.executable, "-c", "from scheduler.cli import main; main()"]
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""What the names of variables begin with that an interpreter reads once, when it starts."""


class CommandServer:
    """The process that is forked, for one process of the tests. Threads may use it at once."""

    def __init__(self) -> None:
        self._requests, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment = dict(os.environ)
        self._lock = threading.Lock()
        with its:
            program = str(Path(__file__).with_name("command_server.py"))
            self._process = subprocess.Popen(
                # Without -P the folder of the tests would be on its path.
                [sys.executable, "-P", program, str(its.fileno())],
                cwd="/",
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork is what an interpreter with this environment would be."""
        names = {name for name in {*environment, *self._environment} if name.startswith(READ_AT_START)}
        return all(environment.get(name) == self._environment.get(name) for name in names)

    def begin(self, request: Mapping[str, object], streams: list[int]) -> int:
        """Start a command on these descriptors, which may be closed then; another one, for `end`."""
        answer, its_answer = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._requests, [json.dumps(request).encode()], [*streams, its_answer])
        finally:
            os.close(its_answer)
        return answer

    def end(self, answer: int) -> int:
        """Wait for the exit status of a command, negative for the signal that ended it."""
        with open(answer) as lines:
            status = lines.read()
        assert status, "the command server has ended: what it said is in the tests' stderr"
        return int(status)

    def close(self) -> None:
        """End it; commands that run go on."""
        self._requests.close()
        self._process.wait()


@functools.cache
def _server() -> CommandServer:
    server = CommandServer()
    atexit.register(server.close)
    return server


def run_command(
    *arguments: str | Path,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    before: str = "",
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """What `cronsemble ARGUMENTS...` said and its exit status, without a terminal and with nothing on its stdin.

    ``folder``: where it is typed, ``env``: its whole environment, by default those of the tests; ``before``: Python that its
    process runs first; ``check``: it must succeed.
    """
    words = [str(argument) for argument in arguments]
    environment = dict(os.environ if env is None else env)
    if not _server().can_start(environment):
        command = [sys.executable, "-c", f"{before}\nfrom scheduler.cli import main; main()"]
        return subprocess.run(
            [*command, *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=check
        )
    request = {"arguments": words, "folder": str((folder or Path()).absolute()), "environment": environment, "before": before}
    with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        status = _server().end(_server().begin(request, streams))
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode().replace("\r\n", "\n").replace("\r", "\n"))
    done = subprocess.CompletedProcess(["cronsemble", *words], status, *texts)
    if check:
        assert status == 0, done
    return done


def run_on_terminal(*arguments: str, folder: Path, columns: int = 0, streams: Collection[int] = (0, 1, 2), **env: str) -> str:
    """What `cronsemble ARGUMENTS...` prints on a terminal of so many columns; 0: one that does not say.

    ``streams``: which of its three are that terminal, ``env``: variables beside those of the tests.
    """
    environment = {**os.environ, **env}
    assert _server().can_start(environment), env
    ours, theirs = pty.openpty()
    if columns:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    request = {"arguments": list(arguments), "folder": str(folder.absolute()), "environment": environment, "before": ""}
    with open(os.devnull, "r+") as nothing:
        answer = _server().begin(request, [theirs if number in streams else nothing.fileno() for number in range(3)])
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # EIO: the other side has been closed
        while data := os.read(ours, 1 << 16):
            output += data
    os.close(ours)
    _server().end(answer)
    return output.decode().replace("\r\n", "\n")
