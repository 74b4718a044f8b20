"""A store that only the cluster can mount, seen from a machine that cannot: through a reader pod, and from its mirror."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.access import Cluster
from cluster.node import Node
from commands import run_command
from jobs import schedule_periods
from jobs.store import LocalStore, Store
from notifications.receivers import receiving
from reader.forwarder import Forwarder
from reader.pipes import age, example_store
from scheduler.config import load
from scheduler.kube.target import ClusterTarget
from scheduler.stores.remote import connect

USER = 1000
CONFIG = """
experiment: e
store: {store}
backends: {{a: {{backend: jax, schedule: "0 1 * * *"}}}}
ensemble: {{schedule: "0 6 * * *"}}
cluster: {{namespace: {namespace}, images: {{keras3: "{image}"}}, pull_policy: {policy}}}
"""
ENSEMBLE, FAILED = "e-ensemble-28842120", "e-train-a-28843260"
HANGS = """
import sys
from pathlib import Path
from scheduler.signals import stop_on_signals
from scheduler.stores.remote import connect
from scheduler.kube.target import ClusterTarget
from scheduler.config import load
stop_on_signals()
with connect.connect_to_files(load(Path(sys.argv[1])), ClusterTarget(Path(sys.argv[2]))) as files:
    files.update("e")
    print("there", flush=True)
    sys.stdin.read()
"""


class Laptop:
    """A machine with a configuration, a cache of its own, and no volume."""

    def __init__(self, folder: Path, kubeconfig: Path, text: str) -> None:
        self.folder, self.kubeconfig, self.config = folder, kubeconfig, folder / "config.yaml"
        self.config.write_text(text)
        self.env = {**os.environ, "CRONSEMBLE_CACHE": str(folder / "cache"), "KUBECONFIG": str(kubeconfig)}

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, folder=self.folder, env=self.env)

    def says(self, *arguments: str) -> str:
        done = self.start(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


def own(folder: Path) -> None:
    """As pods write it."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER)


def readers(pods: Cluster, namespace: str) -> list[str]:
    """The phases of the reader pods that are there."""
    found = pods.objects("pod", namespace, "app.kubernetes.io/component=reader")
    return [str(pod["status"].get("phase")) for pod in found if "deletionTimestamp" not in pod["metadata"]]


def ended_slots(history: str) -> list[dict[str, object]]:
    """The rows that no later look changes. Of one that may still be started (for an hour), an older view knows less."""
    now = datetime.now(UTC)
    rows: list[dict[str, object]] = json.loads(history)
    return [row for row in rows if now - datetime.fromisoformat(str(row["local"])) > timedelta(hours=1, minutes=5)]


def config(namespace: str, image: str, store: str = "{claim: store}", policy: str = "never") -> str:
    return CONFIG.format(namespace=namespace, image=image, store=store, policy=policy)


