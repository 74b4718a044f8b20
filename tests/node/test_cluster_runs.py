"""Runs by hand on the node: made, followed, repeated, made up for, left alone and ended by the commands that a user types."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from cluster.claims import USER, store_claim
from cluster.node import Node
from commands import CLI, run_command
from jobs.store import LocalStore, Run

CONFIGURATION = """
experiment: hand
store: {{claim: store}}
hyperparameters: {{epochs: 2, dense: 16, filters: [4]}}
backends:
  cntk:   {{deadline: 10m, resources: {{cpu: 500m, memory: 1Gi}}}}
  theano: {{deadline: 10m, resources: {{cpu: 500m, memory: 1Gi}}}}
ensemble: {{quorum: 2, max_age: 1d, deadline: 10m, resources: {{cpu: 500m, memory: 1Gi}}}}
cluster:
  namespace: {namespace}
  images: {{keras3: {keras3}, legacy: {legacy}}}
  pull_policy: if_not_present
"""


@dataclass(frozen=True)
class House:
    """A namespace with a claim, the folder that the claim's volume is, and a configuration for both."""

    cluster: Cluster
    namespace: str
    store: LocalStore
    file: Path

    def start(self, *arguments: str, mounted: bool = True) -> subprocess.Popen[str]:
        command = [*CLI, *self.words(*arguments, mounted=mounted)]
        return subprocess.Popen(command, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def words(self, *arguments: str, mounted: bool) -> list[str]:
        return [*arguments, "-f", str(self.file), *(["--store", str(self.store.root)] if mounted else [])]

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "CRONSEMBLE_CACHE": str(self.file.parent / "cache")}

    def run(self, *arguments: str, code: int = 0, mounted: bool = True) -> str:
        """What a command said on both of its outputs."""
        done = run_command(*self.words(*arguments, mounted=mounted), env=self.env)
        said = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == code, said
        return said

    def runs(self, task: str) -> list[Run]:
        """The runs of a task that the store has, oldest first."""
        return sorted(self.store.runs("hand", task), key=lambda run: run.id)

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {each["metadata"]["name"]: each for each in self.cluster.objects("job", self.namespace)}


