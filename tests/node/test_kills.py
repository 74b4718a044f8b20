"""The controllers, the API server, the node and the volume die between two slots: who is told what, when, and how often.

An experiment that fires every minute, its watch and its heartbeat; outside of the cluster stand a receiver of notices and a
server that expects pings. The tests follow each other in time: what is told in one is told in no other.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from cluster.claims import Claim, store_claim
from cluster.control_plane import ControlPlane
from cluster.node import ADDRESS, Node
from cluster.scenes import CODE, SPIES
from heartbeat.server import API_KEY, PING_KEY, Check, StandIn, stand_in
from jobs.pings import ping_id
from notifications.receivers import Receiver, receiving
from sync.experiments import Experiment

NAME, TASK, WATCH = "kills", "train-a", "kills-watch"
STARTS, LASTS = 20, 45
"""Seconds within which a run may start, and that it may take."""
GRACE = STARTS + LASTS
SECRET_PATH = "/the-secret-of-the-hook"


def this_minute() -> int:
    return int(time.time() // 60)


@dataclass
class WatchedExperiment:
    """The experiment, and what stands outside; ``seen`` messages and ``alarms`` were looked at by an earlier test."""

    pods: Cluster
    plane: ControlPlane
    node: Node
    experiment: Experiment
    store: Path
    server: StandIn
    receiver: Receiver
    seen: int = 0
    alarms: int = 0
    recoveries: int = 0
    by_hand: int = 0
    exposed: set[tuple[str, str, str]] = field(default_factory=set)
    """Secrets that a process had: in its command or its variables, and its command."""

    @property
    def check(self) -> Check:
        return self.server.of(f"{NAME}-{TASK}")

    def wait_for(self, answer: Callable[[], Any], seconds: float, what: str) -> Any:
        return self.pods.wait_for(answer, seconds, what)

    # -- runs

    def run(self, minute: int) -> str:
        return f"{NAME}-{TASK}-{minute}"

    def succeeded(self, minute: int) -> bool:
        """As the server outside knows."""
        return any(ping.kind == "success" and ping.rid == ping_id(self.run(minute)) for ping in self.check.pings)

    def jobs(self) -> dict[str, str]:
        """By name how each Job has ended; of those that go on ""."""
        found = {}
        for job in self.pods.objects("job", self.experiment.namespace):
            ends = [each["type"] for each in job["status"].get("conditions", []) if each["type"] in ("Complete", "Failed")]
            found[job["metadata"]["name"]] = ends[0] if ends else ""
        return found

    def between_two_slots(self, need: float = 8, after: int = 0) -> int:
        """Wait until run and look of a slot after a minute have ended, with so many seconds left before the next: its minute."""

        def ended() -> int:
            minute = this_minute()
            left = 60 * (minute + 1) - time.time()
            is_quiet = minute > after and self.succeeded(minute) and left > need
            return minute if is_quiet and "" not in (jobs := self.jobs()).values() and f"{WATCH}-{minute}" in jobs else 0

        return int(self.wait_for(ended, 150, "a slot's end"))

    # -- looks

    def look(self) -> str:
        """A look by hand, from the beginning to its end: its Job's."""
        self.by_hand += 1
        name = f"look-{self.by_hand}"
        self.pods.kubectl("create", "job", name, f"--from=cronjob/{WATCH}", "-n", self.experiment.namespace)
        return str(self.wait_for(lambda: self.jobs()[name], 90, f"the end of {name}"))

    def look_without_controllers(self) -> str:
        """The same as a bare pod, which the scheduler and the kubelet run by themselves: its phase, and what it said."""
        self.by_hand += 1
        template = self.pods.get("cronjob", WATCH, self.experiment.namespace)["spec"]["jobTemplate"]["spec"]["template"]
        name = f"look-{self.by_hand}"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name}, "spec": template["spec"]}
        self.pods.kubectl("create", "-n", self.experiment.namespace, "-f", "-", stdin=json.dumps(pod))

        def phase() -> str:
            found = self.pods.get("pod", name, self.experiment.namespace)["status"].get("phase", "")
            return found if found in ("Succeeded", "Failed") else ""

        ended = self.wait_for(phase, 60, f"the end of {name}")
        return f"{ended}: {self.pods.kubectl('logs', name, '-n', self.experiment.namespace)}"

    # -- what arrived

    def told(self) -> list[Any]:
        """What has arrived since the last time that this was asked."""
        new = [request.document for request in self.receiver.requests[self.seen :]]
        self.seen += len(new)
        return new

    def all_alarms(self, slug: str = f"{NAME}-{TASK}") -> list[float]:
        assert {slug for slug, _ in self.server.alarms} <= {f"{NAME}-{TASK}", WATCH}
        return [at for name, at in self.server.alarms if name == slug]

    def new_alarms(self) -> list[float]:
        new = self.all_alarms()[self.alarms :]
        self.alarms += len(new)
        return new

    def new_recoveries(self) -> int:
        all_recoveries = [at for slug, at in self.server.recoveries if slug == f"{NAME}-{TASK}"]
        new = len(all_recoveries) - self.recoveries
        self.recoveries += new
        return new


