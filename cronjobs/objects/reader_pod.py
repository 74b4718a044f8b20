"""The reader pod: mounts an experiment's store for a tool that cannot, and ends by itself when nobody speaks to it."""

from __future__ import annotations

from typing import Any

from cronjobs.experiment import Experiment, Task
from cronjobs.objects import labels
from cronjobs.objects.confinement import confined_pod, container_security
from cronjobs.objects.placement import placement
from cronjobs.objects.pods import PULL, STORE, image_of
from cronjobs.objects.volumes import store_volume

CONTAINER = "reader"
ALIVE = "/tmp/spoken"
IDLE = 60.0
"""Seconds without a word after which the pod ends."""
LONGEST = 86400
"""Seconds after which Kubernetes ends it, whatever it does."""

# The first process: it waits, and what serves is started beside it. As process 1 it must ask for SIGTERM.
_WAIT = """\
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
open("{alive}", "w").close()
while os.stat("{alive}").st_mtime + {idle} > time.time():
    time.sleep(0.5)
"""
_START = """\
import os, sys
size, path = int(sys.stdin.buffer.readline()), "/tmp/program-%d.pyz" % os.getpid()
open(path, "wb").write(sys.stdin.buffer.read(size))
sys.path.insert(0, path)
from jobs.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def serving(step: str, *arguments: str) -> list[str]:
    """The command that runs a step of the program that its stdin begins with: its size as a line, then its bytes."""
    return ["python3", "-c", _START, step, *arguments]


def reader_pod(experiment: Experiment, name: str, by: str, idle: float = IDLE) -> dict[str, Any]:
    """The pod; ``by`` says who started it. Raises ObjectsError for a store that no cluster can mount.

    It needs no more rights than the runs' pods do, and the same Pod Security level (``volumes.security``).
    """
    cluster = experiment.cluster
    policy = cluster.pull_policy
    container = {
        "name": CONTAINER,
        "image": image_of(experiment, "keras3"),
        **({"imagePullPolicy": PULL[policy]} if policy else {}),
        "command": ["python3", "-c", _WAIT.format(alive=ALIVE, idle=idle)],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "store", "mountPath": STORE}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": LONGEST,
        "terminationGracePeriodSeconds": 1,
        **confined_pod(experiment),
        "containers": [container],
        "volumes": [{"name": "store", **store_volume(experiment)}, {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    spec |= placement(cluster, _place(experiment))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": cluster.namespace,
            # Not the experiment's own label: it is no part of a run.
            "labels": {**labels.shared(labels.READER), labels.INSTANCE: experiment.name},
            "annotations": {labels.STARTED_BY: by},
        },
        "spec": spec,
    }


def _place(experiment: Experiment) -> Task | None:
    """Whose nodes it may use: the ensemble's, else the first member's."""
    return experiment.ensemble or next(iter(experiment.members.values()), None)
