"""A process that has imported the whole tool, and makes each command a fork of itself: `commands` has the other end.

A request is one message on the socket that it was started with: JSON, and four descriptors (stdin, stdout, stderr, and a pipe
for the answer, which is how the command's process ended, as text).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
from typing import TypedDict

MAX_REQUEST = 1 << 20


class Request(TypedDict):
    """A command: its arguments, its folder and whole environment, and Python to run before it."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    before: str


def serve(requests: socket.socket) -> Request | None:
    """Answer until the other end is closed: then None. In the fork that is to be a command it returns what is asked of it."""
    poll, commands = select.poll(), dict[int, tuple[int, int]]()
    poll.register(requests, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != requests.fileno():
                pid, answer = commands.pop(ready)
                _, status = os.waitpid(pid, 0)
                poll.unregister(ready)
                os.close(ready)
                os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(answer)
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 4)
            if not message:
                return None
            *streams, answer = descriptors
            pid = os.fork()
            if pid == 0:
                for descriptor in (answer, requests.detach(), *commands, *(pipe for _, pipe in commands.values())):
                    os.close(descriptor)
                request: Request = json.loads(message)
                become(request, streams)
                return request
            for stream in streams:
                os.close(stream)
            ended = os.pidfd_open(pid)
            commands[ended] = (pid, answer)
            poll.register(ended, select.POLLIN)


def become(request: Request, streams: list[int]) -> None:
    """Make this process what a shell would have started: its session, streams, folder and environment."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    # As an interpreter makes them: whether it is a terminal and can be sought in is asked once.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old, is_by_line = getattr(sys, name), number == 2 or os.isatty(number)
        how = ("r", None) if number == 0 else ("w", "\n")
        stream = open(  # noqa: SIM115 (it stays open)
            number, how[0], 1 if is_by_line else -1, old.encoding, old.errors, newline=how[1], closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def import_all() -> None:
    """Every module of the tool; none may start a thread, for no thread is in a fork."""
    import scheduler

    for module in pkgutil.walk_packages(scheduler.__path__, "scheduler."):
        importlib.import_module(module.name)
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"importing the tool has started {threads - 1} threads"
    # Else every command would copy what it never uses.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    import_all()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        asked = serve(connection)
    if asked is not None:
        from scheduler.cli import main

        sys.argv = ["-c", *asked["arguments"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        exec(asked["before"])
        main()
