"""A volume that is full or read-only, and a snapshot that is gone: the reason is told, though the store cannot hold it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from cluster.access import Cluster
from cluster.claims import USER
from cluster.node import Node
from cluster.scenes import CODE, Scene, scene


def mount(scene: Scene, options: str) -> None:
    """A small file system in the place of the claim's folder."""
    command = ["mount", "-t", "tmpfs", "-o", f"uid={USER},gid={USER},{options}", "tmpfs", str(scene.store)]
    subprocess.run(command, check=True)


@pytest.fixture
def volume(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(pods, node, image, tmp_path_factory.mktemp("volume"), "volume", {"good": {}}) as made:
        yield made
        subprocess.run(["umount", "--lazy", str(made.store)], check=True)


def test_a_volume_that_is_full(volume: Scene) -> None:
    mount(volume, "size=64k")
    name = volume.start("train-good")
    volume.end(name, "Failed")
    status, reason, _ = volume.outcome(name)
    assert status == "failed" and reason.endswith("No space left on device"), reason
    assert not [path for path in volume.store.rglob("result")]
    # With room again, another attempt is as good as any.
    subprocess.run(["mount", "-o", "remount,size=64m", str(volume.store)], check=True)
    again = volume.start("train-good", attempt=2)
    volume.end(again, "Complete")
    assert volume.results(again) == ["result"]


def test_a_volume_that_is_read_only(volume: Scene) -> None:
    mount(volume, "size=64m,mode=755,ro")
    name = volume.start("train-good")
    volume.end(name, "Failed")
    # This command cannot write either, and tells it all the same.
    status, reason, evidence = volume.outcome(name)
    assert (status, evidence) == ("failed", "observed") and reason.endswith("Read-only file system"), reason
    assert os.listdir(volume.store) == []


@pytest.fixture(scope="module")
def nowhere(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A training whose image is nowhere; its deadline passes while other tests run."""
    wrong = {"legacy": "registry.example/nowhere:1"}
    folder = tmp_path_factory.mktemp("nowhere")
    with scene(pods, node, image, folder, "nowhere", {"a": {"deadline": "40s"}}, images=wrong) as made:
        made.start("train-a")
        yield made


def test_an_image_that_cannot_be_pulled(nowhere: Scene) -> None:
    name, told = nowhere.run("train-a"), "waiting: image registry.example/nowhere:1 cannot be pulled: "
    nowhere.pods.wait_for(lambda: nowhere.row(name).get("reason", "").startswith(told), 60, "the reason")
    assert nowhere.outcome(name)[::2] == ("running", "observed")
    assert nowhere.experiment.good("status").count("registry.example/nowhere:1 cannot be pulled") == 1


def test_a_snapshot_that_is_deleted_while_a_job_tries_again(
    pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    members = {"again": {"model": "harm.py:second", "retries": 1}}
    with scene(pods, node, image, tmp_path_factory.mktemp("lost"), "lost", members, code=CODE + "\n# of its own\n") as lost:
        name = lost.start("train-again")
        (code,) = lost.pods.objects("configmap", lost.namespace, "app.kubernetes.io/component=code")
        pods.wait_for(lambda: (lost.store / f"first-{name}").exists(), 120, "the first try")
        pods.kubectl("delete", "configmap", code["metadata"]["name"], "-n", lost.namespace)
        missing = f'configmap "{code["metadata"]["name"]}" not found'
        pods.wait_for(lambda: missing in lost.row(name).get("reason", ""), 60, "the reason")
        status, reason, evidence = lost.outcome(name)
        assert (status, evidence) == ("running", "observed")
        assert reason.startswith("waiting: its volumes cannot be mounted: ") and "try 2 of 2 after: train: " in reason
        assert "; cronsemble sync makes it again, try 2 of 2 after" in reason
        # Another code by now, as another version of the tool has another program: what the Job mounts comes from the store.
        path = lost.experiment.folder / "harm.py"
        path.write_text(path.read_text() + "# edited\n")
        told = lost.experiment.good("sync")
        assert f"ConfigMap {code['metadata']['name']} is gone, and Job {name} waits for it: it is made again from" in told
        lost.end(name, "Complete")
        assert lost.kept_outcome(name) == ("succeeded", "", "recorded")


def test_a_deadline_says_what_kept_the_run_from_beginning(nowhere: Scene) -> None:
    name = nowhere.run("train-a")
    nowhere.end(name, "Failed")
    status, reason, evidence = nowhere.kept_outcome(name)
    assert (status, evidence) == ("failed", "observed")
    assert reason.startswith("not done within its deadline of 40s: its image cannot be pulled: "), reason
    assert nowhere.results(name) == []
