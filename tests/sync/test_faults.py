"""Sync when things go wrong: servers killed, connections broken, others at work. It converges, and nothing is lost or doubled."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest

from cluster.access import Cluster
from cluster.control_plane import ControlPlane
from sync.experiments import Experiment
from sync.proxy import BREAK_AFTER, BREAK_BEFORE, Proxy
from sync.test_sync import NIGHTLY, names

MANY = 300


def expected(experiment: Experiment, count: int) -> list[str]:
    return [f"{experiment.name}-train-m{number:04}" for number in range(count)]


def test_a_server_killed_in_the_middle_of_a_sync(cluster: Cluster, control_plane: ControlPlane, experiment: Experiment) -> None:
    experiment.write(MANY)
    process = experiment.start("sync")
    cluster.wait_for(lambda: len(names(cluster, "cronjob", experiment.namespace)) > 40, 60, "the sync to be under way")
    control_plane.kill_api_server()
    control_plane.start_api_server()
    output, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, output + wrong
    assert names(cluster, "cronjob", experiment.namespace) == expected(experiment, MANY)
    assert experiment.good("sync").startswith("nothing to do")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_sync_killed_in_the_middle_is_finished_by_the_next(
    cluster: Cluster, experiment: Experiment, number: signal.Signals
) -> None:
    experiment.write(MANY)
    process = experiment.start("sync")
    cluster.wait_for(lambda: len(names(cluster, "cronjob", experiment.namespace)) > 20, 60, "the sync to be under way")
    process.send_signal(number)
    _, wrong = process.communicate(timeout=60)
    assert process.returncode == (-number if number is signal.SIGKILL else 130)
    assert "Traceback" not in wrong
    assert len(names(cluster, "cronjob", experiment.namespace)) < MANY
    experiment.good("sync")
    assert names(cluster, "cronjob", experiment.namespace) == expected(experiment, MANY)
    assert [revision["revision"] for revision in json.loads(experiment.good("history", "--revisions", "--json"))] == [1]


def test_two_syncs_at_once(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    experiment.write(150)
    processes = [experiment.start("sync"), experiment.start("sync", "--wait", "2m")]
    first, second = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    assert second[2] == 0, second
    # The first may have come second, and does not wait.
    assert first[2] == 0 or "is syncing it (Lease cronsemble-sync" in first[1] or "another sync has just started" in first[1], (
        first
    )
    assert names(cluster, "cronjob", experiment.namespace) == expected(experiment, 150)
    assert [revision["revision"] for revision in json.loads(experiment.good("history", "--revisions", "--json"))] == [1]


def test_a_held_lease_names_its_holder(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    now = cluster.kubectl("get", "--raw", "/version") and "2099-01-01T00:00:00.000000Z"
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "cronsemble-sync"},
        "spec": {"holderIdentity": "alice@laptop:1", "leaseDurationSeconds": 60, "renewTime": now},
    }
    cluster.apply(lease, experiment.namespace)
    assert "alice@laptop:1 is syncing it (Lease cronsemble-sync, for" in experiment.bad("sync")
    assert names(cluster, "cronjob", experiment.namespace) == []
    # By the server's clock it has run out.
    patch = json.dumps({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}})
    cluster.kubectl("patch", "lease", "cronsemble-sync", "-n", experiment.namespace, "--type=merge", "-p", patch)
    experiment.good("sync")
    holder = cluster.get("lease", "cronsemble-sync", experiment.namespace)["spec"]
    assert holder.get("holderIdentity", "") == "" and holder["leaseTransitions"] == 1


def test_errors_of_the_server_and_broken_connections(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    chance = random.Random(1)

    def fault(method: str, path: str) -> int | None:
        if path.startswith("/version") or chance.random() > 0.25:
            return None
        return chance.choice([429, 500, 503, BREAK_BEFORE, BREAK_AFTER])

    experiment.write(60, ensemble={"schedule": "0 6 * * *"})
    ensemble = f"{experiment.name}-ensemble"
    with Proxy(cluster.kubeconfig, tmp_path, fault) as proxy:
        experiment.good("sync", kubeconfig=proxy.kubeconfig)
        assert proxy.faults > 10
        assert names(cluster, "cronjob", experiment.namespace) == sorted([ensemble, *expected(experiment, 60)])
        experiment.write(30)
        experiment.good("sync", "--yes", kubeconfig=proxy.kubeconfig)
    assert names(cluster, "cronjob", experiment.namespace) == expected(experiment, 30)
    assert experiment.good("sync").startswith("nothing to do")
    assert [revision["revision"] for revision in json.loads(experiment.good("history", "--revisions", "--json"))] == [1, 2]


def test_an_expired_page_begins_the_list_anew(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    experiment.write(510)
    experiment.good("sync")
    expired: list[str] = []

    def fault(method: str, path: str) -> int | None:
        if "continue=" in path and not expired:
            expired.append(path)
            return 410
        return None

    with Proxy(cluster.kubeconfig, tmp_path, fault) as proxy:
        output = experiment.good("sync", kubeconfig=proxy.kubeconfig)
    assert expired and output == "nothing to do: 511 objects are as the configuration says\n"


def test_an_edit_between_plan_and_sync(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": {"schedule": "0 2 * * *"}})
    saved = str(experiment.folder / "saved.json")
    experiment.good("plan", "--out", saved)
    name = f"{experiment.name}-train-a"
    patch = json.dumps({"spec": {"schedule": "0 3 * * *"}})
    cluster.kubectl("patch", "cronjob", name, "-n", experiment.namespace, "--field-manager=kubectl-edit", "-p", patch)
    assert "the plan is stale" in experiment.bad("sync", "--plan", saved, file=False)
    assert "schedule is owned by kubectl-edit" in experiment.bad("sync")
    assert cluster.get("cronjob", name, experiment.namespace)["spec"]["schedule"] == "0 3 * * *"


def test_objects_with_our_labels_in_another_namespace_are_untouched(cluster: Cluster, experiment: Experiment) -> None:
    elsewhere = Experiment(experiment.folder, cluster.new_namespace(), experiment.kubeconfig, f"{experiment.name}-o")
    # More than a page of a list.
    elsewhere.write(510)
    elsewhere.good("sync")

    def versions() -> dict[str, str]:
        return {
            cronjob["metadata"]["name"]: cronjob["metadata"]["resourceVersion"]
            for cronjob in cluster.objects("cronjob", elsewhere.namespace)
        }

    before = versions()
    assert len(before) == 510
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": NIGHTLY})
    experiment.good("sync", "--yes")
    experiment.good("delete", "--yes")
    assert versions() == before
    cluster.forget(elsewhere.namespace)


def test_retry_after_is_honoured(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    experiment.write({"a": NIGHTLY})
    times: list[float] = []

    def fault(method: str, path: str) -> int | None:
        if method == "PATCH" and "cronjobs" in path:
            times.append(time.monotonic())
            return 429 if len(times) == 1 else None
        return None

    with Proxy(cluster.kubeconfig, tmp_path, fault, retry_after=2) as proxy:
        experiment.good("sync", kubeconfig=proxy.kubeconfig)
    first, second = times
    assert second - first >= 2


def test_revisions_are_folded_before_they_are_too_many(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    name = f"{experiment.name}-revisions"
    old = cluster.get("configmap", name, experiment.namespace)["data"]["000001.json"]
    first = json.loads(old)
    padding = {f"train-x{number}": {"schedule": "0 1 * * *", "task": f"{number:064}"} for number in range(2000)}
    many = {f"{number:06}.json": json.dumps({**first, "revision": number, "tasks": padding}) for number in range(2, 6)}
    patch = experiment.folder / "patch.json"
    patch.write_text(json.dumps({"data": many}))
    cluster.kubectl("patch", "configmap", name, "-n", experiment.namespace, "--type=merge", f"--patch-file={patch}")
    experiment.write({"a": {"schedule": "0 2 * * *"}})
    experiment.good("sync")
    data = cluster.get("configmap", name, experiment.namespace)["data"]
    assert sum(map(len, data.values())) < 700_000
    revisions = json.loads(experiment.good("history", "--revisions", "--json"))
    assert revisions[-1]["revision"] == 6 and sum(revision.get("folded", 1) for revision in revisions) == 6
    assert revisions[-1]["tasks"]["train-a"] == {"schedule": "0 2 * * *"}
