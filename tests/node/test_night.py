"""A night on the node: after `sync`, Kubernetes itself has four backends train side by side, and the ensemble archive."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.access import Cluster
from cluster.claims import USER, Claim, store_claim
from cluster.node import Node
from needs import missing
from scheduler.runtimes import containers
from sync.experiments import Experiment

MEMBERS = ("tensorflow", "jax", "theano", "cntk")
RESULTS = [*(f"train-{name}" for name in MEMBERS), "ensemble"]
FAR = timedelta(hours=12)


@dataclass
class Local:
    """`cronsemble run` of the same configuration by the engine of this machine, begun while the cluster had nothing to do."""

    experiment: Experiment
    process: subprocess.Popen[str]


@dataclass
class Night:
    """What one night left: ``minutes`` are the slots by task, since 1970.

    ``store`` is the volume's folder on our node, and a copy of it where only pods can mount it.
    """

    experiment: Experiment
    pods: Cluster
    store: Path
    images: dict[str, str]
    minutes: dict[str, int]
    local: Local | None

    def run(self, task: str) -> str:
        return f"night-{task}-{self.minutes[task]}"

    def job(self, task: str) -> dict[str, Any]:
        return self.pods.get("job", self.run(task), self.experiment.namespace)

    def pod(self, task: str) -> dict[str, Any]:
        (found,) = self.pods.objects("pod", self.experiment.namespace, f"batch.kubernetes.io/job-name={self.run(task)}")
        return found

    def record(self, task: str) -> dict[str, Any]:
        (path,) = self.store.glob(f"runs/night/{task}/*/{self.run(task)}/result/record.json")
        record = dict(json.loads(path.read_text()))
        # It is the file's, not the record's.
        del record["checksum"]
        return record

    def told(self, *arguments: str) -> str:
        """What the command line says on a laptop that can mount the volume."""
        return self.experiment.good(*arguments, "--store", str(self.store))


def configuration(experiment: Experiment, images: dict[str, str], slots: dict[str, datetime], **more: Any) -> None:
    """Four backends that fit two cores at once; ``slots`` by task."""
    cluster = {"namespace": experiment.namespace, "images": images, "pull_policy": "if_not_present"}
    shared = {
        "defaults": {"resources": {"cpu": "450m", "memory": "1Gi"}, "deadline": "20m"},
        "hyperparameters": {"epochs": 2, "patience": 2, "filters": [4], "dense": 16, "seed": 7},
        "runtimes": {name: {"image": image} for name, image in images.items()},
        "cluster": cluster,
    }
    tasks = {name: {"backend": name, "schedule": _cron(slots[f"train-{name}"])} for name in MEMBERS}
    # alone on the node, and as many threads
    room = {"cpu": 1, "memory": "1Gi"}
    ensemble = {"schedule": _cron(slots["ensemble"]), "quorum": 4, "max_age": "1d", "resources": room}
    experiment.write(tasks, ensemble, **{**shared, **more})


def _cron(slot: datetime) -> str:
    return f"{slot.minute} {slot.hour} {slot.day} {slot.month} *"


def sync_for_a_coming_minute(
    experiment: Experiment, images: dict[str, str], slots: dict[str, datetime], tasks: list[str]
) -> None:
    """Sync so that ``tasks`` fire at a minute soon, which ``slots`` gets; again, should that have passed meanwhile."""
    while True:
        slot = (datetime.now(UTC) + timedelta(seconds=70)).replace(second=0, microsecond=0)
        slots.update(dict.fromkeys(tasks, slot))
        configuration(experiment, images, slots)
        said = experiment.good("sync")
        assert "done:" in said, said
        if datetime.now(UTC) < slot:
            return


@pytest.fixture(scope="module")
def night(
    pods: Cluster,
    own_node: Node | None,
    image: Callable[[str], str],
    busybox: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Night]:
    """The night, once for all tests here.

    The ensemble's minute is set when the trainings have ended, as somebody would who saw how long they take: on a slow
    machine a minute that was chosen before would come too early.
    """
    images = {name: image(f"cronsemble-{name}:latest").removesuffix(":latest") for name in ("keras3", "legacy")}
    namespace = pods.new_namespace()
    experiment = Experiment(tmp_path_factory.mktemp("night"), namespace, pods.kubeconfig, "night")
    with store_claim(pods, namespace, own_node) as claim:
        slots = dict.fromkeys(RESULTS, datetime.now(UTC) + FAR)
        trainings = RESULTS[:-1]
        sync_for_a_coming_minute(experiment, images, slots, trainings)
        await_jobs(pods, namespace, slots, trainings)
        sync_for_a_coming_minute(experiment, images, slots, ["ensemble"])
        local = None if own_node is None else run_locally(experiment, images, slots, tmp_path_factory.mktemp("local"))
        await_jobs(pods, namespace, slots, ["ensemble"])
        minutes = {task: int(slot.timestamp()) // 60 for task, slot in slots.items()}
        store = claim.folder or copy_of(pods, namespace, claim, busybox, tmp_path_factory.mktemp("copy"))
        yield Night(experiment, pods, store, images, minutes, local)
        if local is not None and local.process.poll() is None:
            local.process.terminate()
            local.process.communicate()
        pods.forget(namespace)


def await_jobs(pods: Cluster, namespace: str, slots: dict[str, datetime], tasks: list[str]) -> None:
    """Waits until the controller has made the Jobs of these slots, and all have ended."""
    names = {f"night-{task}-{int(slots[task].timestamp()) // 60}" for task in tasks}

    def ended() -> bool:
        jobs = {job["metadata"]["name"]: job["status"].get("conditions", []) for job in pods.objects("job", namespace)}
        over = {name for name, conditions in jobs.items() if any(c["type"] in ("Complete", "Failed") for c in conditions)}
        return names <= over

    pods.wait_for(lambda: names <= {job["metadata"]["name"] for job in pods.objects("job", namespace)}, 180, f"Jobs {names}")
    pods.wait_for(ended, 900, f"the end of {names}")


def copy_of(pods: Cluster, namespace: str, claim: Claim, image: str, folder: Path) -> Path:
    """The claim's files, by a pod of the tests' own."""
    container = {
        "name": "main",
        "image": image,
        "command": ["sleep", "3600"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "store", "mountPath": "/store", "readOnly": True}],
    }
    security = {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": claim.name}}
    spec = {"containers": [container], "securityContext": security, "volumes": [volume], "terminationGracePeriodSeconds": 0}
    pods.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "copy"}, "spec": spec}, namespace)
    pods.kubectl("wait", "--for=condition=Ready", "pod/copy", "-n", namespace, "--timeout=60s")
    packed = pods.kubectl("exec", "copy", "-n", namespace, "--", "sh", "-c", "tar -C /store -cz . | base64")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed)), mode="r:gz") as archive:
        archive.extractall(folder, filter="tar")
    pods.kubectl("delete", "pod", "copy", "-n", namespace, "--wait=false")
    return folder


def test_the_controller_starts_the_jobs_and_all_end_well(night: Night) -> None:
    for task in RESULTS:
        job = night.job(task)
        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("CronJob", f"night-{task}", True)
        slot = datetime.fromisoformat(job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"])
        assert slot.timestamp() == night.minutes[task] * 60
        logs = night.pods.kubectl("logs", f"job/{night.run(task)}", "-n", night.experiment.namespace, "--all-containers")
        assert [each["type"] for each in job["status"]["conditions"] if each["type"] in ("Complete", "Failed")] == ["Complete"], (
            logs
        )
    assert "archived /store/predictions/night/" in logs


def test_the_trainings_are_made_side_by_side_each_in_its_own_image(night: Night) -> None:
    began, ended = [], []
    for name in MEMBERS:
        pod = night.pod(f"train-{name}")
        (prepare,), (train,) = pod["status"]["initContainerStatuses"], pod["status"]["containerStatuses"]
        began.append(prepare["state"]["terminated"]["startedAt"])
        ended.append(train["state"]["terminated"]["finishedAt"])
        runtime = "legacy" if name in ("theano", "cntk") else "keras3"
        assert [each["image"] for each in pod["spec"]["containers"]] == [night.images[runtime]]
        assert [each["image"] for each in pod["spec"]["initContainers"]] == [night.images["keras3"]]
    assert max(began) <= min(ended)
    steps = night.pod("ensemble")["spec"]["initContainers"]
    told = {each["name"]: each["image"].rpartition("-")[2] for each in steps}
    assert told == {"prepare": "keras3", "predict-tensorflow": "keras3", "predict-jax": "keras3"} | {
        "predict-theano": "legacy", "predict-cntk": "legacy"
    }  # fmt: skip


def test_the_volume_holds_the_archive_the_records_and_the_models(night: Night) -> None:
    store = night.store
    results = {path.parts[-4]: path for path in store.glob("runs/night/*/*/*/result")}
    assert set(results) == set(RESULTS)
    for task in RESULTS:
        record = night.record(task)
        assert (record["kind"], record["run"], record["try"]) == (
            "scheduled",
            night.run(task),
            night.pod(task)["metadata"]["uid"],
        )
        runtime = "legacy" if task in ("train-theano", "train-cntk") else "keras3"
        assert record["image"]["reference"] == night.images[runtime]
        assert record["image"]["identity"]["name"] == runtime
        if task != "ensemble":
            assert (results[task] / record["model"]["file"]).stat().st_size > 10_000
    assert {each["member"] for each in night.record("ensemble")["members"] if "left_out" not in each} == set(MEMBERS)
    (archived,) = store.glob("predictions/night/[0-9]*.csv")
    assert archived.stem == datetime.fromtimestamp(night.minutes["ensemble"] * 60, UTC).strftime("%Y-%m-%dT%H%MZ")
    assert {path.stem for path in archived.with_suffix(".members").iterdir()} == {*MEMBERS, "agreement"}
    assert len(list(store.glob("snapshots/program/*.pyz"))) == 1
    assert len(list(store.glob("snapshots/task/*.json"))) == len(RESULTS)
    # nothing half done is left
    assert [path for path in store.rglob(".*") if path.name.endswith(".part") or path.name.startswith(".try-")] == []
    if night.local is not None:
        assert {path.stat().st_uid for path in store.rglob("*")} == {USER}


def test_the_archived_csv_is_the_weighted_mean_of_the_members_bit_for_bit(night: Night) -> None:
    """By hand: Σ pᵢ·wᵢ / Σ wᵢ in float64, weights by the trainings' own accuracy, rounded once to float32."""
    (archived,) = night.store.glob("predictions/night/[0-9]*.csv")
    (result,) = night.store.glob("runs/night/ensemble/*/*/result")
    names = night.record("ensemble")["ensemble"]["classes"]
    members = [each["member"] for each in night.record("ensemble")["members"]]
    own = {name: np.load(result / f"probabilities/{name}/probabilities.npy", allow_pickle=False) for name in members}
    weights = {name: night.record(f"train-{name}")["accuracy"] for name in members}
    assert min(weights.values()) > 0 and len(set(weights.values())) > 1
    normal = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    total = sum(own[name].astype("float64") * normal[name] for name in members) / sum(normal.values())
    expected = np.asarray(total).astype("float32")
    with open(archived, newline="") as file:
        rows = list(csv.DictReader(file))
    told = np.array([[row[name] for name in names] for row in rows]).astype("float32")
    assert told.tobytes() == expected.tobytes()
    assert [row["prediction"] for row in rows] == [names[n] for n in expected.argmax(axis=1)]
    assert np.array([row["probability"] for row in rows]).astype("float32").tobytes() == expected.max(axis=1).tobytes()
    for name in members:
        with open(archived.with_suffix(".members") / f"{name}.csv", newline="") as file:
            member = np.array([[row[each] for each in names] for row in csv.DictReader(file)]).astype("float32")
        assert member.tobytes() == own[name].tobytes()


