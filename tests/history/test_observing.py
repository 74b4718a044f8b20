"""What is observed of a run, from Jobs, pods and events as Kubernetes 1.34 tells them, and what history makes of it."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronjobs.objects.labels import INSTANCE, TASK
from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.store import LocalStore
from scheduler.console.run_display import PlainDisplay
from scheduler.history.observed_runs import ClusterObservation, ObservedJob, merge_observed
from scheduler.history.query import HistoryQuery
from scheduler.history.run_facts import RunFact
from scheduler.history.slots import Row
from scheduler.kube.client import KubeClient
from scheduler.kube.kubeconfig import Access
from scheduler.observe.job_progress import ProgressReporter
from scheduler.observe.job_watcher import JobSnapshot
from scheduler.observe.run_status import job_status
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at, minute

SLOT = minute("2026-11-25T01:00")
NAME = f"e-train-a-{SLOT}"
BEGAN, ENDED = "2026-11-25T01:00:01Z", "2026-11-25T01:05:00Z"


def job(*conditions: tuple[str, str], **spec: Any) -> dict[str, Any]:
    """Conditions as (type, reason)."""
    status_conditions = [
        {"type": kind, "reason": reason, "status": "True", "lastTransitionTime": ENDED} for kind, reason in conditions
    ]
    return {
        "metadata": {"name": NAME, "uid": "j", "labels": {INSTANCE: "e", TASK: "train-a"}, "creationTimestamp": BEGAN},
        "spec": {"activeDeadlineSeconds": 300, **spec},
        "status": {"startTime": BEGAN, "conditions": status_conditions},
    }


def pod(name: str = "x", phase: str = "Pending", created: str = BEGAN, **more: Any) -> dict[str, Any]:
    """``prepare`` and ``train`` are states; ``conditions`` as the API has them."""
    states = [(step, more.pop(step)) for step in ("prepare", "train") if step in more]
    statuses = [{"name": step, "image": "r/i:1", "state": state} for step, state in states]
    resources = {"limits": {"memory": "300Mi"}}
    return {
        "metadata": {"name": f"{NAME}-abcd{name}", "uid": name, "creationTimestamp": created, **more.pop("metadata", {})},
        "spec": {"nodeName": "n1", "containers": [{"name": "train", "resources": resources}], **more.pop("spec", {})},
        "status": {"phase": phase, "initContainerStatuses": statuses[:1], "containerStatuses": statuses[1:], **more},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, "startedAt": BEGAN, "finishedAt": ENDED}
    return {"terminated": end | ({"message": message} if message else {})}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def event(reason: str, message: str, kind: str = "Pod", name: str = f"{NAME}-abcdx", at: str = ENDED) -> dict[str, Any]:
    return {"involvedObject": {"kind": kind, "name": name}, "reason": reason, "message": message, "lastTimestamp": at}


DONE = ended(0, "Completed")
RUNS = {"running": {"startedAt": BEGAN}}
LIMIT = ("Failed", "BackoffLimitExceeded")
LATE = ("Failed", "DeadlineExceeded")
BACK_OFF = waiting("ImagePullBackOff", 'Back-off pulling image "r/i:1"')
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
EVICTED = {**DISRUPTED, "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
NO_ROOM = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu."}
NO_MAP = 'MountVolume.SetUp failed for volume "snapshot" : configmap "p" not found'
WRONG_INPUT_IS_FINAL = {
    "rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [ExitCode.WRONG_INPUT]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
}
FIRST = pod("x", "Failed", prepare=DONE, train=ended(137, "OOMKilled"))

CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], tuple[str, str, str]]] = {
    "killed for memory": (
        job(LIMIT),
        [FIRST],
        [],
        ("failed", "memory", "train was killed for memory (its limit is 300Mi)"),
    ),
    "a child killed for memory, cgroup v1": (
        job(LIMIT),
        [pod("x", "Failed", prepare=DONE, train=ended(1, "OOMKilled"))],
        [],
        ("failed", "memory", "train was killed for memory (its limit is 300Mi)"),
    ),
    "its first process killed": (
        job(LIMIT),
        [pod("x", "Failed", prepare=DONE, train=ended(137))],
        [],
        ("failed", "killed", "train was killed from outside (exit status 137, SIGKILL); the cluster does not say by whom"),
    ),
    "killed, as another try was for memory": (
        job(LIMIT),
        [pod("y", "Failed", created=ENDED, prepare=DONE, train=ended(137)), FIRST],
        [],
        (
            "failed",
            "killed",
            "train was killed from outside (exit status 137, SIGKILL), most likely for memory: another try was "
            "(the last of 2 tries)",
        ),
    ),
    "an exit status": (
        job(("FailureTarget", "PodFailurePolicy")),
        [pod("x", "Failed", prepare=ended(3), train=waiting("PodInitializing"))],
        [],
        ("failed", "exit", "prepare ended with exit status 3"),
    ),
    "its last words": (
        job(LIMIT),
        [pod("x", "Failed", prepare=ended(1, message="/store/runs: No space left on device"))],
        [],
        ("failed", "exit", "prepare: /store/runs: No space left on device"),
    ),
    "could not run": (
        job(LIMIT),
        [pod("x", "Failed", prepare=ended(128, "StartError", "exec: python3: not found"))],
        [],
        ("failed", "configuration", "prepare could not run: exec: python3: not found"),
    ),
    "no reason left": (
        job(LIMIT),
        [],
        [],
        ("failed", "exit", "BackoffLimitExceeded; its pods are gone"),
    ),
    "deadline while running": (
        job(("FailureTarget", "DeadlineExceeded")),
        [pod("x", "Running", prepare=DONE, train=RUNS, metadata={"deletionTimestamp": ENDED})],
        [],
        ("failed", "deadline", "not done within its deadline of 5m: train on n1, being stopped"),
    ),
    "deadline, never begun": (
        job(LATE),
        [],
        [event("Failed", "Failed to pull image r/i:1: not found"), event("DeadlineExceeded", "…", "Job", NAME)],
        (
            "failed",
            "deadline",
            "not done within its deadline of 5m: its image cannot be pulled: Failed to pull image r/i:1: not found",
        ),
    ),
    "deadline after a failed try": (
        job(LATE),
        [FIRST],
        [],
        ("failed", "deadline", "not done within its deadline of 5m: train was killed for memory (its limit is 300Mi)"),
    ),
    "no such image": (
        job(),
        [pod(prepare=waiting("ErrImagePull", "r/i:1: not found"))],
        [],
        ("waiting", "image", "waiting: image r/i:1 cannot be pulled: r/i:1: not found"),
    ),
    "no such image, backing off": (
        job(),
        [pod(prepare=DONE, train=BACK_OFF)],
        [event("Failed", "Failed to pull image r/i:1: not found", at=BEGAN), event("Failed", "Error: ImagePullBackOff")],
        ("waiting", "image", "waiting: image r/i:1 cannot be pulled: Failed to pull image r/i:1: not found"),
    ),
    "no node": (
        job(),
        [pod(spec={"nodeName": None}, conditions=[NO_ROOM])],
        [],
        ("waiting", "unschedulable", "waiting: no node can take it: 0/1 nodes: Insufficient cpu."),
    ),
    "no snapshot": (
        job(),
        [pod(prepare=waiting("PodInitializing"))],
        [event("FailedMount", NO_MAP)],
        ("waiting", "mount", f"waiting: its volumes cannot be mounted: {NO_MAP}"),
    ),
    "no secret": (
        job(),
        [pod(prepare=waiting("CreateContainerConfigError", 'secret "s" not found'))],
        [],
        ("waiting", "configuration", 'waiting: prepare cannot be started: secret "s" not found'),
    ),
    "no pod": (
        job(),
        [],
        [event("FailedCreate", "exceeded quota", "Job", NAME)],
        ("waiting", "not made", "waiting: its pod is refused: exceeded quota"),
    ),
    "in a queue": (job(suspend=True), [], [], ("waiting", "queue", "waits in its queue")),
    "starts": (job(), [pod(prepare=waiting("PodInitializing"))], [], ("waiting", "", "waiting: its containers are starting")),
    "running": (job(), [pod("x", "Running", prepare=DONE, train=RUNS)], [], ("running", "", "train on n1")),
    "running again": (
        job(),
        [FIRST, pod("y", "Running", created=ENDED, prepare=RUNS)],
        [],
        ("running", "", "prepare on n1, try 2 of 7 after: train was killed for memory (its limit is 300Mi)"),
    ),
    "two at once": (
        job(),
        [pod("x", "Running", prepare=RUNS), pod("y", "Running", prepare=RUNS)],
        [],
        ("running", "", "prepare on n1 (2 tries at once)"),
    ),
    "being evicted": (
        job(),
        [pod("x", "Running", prepare=DONE, train=RUNS, conditions=[EVICTED])],
        [],
        ("running", "", "train on n1, being stopped: it was asked to leave its node (Eviction API: evicting)"),
    ),
    "evicted": (
        job(),
        [pod("x", "Failed", prepare=DONE, train=ended(143), conditions=[EVICTED])],
        [],
        (
            "waiting",
            "",
            "waiting: its pod is not created yet, try 2 of 7 after: train was stopped: it was asked to leave its node "
            "(Eviction API: evicting)",
        ),
    ),
    "its last container has ended": (
        job(),
        [pod("x", "Running", prepare=DONE, train=DONE)],
        [],
        ("running", "", "its pod is about to end"),
    ),
    "its last try has ended": (
        job(backoffLimit=0),
        [FIRST],
        [],
        ("running", "", "its Job is about to end: train was killed for memory (its limit is 300Mi)"),
    ),
    "a try that is the last by its exit status": (
        job(backoffLimit=3, podFailurePolicy=WRONG_INPUT_IS_FINAL),
        [pod("x", "Failed", prepare=ended(3), train=waiting("PodInitializing"))],
        [],
        ("running", "", "its Job is about to end: prepare ended with exit status 3"),
    ),
    "a try that does not count": (
        job(backoffLimit=0, podFailurePolicy=WRONG_INPUT_IS_FINAL),
        [pod("x", "Failed", prepare=ended(143), conditions=[EVICTED])],
        [],
        (
            "waiting",
            "",
            "waiting: its pod is not created yet, try 2 of 2 after: prepare was stopped: it was asked to leave its node "
            "(Eviction API: evicting)",
        ),
    ),
    "its node is gone": (
        job(LIMIT),
        [pod("x", "Failed", train=ended(137), conditions=[{**DISRUPTED, "reason": "DeletionByPodGC"}])],
        [],
        ("failed", "node gone", "train was stopped: its node is gone"),
    ),
    "done": (
        job(("Complete", "CompletionsReached")),
        [pod("x", "Succeeded", prepare=DONE, train=DONE)],
        [],
        ("succeeded", "", ""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_observed(case: str) -> None:
    resource, pods, events, expected = CASES[case]
    observed = job_status(resource, pods, events)
    assert observed is not None
    assert (observed.state, observed.cause or "", observed.reason) == expected


def test_each_pod_is_observed_with_its_container_and_times() -> None:
    again = pod("y", "Failed", created=ENDED, prepare=ended(1))
    observed = job_status(job(LIMIT), [again, FIRST])
    assert observed is not None
    assert [(pod.uid, pod.container, pod.cause, pod.started, pod.ended) for pod in observed.pods] == [
        ("x", "train", "memory", BEGAN, ENDED),
        ("y", "prepare", "exit", BEGAN, ENDED),
    ]
    # A try that ended with an exit status of its own has recorded more itself.
    assert [one_try["try"] for one_try in observed.observation()["tries"]] == ["x"]


def with_sidecars(body: dict[str, Any], injected: dict[str, Any] | None = None, native: Any = None) -> dict[str, Any]:
    """The pod with a container beside the steps, and a native sidecar, which is an initContainer, before them."""
    status = body["status"]
    if injected is not None:
        status["containerStatuses"] = [{"name": "istio-proxy", "image": "i", "state": injected}, *status["containerStatuses"]]
    if native is not None:
        status["initContainerStatuses"] = [{"name": "mesh", "image": "m", "state": native}, *status["initContainerStatuses"]]
    return body


KEPT = "train ended with exit status 0, but istio-proxy beside it runs on and keeps the Job"


@pytest.mark.parametrize(
    ("seen", "state", "container", "reason"),
    [
        (with_sidecars(pod("x", "Running", prepare=DONE, train=RUNS), RUNS, RUNS), "running", "train", "train on n1"),
        (with_sidecars(pod("x", "Pending", prepare=RUNS, train={}), {}, RUNS), "running", "prepare", "prepare on n1"),
        (with_sidecars(pod("x", "Running", prepare=DONE, train=DONE), RUNS), "running", "istio-proxy", KEPT),
        (
            with_sidecars(pod("x", "Running", prepare=DONE, train=ended(1)), RUNS),
            "running",
            "istio-proxy",
            "train ended with exit status 1, but istio-proxy beside it runs on and keeps the Job",
        ),
        # The kubelet ends a native sidecar.
        (with_sidecars(pod("x", "Running", prepare=DONE, train=DONE), None, RUNS), "running", "", "its pod is about to end"),
        (
            with_sidecars(pod("x", "Failed", prepare=DONE, train=ended(1)), ended(143), ended(137)),
            "failed",
            "train",
            "train ended with exit status 1",
        ),
        (
            with_sidecars(pod("x", "Failed", prepare=DONE, train=DONE), ended(2)),
            "failed",
            "istio-proxy",
            "istio-proxy ended with exit status 2",
        ),
    ],
)
def test_a_container_beside_the_steps_is_named_only_for_what_it_does(
    seen: dict[str, Any], state: str, container: str, reason: str
) -> None:
    observed = job_status(job(), [seen])
    assert observed is not None
    (one_try,) = observed.pods
    assert (one_try.state, one_try.container) == (state, container)
    assert one_try.reason == reason
    assert JobSnapshot(job(), (seen,)).started_steps[-1:] != ["istio-proxy"]


def test_a_job_that_a_sidecar_keeps_is_why_the_next_slot_is_skipped() -> None:
    kept = job_status(job(), [with_sidecars(pod("x", "Running", prepare=DONE, train=DONE), RUNS)])
    assert kept is not None and kept.reason == KEPT
    fact = merge_observed(RunFact(SLOT, 1, "succeeded", finished=SLOT * 60.0 + 300), kept)
    reason = "its Job goes on: istio-proxy beside the run's container does not end"
    assert (fact.status, fact.reason, fact.job_ended) == ("succeeded", reason, inf)
    late = job_status(job(LATE), [])
    assert late is not None
    fact = merge_observed(RunFact(SLOT, 1, "succeeded"), late)
    assert fact.status == "succeeded" and fact.reason.startswith("its Job went on without it: not done within its deadline of 5m")


def test_a_job_that_is_no_run_of_ours_is_left_alone() -> None:
    stranger = job()
    stranger["metadata"]["labels"] = {"app": "another"}
    assert job_status(stranger) is None


def test_a_job_with_a_name_of_its_own_is_a_run_by_hand() -> None:
    by_hand = job()
    by_hand["metadata"]["name"] = "try-it"
    observed = job_status(by_hand)
    assert observed and (observed.kind, observed.run.attempt, observed.name) == ("manual", 2, "try-it")


# -- with the store


def cluster(*jobs: ObservedJob | None, is_synced: bool = False) -> ClusterObservation:
    by_key = {job.key: job for job in jobs if job is not None}
    return ClusterObservation("ns", at("2026-11-25T01:06").timestamp(), by_key, (), is_synced)


def row(builder: Builder, observation: ClusterObservation) -> tuple[str, str, str]:
    history = HistoryReader(builder.store, "e", "UTC", observation.time, observation)
    (slot_row,) = [row for row in history.rows(HistoryQuery()) if row.minute == SLOT]
    return slot_row.status, slot_row.reason, slot_row.evidence


KILLED, KILLED_ROW = job_status(job(LIMIT), [FIRST]), ("failed", "train was killed for memory (its limit is 300Mi)", "observed")
RUNNING = job_status(job(), [pod("y", "Running", created=ENDED, prepare=RUNS)])
COMPLETE = job_status(job(("Complete", "")))
TOO_LATE = job_status(job(LATE))


@pytest.mark.parametrize(
    ("status", "reason", "observed", "expected"),
    [
        (None, "", KILLED, KILLED_ROW),
        ("running", "", KILLED, KILLED_ROW),
        ("interrupted", "interrupted", KILLED, KILLED_ROW),
        ("failed", "exit status 1", KILLED, ("failed", "exit status 1", "recorded")),
        ("failed", "exit status 1", TOO_LATE, ("failed", "not done within its deadline of 5m", "observed")),
        ("failed", "exit status 1", RUNNING, ("running", "prepare on n1", "observed")),
        (None, "", RUNNING, ("running", "prepare on n1", "observed")),
        ("succeeded", "", KILLED, ("succeeded", "", "recorded")),
        ("succeeded", "", RUNNING, ("succeeded", "", "recorded")),
        ("running", "", COMPLETE, ("unknown", "its Job completed, but this store holds no result of it", "observed")),
    ],
)
def test_a_row_merges_what_run_and_cluster_say(
    tmp_path: Path, status: str | None, reason: str, observed: ObservedJob, expected: tuple[str, str, str]
) -> None:
    builder = Builder(tmp_path)
    if status is not None:
        builder.run("train-a", SLOT, status, reason=reason)
    assert row(builder, cluster(observed)) == expected


OBSERVED = [job_status(resource, pods, events) for resource, pods, events, _ in CASES.values()]
STATUSES = ["succeeded", "failed", "no quorum", "running", "died", "interrupted", "unknown"]


@given(
    st.dictionaries(st.tuples(st.integers(0, 3), st.integers(1, 2)), st.sampled_from(STATUSES)),
    st.dictionaries(st.tuples(st.integers(0, 3), st.integers(1, 2)), st.sampled_from(OBSERVED)),
    st.booleans(),
)
def test_every_run_and_every_job_is_one_fact_and_no_success_is_invented_or_lost(
    runs: dict[tuple[int, int], str], jobs: dict[tuple[int, int], ObservedJob], is_synced: bool
) -> None:
    facts = [RunFact(SLOT + minute, attempt, runs[minute, attempt]) for minute, attempt in sorted(runs)]
    observed = [replace(job, run=RunId(SLOT + key[0], key[1], "e", "train-a")) for key, job in jobs.items()]
    merged = cluster(*observed, is_synced=is_synced).merge("e", "train-a", "2026-11", facts)
    assert [(fact.minute - SLOT, fact.attempt) for fact in merged] == sorted({*runs, *jobs})
    for fact in merged:
        key = (fact.minute - SLOT, fact.attempt)
        assert (fact.status == "succeeded") == (runs.get(key) == "succeeded")
        if key not in jobs:
            assert fact in facts


def test_what_was_observed_is_recorded_once_and_known_without_the_cluster(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.store.task_folder("e", "train-a").mkdir(parents=True)
    assert KILLED is not None and RUNNING is not None
    (news,) = HistoryReader(builder.store, "e", "UTC", 0, cluster(KILLED)).unrecorded_jobs()
    assert builder.store.record_observation(news.run, news.observation())
    assert not builder.store.record_observation(news.run, {"status": "failed", "reason": "another"})
    assert row(builder, cluster()) == KILLED_ROW
    # What was written is not written again; what may still change is not written.
    assert HistoryReader(builder.store, "e", "UTC", 0, cluster(KILLED)).unrecorded_jobs() == []
    assert HistoryReader(builder.store, "e", "UTC", 0, cluster(RUNNING)).unrecorded_jobs() == []


def test_a_killed_try_of_a_run_that_succeeded_is_recorded(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.run("train-a", SLOT)
    done = job_status(job(("Complete", "")), [FIRST, pod("y", "Succeeded", created=ENDED, prepare=DONE, train=DONE)])
    (news,) = HistoryReader(builder.store, "e", "UTC", 0, cluster(done)).unrecorded_jobs()
    assert "status" not in news.observation() and [one_try["try"] for one_try in news.observation()["tries"]] == ["x"]


@pytest.mark.parametrize(("is_synced", "status"), [(True, "died"), (False, "running")])
def test_a_run_whose_job_is_gone_has_died(tmp_path: Path, is_synced: bool, status: str) -> None:
    builder = Builder(tmp_path)
    builder.run("train-a", SLOT, "running", process={"host": f"{NAME}-x", "boot": "b", "pid": 1, "start": 1})
    other = builder.run("train-a", SLOT - 1440, "running")
    rows: list[Row] = HistoryReader(builder.store, "e", "UTC", 0, cluster(is_synced=is_synced)).rows(HistoryQuery())
    assert [row.status for row in rows] == [status, "running"]
    assert rows[1].run == str(other)


def test_a_run_that_waits_says_for_whom_and_one_without_a_job_has_died(tmp_path: Path) -> None:
    builder, process = Builder(tmp_path), {"host": "elsewhere", "boot": "b", "pid": 1, "start": 1}
    mark = {"since": BEGAN, "process": process, "waiting": [{"member": "b", "slot": "2026-11-25T00:30Z", "local": "01:30"}]}
    builder.store.record_wait(RunId(SLOT, 1, "e", "train-a"), mark)
    assert row(builder, cluster()) == ("running", "waiting for b (01:30)", "recorded")
    assert row(builder, cluster(RUNNING)) == ("running", "waiting for b (01:30) (prepare on n1)", "observed")
    assert row(builder, cluster(KILLED)) == KILLED_ROW
    assert row(builder, cluster(is_synced=True))[::2] == ("died", "inferred")


def test_a_folder_that_is_made_for_an_observation_is_open_to_those_who_write_the_store(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o2775)
    assert KILLED is not None
    builder = Builder(root)
    assert builder.store.record_observation(KILLED.run, {"reason": "r"})
    folder = builder.store.run_folder(KILLED.run)
    assert {path.stat().st_mode & 0o7777 for path in (folder, *list(folder.parents)[:4])} == {0o2775}
    assert (folder / c.OBSERVED).exists()


def test_steps_that_begin_and_end_between_two_snapshots_are_reported(tmp_path: Path) -> None:
    out = io.StringIO()
    reporter = ProgressReporter(None, "n", LocalStore(tmp_path), PlainDisplay(out), "a", RunId(SLOT, 1, "e", "train-a"))  # type: ignore[arg-type]
    first = pod("x", "Failed", prepare=DONE, train=ended(1))
    for pods in ([pod(prepare=RUNS)], [first], [first, pod("y", prepare=DONE, train=waiting("PodInitializing"))]):
        reporter.report(JobSnapshot(job(), tuple(pods)))
    reporter.report_steps(JobSnapshot(job(("Complete", "")), (first, pod("y", "Succeeded", prepare=DONE, train=DONE))))
    lines = [line.removeprefix("a: ") for line in out.getvalue().splitlines()]
    assert [line for line in lines if "waiting" not in line] == ["prepare", "train", "prepare (try 2 of 7)", "train (try 2 of 7)"]


class Logs(BaseHTTPRequestHandler):
    """Answers with containers' logs as an API server does; a kubelet's own are followed in tests/node."""

    TEXT = {
        "prepare": "cronsemble: the data was read at 18:44 today\ndata 0123: {}\n",
        "train": "cronsemble: not of the data\nepoch 1/2: loss 0.5000, accuracy 0.7500\n",
    }

    def do_GET(self) -> None:
        text = self.TEXT[parse_qs(urlsplit(self.path).query)["container"][0]].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_pods_logs_say_of_its_data_and_epochs_is_reported(tmp_path: Path) -> None:
    out = io.StringIO()
    with ThreadingHTTPServer(("127.0.0.1", 0), Logs) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with KubeClient(Access(f"http://127.0.0.1:{server.server_port}")) as api:
            display, run = PlainDisplay(out), RunId(SLOT, 1, "e", "train-a")
            for task in ("a", "b"):
                ProgressReporter(api, "n", LocalStore(tmp_path), display, task, run).report_logs("pod")
        server.shutdown()
        thread.join()
    lines = [line.rpartition(",")[0] or line for line in out.getvalue().splitlines()]
    epoch = "epoch 1/2, loss 0.5000, accuracy 0.7500"
    assert lines == ["a: the data was read at 18:44 today", f"a: {epoch}", f"b: {epoch}"]
