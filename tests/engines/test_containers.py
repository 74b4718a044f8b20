"""Steps in containers: when their engine's client, or what watches them, is killed, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from jobs.contract import RunId, RunKind, Status
from jobs.store import LocalStore, Run
from jobs.store.process_identity import process_identity
from jobs.supervisor.process_tree import all_processes, command_line
from scheduler.console.run_display import PlainDisplay
from scheduler.engines import local
from scheduler.engines.leftovers import end_leftovers
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.runtimes import containers
from scheduler.runtimes.containers import ContainerEngine
from scheduler.runtimes.runtime import Runtime
from tests.conftest import LEGACY

ENDLESS = b"""
import os, signal, sys
folder = os.environ["CRONSEMBLE_STORE"] + "/runs/e/train-a/2026-11/" + os.environ["CRONSEMBLE_RUN"]
is_second = len([name for name in os.listdir(folder) if name.startswith("try-")]) > 1
if is_second:
    sys.exit(3)
with open(folder + "/began", "w") as pipe:
    pipe.write(os.environ["CRONSEMBLE_TRY"])
while True:
    signal.pause()
"""
"""A supervisor that says which try it is of, and that of the first never ends by itself."""


class ContainersAtEachTry(PlainDisplay):
    """Which containers of the tries before there are when a step of another begins."""

    def __init__(self, output: StringIO, engine: ContainerEngine) -> None:
        super().__init__(output)
        self.engine, self.tries, self.beside = engine, [""], list[str]()

    def stage(self, label: str, stage: str, folder: Path | None = None) -> None:
        if folder is not None and folder.name not in self.tries:
            earlier = [name.removeprefix("try-") for name in self.tries[1:]]
            self.beside += [each.name for name in earlier for each in containers.containers_of_try(self.engine, name)]
            self.tries.append(folder.name)
        super().stage(label, stage, folder)


class RunningRun:
    """A run that a thread makes; ``began`` waits for the first try's container, and says which try it is."""

    def __init__(self, folder: Path, engine: ContainerEngine, deadline: int = 600) -> None:
        store = LocalStore(folder / "store")
        self.output = StringIO()
        self.display = ContainersAtEachTry(self.output, engine)
        self.engine = LocalEngine(store, self.display, CpuBudget(1))
        snapshot = {"program": self.engine.store_snapshot("program", ENDLESS), "code": ""}
        task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "snapshot": snapshot}
        step = Step(("prepare",), Runtime("keras3", image=LEGACY, engine=engine))
        spec = RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), folder, threads=1, retries=1, deadline=deadline)
        self.id = RunId(29_924_640, 1, "e", "train-a")
        assert self.engine.claim(self.id, RunKind.MANUAL)
        self._pipe = store.run_folder(self.id) / "began"
        os.mkfifo(self._pipe)
        self.ended: list[Run | None] = []
        self._thread = threading.Thread(target=lambda: self.ended.append(self.engine.run(spec, self.id)))
        self._thread.start()

    def began(self) -> str:
        return self._pipe.read_text()

    def end(self) -> Run:
        self._thread.join()
        assert self.ended[0] is not None
        return self.ended[0]


def process_with(*parts: str) -> int:
    """The process whose command line has all of these parts."""
    (pid,) = (each.pid for each in all_processes() if all(part in command_line(each) for part in parts))
    return pid


@pytest.fixture
def engine(legacy: str) -> ContainerEngine:
    return containers.find_engine()


@pytest.mark.holds("code-gone")
@pytest.mark.parametrize("killed", ["client", "monitor too"])
def test_a_container_is_gone_before_the_next_try(tmp_path: Path, engine: ContainerEngine, killed: str) -> None:
    if engine.name != "podman" and killed == "monitor too":
        pytest.skip("docker's containers are watched by its daemon")
    run = RunningRun(tmp_path, engine)
    first = run.began()
    name = containers.container_name(first, "prepare")
    if killed == "monitor too":
        os.kill(process_with("conmon", f"-n {name}"), signal.SIGKILL)
    os.kill(process_with("run", "--name", name), signal.SIGKILL)
    ended = run.end()
    assert ended.status == Status.FAILED and len(ended.tries) == 2
    assert len(run.display.tries) == 3 and run.display.beside == []
    assert ended.tries[0]["end"]["reason"].startswith("prepare could not be supervised (")


