"""Ctrl-C, SIGTERM and a closed terminal: what was begun is ended or goes on, and that is said; also that nothing was started."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from commands import CLI
from jobs.store import LocalStore
from scheduler.commands.engine_choice import StopSignals
from test_cancel import start, until
from test_end_to_end import history

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CONFIG = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}}}
data: {{dataset: "d.py:load"}}
backends: {{jax: {{}}}}
"""


@contextmanager
def silent_cluster(folder: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], socket.socket]]]:
    """Starts a command in a folder whose configuration's cluster accepts a connection and never answers."""
    (folder / "config.yaml").write_text(
        "experiment: e\nstore: {claim: c}\nbackends: {jax: {schedule: '0 1 * * *'}}\ncluster: {images: {keras3: x}}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as connections:
        silent.settimeout(30)
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}], "current-context": "c"}
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        env = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "NO_PROXY": "*", "CRONSEMBLE_CACHE": str(folder / "cache")}

        def begin(*command: str) -> tuple[subprocess.Popen[str], socket.socket]:
            pipe = subprocess.PIPE
            process = subprocess.Popen([*CLI, *command], cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)
            connection, _ = silent.accept()
            return process, connections.enter_context(connection)

        yield begin


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", [["run"], ["backfill", "2026-11-20..2026-11-21"], ["rerun", "2026-11-20"]], ids=" ".join)
def test_before_a_run_was_started_it_says_so(tmp_path: Path, command: list[str], number: signal.Signals) -> None:
    with silent_cluster(tmp_path) as begin:
        # It waits for an answer that never comes.
        process, _ = begin(*command, "--cluster")
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "stopped: no run was started\n")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["history", "get", "put config.yaml", "gc", "fsck", "sync", "suspend", "logs x", "status"])
def test_every_other_command_ends_at_once(tmp_path: Path, command: str, number: signal.Signals) -> None:
    with silent_cluster(tmp_path) as begin:
        process, _ = begin(*command.split())
        for _ in range(2):
            process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            # An extension module may have cleared the exception, as it may that of Ctrl-C: then one is sent again.
            process.send_signal(number)
            _, errors = process.communicate(timeout=10)
    # The second may come when all has ended, and the interpreter has given up its handlers.
    assert process.returncode in (130, -number) and errors.count("\n") <= 1 and "Traceback" not in errors


@contextmanager
def terminal(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A command on a terminal of its own, and what is read from that."""
    own, its = pty.openpty()
    process = subprocess.Popen(
        [*CLI, *command], cwd=folder, stdin=its, stdout=its, stderr=its, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(its)
    with open(own, "rb", buffering=0) as screen:
        yield process, screen


def wait_for(screen: IO[bytes], text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += screen.read(4096)


def test_a_closed_terminal_stops_serve(tmp_path: Path) -> None:
    """The kernel says so to every process on it, and nothing can be printed any more."""
    (tmp_path / "config.yaml").write_text("experiment: e\nbackends: {jax: {schedule: '0 1 1 1 *'}}\n")
    with terminal(tmp_path, "serve") as (process, screen):
        wait_for(screen, b"tasks of")
    assert process.wait(30) == 0
    assert [note["event"] for note in LocalStore(tmp_path / "store").ledger.notes("e")][-1] == "stopped"


def test_serve_says_why_it_stops(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiment: e\nbackends: {jax: {schedule: '0 1 1 1 *'}}\n")
    for number, reason in ((signal.SIGHUP, "its terminal was closed (SIGHUP)"), (signal.SIGTERM, "SIGTERM")):
        process = start(tmp_path, "serve")
        until(process, "tasks of")
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "") and f"stopping: {reason}" in out


def write_project_that_waits(folder: Path, keras3: Path) -> None:
    """Its data function waits for ever: for a pipe outside its snapshot, by a path that is true in every working directory."""
    pipe = folder / "never"
    os.mkfifo(pipe)
    (folder / "d.py").write_text(f"def load(hyperparameters):\n    return dict(x_train=open({str(pipe)!r}).read(), y_train=0)\n")
    (folder / "config.yaml").write_text(CONFIG.format(keras3=keras3))


def test_a_closed_terminal_ends_a_run_on_this_machine(tmp_path: Path, keras3: Path) -> None:
    write_project_that_waits(tmp_path, keras3)
    with terminal(tmp_path, "run") as (process, screen):
        wait_for(screen, b"prepare")
    assert process.wait(30) == 130
    (row,) = history(tmp_path)
    assert (row["status"], row["evidence"]) == ("interrupted", "recorded")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_on_this_machine_is_ended_and_says_why(tmp_path: Path, keras3: Path, number: signal.Signals) -> None:
    write_project_that_waits(tmp_path, keras3)
    process = start(tmp_path, "run")
    until(process, "train-jax: prepare")
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "the same command starts them again" in errors, out + errors
    (row,) = history(tmp_path)
    assert row["status"] == "interrupted"


WAITS = """
import signal, threading, time
from scheduler.signals import stop_on_signals
stop_on_signals()
lock = threading.Lock()
lock.acquire()
def strike():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=strike).start()
try:
    lock.acquire()
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_signal_that_does_not_end_the_main_threads_wait_is_handled_all_the_same() -> None:
    """As one that comes just before that wait: here another thread receives it."""
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


LOST = """
import signal, threading
from scheduler.signals import stop_on_signals
class Struck:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
stop_on_signals()
lock = threading.Lock()
lock.acquire()
try:
    Struck()
    lock.acquire()
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_signal_that_strikes_a_destructor_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


def test_under_nohup_a_closed_terminal_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
