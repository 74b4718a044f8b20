"""From the scheduled minute to the first training step on a node, part by part, against a bare pod; and four backends at once.

Each backend's CronJob fires in a minute of its own; then a pod with the same containers does the same without us: the
first writes the dataset, the second imports Keras, builds the same model and trains. Medians. Needs a node and the images:
`make bench-node`. Usage: night.py [ROUNDS] [--backends NAME ...] [--first-steps]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cluster.access import Cluster  # noqa: E402
from cluster.claims import store_claim  # noqa: E402
from cluster.node import Node, running_node  # noqa: E402
from sync.experiments import Experiment  # noqa: E402

BACKENDS = ("tensorflow", "jax", "theano", "cntk")
FIRST = Path(__file__).with_name("first_step.py")
JOB = "batch.kubernetes.io/job-name"
PARTS = ("controller", "scheduling", "container", "prepare", "second container", "import", "data", "first step")
BARE_PARTS = ("container", "prepare", "second container", "import", "data", "first step")
WRITE = """
import time
print("moment began %.3f" % time.time())
import gzip, importlib.util, pathlib, numpy
package = pathlib.Path(importlib.util.find_spec("sklearn").origin).parent
table = numpy.loadtxt(gzip.open(package / "datasets" / "data" / "digits.csv.gz", "rt"), delimiter=",")
numpy.savez("/store/bare.npz", x=table[:, :-1].reshape(-1, 8, 8), y=table[:, -1].astype(int))
print("moment written %.3f" % time.time())
"""
"""As ours does, without the import of scikit-learn."""
WARM = "if [ $KERAS_BACKEND = theano ]; then cp -r $CRONSEMBLE_THEANO_WARM /tmp/theano; fi"
START = WARM + '; exec $CRONSEMBLE_PYTHON -W ignore -c "$PROGRAM"'
MINUTE = 29_924_640
Moments = dict[str, dict[str, float]]


def runtime(backend: str) -> str:
    return "legacy" if backend in ("theano", "cntk") else "keras3"


def layout(backend: str) -> str:
    return "channels_first" if runtime(backend) == "legacy" else "channels_last"


@contextmanager
def watched(cluster: Cluster, namespace: str) -> Iterator[Moments]:
    """When this machine first saw each Job and pod, and what became of them, by name: seconds since 1970."""
    import urllib3
    from kubernetes import client, watch

    api, times, streams = cluster.client(), defaultdict(dict), [watch.Watch(), watch.Watch()]

    def jobs() -> None:
        for event in streams[0].stream(client.BatchV1Api(api).list_namespaced_job, namespace):
            now, job = time.time(), event["object"]
            times[job.metadata.name].setdefault("job", now)
            if any(
                condition.type in ("Complete", "Failed") and condition.status == "True"
                for condition in job.status.conditions or []
            ):
                times[job.metadata.name].setdefault("end", now)

    def pods() -> None:
        for event in streams[1].stream(client.CoreV1Api(api).list_namespaced_pod, namespace):
            now, pod = time.time(), event["object"]
            times_of_pod = times[(pod.metadata.labels or {}).get(JOB, pod.metadata.name)]
            times_of_pod.setdefault("pod", now)
            if any(condition.type == "PodScheduled" and condition.status == "True" for condition in pod.status.conditions or []):
                times_of_pod.setdefault("scheduled", now)
            if pod.status.phase in ("Succeeded", "Failed"):
                times_of_pod.setdefault("end", now)

    def follow(stream: Callable[[], None]) -> None:
        with suppress(urllib3.exceptions.HTTPError):  # the server ends before its streams do
            stream()

    for stream in (jobs, pods):
        threading.Thread(target=follow, args=(stream,), daemon=True).start()
    yield times
    for stream in streams:
        stream.stop()


def until(answer: Callable[[], bool], seconds: float = 300) -> None:
    ends = time.monotonic() + seconds
    while not answer():
        if time.monotonic() > ends:
            raise SystemExit("night: it does not end")
        time.sleep(0.02)


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def moments(log: str) -> dict[str, float]:
    """When each came first: a model is built again where it is checked."""
    times: dict[str, float] = {}
    for line in log.splitlines():
        if line.startswith("moment "):
            _, what, when = line.split()
            times.setdefault(what, float(when))
    return times


def parts(minute: int, times: dict[str, float], result: Path) -> dict[str, float]:
    """The parts of the way to the first step, in seconds; they add up to it."""
    record = json.loads((result / "record.json").read_text())
    steps = moments((result / "log.txt").read_text())
    begun, ready = instant(json.loads((result / "start.json").read_text())["time"]), (result / "data.json").stat().st_mtime
    train, imported = instant(record["step_started"]), record["metrics"]["import_seconds"]
    # With the data go the start of the interpreter and, for theano, the copy of the compiled modules.
    data = train + imported
    points = [minute * 60.0, times["job"], times["scheduled"], begun, ready, train, data, steps["model"], steps["step"]]
    return {name: after - before for name, (before, after) in zip(PARTS, pairwise(points), strict=True)}


def bare_pod(name: str, backend: str, images: dict[str, str]) -> dict[str, Any]:
    # As many threads as ours: what comes out depends on them, and so does how long JAX compiles.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), "1")
    env = {"KERAS_BACKEND": backend, "HOME": "/tmp", "TF_CPP_MIN_LOG_LEVEL": "3", **threads}
    if backend == "theano":
        env["THEANO_FLAGS"] = "base_compiledir=/tmp/theano"
    program = FIRST.read_text().replace("sys.argv[1:]", repr([backend, "/store/bare.npz", layout(backend)]))
    shared = {
        "imagePullPolicy": "Never",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "store", "mountPath": "/store"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    variables = [{"name": key, "value": value} for key, value in {**env, "PROGRAM": program}.items()]
    write = {**shared, "name": "prepare", "image": images["keras3"], "command": ["python3", "-c", WRITE]}
    train = {**shared, "name": "train", "image": images[runtime(backend)], "command": ["sh", "-c", START], "env": variables}
    security = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    volumes = [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}, {"name": "tmp", "emptyDir": {}}]
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False, "volumes": volumes,
            "securityContext": security, "initContainers": [write], "containers": [train]}  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def bare_parts(times: dict[str, float], prepare: str, train: str) -> dict[str, float]:
    """The parts of the bare pod's way to the first step, from its creation."""
    written, steps = moments(prepare), moments(train)
    points = [
        times["pod"],
        written["began"],
        written["written"],
        *(steps[name] for name in ("started", "imported", "model", "step")),
    ]
    return {name: after - before for name, (before, after) in zip(BARE_PARTS, pairwise(points), strict=True)}