def test_a_container_that_does_not_end_at_its_deadline_is_ended(
    tmp_path: Path, engine: ContainerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "OVERDUE", 0.5)
    run = RunningRun(tmp_path, engine, deadline=5)
    name = run.began()
    ended = run.end()
    reason = "prepare could not be supervised (killed by SIGKILL): its container did not end at its deadline"
    assert (ended.reason, len(ended.tries)) == (reason, 1)
    assert containers.containers_of_try(engine, name) == []


FAILING = """#!/bin/sh
case " $* " in
  *" run "*) exec {python} -c 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)' ;;
  *) {otherwise} ;;
esac
"""
"""Stands for a client of an engine that is on no machine of ours: one that hangs, or whose daemon has gone."""


@pytest.mark.holds("code-gone")
@pytest.mark.parametrize(
    ("otherwise", "reason"),
    [
        ("exec sleep 60", "`engine ps` does not answer within 0.2 s"),
        ("echo 'no daemon' >&2; exit 1", "`engine ps`: no daemon"),
    ],
)
def test_what_could_not_be_ended_is_said_in_bounded_time_and_nothing_begins_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, otherwise: str, reason: str
) -> None:
    client = tmp_path / "engine"
    client.write_text(FAILING.format(python=sys.executable, otherwise=otherwise))
    client.chmod(0o755)
    monkeypatch.setattr(containers, "ANSWER_TIME", 0.2)
    monkeypatch.setattr("scheduler.engines.leftovers.END_TIME", 0.5)
    monkeypatch.setattr(containers, "engine_of_name", lambda _: engine)
    engine = ContainerEngine("engine", (str(client),))
    run = RunningRun(tmp_path, engine)
    ended = run.end()
    name = ended.tries[0]["name"]
    assert [each["end"]["reason"] for each in ended.tries] == [
        f"prepare could not be supervised (killed by SIGKILL); its container could not be ended: {reason}",
        f"the container of its try {name} could not be ended: {reason}",
    ]
    assert f"whether a container of an earlier process still runs is not known: {reason}" in run.output.getvalue()


def test_the_states_of_both_engines_are_read(tmp_path: Path) -> None:
    client = tmp_path / "engine"
    states = {
        "a": "Exited (137) 3 seconds ago",
        "b": "exited",
        "c": "Up 3 seconds ago",
        "d": "running",
        "e": "Created",
        "f": "paused",
    }
    lines = [f"cronsemble-t-{name} {state}" for name, state in states.items()]
    client.write_text("#!/bin/sh\ncat << END\n" + "\n".join([*lines, "x-cronsemble-t-g running", "END"]) + "\n")
    client.chmod(0o755)
    found = containers.containers_of_try(ContainerEngine("engine", (str(client),)), "t")
    assert [each.name[-1] for each in found] == list(states)
    assert [each.name[-1] for each in found if each.has_ended] == ["a", "b"]


@pytest.fixture
def containers_by_label(engine: ContainerEngine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Three containers, by what their labels say; their tries."""
    dead = subprocess.run(
        [sys.executable, "-c", "import json; from jobs.store.process_identity import *; print(json.dumps(process_identity()))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    alive = json.dumps(process_identity())
    here, elsewhere = str(tmp_path.resolve()), "/elsewhere"
    clients, tries = [], {}
    for number, (what, store, owner) in enumerate(
        [("dead", here, dead), ("alive", here, alive), ("other store", elsewhere, dead)]
    ):
        tries[what] = f"{os.getpid():06x}{number:06x}"
        labels = {containers.LABEL_STORE: store, containers.LABEL_TRY: tries[what], containers.LABEL_OWNER: owner}
        name = containers.container_name(tries[what], "train")
        argv = ["sh", "-c", "echo began; exec sleep 600"]
        command = containers.run_command(engine, LEGACY, name, argv, {}, [], "12345:12345", labels)
        client = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None and client.stdout.readline() == "began\n"
        client.kill()
        client.communicate()
        clients.append(name)
    yield tries
    for name in clients:
        containers.remove_container(engine, name)


def test_what_a_dead_process_has_left_in_this_store_is_ended(
    engine: ContainerEngine, tmp_path: Path, containers_by_label: dict[str, str]
) -> None:
    assert end_leftovers(engine, tmp_path) == []
    counts = {what: len(containers.containers_of_try(engine, name)) for what, name in containers_by_label.items()}
    assert counts == {"dead": 0, "alive": 1, "other store": 1}
