"""The API server takes every golden object as it is, in a namespace that enforces the strictest level that it can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.access import Cluster, KubectlFailed
from cronjobs.experiment import Experiment
from cronjobs.objects.volumes import LEVELS, pod_security
from scheduler.config import load

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.yaml"))
CONFIGURATIONS = Path(__file__).parent / "configurations"
OBJECTS = [path for path in GOLDEN if "." not in path.stem]
READERS = [path for path in GOLDEN if path.name.endswith(".reader.yaml")]


def experiment(path: Path) -> Experiment:
    return load(CONFIGURATIONS / path.name)


def of_reader(path: Path) -> Experiment:
    return load(CONFIGURATIONS / f"{path.name.partition('.')[0]}.yaml")


def at_its_level(path: Path) -> Any:
    return pytest.param(path, id=path.stem, marks=pytest.mark.pod_security(pod_security(experiment(path)).level))


def golden(path: Path, namespace: str) -> str:
    """The file's own text, but for the namespace."""
    return path.read_text(encoding="utf-8").replace(
        f"  namespace: {experiment(path).cluster.namespace}\n", f"  namespace: {namespace}\n"
    )


def dry_run(cluster: Cluster, text: str) -> str:
    return cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)


@pytest.fixture(scope="session")
def nightly(cluster: Cluster) -> Iterator[None]:
    """The priority class of options.yaml: a pod that names an unknown one is refused."""
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "nightly"}, "value": 1}
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body))
    yield
    cluster.kubectl("delete", "priorityclass", "nightly")


def pods(path: Path, namespace: str) -> list[dict[str, Any]]:
    """Pods as the Job controller would make them."""
    found = []
    for each in yaml.safe_load_all(golden(path, namespace)):
        if each["kind"] == "CronJob":
            template = each["spec"]["jobTemplate"]["spec"]["template"]
            metadata = {**template["metadata"], "name": each["metadata"]["name"], "namespace": namespace}
            # Only controllers may name an account before it is there.
            spec = {name: value for name, value in template["spec"].items() if name != "serviceAccountName"}
            found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return found


@pytest.mark.parametrize("path", [at_its_level(path) for path in OBJECTS])
def test_objects_are_accepted_and_kept_as_they_are(cluster: Cluster, namespace: str, nightly: None, path: Path) -> None:
    text = golden(path, namespace)
    dry_run(cluster, text)
    cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=text)
    for wanted in yaml.safe_load_all(text):
        live = cluster.get(wanted["kind"].lower(), wanted["metadata"]["name"], namespace)
        assert list(missing(wanted, live, "")) == []


@pytest.mark.parametrize("path", [at_its_level(path) for path in OBJECTS])
def test_pods_are_admitted(cluster: Cluster, namespace: str, nightly: None, path: Path) -> None:
    cluster.wait_for(lambda: cluster.objects("serviceaccount", namespace), what="the default service account")
    for pod in pods(path, namespace):
        dry_run(cluster, json.dumps(pod))


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=pytest.mark.pod_security(pod_security(of_reader(path)).level)) for path in READERS],
)
def test_reader_pods_are_admitted(cluster: Cluster, namespace: str, path: Path) -> None:
    cluster.wait_for(lambda: cluster.objects("serviceaccount", namespace), what="the default service account")
    pod = yaml.safe_load(path.read_text(encoding="utf-8"))
    pod["metadata"]["namespace"] = namespace
    # Only controllers may name an account before it is there.
    pod["spec"].pop("serviceAccountName", None)
    dry_run(cluster, json.dumps(pod))


@pytest.mark.parametrize("path", [path for path in OBJECTS if pod_security(experiment(path)).level != "restricted"])
def test_no_stricter_level_admits_the_pods(cluster: Cluster, path: Path) -> None:
    needed = pod_security(experiment(path))
    stricter = LEVELS[LEVELS.index(needed.level) - 1]
    namespace = cluster.new_namespace(stricter)
    cluster.wait_for(lambda: cluster.objects("serviceaccount", namespace), what="the default service account")
    with pytest.raises(KubectlFailed, match="violates PodSecurity"):
        dry_run(cluster, json.dumps(pods(path, namespace)[0]))


@pytest.mark.parametrize("name", ["nfs", "host-path"])
def test_a_volume_binds_to_its_claim(controllers: Cluster, namespace: str, name: str) -> None:
    made = list(yaml.safe_load_all(next(path for path in GOLDEN if path.name == f"{name}.volume.yaml").read_text()))
    volume, claim = made
    volume["metadata"]["name"] = claim["spec"]["volumeName"] = f"{namespace}-{name}"
    volume["spec"]["claimRef"]["namespace"] = claim["metadata"]["namespace"] = namespace
    try:
        for each in made:
            controllers.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=json.dumps(each))
        found = controllers.wait_for(
            lambda: [each for each in controllers.objects("pvc", namespace) if each["status"]["phase"] == "Bound"],
            what="the bound claim",
        )
        assert found[0]["spec"]["volumeName"] == volume["metadata"]["name"]
    finally:
        controllers.kubectl("delete", "pvc", claim["metadata"]["name"], "-n", namespace, "--wait=false")
        controllers.kubectl("delete", "pv", volume["metadata"]["name"], "--wait=false")


@pytest.mark.parametrize(
    ("statuses", "container", "code", "ended"),
    [
        ("initContainerStatuses", "prepare", 3, "PodFailurePolicy"),
        ("containerStatuses", "train", 3, "PodFailurePolicy"),
        ("containerStatuses", "train", 1, ""),
    ],
)
def test_wrong_input_is_not_tried_again(
    controllers: Cluster, namespace: str, statuses: str, container: str, code: int, ended: str
) -> None:
    """No node here: the pod's end is told by hand, and the Job controller judges it."""
    path = next(path for path in OBJECTS if path.stem == "code")
    controllers.kubectl("apply", "--server-side", "-f", "-", stdin=golden(path, namespace))
    controllers.kubectl("create", "job", "own-train-jax-29924640", "--from=cronjob/own-train-jax", "-n", namespace)
    pod = controllers.wait_for(lambda: controllers.objects("pod", namespace), what="the Job's pod")[0]
    times = {"startedAt": "2026-11-24T06:00:00Z", "finishedAt": "2026-11-24T06:00:01Z"}
    state = {"terminated": {"exitCode": code, **times, "reason": "Error"}}
    told = {"name": container, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    status = json.dumps({"status": {"phase": "Failed", statuses: [told]}})
    name = pod["metadata"]["name"]
    controllers.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", status)

    def conditions() -> list[str]:
        job = controllers.get("job", "own-train-jax-29924640", namespace)
        return [each["reason"] for each in job["status"].get("conditions", []) if each["type"] == "Failed"]

    if ended:
        assert controllers.wait_for(conditions, what="the Job's end") == [ended]
    else:
        controllers.wait_for(lambda: len(controllers.objects("pod", namespace)) == 2, what="the second try")
        assert conditions() == []


def missing(wanted: Any, live: Any, where: str) -> Iterator[str]:
    """What the server does not say as we wrote it: it adds defaults, and rewrites nothing."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if not isinstance(live, dict) or key not in live:
                yield f"{where}.{key}: absent"
            else:
                yield from missing(value, live[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        if not isinstance(live, list) or len(wanted) != len(live):
            yield f"{where}: another length"
        else:
            for n, (left, right) in enumerate(zip(wanted, live, strict=True)):
                yield from missing(left, right, f"{where}.{n}")
    elif wanted != live:
        yield f"{where}: {wanted!r} is {live!r}"
