"""An ensemble's CronJob whose pod waits for its members: for a late one, for one that finds no room, and killed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.access import Cluster
from cluster.node import Node
from cluster.scenes import Scene, scene
from jobs.contract import ExitCode


def exit_codes(made: Scene, name: str) -> dict[str, int]:
    """By pod how the await step ended, of those that have ended."""
    codes = {}
    for pod in made.pods_of(name):
        for status in pod["status"].get("initContainerStatuses", ()):
            if status["name"] == "await" and "terminated" in status["state"]:
                codes[pod["metadata"]["name"]] = status["state"]["terminated"]["exitCode"]
    return codes


def waiting(made: Scene, name: str) -> dict[str, Any]:
    """The pod whose await step runs, if there is one."""
    for pod in made.pods_of(name):
        for status in pod["status"].get("initContainerStatuses", ()):
            if status["name"] == "await" and "running" in status["state"] and "deletionTimestamp" not in pod["metadata"]:
                return pod
    return {}


def test_it_waits_for_the_late_one_and_not_longer_than_it_must_for_the_others(
    pods: Cluster, node: Node, image: Callable[[str], str], tmp_path: Path
) -> None:
    slot = int(time.time()) // 60 + 2
    when = datetime.fromtimestamp(slot * 60, UTC)
    clock, schedule = f"{when:%H:%M}", f"{when:%M %H %d %m} *"
    members: dict[str, dict[str, Any]] = {
        "late": {"model": "harm.py:waits", "schedule": schedule},
        # No node is like that: its pod never starts.
        "absent": {"schedule": schedule, "starting_deadline": "1m", "node_selector": {"cronsemble.test/nowhere": "yes"}},
        "resting": {"schedule": schedule},
    }
    ensemble = {"schedule": schedule, "wait": "40m", "quorum": 1}
    with scene(pods, node, image, tmp_path / "wait", "wait", members, ensemble) as made:
        made.experiment.good("suspend", "train-resting")  # only a revision knows it
        name, late = f"wait-ensemble-{slot}", f"wait-train-late-{slot}"
        pods.wait_for(lambda: pods.kubectl("get", "job", name, "-n", made.namespace, "--ignore-not-found"), 180, "the Job")
        spec = pods.get("job", name, made.namespace)["spec"]
        assert spec["activeDeadlineSeconds"] == (20 + 40) * 60
        made.await_waiting(late)
        pods.wait_for(lambda: made.row(name, "--offline").get("reason"), 120, "the wait in the store")
        row = made.row(name, "--offline")
        assert (row["status"], row["reason"]) == ("running", f"waiting for late ({clock}), absent ({clock})")
        # It makes room for the one that has not started, once.
        pods.wait_for(lambda: ExitCode.TRY_LATER in exit_codes(made, name).values(), 180, "the pod that makes room")
        pod = pods.wait_for(lambda: waiting(made, name), 120, "the next pod")
        assert made.row(name, "--offline")["reason"].startswith(f"waiting for late ({clock})")
        assert not any(volume["name"].startswith("kube-api-access") for volume in pod["spec"]["volumes"])
        (step,) = (each for each in pod["spec"]["initContainers"] if each["name"] == "await")
        assert step["resources"]["requests"] == {"cpu": "100m", "memory": "128Mi"}
        pods.kubectl("delete", "pod", pod["metadata"]["name"], "-n", made.namespace, "--grace-period=0", "--force")
        pods.wait_for(lambda: waiting(made, name), 180, "the pod after the one that was killed")
        pods.wait_for(lambda: "absent" not in made.row(name, "--offline")["reason"], 180, "the starting deadline of absent")
        made.go(late)
        made.go(name)  # its prediction builds the model, too
        made.end(late, "Complete")
        made.end(name, "Complete")
        waited = made.record(name)["waited"]
        outcomes = {each["member"]: (each["run"], each["outcome"]) for each in waited["members"]}
        assert outcomes == {"late": (late, "succeeded"), "absent": (None, "missed")} and waited["missing"] == []
        taken = {each["member"]: each.get("run") for each in made.record(name)["members"] if "left_out" not in each}
        assert taken == {"late": late}
        row = made.row(name)
        assert row["status"] == "succeeded" and row["why"].startswith("waited ") and f"late of {clock}" in row["why"]
        assert f"for late of {clock} ({late}): succeeded" in made.experiment.good("logs", name, "--store", str(made.store))
