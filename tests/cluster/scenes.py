"""Experiments in which things go wrong: cheap members on a node, their Jobs started by hand, and what the history tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.access import Cluster
from cluster.claims import store_claim
from cluster.node import Node
from sync.experiments import Experiment

FAR = "0 1 1 1 *"
"""Nothing fires by itself while a test runs."""
CODE = '''
"""Members that go wrong, each in its way; keras is the runtime's."""
import os
import time

import numpy


def few(hyperparameters):
    values = numpy.random.RandomState(0).rand(700, 4).astype("float32")
    return {"x_train": values, "y_train": (values[:, 0] > 0.5).astype("int64")}


def small(input_shape, classes, hyperparameters):
    import keras
    layers = [keras.layers.Dense(classes, activation="softmax", input_shape=tuple(input_shape))]
    model = keras.models.Sequential(layers)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def hungry(input_shape, classes, hyperparameters):
    return small(input_shape, classes, {"of": numpy.ones(1 << 28)})


def _mark(name):
    """Where the test and a run speak to each other."""
    return os.path.join(os.environ["CRONSEMBLE_STORE"], name + "-" + os.environ["CRONSEMBLE_RUN"])


def waits(input_shape, classes, hyperparameters):
    """Until the test says go."""
    open(_mark("waits"), "w").close()
    while not os.path.exists(_mark("go")):
        time.sleep(0.05)
    return small(input_shape, classes, hyperparameters)


def drifts(input_shape, classes, hyperparameters):
    """Right from the first, and wrong of everything in runs of which the test says so; an epoch hardly moves it."""
    model = small(input_shape, classes, hyperparameters)
    kernel, bias = model.get_weights()
    slope = -9 if os.path.exists(_mark("worse")) else 9
    kernel[:], kernel[0], bias[:] = 0, [-slope, slope], [slope / 2.0, -slope / 2.0]
    model.set_weights([kernel, bias])
    return model


def second(input_shape, classes, hyperparameters):
    """Fails in the first try."""
    if not os.path.exists(_mark("first")):
        open(_mark("first"), "w").close()
        raise RuntimeError("the first try fails")
    return small(input_shape, classes, hyperparameters)


def cautious(probabilities, validation_probabilities, validation_labels):
    """A method of an ensemble: the members' mean and certainty of nothing, in equal parts."""
    assert validation_probabilities.shape[1] == len(validation_labels)
    return 0.5 * probabilities.mean(axis=0) + 0.5 / probabilities.shape[2]
'''

SPIES = '''

def spies(input_shape, classes, hyperparameters):
    """Looks for the key wherever a process of its user can."""
    seen = [repr(dict(os.environ))]
    for name in os.listdir("/proc"):
        for file in ("environ", "cmdline"):
            if name.isdigit():
                try:
                    seen.append(open(os.path.join("/proc", name, file)).read())
                except (IOError, OSError) as error:
                    seen.append("%s %s: %s" % (name, file, error.strerror))
    with open("/store/seen.txt", "w") as file:
        file.write("\\n".join(seen))
    return small(input_shape, classes, hyperparameters)