def configure(experiment: Experiment, images: dict[str, str], backends: Sequence[str], model: bool, epochs: int) -> None:
    tasks = {
        name: {"schedule": f"{n}/{len(backends)} * * * *", "backend": name, "data_format": layout(name)}
        for n, name in enumerate(backends)
    }
    (experiment.folder / FIRST.name).write_text(FIRST.read_text())
    experiment.write(
        tasks,
        defaults={"resources": {"cpu": 1, "memory": "1Gi"}},
        hyperparameters={"epochs": epochs, "patience": epochs},
        # Each run makes its data, as each bare pod does.
        data={"dataset": "digits", "refresh": "each_run"},
        cluster={"namespace": experiment.namespace, "images": images, "pull_policy": "never"},
        **({"model": f"{FIRST.name}:model"} if model else {}),
    )


def first_steps(cluster: Cluster, node: Node, images: dict[str, str], folder: Path, rounds: int, backends: Sequence[str]) -> None:
    namespace = cluster.new_namespace()
    experiment = Experiment(folder, namespace, cluster.kubeconfig, "first")
    configure(experiment, images, backends, model=True, epochs=1)
    ours: dict[str, list[dict[str, float]]] = defaultdict(list)
    bare: dict[str, list[dict[str, float]]] = defaultdict(list)
    total: dict[str, list[tuple[float, float]]] = defaultdict(list)
    loads = []
    with store_claim(cluster, namespace, node) as claim, watched(cluster, namespace) as times:
        assert claim.folder is not None
        experiment.good("sync")
        for n in count():
            if min(len(ours[backend]) for backend in backends) >= rounds:
                break
            minute = int(time.time()) // 60 + 1
            backend = backends[minute % 60 % len(backends)]
            job, pod = f"first-train-{backend}-{minute}", f"bare-{n}"
            until(lambda: "end" in times.get(job, {}))  # noqa: B023
            (result,) = claim.folder.glob(f"runs/first/train-{backend}/*/{job}/result")
            ours[backend].append(parts(minute, times[job], result))
            cluster.apply(bare_pod(pod, backend, images), namespace)
            until(lambda: "end" in times.get(pod, {}))  # noqa: B023
            logs = [cluster.kubectl("logs", pod, "-c", name, "-n", namespace) for name in ("prepare", "train")]
            bare[backend].append(bare_parts(times[pod], *logs))
            step = minute * 60 + sum(ours[backend][-1].values())
            total[backend].append((step - times[job]["pod"], sum(bare[backend][-1].values())))
            loads.append(os.getloadavg()[0])
        experiment.good("delete", "--yes", "--kill-running")
    for backend in backends:
        whole = statistics.median(sum(run.values()) for run in ours[backend])
        print(f"{backend}: first step {whole:.2f} s after its minute: {medians(PARTS, ours[backend])}")
        print(f"  bare pod: {medians(BARE_PARTS, bare[backend])}")
        tool, script = (statistics.median(pair[n] for pair in total[backend]) for n in (0, 1))
        over = statistics.median(a - b for a, b in total[backend])
        print(f"  from the pod on: tool {tool:.2f} s, bare pod {script:.2f} s, overhead {over:.2f} s", flush=True)
    print(f"load {min(loads):.1f} to {max(loads):.1f}", flush=True)


