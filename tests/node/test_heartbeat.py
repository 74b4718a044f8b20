"""Pods ping a server outside of the cluster, on a real kubelet: starts, successes, failures; one that is killed is missed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.access import Cluster
from cluster.node import ADDRESS, Node
from cluster.scenes import CODE, SPIES, Scene, scene
from heartbeat.server import API_KEY, PING_KEY, Check, StandIn, stand_in


@pytest.fixture(scope="module")
def watched(
    pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scene, StandIn]]:
    members = {
        "spy": {"model": "harm.py:spies"},
        "twice": {"model": "harm.py:second", "retries": 1},
        "dies": {"model": "harm.py:waits"},
    }
    folder = tmp_path_factory.mktemp("heartbeat")
    with stand_in(ADDRESS) as server, scene(pods, node, image, folder, "beats", members, code=CODE + SPIES) as made:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hc"}, "stringData": {"ping": PING_KEY}}
        pods.apply(secret, made.namespace)
        content = json.loads(made.experiment.file.read_text())
        content["heartbeat"] = {"server": server.url, "ping_key": {"secret": "hc", "key": "ping"}}
        made.experiment.file.write_text(json.dumps(content))
        os.environ["HEALTHCHECKS_API_KEY"] = API_KEY
        try:
            made.experiment.good("sync")
        finally:
            del os.environ["HEALTHCHECKS_API_KEY"]
        yield made, server


def kinds(server: StandIn, task: str) -> list[str]:
    return [ping.kind for ping in server.of(f"beats-{task}").pings if ping.rid]


def check_of(server: StandIn, task: str) -> Check:
    return server.of(f"beats-{task}")


def test_runs_ping_their_starts_and_their_ends(watched: tuple[Scene, StandIn]) -> None:
    made, server = watched
    for task, expected in (("train-spy", ["start", "success"]), ("train-twice", ["start", "log", "start", "success"])):
        name = made.start(task)
        made.end(name, "Complete")
        assert kinds(server, task) == expected
        assert check_of(server, task).status == "up" and check_of(server, task).last_start is None
        assert check_of(server, task).pings[-1].body.startswith(f"{name} succeeded, accuracy ")
    assert "the first try fails" in check_of(server, "train-twice").pings[2].body


def test_one_by_hand_is_not_the_run_that_is_expected(watched: tuple[Scene, StandIn]) -> None:
    made, server = watched
    before = len(server.requests)
    made.pods.kubectl("create", "job", "by-hand", "--from=cronjob/beats-train-spy", "-n", made.namespace)
    made.end("by-hand", "Complete")
    assert len(server.requests) == before


def test_no_program_of_a_pod_and_no_object_shows_the_key(watched: tuple[Scene, StandIn]) -> None:
    made, _ = watched
    seen = (made.store / "seen.txt").read_text()
    assert "1 environ: Permission denied" in seen and "supervise" in seen and "CRONSEMBLE_RUN" in seen
    kinds_of_objects = "cronjobs,jobs,pods,configmaps,events"
    objects = made.pods.kubectl("get", kinds_of_objects, "-n", made.namespace, "-o", "json")
    stored = b"".join(path.read_bytes() for path in made.store.rglob("*") if path.is_file())
    processes = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert "CRONSEMBLE_PING_KEY" in objects  # by reference
    for text in (seen, objects, stored.decode(errors="replace"), processes.decode(errors="replace")):
        assert PING_KEY not in text and API_KEY not in text


def test_a_pod_that_is_killed_is_missed(watched: tuple[Scene, StandIn]) -> None:
    made, server = watched
    name = made.start("train-dies")
    made.await_waiting(name)
    made.kill(name, "train")
    made.end(name, "Failed")
    check = check_of(server, "train-dies")
    assert kinds(server, "train-dies") == ["start"] and check.status == "up"
    began = check.last_start
    assert began is not None and check.grace == 80 * 60
    server.now = lambda: began + check.grace - 1
    server.look()
    assert server.alarms == []
    server.now = lambda: began + check.grace
    server.look()
    assert server.alarms == [("beats-train-dies", began + check.grace)]
