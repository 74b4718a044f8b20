"""A process that has everything imported, and makes each command a fork of itself: bounded in time, memory and written bytes.

As whole a process as one that is typed (its crash, hang or hunger ends it alone) in a hundredth of the time.
"""

from __future__ import annotations

import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

MAX_WRITTEN = 1 << 28
"""Bytes that a command may write into one file."""


def serve() -> None:
    """Answer requests on stdin, a line of JSON each, with a line each on what was stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=answers, flush=True)


def _import_all() -> None:
    import encodings
    import importlib

    import jobs.keras3.combine
    import jobs.keras3.prepare  # noqa: F401
    import scheduler

    # Of the standard library too: the user as whom a command runs need not be able to read it.
    for module in pkgutil.iter_modules(encodings.__path__, "encodings."):
        with suppress(ImportError):  # of other systems
            importlib.import_module(module.name)
    for module in pkgutil.walk_packages(scheduler.__path__, "scheduler."):
        importlib.import_module(module.name)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = _become(request)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    late = not _has_ended(child, request["seconds"])
    if late:
        # It leads a session of its own, with all that it has started.
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "late": late,
        "seconds": time.monotonic() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss >> 10,
    }


def _has_ended(child: int, seconds: float) -> bool:
    handle = os.pidfd_open(child)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _become(request: dict[str, Any]) -> int:
    """Turn this fork into the command; returns its exit status."""
    os.setsid()
    os.chdir(request["folder"])
    for number, path in enumerate(request["streams"]):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.update(request["env"])
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"] << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_WRITTEN,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["user"] is not None:
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        mode, errors = ("r", "strict") if number == 0 else ("w", "backslashreplace" if number == 2 else "strict")
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115 (it stays open)
        setattr(sys, name, stream)
    try:
        return _call(request["program"], request["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _call(program: str, arguments: list[str]) -> int:
    if program == "prepare":
        from jobs.keras3.prepare import main as prepare

        return prepare(arguments)
    if program == "combine":
        from jobs.keras3.combine import main as combine

        return combine(arguments)
    from scheduler.cli import main

    sys.argv = ["cronsemble", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


if __name__ == "__main__":
    serve()