def test_status_history_show_and_logs_tell_the_same_story(night: Night) -> None:
    rows = {row["task"]: row for row in json.loads(night.told("history", "--json", "--status", "succeeded"))}
    assert set(rows) == set(RESULTS)
    standing = {row["task"]: row for row in json.loads(night.experiment.good("status", "--json"))}
    for task in RESULTS:
        record, row = night.record(task), rows[task]
        assert (row["run"], row["kind"], row["attempt"], row["minute"]) == (night.run(task), "scheduled", 1, night.minutes[task])
        assert row["accuracy"] == record["accuracy"]
        last = datetime.fromisoformat(standing[task]["last"]).timestamp()
        assert (last, standing[task]["result"]) == (night.minutes[task] * 60, "succeeded")
        assert (standing[task]["running"], standing[task]["drift"]) == ([], "")
        assert json.loads(night.told("show", night.run(task), "--json"))["record"] == record
        logs = night.pods.kubectl("logs", night.pod(task)["metadata"]["name"], "-n", night.experiment.namespace)
        # the supervisor's own words are the container's only
        said = [line for line in logs.splitlines() if not line.startswith("cronsemble:")]
        assert said and night.told("logs", night.run(task)).splitlines()[-len(said) :] == said
    # from a laptop that cannot mount the volume
    assert json.loads(night.experiment.good("history", "--json")) == json.loads(night.told("history", "--json"))
    assert json.loads(night.experiment.good("show", night.run("ensemble"), "--json"))["record"] == night.record("ensemble")
    # the slots that no revision expects any more, twelve hours ahead, are no rows
    assert [row["status"] for row in json.loads(night.told("history", "--json")) if row["status"] != "succeeded"] == [
        "not yet due"
    ] * 5