@contextmanager
def alerting(server: StandIn) -> Iterator[None]:
    """The server's own clock: it looks again and again, as its alerting process does."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            with server.lock:
                server.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def spying(exposed: set[tuple[str, str, str]]) -> Iterator[None]:
    """Looks again and again at what the processes of the machine show to root: to others it is less."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.3):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    command = (process / "cmdline").read_bytes()
                    for file, text in (("cmdline", command), ("environ", (process / "environ").read_bytes())):
                        exposed.update(
                            (secret, file, command.replace(b"\0", b" ").decode(errors="replace"))
                            for secret in (SECRET_PATH, PING_KEY)
                            if secret.encode() in text
                        )

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def watched(
    pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WatchedExperiment]:
    plane, namespace, folder = node.plane, pods.new_namespace(), tmp_path_factory.mktemp("kills")
    (folder / "harm.py").write_text(CODE + SPIES)
    with (
        store_claim(pods, namespace, node) as claim,
        stand_in(ADDRESS) as server,
        receiving(host=ADDRESS) as receiver,
        alerting(server),
    ):
        experiment = _configured(pods, claim, image, folder, namespace, server, receiver)
        assert claim.folder is not None
        made = WatchedExperiment(pods, plane, node, experiment, claim.folder, server, receiver)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HEALTHCHECKS_API_KEY", API_KEY)
                experiment.good("sync")
            with spying(made.exposed):
                yield made
        finally:
            plane.start_api_server()
            plane.start_controllers()
            node.start()
            pods.forget(namespace)


def _configured(
    pods: Cluster, claim: Claim, image: Callable[[str], str], folder: Path, namespace: str, server: StandIn, receiver: Receiver
) -> Experiment:
    for name, values in (("hc", {"ping": PING_KEY}), ("notify", {"HOOK_URL": receiver.url(SECRET_PATH)})):
        pods.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}, namespace)
    experiment = Experiment(folder, namespace, pods.kubeconfig, NAME)
    images = {each: image(f"cronsemble-{each}:latest").removesuffix(":latest") for each in ("keras3", "legacy", "tool")}
    experiment.write(
        {"a": {"backend": "cntk", "schedule": "* * * * *", "model": "harm.py:spies"}},
        data={"dataset": "harm.py:few"},
        hyperparameters={"epochs": 1, "seed": 7},
        defaults={
            "resources": {"cpu": 1, "memory": "400Mi"},
            "retries": 0,
            "starting_deadline": f"{STARTS}s",
            "deadline": f"{LASTS}s",
        },
        watch={"schedule": "* * * * *", "limits": {"cpu": 1, "memory": "512Mi"}},
        notify={"channels": {"hook": {"webhook": {"secret": "notify", "key": "HOOK_URL"}}}},
        heartbeat={"server": server.url, "ping_key": {"secret": "hc", "key": "ping"}},
        cluster={"namespace": namespace, "images": images, "pull_policy": "if_not_present"},
    )
    return experiment


def check_missed(watched: WatchedExperiment, slots: list[int]) -> None:
    """One message about these slots, and one that all is well again; nothing else, and nothing twice."""
    told = watched.told()
    assert [document["type"] for document in told] == ["problem", "resolved", "well"], told
    (incident,) = told[0]["incidents"]
    # On a slow machine more may be missed after that look: it is the same incident.
    assert (incident["kind"], incident["task"]) == ("missed", TASK) and 1 <= incident["slots"] <= len(slots), told
    assert told[0]["subject"].startswith(f"[{NAME}] {TASK} was missed: ")
    assert incident["since"] == f"{datetime.fromtimestamp(60 * slots[0], UTC):%Y-%m-%dT%H:%MZ}"
    assert told[1]["incidents"][0]["id"] == incident["id"]


def check_alarm(watched: WatchedExperiment, slot: int) -> None:
    """One alarm, within the grace and a minute after the slot that was missed first, and one end of it."""
    (alarm,) = watched.new_alarms()
    assert 60 * slot + GRACE <= alarm <= 60 * slot + GRACE + 60
    assert watched.new_recoveries() == 1


