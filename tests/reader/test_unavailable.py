"""A cluster that answers, and whose reader pod does not start: what was read last is shown, soon, and that is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.access import Cluster, KubectlFailed
from commands import CLI
from reader.pipes import DAILY, Far, age, example_store
from scheduler.config import load
from scheduler.kube.target import ClusterTarget
from scheduler.stores.remote.connect import mirror_folder

CONFIG = """
experiment: e
store: {{claim: store}}
backends: {{a: {{backend: jax, schedule: "0 1 * * *"}}}}
ensemble: {{schedule: "0 6 * * *"}}
cluster: {{namespace: {namespace}, images: {{keras3: "x:1"}}}}
notify: {{channels: {{hook: {{webhook: "http://127.0.0.1:9/hook"}}}}}}
"""


class Laptop:
    """A machine with a configuration and a mirror of its own; ``start`` are the seconds in which a reader pod must start."""

    def __init__(self, folder: Path, cluster: Cluster, namespace: str, start: float) -> None:
        self.folder, self.cluster, self.namespace = folder, cluster, namespace
        (folder / "config.yaml").write_text(CONFIG.format(namespace=namespace))
        self.env = {
            **os.environ, "KUBECONFIG": str(cluster.kubeconfig), "CRONSEMBLE_CACHE": str(folder / "cache"),
            "CRONSEMBLE_READER_START": str(start),
        }  # fmt: skip

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([*CLI, *arguments], cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.begin(*arguments)
        out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors

    def readers(self) -> list[str]:
        pods = [pod["metadata"] for pod in self.cluster.objects("pod", self.namespace)]
        return [metadata["name"] for metadata in pods if "deletionTimestamp" not in metadata]

    @contextmanager
    def dead_node(self) -> Iterator[None]:
        """Its pods are bound to a node whose kubelet takes none."""
        stop = threading.Event()

        def bind() -> None:
            while not stop.wait(0.1):
                for name in self.readers():
                    target = {"apiVersion": "v1", "kind": "Node", "name": "dead"}
                    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                    path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding"
                    try:
                        self.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
                    except KubectlFailed:  # it is bound already, or gone
                        continue

        thread = threading.Thread(target=bind)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def laptop(tmp_path: Path, cluster: Cluster, namespace: str, far: Far, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """It has read the store before."""
    found = Laptop(tmp_path, cluster, namespace, 2)
    monkeypatch.setenv("CRONSEMBLE_CACHE", found.env["CRONSEMBLE_CACHE"])
    builder = example_store(far.root)
    builder.revise("2024-11-05T12:00", DAILY, engine="cluster:c/n", what="sync")
    age(far.root)
    folder = mirror_folder(load(tmp_path / "config.yaml"), ClusterTarget(cluster.kubeconfig).access())
    far.remote(folder).files.update("e")
    replaced = {"time": "2024-11-06T12:00:00+00:00"}
    (folder / ".mirror/e/seen.json").write_text(json.dumps(replaced))
    return found


def check_degraded(laptop: Laptop, why: str) -> None:
    code, out, errors = laptop.run("history", "--since", "2024-11-05", "--until", "2024-11-08", "--json")
    assert code == 0, errors
    assert why in errors and ": this is claim/store as of 2024-11-06 " in errors.splitlines()[-1]
    rows = {row["slot"]: (row["status"], row["reason"]) for row in json.loads(out) if row["task"] == "ensemble"}
    assert rows["2024-11-06T06:00Z"][0] == "missed"
    assert rows["2024-11-08T06:00Z"] == ("unknown", "the store was last read at 2024-11-06T12:00+00:00")
    assert laptop.readers() == []


def test_without_a_node_the_last_look_is_shown(laptop: Laptop) -> None:
    check_degraded(laptop, "cannot start: it did not start in 2 s")
    code, out, errors = laptop.run("metrics")
    assert code == 0 and "as of 2024-11-06 " in errors
    assert 'cronsemble_metrics_timestamp_seconds{experiment="e"} 1.7308944e+09\n' in out
    code, _, errors = laptop.run("gc", "--dry-run")
    assert code == 1 and "this needs the cluster: the reader pod" in errors and "Traceback" not in errors
    code, _, errors = laptop.run("put", "config.yaml")
    assert code == 1 and "cannot start: it did not start in 2 s" in errors and laptop.readers() == []
    for form in ([], ["--dry-run"], ["--digest"]):
        code, out, errors = laptop.run("notify", *form)
        assert (code, out) == (1, "") and errors.splitlines()[-1].startswith("claim/store: nobody is told: what is new there")


def test_a_node_that_does_not_answer_is_named(laptop: Laptop) -> None:
    laptop.env["CRONSEMBLE_READER_START"] = "5"
    with laptop.dead_node():
        check_degraded(laptop, "cannot start: node dead did not take it in 5 s: does its kubelet run?")


def test_where_nothing_was_read_before_that_is_the_error(tmp_path: Path, cluster: Cluster, namespace: str) -> None:
    code, out, errors = Laptop(tmp_path, cluster, namespace, 1).run("history")
    assert (code, out) == (1, "")
    assert "and nothing of e was ever read from claim/store on this machine" in errors.splitlines()[-1]
    code, out, errors = Laptop(tmp_path, cluster, namespace, 1).run("metrics", "--offline", "--out", "e.prom")
    assert (code, out) == (1, "") and "nothing of e was ever read" in errors and not (tmp_path / "e.prom").exists()


@pytest.mark.parametrize("command", ["history", "show x", "logs x", "get", "gc", "fsck", "put config.yaml"])
def test_ctrl_c_while_the_pod_is_waited_for(tmp_path: Path, cluster: Cluster, namespace: str, command: str) -> None:
    laptop = Laptop(tmp_path, cluster, namespace, 600)
    process = laptop.begin(*command.split())
    cluster.wait_for(laptop.readers, 30, "the reader pod")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
    assert time.monotonic() - began < 6 and laptop.readers() == []