def archived(store: Path, slot: str = "[0-9]*") -> dict[str, bytes]:
    """The one archived CSV ("") and each member's."""
    (found,) = store.glob(f"predictions/night/{slot}.csv")
    return {"": found.read_bytes(), **{path.stem: path.read_bytes() for path in found.with_suffix(".members").iterdir()}}


def run_locally(experiment: Experiment, images: dict[str, str], slots: dict[str, datetime], folder: Path) -> Local:
    """The same images, for the engine of this machine, are built before they are imported into the node."""
    try:
        engine = containers.find_engine()
    except containers.NoContainerEngine as error:
        missing(f"no container engine: {error}")
    for reference in images.values():
        if containers.image_id(engine, reference) is None:
            missing(f"there is no image {reference} on this machine: run `make images`")
    local = Experiment(folder, experiment.namespace, experiment.kubeconfig, "night")
    configuration(local, images, slots, store="./store")
    return Local(local, local.start("run"))


@pytest.fixture
def local(night: Night) -> Path:
    """The store of the same configuration's run on this machine."""
    if night.local is None:
        pytest.skip("the nodes of CRONSEMBLE_TEST_KUBECONFIG may have other processors, and other bits")
    said, errors = night.local.process.communicate()
    assert night.local.process.returncode == 0, said + errors
    return night.local.experiment.folder / "store"