def check_back(watched: WatchedExperiment, last: int) -> None:
    """After the next slot that is run again: what is known of those since ``last``, which were missed."""
    first = watched.between_two_slots(0, last)
    watched.look()
    check_alarm(watched, last + 1)
    check_missed(watched, list(range(last + 1, first)))


def test_a_volume_that_is_read_only_and_a_controller_manager_that_is_dead(watched: WatchedExperiment) -> None:
    last = watched.between_two_slots(25)
    assert watched.told() == [] and watched.new_alarms() == []
    watched.plane.kill_controllers()
    # Meanwhile the volume cannot be written, and can again.
    subprocess.run(["mount", "--bind", str(watched.store), str(watched.store)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(watched.store)], check=True)
    try:
        said = watched.look_without_controllers()
        assert said.startswith("Failed: ") and "Read-only file system" in said, said
    finally:
        subprocess.run(["umount", "--lazy", str(watched.store)], check=True)
    (document,) = watched.told()
    assert document["incidents"][0]["kind"] == "store" and "store out of reach" in document["subject"], document
    assert watched.look_without_controllers().startswith("Succeeded: ")
    assert watched.told() == []
    # The server was told by the look that failed, and by the next one that all is done again.
    assert len(watched.all_alarms(WATCH)) == 1 and watched.server.of(WATCH).status == "up"
    # The slot comes, and nothing begins.
    watched.wait_for(lambda: len(watched.all_alarms()) > watched.alarms, 150, "the alarm")
    assert max(int(name.rpartition("-")[2]) for name in watched.jobs()) == last
    watched.plane.start_controllers()
    check_back(watched, last)


def test_an_api_server_that_is_dead_and_back_before_the_slot(watched: WatchedExperiment) -> None:
    last = watched.between_two_slots(20)
    watched.plane.kill_api_server()
    watched.plane.start_api_server()
    first = watched.between_two_slots(0, last)
    watched.look()
    if first == last + 1:
        assert watched.told() == [] and watched.new_alarms() == [] and watched.new_recoveries() == 0
    else:  # where it took longer to be back than a run may be late
        check_alarm(watched, last + 1)
        check_missed(watched, list(range(last + 1, first)))
    assert len(list((watched.store / "runs").glob(f"*/*/*/{watched.run(first)}/result"))) == 1


def test_a_node_that_is_dead(watched: WatchedExperiment) -> None:
    last = watched.between_two_slots()
    watched.node.kill()
    watched.wait_for(lambda: len(watched.all_alarms()) > watched.alarms, 150, "the alarm")
    watched.node.start()
    check_back(watched, last)


def test_each_was_told_once(watched: WatchedExperiment) -> None:
    ids = [request.headers["Idempotency-Key"] for request in watched.receiver.requests]
    assert len(ids) == len(set(ids))
    assert watched.told() == [] and watched.new_alarms() == [] and len(watched.all_alarms(WATCH)) == 1


@pytest.mark.holds("author-channels", "heartbeat-secret", "heartbeat-code")
def test_secrets_are_with_those_alone_who_send_them(watched: WatchedExperiment) -> None:
    namespace = watched.experiment.namespace
    # What a training sees, as the user that all pods have.
    seen = (watched.store / "seen.txt").read_text()
    assert "1 environ: Permission denied" in seen and "supervise" in seen and "CRONSEMBLE_RUN" in seen
    stored = b"".join(path.read_bytes() for path in watched.store.rglob("*") if path.is_file()).decode(errors="replace")
    assert "<!doctype html>" in stored.lower() and "cronsemble_task_info" in stored
    objects = watched.pods.kubectl("get", "cronjobs,jobs,pods,configmaps,events", "-n", namespace, "-o", "json")
    ended = [name for name, end in watched.jobs().items() if end == "Complete"]
    logs = "".join(watched.pods.kubectl("logs", f"job/{name}", "-n", namespace, "--all-containers") for name in ended)
    for secret in (SECRET_PATH, PING_KEY, API_KEY):
        assert not any(secret in text for text in (seen, stored, objects, logs))
    # What root sees: the variables of a look, and of supervisors.
    assert {(secret, file) for secret, file, _ in watched.exposed} == {(SECRET_PATH, "environ"), (PING_KEY, "environ")}
    for secret, _, command in watched.exposed:
        is_look = "cronsemble watch --store" in command
        assert is_look or (secret == PING_KEY and " supervise " in command), command
