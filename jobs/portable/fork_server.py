"""A process that has imported a backend, and forks one for each prediction with it. Python 2.7 and 3.

A fork begins where a process of its own has arrived once the framework is imported: no model, seed or code of a user's is in it.
"""

from __future__ import print_function

import argparse
import ctypes
import importlib
import json
import os
import signal
import sys
import time

MODULES = {"tensorflow": "tensorflow", "torch": "torch", "cntk": "cntk"}
"""What :func:`jobs.portable.backend.load` imports before Keras, by backend."""
_PR_SET_PDEATHSIG = 1
_ADOPTION_SECONDS = 5.0
"""Within which a fork whose parent has ended is the supervisor's child."""


def main(argv):
    """Import the backend and fork as the lines on stdin say, until that ends; returns the exit status, in a fork its program's.

    A line is JSON: the ``arguments`` of a prediction, the file descriptors of its ``output`` and ``report``, and all that it has
    to ``close``. Answers are lines too: ``ready`` once the backend is imported, then the process id of each fork. Each fork is
    a child of this process's parent, in a session of its own, and ends with it.
    """
    parser = argparse.ArgumentParser(prog="fork-server", description="Import a backend once for several predictions.")
    parser.add_argument("--answers", type=int, required=True, help="the file descriptor for the answers")
    options = parser.parse_args(argv)
    parent = os.getppid()
    backend = os.environ["KERAS_BACKEND"]
    if backend in MODULES:
        importlib.import_module(MODULES[backend])
    for name in ("keras", "numpy", "jobs.portable.model_checks", "jobs.portable.predict", "jobs.portable.saved_model"):
        importlib.import_module(name)
    if not _can_fork():
        print("the import of %s has started threads: each prediction has a process of its own" % backend, file=sys.stderr)
        return 1
    os.write(options.answers, b"ready\n")
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if _fork(parent):
            for descriptor in (request["output"], request["report"]):
                os.close(descriptor)
            continue
        os.write(options.answers, ("%d\n" % os.getpid()).encode("ascii"))
        os.close(options.answers)
        return _predict(request)
    return 0


def _can_fork():
    """Whether this process has no thread that a fork would lack: OpenBLAS ends its own whenever there is a fork."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return len(os.listdir("/proc/self/task")) == 1


def _fork(parent):
    """Fork a process that is a child of ``parent``, which adopts orphans, and ends with it; True here, False there."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return True
    if os.fork():
        os._exit(0)
    give_up_at = time.time() + _ADOPTION_SECONDS
    while os.getppid() != parent:
        if time.time() > give_up_at:
            os._exit(1)
        time.sleep(0.001)
    # Only now: the signal would have come with the end of the process between.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    return False


def _predict(request):
    from jobs.portable import end_report, predict

    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (request["output"], 1), (request["output"], 2)):
        os.dup2(source, target)
    for descriptor in [null, request["output"]] + request["close"]:
        os.close(descriptor)
    os.environ[end_report.DESCRIPTOR] = str(request["report"])
    # Python 2 has bytes on its command line.
    arguments = [argument if isinstance(argument, str) else argument.encode("utf-8") for argument in request["arguments"]]
    sys.argv[1:] = ["predict"] + arguments
    return end_report.run_reported(predict.main, arguments)