def test_the_same_configuration_on_this_machine_gives_the_same_csv(night: Night, local: Path) -> None:
    assert archived(local) == archived(night.store)


def test_a_run_of_the_cluster_repeats_identically_on_this_machine(night: Night, local: Path, tmp_path: Path) -> None:
    """From a copy of the store alone, where nothing but the images is to be had."""
    store = tmp_path / "store"
    shutil.copytree(night.store, store)
    laptop = Experiment(tmp_path, night.experiment.namespace, Path("/nowhere"), "night")
    said = json.loads(laptop.good("rerun", night.run("ensemble"), "--store", str(store), "--json", file=False))
    (told,) = said["runs"]
    assert told["verdict"] == "identical"
    assert {name: each["verdict"] for name, each in told["members"].items()} == dict.fromkeys(MEMBERS, "identical")


def test_a_run_of_this_machine_repeats_identically_on_the_cluster(
    night: Night, local: Path, pods: Cluster, namespace: str, claim: Claim, tmp_path: Path
) -> None:
    """Its store copied to a volume: a training is made again, and the ensemble from the models as they came."""
    assert claim.folder is not None
    shutil.copytree(local, claim.folder, dirs_exist_ok=True)
    for path in claim.folder.rglob("*"):
        os.chown(path, USER, USER)
    laptop = Experiment(tmp_path, namespace, pods.kubeconfig, "night")
    configuration(laptop, night.images, dict.fromkeys(RESULTS, datetime.now(UTC)))
    runs = {path.parts[-3]: path.name for path in local.glob("runs/night/*/*/*")}
    for run, *options in ((runs["train-cntk"],), (runs["ensemble"], "--reuse-models")):
        told = json.loads(laptop.good("rerun", run, *options, "--cluster", "--store", str(claim.folder), "--json"))
        assert [(each["repeats"], each["verdict"]) for each in told["runs"]] == [(run, "identical")]
    first, again = sorted(claim.folder.glob("predictions/night/[0-9]*.csv"))
    assert first.read_bytes() == again.read_bytes()