def medians(names: Sequence[str], runs: Sequence[dict[str, float]]) -> str:
    return ", ".join(f"{name} {statistics.median(run[name] for run in runs):.2f}" for name in names)


def makespans(cluster: Cluster, node: Node, images: dict[str, str], folder: Path, rounds: int, backends: Sequence[str]) -> None:
    namespace = cluster.new_namespace()
    experiment = Experiment(folder, namespace, cluster.kubeconfig, "span")
    configure(experiment, images, backends, model=False, epochs=8)
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=experiment.good("render"))
    cluster.kubectl(
        "patch", "cronjob", "-n", namespace, *(f"span-train-{name}" for name in backends), "-p", '{"spec":{"suspend":true}}'
    )
    spans: dict[str, list[float]] = defaultdict(list)
    with store_claim(cluster, namespace, node), watched(cluster, namespace) as times:
        for n in range(rounds):
            for way in ("at once", "one after another"):
                began, names = time.time(), []
                for backend in backends:
                    names.append(f"span-train-{backend}-{MINUTE + 2 * n + (way == 'at once')}")
                    cluster.kubectl("create", "job", names[-1], f"--from=cronjob/span-train-{backend}", "-n", namespace)
                    if way != "at once":
                        until(lambda: "end" in times.get(names[-1], {}))  # noqa: B023
                until(lambda: all("end" in times.get(name, {}) for name in names))  # noqa: B023
                spans[way].append(max(times[name]["end"] for name in names) - began)
    median = {way: statistics.median(seconds) for way, seconds in spans.items()}
    summary = ", ".join(f"{way} {seconds:.1f} s" for way, seconds in median.items())
    ratio = median["at once"] / median["one after another"]
    print(f"{len(backends)} backends, a CPU each, on {os.cpu_count()} cores: {summary}: {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS, help="only these")
    parser.add_argument("--first-steps", action="store_true", help="not the backends at once")
    options = parser.parse_args()
    images = {name: f"localhost/cronsemble-{name}:latest" for name in ("keras3", "legacy")}
    with running_node() as node, tempfile.TemporaryDirectory() as scratch:
        for image in images.values():
            if not node.has_image(image):
                raise SystemExit(f"night: the node has no image {image}: `make bench-node` builds and imports it")
        cluster = Cluster(node.plane.kubeconfig, Path(scratch), node.plane)
        for measure in (first_steps,) if options.first_steps else (first_steps, makespans):
            folder = Path(scratch) / measure.__name__
            folder.mkdir()
            measure(cluster, node, images, folder, options.rounds, options.backends)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failure:
        sys.exit(f"night: {failure}")
