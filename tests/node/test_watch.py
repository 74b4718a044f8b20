"""The watch of an experiment on a node: a real CronJob fires, and page, metrics and notice are there; killed, nothing is half."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from cluster.claims import USER, Claim
from cluster.node import ADDRESS, Node
from cluster.scenes import FAR
from jobs.store.report_pages import is_whole
from notifications.receivers import Receiver, receiving
from stores import Builder
from sync.experiments import Experiment

SECRET_PATH = "/the-secret-of-the-hook"
CHANNELS = {"channels": {"hook": {"webhook": {"secret": "notify", "key": "HOOK_URL"}}}}


def failed_an_hour_ago(store: Path, experiment: str) -> None:
    """Slots as the pods' user leaves them: the newest one failed."""
    slot = (datetime.now(UTC) - timedelta(hours=1)).replace(second=0, microsecond=0)
    builder = Builder(store, experiment)
    tasks = {"train-a": {"schedule": f"{slot.minute} {slot.hour} * * *"}}
    builder.revise(f"{slot - timedelta(days=2):%Y-%m-%dT%H:%M}", tasks, engine="cluster:earlier")
    builder.run("train-a", f"{slot - timedelta(days=1):%Y-%m-%dT%H:%M}")
    builder.run("train-a", f"{slot:%Y-%m-%dT%H:%M}", "failed", reason="the disk of the night")
    for folder, names, files in os.walk(store):
        for name in (".", *names, *files):
            os.chown(Path(folder) / name, USER, USER, follow_symlinks=False)


def conditions(pods: Cluster, namespace: str) -> dict[str, str]:
    """By its name how each Job of a watch has ended."""
    found = {}
    for job in pods.objects("job", namespace, "app.kubernetes.io/component=watch"):
        ends = [each["type"] for each in job["status"].get("conditions", []) if each["type"] in ("Complete", "Failed")]
        found[job["metadata"]["name"]] = ends[0] if ends else ""
    return found


def watched(
    pods: Cluster, claim: Claim, image: Callable[[str], str], folder: Path, namespace: str, receiver: Receiver, schedule: str
) -> Experiment:
    """An experiment whose watch is synchronised, and whose receiver's address is in a Secret."""
    experiment = Experiment(folder, namespace, pods.kubeconfig, "watched")
    assert claim.folder is not None
    failed_an_hour_ago(claim.folder, experiment.name)
    data = {"HOOK_URL": base64.b64encode(receiver.url(SECRET_PATH).encode()).decode()}
    pods.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "notify"}, "data": data}, namespace)
    experiment.write(
        {"a": {"schedule": FAR}},
        watch={"schedule": schedule},
        notify=CHANNELS,
        timezone="Asia/Tokyo",
        cluster={
            "namespace": namespace,
            "images": {"keras3": "registry.example/keras3:1", "tool": image("cronsemble-tool:latest")},
            "pull_policy": "if_not_present",
        },
    )
    experiment.good("sync")
    return experiment


def log(pods: Cluster, namespace: str, job: str) -> str:
    return pods.kubectl("logs", f"job/{job}", "-n", namespace)


@pytest.mark.holds("watch-no-rights")
def test_its_cronjob_fires_and_leaves_page_metrics_and_one_notice(
    pods: Cluster, controllers: Cluster, node: Node, namespace: str, claim: Claim, image: Callable[[str], str], tmp_path: Path
) -> None:
    with receiving(host=ADDRESS) as receiver:
        experiment = watched(pods, claim, image, tmp_path, namespace, receiver, "* * * * *")
        store = claim.folder
        assert store is not None
        # Two of its minutes: what was told in the first is not told in the second.
        seen: dict[str, str] = {}

        def two_have_ended() -> bool:
            seen.update({name: end for name, end in conditions(pods, namespace).items() if end})
            return len(seen) >= 2

        pods.wait_for(two_have_ended, 240, "two looks")
        last = max(seen)
        assert set(seen.values()) == {"Complete"}, log(pods, namespace, last)
        (request,) = receiver.taken
    assert "the disk of the night" in request.document["text"] and f"-f {experiment.file.name}" in request.document["text"]
    reports = store / "reports" / experiment.name
    names = sorted(path.name for path in reports.iterdir())
    tokyo = {f"{datetime.now(UTC) + timedelta(hours=9) - timedelta(minutes=early):%Y-%m-%d}.html" for early in (0, 5)}
    assert names[-1] == "latest.html" and set(names[:-1]) <= tokyo and len(names) >= 2
    page = reports / "latest.html"
    assert is_whole(page.read_bytes()) and b"the disk of the night" in page.read_bytes()
    assert (page.stat().st_uid, page.stat().st_gid) == (USER, USER)
    metrics = (store / "metrics" / f"{experiment.name}.prom").read_text()
    assert 'cronsemble_task_info{experiment="watched",' in metrics
    said = log(pods, namespace, last)
    assert "report: reports/watched/" in said and "metrics: metrics/watched.prom, " in said
    # It is no task, and left no run; the revision of this sync is in the store, though nothing ran.
    assert sorted(path.name for path in (store / "runs" / experiment.name).iterdir()) == ["train-a"]
    recorded = [json.loads(path.read_text()) for path in (store / "experiments" / experiment.name / "revisions").iterdir()]
    assert any(revision["what"] == "sync" for revision in recorded)
    assert all("watch" not in revision["tasks"] for revision in recorded)
    rows = json.loads(experiment.good("history", "--json", "-n", "0", "--store", str(store)))
    assert {row["task"] for row in rows} == {"train-a"}
    (line,) = [line for line in experiment.good("status").splitlines() if line.startswith("watched-watch: ")]
    assert "succeeded" in line
    # The address is in no file of the store, no log and no object but the Secret.
    written = "".join(path.read_text(errors="replace") for path in store.rglob("*") if path.is_file())
    objects = pods.kubectl("get", "cronjobs,jobs,pods,configmaps", "-n", namespace, "-o", "yaml")
    assert not any(SECRET_PATH in text for text in (written, objects, said))


def test_a_look_that_is_killed_leaves_no_half_page_and_the_next_one_tells(
    pods: Cluster, controllers: Cluster, node: Node, namespace: str, claim: Claim, image: Callable[[str], str], tmp_path: Path
) -> None:
    with receiving(host=ADDRESS) as receiver:
        watched(pods, claim, image, tmp_path, namespace, receiver, FAR)
        store = claim.folder
        assert store is not None

        def start(name: str) -> None:
            pods.kubectl("create", "job", name, "--from=cronjob/watched-watch", "-n", namespace)

        def ended(name: str) -> str:
            return pods.wait_for(lambda: conditions(pods, namespace).get(name), 120, f"the end of {name}") or ""

        def container() -> dict[str, Any] | None:
            running = [each for each in node.containers().values() if each["namespace"] == namespace]
            return running[0] if running else None

        start("killed")
        found = pods.wait_for(container, 60, "its container")
        assert found is not None
        os.kill(found["pid"], signal.SIGKILL)
        assert ended("killed") == "Failed"
        pages = [path for path in (store / "reports").rglob("*.html") if not path.name.startswith(".")]
        assert all(is_whole(page.read_bytes()) for page in pages)
        start("after")
        assert ended("after") == "Complete", log(pods, namespace, "after")
        assert len(receiver.taken) == 1
        assert is_whole((store / "reports" / "watched" / "latest.html").read_bytes())