@pytest.fixture(scope="module")
def house(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    namespace = pods.new_namespace()
    file = tmp_path_factory.mktemp("hand") / "config.yaml"
    images = {name: image(f"cronsemble-{name}:latest") for name in ("keras3", "legacy")}
    file.write_text(CONFIGURATION.format(namespace=namespace, **images))
    with store_claim(pods, namespace, node) as claim:
        assert claim.folder is not None
        yield House(pods, namespace, LocalStore(claim.folder), file)
        pods.forget(namespace)


@pytest.fixture(scope="module")
def first(house: House) -> str:
    """What `run --cluster` of both members and the ensemble said."""
    return house.run("run", "--cluster")


def test_a_run_is_made_followed_and_archived(house: House, first: str) -> None:
    (ensemble,), (cntk,), (theano,) = (house.runs(task) for task in ("ensemble", "train-cntk", "train-theano"))
    assert [run.status for run in (ensemble, cntk, theano)] == ["succeeded"] * 3
    assert {run.record["kind"] for run in (ensemble, cntk, theano)} == {"manual"}
    assert len({run.record["invocation"] for run in (ensemble, cntk, theano)}) == 1
    lines = first.splitlines()
    for text in ("train-cntk: train", "train-theano: train", "ensemble: predict cntk", "ensemble: combine"):
        assert text in lines
    assert any(line.startswith("train-theano: epoch 2/2, loss ") for line in lines)
    assert any(line.startswith("ensemble: succeeded, accuracy ") for line in lines)
    archived = house.store.archive_path(ensemble.id, ensemble.record)
    assert f"archived: {archived}" in lines and archived.exists()
    told = house.jobs()
    assert set(told) == {str(run.id) for run in (ensemble, cntk, theano)}
    assert all("ownerReferences" not in job["metadata"] for job in told.values())
    assert {job["spec"]["ttlSecondsAfterFinished"] for job in told.values()} == {86400}
    rows = json.loads(house.run("history", "--json"))
    assert {(row["run"], row["kind"], row["status"]) for row in rows} == {(name, "manual", "succeeded") for name in told}


def test_its_rerun_on_the_cluster_is_identical(house: House, first: str) -> None:
    original = house.runs("ensemble")[0]
    # What a sync may have removed meanwhile comes from the store.
    house.cluster.kubectl("delete", "configmap", "-n", house.namespace, "-l", "app.kubernetes.io/managed-by=cronsemble")
    said = house.run("rerun", str(original.id), "--cluster", "--experiment", "hand")
    lines = said.splitlines()
    for task in ("train-cntk", "train-theano", "ensemble"):
        old, new = house.runs(task)[:2]
        name = {"ensemble": ""}.get(task, task.removeprefix("train-") + ": ")
        assert f"{name}{new.id} repeats {old.id}: identical" in lines
        assert new.id.attempt == 2 and new.record["kind"] == "rerun" and new.record["repeats"] == str(old.id)
    old, new = house.runs("ensemble")[:2]
    assert (old.folder / "result" / "predictions.csv").read_bytes() == (new.folder / "result" / "predictions.csv").read_bytes()
    assert json.loads((new.folder / "verdict.json").read_text())["verdict"] == "identical"


def test_a_backfill_fills_two_slots_and_then_nothing(house: House, first: str) -> None:
    text = house.file.read_text()
    house.file.write_text(text.replace("theano: {", 'theano: {schedule: "0 1 * * *", '))
    period = ("backfill", "2026-03-01..2026-03-02", "--task", "train-theano", "--cluster", "--parallel", "2")
    house.run(*period)
    made = [run for run in house.runs("train-theano") if run.id.slot.month == 3]
    assert [(run.status, run.record["kind"]) for run in made] == [("succeeded", "backfill")] * 2
    assert [f"{run.id.slot:%d %H:%M}" for run in made] == ["01 01:00", "02 01:00"]
    assert "nothing to run" in house.run(*period)
    house.file.write_text(text)


def test_ctrl_c_leaves_the_jobs_and_the_ensemble_follows_them(house: House, first: str) -> None:
    before = set(house.jobs())
    process = house.start("run", "--cluster")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("train-theano: ") and "submitted" not in line:
            break
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130, out + said
    left = sorted(set(house.jobs()) - before)
    assert len(left) == 3
    assert f"running on the cluster: {' '.join(left)}" in said
    assert f"cronsemble logs {left[-1]} -f -f {house.file} --store {house.store.root} --cluster" in said
    assert f"cronsemble cancel {' '.join(left)} -f {house.file}" in said

    log = house.run("logs", next(name for name in left if "ensemble" in name), "-f", "--cluster")
    assert "combined 2 members" in log and "archived" in log
    ensemble = max(house.runs("ensemble"), key=lambda run: str(run.record.get("finished")))
    assert str(ensemble.id) in left and ensemble.status == "succeeded"
    taken = {each["run"] for each in ensemble.record["members"]}
    assert taken == set(left) - {str(ensemble.id)}
    log = (ensemble.folder / "result" / "log.txt").read_text()
    assert all(f"{run} succeeded" in log for run in taken)


def test_a_detached_run_is_left_alone_and_its_log_followed(house: House, first: str) -> None:
    before = set(house.jobs())
    said = house.run("run", "--cluster", "--detach", "--member", "theano")
    (name,) = set(house.jobs()) - before
    assert f"train-theano: submitted as {name}" in said
    assert f"running on the cluster: {name}" in said
    log = house.run("logs", name, "--follow", "--cluster")
    assert log.index("epoch 1/2: loss") < log.index("epoch 2/2: loss")
    assert next(run for run in house.runs("train-theano") if str(run.id) == name).status == "succeeded"


def test_a_cancelled_run_says_by_whom(house: House, first: str) -> None:
    text = house.file.read_text()
    house.file.write_text(text.replace("epochs: 2", "epochs: 1000, patience: 1000"))
    before = set(house.jobs())
    process = house.start("run", "--cluster", "--member", "theano")
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            break
    (name,) = set(house.jobs()) - before
    follower = house.start("logs", name, "-f", "--cluster")
    assert follower.stdout is not None
    assert follower.stdout.readline()
    said = house.run("cancel", name, mounted=False)
    # How far reading is, is said on the other output where it takes long.
    assert said.splitlines()[0] == f"{name}: cancelled"
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "train-theano: interrupted: cancelled by " in out
    log, _ = follower.communicate(timeout=60)
    assert follower.returncode == 1
    assert log.splitlines()[-1].startswith("interrupted: cancelled by ")
    run = next(run for run in house.runs("train-theano") if str(run.id) == name)
    assert run.status == "interrupted" and run.reason.startswith("cancelled by ")
    assert [each["end"]["status"] for each in run.tries] == ["interrupted"]
    assert name not in house.jobs()
    rows = json.loads(house.run("history", "--json"))
    row = next(row for row in rows if row["run"] == name)
    assert (row["status"], row["kind"], row["evidence"]) == ("interrupted", "manual", "observed")
    assert "its status is interrupted: cancelled by" in house.run("cancel", name, "--cluster", code=1)
    house.file.write_text(text)


def test_a_rerun_that_was_left_is_judged_later(house: House, first: str) -> None:
    original = house.runs("train-cntk")[0]
    before = set(house.jobs())
    house.run("rerun", str(original.id), "--cluster", "--detach", "--experiment", "hand")
    (name,) = set(house.jobs()) - before
    house.run("logs", name, "-f", "--cluster")
    assert f"{name} repeats {original.id}: identical" in house.run("rerun", name, "--verdict", "--experiment", "hand")
    run = next(run for run in house.runs("train-cntk") if str(run.id) == name)
    assert json.loads((run.folder / "verdict.json").read_text())["verdict"] == "identical"
    said = house.run("rerun", str(original.id), "--verdict", "--experiment", "hand", code=1)
    assert f"{original.id}: it repeats no run: there is nothing to compare" in said


def test_a_store_that_only_the_cluster_mounts(house: House, first: str) -> None:
    """The same commands without `--store`: a reader pod reads and writes."""
    before = set(house.jobs())
    said = house.run("run", "--cluster", "--member", "cntk", mounted=False)
    (made,) = set(house.jobs()) - before
    assert "train-cntk: epoch 2/2, loss " in said and "train-cntk: succeeded, accuracy " in said
    said = house.run("rerun", made, "--cluster", mounted=False)
    new = next(run for run in house.runs("train-cntk") if run.record.get("repeats") == made)
    assert f"{new.id} repeats {made}: identical" in said
    assert json.loads((new.folder / "verdict.json").read_text())["verdict"] == "identical"
    assert (new.folder / "verdict.json").stat().st_uid == USER
    log = house.run("logs", made, "-f", mounted=False)
    assert "epoch 2/2: loss" in log
    house.cluster.kubectl("delete", "job", made, "-n", house.namespace)
    assert "epoch 2/2: loss" in house.run("logs", made, "-f", mounted=False)
    said = house.run("cancel", made, mounted=False, code=1)
    assert f"{made}: it has no running Job; its status is succeeded" in said
    morning = house.file.parent / "morning"
    house.run("get", "--members", "--to", str(morning), mounted=False)
    copied = sorted(path.relative_to(morning) for path in morning.rglob("*.csv"))
    assert [path.name for path in copied[1:]] == ["agreement.csv", "cntk.csv", "theano.csv"]
    assert all((morning / path).read_bytes() == (house.store.archive_folder("hand") / path).read_bytes() for path in copied)


def test_what_keeps_a_run_from_beginning_is_told_and_cancel_ends_it(house: House, first: str) -> None:
    text = house.file.read_text()
    house.file.write_text(
        text.replace("cntk:   {deadline: 10m, resources: {cpu: 500m,", "cntk:   {deadline: 10m, resources: {cpu: 500,")
    )
    before = set(house.jobs())
    process = house.start("run", "--cluster", "--member", "cntk")
    assert process.stdout is not None
    assert any("Insufficient cpu" in line for line in process.stdout)
    (name,) = set(house.jobs()) - before
    assert house.run("cancel", "train-cntk", "--cluster").strip() == f"{name}: cancelled"
    out, said = process.communicate(timeout=60)
    assert (process.returncode, f"{name}: interrupted: cancelled by " in said) == (1, True), out + said
    house.file.write_text(text)
    row = next(row for row in json.loads(house.run("history", "--json")) if row["run"] == name)
    assert (row["status"], row["kind"], row["evidence"]) == ("interrupted", "manual", "observed")
    assert (house.store.root / "runs" / "hand" / "train-cntk").stat().st_uid == USER


def test_a_run_of_the_cluster_repeats_here_identically(house: House, first: str, keras3_image: str, legacy: str) -> None:
    """And the other way round: what was made here repeats on the cluster."""
    original = house.runs("ensemble")[0]
    before = {run.id for run in house.runs("ensemble")}
    said = house.run("rerun", str(original.id), "--experiment", "hand")
    (here,) = [run for run in house.runs("ensemble") if run.id not in before]
    assert f"{here.id} repeats {original.id}: identical" in said
    archived = [house.store.archive_path(run.id, run.record).read_bytes() for run in (original, here)]
    assert archived[0] == archived[1]
    assert here.record["host"] != original.record["host"]
    said = house.run("rerun", str(here.id), "--experiment", "hand", "--cluster")
    assert f"repeats {here.id}: identical" in said
