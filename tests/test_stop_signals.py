"""Ctrl-C, SIGTERM and a closed terminal while a command makes runs: what goes on is said, and so is that nothing was started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from scheduler.commands.engine_choice import StopSignals
from test_cancel import start, until
from test_end_to_end import CLI, history

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CONFIG = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}}}
data: {{dataset: "d.py:load"}}
backends: {{jax: {{}}}}
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", [["run"], ["backfill", "2026-11-20..2026-11-21"], ["rerun", "2026-11-20"]], ids=" ".join)
def test_before_a_run_was_started_it_says_so(tmp_path: Path, command: list[str], number: signal.Signals) -> None:
    (tmp_path / "config.yaml").write_text("experiment: e\nstore: {claim: c}\nbackends: {jax: {schedule: '0 1 * * *'}}\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}], "current-context": "c"}
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
        process = subprocess.Popen(
            [*CLI, *command, "--cluster"],
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "NO_PROXY": "*"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # It waits for an answer that never comes.
        connection, _ = silent.accept()
        with connection:
            process.send_signal(number)
            out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "stopped: no run was started\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_on_this_machine_is_ended_and_says_why(tmp_path: Path, keras3: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "never")
    (tmp_path / "d.py").write_text("def load(hyperparameters):\n    open('never').read()\n")
    (tmp_path / "config.yaml").write_text(CONFIG.format(keras3=keras3))
    process = start(tmp_path, "run")
    until(process, "train-jax: prepare")
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "the same command starts them again" in errors, out + errors
    (row,) = history(tmp_path)
    assert row["status"] == "interrupted"


def test_under_nohup_a_closed_terminal_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