@pytest.fixture
def laptop(
    pods: Cluster, node: Node, namespace: str, claim: object, image: Callable[[str], str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Laptop:  # fmt: skip
    """In a namespace that enforces Pod Security ``restricted``, with some runs in the claim's volume."""
    found = Laptop(tmp_path, pods.kubeconfig, config(namespace, image("cronsemble-keras3:latest")))
    monkeypatch.setenv("CRONSEMBLE_CACHE", found.env["CRONSEMBLE_CACHE"])
    example_store(node.data / namespace)
    age(node.data / namespace)
    own(node.data / namespace)
    return found


def test_the_story_is_that_of_the_mounted_folder(laptop: Laptop, pods: Cluster, node: Node, namespace: str) -> None:
    folder = str(node.data / namespace)
    for command in (["history", "--json"], ["history", "2024-11-02T06:00Z"], ["show", ENSEMBLE], ["logs", FAILED]):
        mounted = laptop.says(*command, "--store", folder)
        assert laptop.says(*command) == mounted.replace(f"{folder}/", "claim/store:")
    mounted = laptop.start("fsck", "--store", folder)
    there = laptop.start("fsck")
    assert there.returncode == mounted.returncode == 1
    assert there.stdout == mounted.stdout.replace(f"{folder}/", "claim/store:").replace(folder, "claim/store")
    assert readers(pods, namespace) == []


def test_metrics_are_those_of_the_mounted_folder(laptop: Laptop, node: Node, pods: Cluster, namespace: str) -> None:
    moving = ("cronsemble_metrics_timestamp_seconds", "cronsemble_model_age_seconds")

    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith(moving)]

    mounted = laptop.says("metrics", "--store", str(node.data / namespace))
    assert lines(laptop.says("metrics")) == lines(mounted) != []
    assert laptop.says("metrics", "--out", "e.prom") == "" and lines((laptop.folder / "e.prom").read_text()) == lines(mounted)
    assert readers(pods, namespace) == []


def test_what_is_new_is_told_from_a_laptop_once(laptop: Laptop, node: Node, pods: Cluster, namespace: str) -> None:
    folder = node.data / namespace
    notes = folder / "experiments" / "e" / "notifications"
    with receiving() as receiver:
        laptop.config.write_text(
            laptop.config.read_text() + "notify: {channels: {hook: {webhook: {secret: n, key: HOOK_URL}}}}\nwatch: {}\n"
        )
        laptop.env["HOOK_URL"] = receiver.url("/hooks/q8w7e6r5t4y3u2")
        # A sample needs no cluster.
        done = laptop.start("notify", "--test", "--kubeconfig", "/no/such")
        assert (done.returncode, done.stdout) == (0, "hook (webhook): 200 OK\n")
        assert "on the cluster the watch sends, with what the Secret n there says" in done.stderr
        assert "train-a, ensemble were missed" in laptop.says("notify", "--dry-run")
        assert not notes.exists() and len(receiver.requests) == 1
        told = laptop.says("notify")
        assert told == f"hook: {receiver.subjects[1]}: 200 OK\n" and "train-a, ensemble were missed" in told
        assert {path.stat().st_uid for path in notes.rglob("*")} == {USER}
        assert laptop.says("notify") == laptop.says("notify", "--store", str(folder)) == "nothing is new\n"
        assert "Wrong now:" in laptop.says("notify", "--digest", "--since", "2d")
        assert [request.document["type"] for request in receiver.requests] == ["test", "problem", "digest"]
    assert not any(b"q8w7e6r5t4y3u2" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert readers(pods, namespace) == []


def test_a_second_look_receives_little(laptop: Laptop, pods: Cluster) -> None:
    received = []
    for _ in range(2):
        with connect.open_remote_files(load(laptop.config), ClusterTarget(pods.kubeconfig)) as (files, _):
            received.append(files.received)
    assert received[0] > 1000
    assert received[1] < 400


def test_without_the_cluster_what_was_seen_last(laptop: Laptop, pods: Cluster, tmp_path: Path) -> None:
    with Forwarder(pods.kubeconfig, tmp_path) as between:
        laptop.env["KUBECONFIG"] = str(between.kubeconfig)
        seen = laptop.says("history", "--json")
        laptop.says("logs", FAILED)
        between.stop()
        done = laptop.start("history", "--json")
        assert done.returncode == 0
        assert ended_slots(done.stdout) == ended_slots(seen) != []
        assert "not reachable" in done.stderr and ": this is claim/store as of 20" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        done = laptop.start("logs", FAILED, "--offline")
        assert done.stdout.startswith("oh\n")
        assert done.stderr.startswith("this is claim/store as of 20")
        done = laptop.start("fsck")
        assert done.returncode == 1
        assert "this needs the cluster" in done.stderr


def test_a_tool_that_is_killed_leaves_a_pod_that_ends(laptop: Laptop, pods: Cluster, namespace: str) -> None:
    env = {**laptop.env, "CRONSEMBLE_READER_IDLE": "2"}
    command = [sys.executable, "-c", HANGS, str(laptop.config), str(pods.kubeconfig)]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tool:
        assert tool.stdout is not None
        assert tool.stdout.readline() == b"there\n"
        # It is spoken to before the kubelet says that it runs.
        assert readers(pods, namespace) in (["Pending"], ["Running"])
        tool.kill()
    pods.wait_for(lambda: readers(pods, namespace) == ["Succeeded"], 30, "the pod's own end")
    laptop.says("history")
    assert readers(pods, namespace) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_tool_that_is_stopped_removes_its_pod(laptop: Laptop, pods: Cluster, namespace: str, number: int) -> None:
    command = [sys.executable, "-c", HANGS, str(laptop.config), str(pods.kubeconfig)]
    with subprocess.Popen(command, env=laptop.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
        assert tool.stdout is not None
        assert tool.stdout.readline() == b"there\n"
        tool.send_signal(number)
        tool.communicate(timeout=30)
    assert readers(pods, namespace) == []


def test_a_file_is_put_over_connections_that_break(
    laptop: Laptop, pods: Cluster, node: Node, namespace: str, tmp_path: Path
) -> None:
    data = os.urandom(6_000_000)
    (tmp_path / "x.npz").write_bytes(data)
    target = node.data / namespace / "data/inputs/x.npz"
    with Forwarder(pods.kubeconfig, tmp_path, [2_500_000, 2_500_000]) as between:
        laptop.env["KUBECONFIG"] = str(between.kubeconfig)
        done = laptop.start("put", "x.npz", "--as", "inputs/")
        assert done.returncode == 0, done.stderr
        assert between.cuts == []
    assert target.read_bytes() == data
    assert target.stat().st_uid == USER
    assert [path.name for path in target.parent.iterdir()] == ["x.npz"]
    laptop.env["KUBECONFIG"] = str(pods.kubeconfig)
    assert "already there" in laptop.says("put", "x.npz", "--as", "inputs/")
    (tmp_path / "x.npz").write_bytes(b"other")
    done = laptop.start("put", "x.npz", "--as", "inputs/")
    assert (done.returncode, target.read_bytes()) == (1, data)
    assert "another file is there: --replace" in done.stderr
    assert readers(pods, namespace) == []


@pytest.mark.pod_security("baseline")
def test_an_nfs_store_stood_in_for_by_a_bind_mount(
    pods: Cluster, node: Node, namespace: str, image: Callable[[str], str], tmp_path: Path
) -> None:
    folder = node.export("nas.example", f"/reader/{namespace}")
    store = f"{{nfs: {{server: nas.example, path: /reader/{namespace}}}}}"
    laptop = Laptop(tmp_path, pods.kubeconfig, config(namespace, image("cronsemble-keras3:latest"), store))
    example_store(folder)
    own(folder)
    assert "killed by SIGKILL" in laptop.says("history", "--status", "failed")


def refusals(namespace: str, image: str) -> list[tuple[str, str]]:
    """Configurations, and what is said of each."""
    return [
        (config("nowhere", image), "namespace nowhere: not found: is it the right cluster"),
        (config(namespace, image, "{claim: nothing}"), 'cannot start: .*persistentvolumeclaim "nothing" not found'),
        (config(namespace, "localhost/nothing:1"), "cannot start: ErrImageNeverPull: Container image .localhost/nothing:1"),
        (config(namespace, image, "{host_path: /srv}"), "refused by admission: violates PodSecurity"),
    ]


def test_what_is_old_is_removed_from_elsewhere(laptop: Laptop, pods: Cluster, node: Node, namespace: str) -> None:
    folder = node.data / namespace
    rule = ["--what", "models", "--what", "runs", "--older-than", "1d", "--keep", "1"]
    listed = laptop.says("gc", *rule, "--dry-run")
    assert listed == laptop.says("gc", *rule, "--dry-run", "--store", str(folder)).replace(f"{folder}/", "claim/store:")
    before = laptop.says("history", "--json", "--limit", "0")
    done = laptop.start("gc", *rule)
    assert (done.returncode, done.stdout) == (1, listed) and "no terminal to ask on" in done.stderr
    # Seven runs of the ensemble; the model that ensembles may still take stays.
    assert "removed 7 of 7" in laptop.says("gc", *rule, "--yes")
    assert "nothing to remove of e in claim/store" in laptop.says("gc", *rule)
    assert laptop.says("history", "--json", "--limit", "0") == before
    kept = next(LocalStore(folder).runs("e", "ensemble"))
    assert kept.status == "succeeded" and {path.stat().st_uid for path in folder.rglob("removed.json")} == {USER}
    assert readers(pods, namespace) == []


def test_a_deleted_experiment_is_over_in_its_store_too(laptop: Laptop, pods: Cluster, node: Node, namespace: str) -> None:
    """Read where the volume is mounted, without any cluster; also where kubectl removed all, and its revisions."""
    folder = node.data / namespace

    def scheduled() -> list[str]:
        return sorted(schedule_periods.scheduling_periods(LocalStore(folder).ledger.revisions("e"))[-1].tasks)

    for remove in (
        lambda: laptop.says("delete", "--yes"),
        lambda: laptop.says("delete", "--yes", "--purge"),
        lambda: pods.kubectl("delete", "cronjobs,configmaps", "-n", namespace, "-l", "app.kubernetes.io/instance=e"),
    ):
        laptop.says("sync")
        laptop.says("history")
        assert scheduled() == ["ensemble", "train-a"]
        remove()
        if scheduled():
            assert laptop.says("delete", "--yes") == "nothing to do\n"
        assert scheduled() == []
    laptop.says("sync")
    laptop.says("suspend")
    laptop.says("history")
    tasks = schedule_periods.scheduling_periods(LocalStore(folder).ledger.revisions("e"))[-1].tasks
    assert [task.get("suspend") for task in tasks.values()] == [True, True]


def test_a_node_whose_kubelet_is_dead_keeps_nobody_waiting(laptop: Laptop, pods: Cluster, node: Node, namespace: str) -> None:
    seen = laptop.says("history", "--json")
    node.kill_kubelet()
    try:
        began = time.monotonic()
        done = laptop.start("history", "--json")
        assert time.monotonic() - began < 60
        assert done.returncode == 0, done.stderr
        assert ended_slots(done.stdout) == ended_slots(seen) != []
        assert "does its kubelet run?" in done.stderr and ": this is claim/store as of 20" in done.stderr.splitlines()[-1]
    finally:
        node.start_kubelet()


def test_what_keeps_the_pod_from_starting_is_one_line(laptop: Laptop, pods: Cluster, namespace: str) -> None:
    image = load(laptop.config).cluster.images["keras3"]
    for text, said in refusals(namespace, image):
        laptop.config.write_text(text)
        done = laptop.start("history")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert re.search(said, done.stderr), done.stderr
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    laptop.config.write_text(config(namespace, image))
    user = pods.limited_user(namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])
    done = laptop.start("history", "--kubeconfig", str(user))
    assert [line.partition(" in namespace")[0] for line in done.stderr.splitlines()][:5] == [
        "no right to get pods",
        "no right to delete pods",
        "no right to get pods/exec",
        "no right to create pods/exec",
        "no right to get configmaps",
    ]
    pods.apply(quota, namespace)
    pods.wait_for(lambda: pods.get("resourcequota", "none", namespace).get("status", {}).get("hard"), 10, "the quota's status")
    done = laptop.start("history")
    assert "exceeded quota: none" in done.stderr and len(done.stderr.splitlines()) == 1
    assert readers(pods, namespace) == []


def test_the_store_is_written_to_from_elsewhere(laptop: Laptop, pods: Cluster, node: Node, namespace: str) -> None:
    with connect.open_remote_files(load(laptop.config), ClusterTarget(pods.kubeconfig)) as (files, _):
        store = Store(files)
        run = store.claim("e", "train-a", 28_850_000, {"by": "laptop"})
        store.record_observation(run, {"what": "OOMKilled"})
    there = LocalStore(node.data / namespace)
    assert there.claim_of(run) == store.claim_of(run) == {"schema": 1, "by": "laptop", "run_id": str(run)}
    observed = {"schema": 1, "what": "OOMKilled", "run_id": str(run)}
    assert there.read(run).observed == store.read(run).observed == observed
    assert there.run_folder(run).stat().st_uid == USER
