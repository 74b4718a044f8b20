"""`history` of a store that only the cluster can mount, through the reader pod: first and second look, and what they are made of.

On a node of our own, as root: PYTHONPATH=tests python -m cluster.sandbox python benchmarks/reader.py [RUNS]; 10,000 by default.
Beside it the same from a folder that is mounted here, and what one would do without: copy the store by `kubectl exec … tar`,
all of it or its JSON alone, from a pod that runs already.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from large_store import build  # noqa: E402

from cluster.access import Cluster  # noqa: E402
from cluster.node import running_node  # noqa: E402
from jobs import contract as c  # noqa: E402
from jobs.store import Store  # noqa: E402
from scheduler.config import load  # noqa: E402
from scheduler.history.query import HistoryQuery  # noqa: E402
from scheduler.kube.client import KubeClient  # noqa: E402
from scheduler.kube.target import ClusterTarget  # noqa: E402
from scheduler.stores.history_reader import HistoryReader  # noqa: E402
from scheduler.stores.remote import connect  # noqa: E402
from scheduler.stores.remote.files import RemoteFiles  # noqa: E402
from scheduler.stores.remote.reader_pod import ReaderPod  # noqa: E402

CLI = [sys.executable, "-c", "from scheduler.cli import main; main()", "history"]
CONFIG = """
experiment: digits
store: {{host_path: {folder}}}
backends: {{{members}}}
ensemble: {{quorum: 2}}
cluster: {{namespace: {namespace}, images: {{keras3: localhost/cronsemble-keras3}}, pull_policy: never}}
"""
MEMBERS = ("tensorflow", "jax", "theano", "cntk")
AGAIN = 5


def fill(folder: Path, runs: int) -> int:
    """A store of so many runs, each with a log of 10 kB, unchanged for an hour, as pods own it; its bytes."""
    folder.mkdir(parents=True)
    build(folder, runs)
    size, then = 0, time.time() - 3600
    for result in (folder / "store/runs").glob("*/*/*/*/*"):
        (result / c.LOG).write_text(f"epoch of {result.parent.name}: accuracy and loss\n" * 200)
    for path in [folder / "store", *(folder / "store").rglob("*")]:
        size += path.stat().st_size if path.is_file() else 0
        os.utime(path, (then, then))
        os.chown(path, 1000, 1000)
    return size


def took(command: list[str], **options: object) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    return round(time.perf_counter() - began, 2)


def parts(config: Path, kubeconfig: Path) -> dict[str, float]:
    """One look in this process, by parts; seconds, and bytes that were received."""
    experiment = load(config)
    with KubeClient(ClusterTarget(kubeconfig).access()) as api:
        reader = ReaderPod(api, experiment, lambda text: None)
        began = time.perf_counter()
        files = RemoteFiles(connect.mirror_folder(experiment, api.access), "bench", reader.open)
        try:
            files.connect()
            opened = time.perf_counter()
            files.update(experiment.name)
            updated = time.perf_counter()
            received = files.received
            HistoryReader(Store(files), experiment.name, "UTC", time.time()).rows(HistoryQuery(limit=50))
            read = time.perf_counter()
        finally:
            files.close()
            reader.close()
        ended = time.perf_counter()
    seconds = {"pod ready": reader.seconds["pod"], "program sent and answering": reader.seconds["session"]}
    seconds |= {"mirror": updated - opened, "history": read - updated, "pod removed": ended - read, "whole": ended - began}
    return {**{name: round(value, 2) for name, value in seconds.items()}, "bytes received": received}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with running_node() as node, tempfile.TemporaryDirectory() as scratch:
        cluster, folder = Cluster(node.plane.kubeconfig, Path(scratch), node.plane), Path(scratch)
        namespace = cluster.new_namespace("privileged")
        size = fill(node.data / "bench", runs)
        config = folder / "config.yaml"
        members = ", ".join(f"{name}: {{}}" for name in MEMBERS)
        config.write_text(CONFIG.format(folder=node.data / "bench/store", members=members, namespace=namespace))
        cache = folder / "cache"
        os.environ |= {"CRONSEMBLE_CACHE": str(cache), "KUBECONFIG": str(cluster.kubeconfig)}
        command = [*CLI, "-f", str(config)]
        results: dict[str, object] = {"runs": runs, "bytes in the store": size}
        firsts, seconds = [], []
        for _ in range(3):
            shutil.rmtree(cache, ignore_errors=True)
            firsts.append(took(command))
            seconds.append(took(command))
        seconds += [took(command) for _ in range(AGAIN - 3)]
        results |= {"first look, whole process": statistics.median(firsts), "second look": statistics.median(seconds)}
        shutil.rmtree(cache)
        results |= {"first look by parts": parts(config, cluster.kubeconfig), "second": parts(config, cluster.kubeconfig)}
        mounted = [*command, "--store", str(node.data / "bench/store")]
        results["mounted here, index not there yet"] = took(mounted)
        results["mounted here"] = statistics.median(took(mounted) for _ in range(AGAIN))
        print(json.dumps(results, indent=1), flush=True)
        results = copied(cluster, namespace, config, folder)
        print(json.dumps(results, indent=1), flush=True)


def copied(cluster: Cluster, namespace: str, config: Path, folder: Path) -> dict[str, object]:
    """What `kubectl exec` copies, into a folder, from a pod that is there already."""
    seconds: dict[str, object] = {}
    experiment = load(config)
    # Nobody speaks with the pod while it is used for this.
    os.environ["CRONSEMBLE_READER_IDLE"] = "1800"
    with KubeClient(ClusterTarget(cluster.kubeconfig).access()) as api:
        reader = ReaderPod(api, experiment, lambda text: None)
        with reader.open():
            pod = next(iter(cluster.objects("pod", namespace)))["metadata"]["name"]
            kubectl = f"{cluster.plane and cluster.plane.binaries / 'kubectl'} exec -n {namespace} {pod} --"
            for name, script in (
                ("all of it, tar", "tar c -C /store ."),
                ("its JSON, tar", "cd /store && find . -name '*.json' | tar c -T -"),
            ):
                target = folder / "copy"
                target.mkdir()
                try:
                    seconds[f"kubectl exec: {name}"] = took(["sh", "-c", f'{kubectl} sh -c "{script}" | tar x -C {target}'])
                except subprocess.CalledProcessError:
                    seconds[f"kubectl exec: {name}"] = "broke off"
                shutil.rmtree(target)
        reader.close()
    return seconds


if __name__ == "__main__":
    main()