'''
"""Beside ``CODE``: a training that looks for what it should not find, and leaves it in ``seen.txt`` of the store."""


@dataclass
class Scene:
    """An experiment whose store is ``store`` on this machine, synced in its namespace; ``minute`` is a slot since 1970."""

    pods: Cluster
    node: Node
    experiment: Experiment
    store: Path
    minute: int

    @property
    def namespace(self) -> str:
        return self.experiment.namespace

    def run(self, task: str, later: int = 0, attempt: int = 1) -> str:
        return f"{self.experiment.name}-{task}-{self.minute + later}" + (f"-r{attempt}" if attempt > 1 else "")

    def start(self, task: str, later: int = 0, attempt: int = 1, **spec: Any) -> str:
        """A task's Job as its CronJob would make it, with some of its specification otherwise; its name."""
        name = self.run(task, later, attempt)
        cronjob = f"--from=cronjob/{self.experiment.name}-{task}"
        made = json.loads(
            self.pods.kubectl("create", "job", name, cronjob, "-n", self.namespace, "--dry-run=client", "-o", "json")
        )
        made["spec"] |= spec
        self.pods.kubectl("create", "-n", self.namespace, "-f", "-", stdin=json.dumps(made))
        return name

    def condition(self, name: str) -> str:
        conditions = self.pods.get("job", name, self.namespace)["status"].get("conditions", [])
        return next((each["type"] for each in conditions if each["type"] in ("Complete", "Failed")), "")

    def end(self, name: str, expected: str) -> None:
        """Wait for a Job's end, which must be as ``wanted``: Complete or Failed."""
        ended = self.pods.wait_for(lambda: self.condition(name), 300, f"the end of {name}")
        assert ended == expected, self.row(name)

    def worsen(self, name: str) -> None:
        """Have a run that will start train a worse model, where its model is `drifts`."""
        (self.store / f"worse-{name}").touch()

    def go(self, name: str) -> None:
        """Let a run that waits go on."""
        (self.store / f"go-{name}").touch()

    def await_waiting(self, name: str) -> None:
        """Until the run's training waits for the test."""
        mark = self.store / f"waits-{name}"
        self.pods.wait_for(lambda: mark.exists() or self.condition(name), 120, f"the training of {name}")
        assert mark.exists(), self.row(name)

    def pods_of(self, name: str) -> list[dict[str, Any]]:
        return self.pods.objects("pod", self.namespace, f"batch.kubernetes.io/job-name={name}")

    def rows(self, *options: str) -> list[dict[str, Any]]:
        """The history as a command tells it that sees both cluster and store; with ``--offline`` the store alone."""
        output = self.experiment.good("history", "--json", "-n", "0", "--store", str(self.store), *options)
        return [row for row in json.loads(output) if row["run"]]

    def row(self, name: str, *options: str) -> dict[str, Any]:
        return next((row for row in self.rows(*options) if row["run"] == name), {})

    def outcome(self, name: str, *options: str) -> tuple[str, str, str]:
        row = self.row(name, *options)
        return row["status"], row["reason"], row["evidence"]

    def kept_outcome(self, name: str) -> tuple[str, str, str]:
        """What the history tells, and tells still when the cluster's objects are gone."""
        told = self.outcome(name)
        assert self.outcome(name, "--offline") == told
        return told

    def folder(self, name: str) -> Path:
        (found,) = self.store.glob(f"runs/{self.experiment.name}/*/*/{name}")
        return found

    def record(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder(name) / "result" / "record.json").read_text()))

    def results(self, name: str) -> list[str]:
        """The folders of a run that look like a result, hidden ones too: one, and nothing half made."""
        folder = self.folder(name)
        return [each for each in os.listdir(folder) if not each.startswith("try-") and (folder / each).is_dir()]

    def kill(self, name: str, *words: str) -> int:
        """Kill the first process of a run's container that has these words in its command, as a kernel would: its pid."""
        run = f"CRONSEMBLE_RUN={name}".encode()

        def found() -> int:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes().split(b"\0")
                    status = dict(each.split(":", 1) for each in (path.parent / "status").read_text().splitlines())
                    is_first = status["NSpid"].split()[-1] == "1"
                    if is_first and all(word.encode() in line for word in words) and run in _environment(path.parent):
                        return int(path.parent.name)
            return 0

        pid = self.pods.wait_for(found, 120, f"the process {words}")
        os.kill(pid, signal.SIGKILL)
        return pid


def _environment(process: Path) -> list[bytes]:
    return (process / "environ").read_bytes().split(b"\0")


@contextlib.contextmanager
def scene(
    pods: Cluster,
    node: Node,
    image: Callable[[str], str],
    folder: Path,
    name: str,
    members: Mapping[str, Mapping[str, Any]],
    ensemble: dict[str, Any] | None = None,
    images: Mapping[str, str] | None = None,
    namespace: str = "",
    store: Path | None = None,
    code: str = CODE,
) -> Iterator[Scene]:
    """An experiment of cntk members, synced; in a namespace and on a claim of its own unless both are given."""
    with contextlib.ExitStack() as stack:
        space = namespace or pods.new_namespace()
        if store is None:
            store = stack.enter_context(store_claim(pods, space, node)).folder
            assert store is not None
        if not namespace:
            stack.callback(pods.forget, space)
        folder.mkdir(exist_ok=True)
        (folder / "harm.py").write_text(code)
        experiment = Experiment(folder, space, pods.kubeconfig, name)
        known = {each: image(f"cronsemble-{each}:latest").removesuffix(":latest") for each in ("keras3", "legacy")}
        experiment.write(
            {each: {"backend": "cntk", "schedule": FAR, "model": "harm.py:small", **own} for each, own in members.items()},
            ensemble and {"schedule": FAR, **ensemble},
            data={"dataset": "harm.py:few"},
            hyperparameters={"epochs": 1, "seed": 7},
            defaults={"resources": {"cpu": "300m", "memory": "400Mi"}, "retries": 0, "deadline": "20m"},
            cluster={"namespace": space, "images": {**known, **(images or {})}, "pull_policy": "if_not_present"},
        )
        experiment.good("sync")
        yield Scene(pods, node, experiment, store, int(time.time()) // 60)
