"""Trainings that go wrong, each in its own way, side by side: the reason in the history, and nothing half published."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from cluster.access import Cluster
from cluster.node import Node
from cluster.scenes import Scene, scene

MEMBERS = {
    "good": {},
    "hungry": {"model": "harm.py:hungry"},
    "shot": {"model": "harm.py:waits"},
    "late": {"model": "harm.py:waits", "deadline": "45s"},
    "again": {"model": "harm.py:second", "retries": 1},
    "moved": {"model": "harm.py:waits"},
    "twice": {"model": "harm.py:waits"},
    "outlives": {"model": "harm.py:waits"},
}


@pytest.fixture(scope="module")
def harm(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(pods, node, image, tmp_path_factory.mktemp("harm"), "harm", MEMBERS) as made:
        # They fail side by side while the tests look at one after the other.
        for member in ("good", "hungry", "shot", "late", "again"):
            made.start(f"train-{member}")
        yield made


def test_one_whose_first_process_is_killed_from_outside(harm: Scene) -> None:
    name = harm.run("train-shot")
    harm.await_waiting(name)
    assert harm.outcome(name) == ("running", "train on node", "observed")
    harm.kill(
        name,
        "supervise",
        "train",
    )
    harm.end(name, "Failed")
    reason = "train was killed from outside (exit status 137, SIGKILL); the cluster does not say by whom"
    assert harm.kept_outcome(name) == ("failed", reason, "observed")
    assert harm.results(name) == []
    (pod,) = harm.pods_of(name)
    (told,) = json.loads(harm.experiment.good("show", name, "--json", "--store", str(harm.store)))["observed"]["tries"]
    assert (told["try"], told["container"], told["what"]) == (pod["metadata"]["uid"], "train", "killed")


def test_one_killed_for_memory(harm: Scene) -> None:
    name = harm.run("train-hungry")
    harm.end(name, "Failed")
    status, reason, _ = harm.kept_outcome(name)
    assert status == "failed" and "killed" in reason and "for memory" in reason and "400" in reason, reason
    assert harm.results(name) == []


def test_one_that_is_not_done_within_its_deadline(harm: Scene) -> None:
    name = harm.run("train-late")
    harm.end(name, "Failed")
    status, reason, evidence = harm.kept_outcome(name)
    assert (status, evidence) == ("failed", "observed") and reason.startswith("not done within its deadline of 45s")
    assert harm.results(name) == []


def test_a_failed_first_try_and_a_good_second_one(harm: Scene) -> None:
    name = harm.run("train-again")
    harm.end(name, "Complete")
    assert harm.kept_outcome(name) == ("succeeded", "", "recorded")
    assert harm.results(name) == ["result"]
    told = harm.experiment.good("history", name, "--store", str(harm.store))
    assert "the first try fails" in told and "succeeded" in told
    assert len(harm.pods_of(name)) == 2


def test_the_others_are_unaffected(harm: Scene) -> None:
    name = harm.run("train-good")
    harm.end(name, "Complete")
    assert harm.kept_outcome(name) == ("succeeded", "", "recorded")


def test_an_evicted_pod_costs_no_retry(harm: Scene) -> None:
    name = harm.start("train-moved")
    harm.await_waiting(name)
    (pod,) = harm.pods_of(name)
    found = pod["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": found, "namespace": harm.namespace}}
    path = f"/api/v1/namespaces/{harm.namespace}/pods/{found}/eviction"
    harm.pods.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    # It gets a while to end in, in which it would still be quick enough to train.
    uid, is_over = pod["metadata"]["uid"], ("Failed", "Succeeded")
    harm.pods.wait_for(
        lambda: all(each["metadata"]["uid"] != uid or each["status"]["phase"] in is_over for each in harm.pods_of(name)),
        60,
        "the end of the evicted pod",
    )
    harm.go(name)
    harm.end(name, "Complete")
    assert harm.kept_outcome(name) == ("succeeded", "", "recorded")
    assert harm.record(name)["try"] != uid
    told = harm.experiment.good("history", name, "--store", str(harm.store))
    assert re.search(rf"try 1 of \d: {pod['metadata']['uid']} .*: interrupted", told), told


def test_two_tries_of_one_run_at_once_publish_one_result(harm: Scene) -> None:
    name = harm.start("train-twice", parallelism=2, completions=2)
    both = ("running", "train on node (2 tries at once)", "observed")
    harm.pods.wait_for(lambda: harm.outcome(name) == both, 120, "both tries")
    harm.go(name)
    harm.end(name, "Complete")
    assert harm.outcome(name) == ("succeeded", "", "recorded")
    assert harm.results(name) == ["result"]
    assert harm.record(name)["try"] in {pod["metadata"]["uid"] for pod in harm.pods_of(name)}


def test_a_kubelet_that_is_killed_in_the_middle(harm: Scene) -> None:
    """The training goes on, and ends while nobody watches."""
    name = harm.start("train-outlives")
    harm.await_waiting(name)
    (pod,) = harm.pods_of(name)
    harm.node.kill_kubelet()
    harm.go(name)
    harm.pods.wait_for(lambda: harm.results(name), 120, f"the result of {name}")
    assert harm.outcome(name) == ("succeeded", "", "recorded")
    harm.node.start_kubelet()
    harm.end(name, "Complete")
    assert harm.kept_outcome(name) == ("succeeded", "", "recorded")
    assert harm.results(name) == ["result"]
    assert harm.record(name)["try"] == pod["metadata"]["uid"]
