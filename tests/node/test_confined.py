"""What the user's code finds itself in, in a pod that `render` describes: asked from inside, in both runtimes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.access import Cluster
from cluster.claims import USER, Claim
from sync.experiments import Experiment

MINUTE = 29_924_640
PROBE = """
from __future__ import print_function
import json, os, stat

def is_open(path):
    return os.access(path, os.W_OK) and stat.S_ISREG(os.lstat(path).st_mode)

def look():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    writable = []
    for folder, folders, files in os.walk("/"):
        if os.access(folder, os.W_OK):
            writable.append(folder)
        else:
            writable += [os.path.join(folder, name) for name in files if is_open(os.path.join(folder, name))]
        if folder in ["/proc", "/sys"] + writable:
            folders[:] = []
    print("probe", json.dumps({
        "ids": [os.getuid(), os.getgid()],
        "groups": sorted(os.getgroups()),
        "read-only root": bool(os.statvfs("/").f_flag & 1),
        "secrets": [os.path.join(folder, name) for folder, _, names in os.walk("/var/run/secrets") for name in names],
        "writable": sorted(writable),
        "status": dict((name, status[name].strip()) for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")),
    }))

def data(hyperparameters):
    import numpy
    look()
    return {"x_train": numpy.random.RandomState(1).rand(600, 4), "y_train": numpy.arange(600) % 3}

def model(input_shape, classes, hyperparameters):
    import keras
    look()
    made = keras.models.Sequential([keras.layers.Dense(classes, activation="softmax", input_shape=input_shape)])
    made.compile("sgd", "categorical_crossentropy")
    return made
"""


def test_the_users_code_has_no_rights_no_token_and_writes_the_store_and_tmp(
    pods: Cluster, namespace: str, claim: Claim, image: Callable[[str], str], tmp_path: Path
) -> None:
    images = {name: image(f"cronsemble-{name}:latest") for name in ("keras3", "legacy")}
    (tmp_path / "probe.py").write_text(PROBE)
    experiment = Experiment(tmp_path, namespace, pods.kubeconfig, "confined")
    experiment.write(
        {"cntk": {"backend": "cntk", "schedule": "0 1 * * *", "deadline": "10m"}},
        data={"dataset": "probe.py:data"},
        model="probe.py:model",
        hyperparameters={"epochs": 1},
        cluster={"namespace": namespace, "images": images, "pull_policy": "if_not_present"},
    )
    pods.kubectl("apply", "--server-side", "-f", "-", stdin=experiment.good("render"))
    ended, said = pods.run_job("confined-train-cntk", namespace, MINUTE)
    assert ended == "Complete", said
    told: list[dict[str, Any]] = [json.loads(line.partition(" ")[2]) for line in said.splitlines() if line.startswith("probe ")]
    none = "0000000000000000"
    expected = {
        "ids": [USER, USER],
        "groups": [USER],
        "read-only root": True,
        "secrets": [],
        "status": {"CapEff": none, "CapPrm": none, "CapBnd": none, "NoNewPrivs": "1", "Seccomp": "2"},
        # the last three are the container runtime's own: shared memory, message queues, and a file for a last word
        "writable": ["/store", "/tmp", "/dev/shm", "/dev/mqueue", "/dev/termination-log"],
    }
    # The data function once, the model's at each call.
    assert len(told) >= 2 and all(each == {**expected, "writable": sorted(expected["writable"])} for each in told)
