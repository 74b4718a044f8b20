"""The supervisor as a process: killed anywhere, told to stop, out of time, out of disk; one result or none."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.keras3.prepare import Rules, fingerprint, resolve, write_npz
from jobs.store import LocalStore, removal
from jobs.store.files import read_json, to_json, write_file
from jobs.store.process_identity import process_identity
from jobs.store.reading import data_note
from jobs.supervisor.end_reason import memory_kills
from jobs.supervisor.process_tree import all_processes, command_line, descendants
from jobs.supervisor.run_context import RunContext
from jobs.supervisor.steps import started_before
from needs import missing
from scheduler.snapshots.program import build_program
from supervised import supervise

MINUTE = 29_924_640
KILLS = 100


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


def predicted(store: LocalStore, run: RunId) -> dict[str, Any]:
    """A try of an ensemble run as its predict steps leave it; returns the task."""
    images = np.arange(150 * 16, dtype="float32").reshape(150, 4, 4)
    raw = {"x_train": images, "y_train": np.arange(150) % 3, "x_test": images, "y_test": np.arange(150) % 3}
    arrays = resolve(raw, None, Rules(1, needs_images=True)).arrays
    digest = fingerprint(arrays)
    if not store.dataset_path(digest).exists():
        store.dataset_path(digest).parent.mkdir(parents=True, exist_ok=True)
        write_npz(store.dataset_path(digest), arrays)
    mark = {"time": "2026-11-23T06:00:00Z", "kind": "scheduled", "process": {**process_identity(), "start": 1}}
    store.begin_try(run, "a", mark)
    folder = store.try_folder(run, "a")
    write_file(folder / c.DATA, to_json({"fingerprint": digest}))
    members = []
    for number, name in enumerate(("one", "two")):
        prediction = folder / "probabilities" / name
        prediction.mkdir(parents=True)
        np.save(prediction / "probabilities.npy", np.random.default_rng(number).dirichlet(np.ones(3), 100).astype("float32"))
        outcome = {"member": name, "run": "x", "accuracy": 0.5, "class_names": ["0", "1", "2"]}
        write_file(prediction / c.END, to_json({**outcome, "probabilities": f"probabilities/{name}/probabilities.npy"}))
        members.append({"member": name, "backend": "jax", "threads": 1, "env": {}})
    return {"members": members, "quorum": 2, "method": "accuracy"}


def after(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def rows(path: Path) -> int:
    with open(path, newline="") as file:
        return len(list(csv.reader(file))) - 1


KILLER = """
import os, signal, sys

remaining = int(os.environ["TEST_KILLED_BEFORE_CHANGE"])

def count(event, arguments):
    global remaining
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.truncate"):
        remaining -= 1
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)

if "supervise" in sys.orig_argv:
    sys.addaudithook(count)
"""
"""A ``sitecustomize`` that kills the supervisor before its N-th change of a file: at its own pace, whatever the machine's."""


def test_killed_anywhere_a_run_is_whole_or_absent(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "sitecustomize.py").write_text(KILLER)

    def start(**env: str) -> tuple[RunId, subprocess.Popen[str]]:
        run = store.claim("e", "ensemble", MINUTE)
        return run, supervise(program, store, run, "combine", predicted(store, run), **env)

    # Before each change of a file that the supervisor makes; the last of them is not killed.
    runs: list[RunId] = []
    status: int | None = -signal.SIGKILL
    while status == -signal.SIGKILL:
        env = {"PYTHONPATH": str(tmp_path), "TEST_KILLED_BEFORE_CHANGE": str(len(runs) + 1)}
        run, process = start(**env)
        output, _ = process.communicate()
        runs.append(run)
        status = process.returncode
    assert status == ExitCode.DONE, output
    began = time.monotonic()
    run, process = start()
    process.communicate()
    duration = time.monotonic() - began
    runs.append(run)
    # And at any time, within its program too.
    chance = random.Random(1)
    while len(runs) < KILLS:
        run, process = start()
        timer = after(chance.uniform(0, 1.1 * duration), process.kill)
        process.communicate()
        timer.cancel()
        runs.append(run)
    assert len(set(runs)) == KILLS
    store.repair_archives("e")
    whole = [run for run in runs if store.read(run).status == "succeeded"]
    assert 0 < len(whole) < KILLS
    for run in runs:
        result, archived = store.run_folder(run) / c.RESULT, store.archive_folder("e") / f"{run.dated_name}.csv"
        assert result.exists() == archived.exists() == (run in whole)
        if run not in whole:
            assert store.read(run).status == "died"
            continue
        record = read_json(result / c.RECORD)
        assert record is not None and record["run"] == str(run)
        assert rows(result / c.CSV) == rows(archived) == rows(result / c.MEMBERS / "one.csv") == 100
    run = store.claim("e", "ensemble", MINUTE)
    process = supervise(program, store, run, "combine", predicted(store, run))
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output
    assert store.read(run).status == "succeeded"
    # It is the newest, and has made up for all that was left undone.
    archive = store.archive_folder("e")
    for suffix in (".csv", ".json"):
        assert (archive / f"latest{suffix}").samefile(archive / f"{run.dated_name}{suffix}")
    assert not [path.name for path in archive.iterdir() if path.name.startswith(".latest-")]


def test_a_try_after_one_killed_between_result_and_archive_archives(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "ensemble", MINUTE)
    task = predicted(store, run)
    supervise(program, store, run, "combine", task).communicate()
    archived = store.archive_folder("e") / f"{run.dated_name}.csv"
    whole = archived.read_bytes()
    archived.unlink()
    again = supervise(program, store, run, "combine", task, **{c.ENV_TRY: "b"})
    output, _ = again.communicate()
    assert (again.returncode, archived.read_bytes()) == (ExitCode.DONE, whole), output
    # what gc took out of the archive stays out
    archived.unlink()
    removal.record_removal(store, run, [{"path": archived.relative_to(store.root).as_posix()}], "2026-11-25T00:00:00Z", "gc")
    supervise(program, store, run, "combine", task, **{c.ENV_TRY: "c"}).communicate()
    assert not archived.exists()


def prepare_task(**data: str) -> dict[str, Any]:
    data_section = {"dataset": "d.npz", "predict": "holdout", "refresh": "daily", "key": "k", **data}
    return {"data": data_section, "data_seed": 1, "model": "mlp", "hyperparameters": {}, "seed": None}


def write_data(path: Path, first: int, items: int = 600) -> None:
    images = np.arange(first, first + items * 16, dtype="float64").reshape(items, 4, 4)
    np.savez(path, x_train=images, y_train=np.arange(items) % 3)


@pytest.mark.parametrize(
    ("refresh", "env", "same"),
    [("daily", {}, True), ("each_run", {}, False), ("daily", {c.ENV_FRESH_DATA: "1", c.ENV_INVOCATION: "i"}, False)],
)
def test_what_a_later_run_of_the_day_learns_from(
    tmp_path: Path, program: Path, refresh: str, env: dict[str, str], same: bool
) -> None:
    store = LocalStore(tmp_path / "store")
    fingerprints, output, note = [], "", ""
    for number in range(2):
        write_data(tmp_path / "d.npz", number)
        run = store.claim("e", "train-m", MINUTE)
        task, own = prepare_task(refresh=refresh), env if number else {}
        process = supervise(program, store, run, "prepare", task, CRONSEMBLE_FOLDER=str(tmp_path), **own)
        output, _ = process.communicate()
        assert process.returncode == ExitCode.DONE, output
        data = read_json(store.try_folder(run, "a") / c.DATA)
        assert data is not None
        fingerprints.append(data["fingerprint"])
        note = data.get("note", "")
    assert (fingerprints[0] == fingerprints[1]) == same
    # Yesterday's bytes are never used in silence.
    assert ("d.npz has changed since the data was read at " in output) == same
    assert note.startswith("d.npz has changed since") == same
    assert data_note({"data": {"note": note}}) == note


def test_a_manual_run_says_which_reading_it_uses(tmp_path: Path, program: Path) -> None:
    """Another command's, not that of the run of the same command that came first."""
    store, outputs = LocalStore(tmp_path / "store"), []
    write_data(tmp_path / "d.npz", 0)
    for invocation in ("one", "one", "two"):
        run = store.claim("e", "train-m", MINUTE)
        env = {c.ENV_FOLDER: str(tmp_path), c.ENV_INVOCATION: invocation, c.ENV_KIND: "manual"}
        outputs.append(supervise(program, store, run, "prepare", prepare_task(), **env).communicate()[0])
    said = ["the data was read at " in output for output in outputs]
    assert said == [False, False, True], outputs
    assert re.search(r"read at \d\d:\d\d today by e-train-m-\d+; `cronsemble run --fresh-data` reads it again", outputs[2])


def test_a_run_that_reads_the_data_again_says_what_has_changed(tmp_path: Path, program: Path) -> None:
    from scheduler.snapshots.program import deterministic_zip

    store, notes = LocalStore(tmp_path / "store"), []
    text = "import numpy\ndef data(h):\n    return {'x_train': numpy.ones((600, 4)), 'y_train': numpy.arange(600) % 3}\n"
    for key, epochs, files in (
        ("k1", 1, {"d.py": text}),
        ("k1", 1, {"d.py": text}),
        ("k2", 1, {"d.py": text + "#", "t.csv": "1"}),
        ("k3", 2, {"d.py": text + "#", "t.csv": "1"}),
    ):
        code = deterministic_zip([(name, content.encode()) for name, content in files.items()])
        task = {
            **prepare_task(dataset="d.py:data", key=key),
            "snapshot": {"program": "", "code": store.put_snapshot("code", code)},
        }
        task["data"]["hyperparameters"] = {"epochs": epochs}
        run = store.claim("e", "train-m", MINUTE)
        output, _ = supervise(program, store, run, "prepare", task, CRONSEMBLE_FOLDER=str(tmp_path)).communicate()
        data = read_json(store.try_folder(run, "a") / c.DATA)
        assert data is not None, output
        notes.append(re.sub(" at .*", "", data.get("note", "")))
    assert notes == [
        "",
        "",
        "the data is read again: d.py, t.csv have changed since it was read",
        "the data is read again: the configuration's `data:`, or a hyperparameter for all members, has changed since it was read",
    ]


@pytest.mark.parametrize("zone, date", [("Pacific/Kiritimati", "2026-11-25"), ("America/New_York", "2026-11-24")])
def test_the_date_in_a_path_is_the_slots_in_the_experiments_zone(tmp_path: Path, program: Path, zone: str, date: str) -> None:
    store = LocalStore(tmp_path / "store")
    write_data(tmp_path / f"{date}.npz", 0)
    run = RunId(MINUTE + 15 * 60, 1, "e", "train-m")  # 15:00 UTC on the 24th
    task = {**prepare_task(dataset="{date}.npz"), "timezone": zone}
    process = supervise(program, store, run, "prepare", task, CRONSEMBLE_FOLDER=str(tmp_path))
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output


def test_mounted_revisions_are_merged_into_the_store(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path / "store")
    write_data(tmp_path / "d.npz", 0)
    mounted = tmp_path / "revisions"
    mounted.mkdir()
    revisions = [{"revision": n, "time": f"2026-11-2{n}T00:00:00Z", "what": "sync", "tasks": {}} for n in (1, 2, 3)]
    env = {c.ENV_FOLDER: str(tmp_path), c.ENV_REVISIONS: str(mounted)}
    for number, in_config_map in enumerate(([revisions[0]], [{**revisions[1], "folded": 2}, revisions[2]]), 1):
        for path in mounted.iterdir():
            path.unlink()
        for revision in in_config_map:
            (mounted / f"{revision['revision']:06}.json").write_bytes(to_json(revision))
        (mounted / "000009.json").write_text("damaged")
        process = supervise(program, store, RunId(MINUTE, number, "e", "train-m"), "prepare", prepare_task(), **env)
        output, _ = process.communicate()
        assert process.returncode == ExitCode.DONE, output
    assert [revision["revision"] for revision in store.ledger.revisions("e")] == [1, 2, 3]


@pytest.mark.holds("cluster-snapshots")
def test_a_mounted_snapshot_is_kept_in_the_store_and_checked(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path / "store")
    write_data(tmp_path / "d.npz", 0)
    (tmp_path / c.PROGRAM_FILE).write_bytes(program.read_bytes())
    task = {**prepare_task(), "snapshot": {"program": "0" * 64, "code": ""}}
    env = {c.ENV_FOLDER: str(tmp_path), c.ENV_SNAPSHOT: str(tmp_path)}
    process = supervise(program, store, RunId(MINUTE, 1, "e", "train-m"), "prepare", task, **env)
    output, _ = process.communicate()
    assert process.returncode == ExitCode.WRONG_INPUT and "not the 000000000000 of this task" in output
    task["snapshot"]["program"] = store.put_snapshot("program", program.read_bytes())
    store.snapshot_path("program", task["snapshot"]["program"]).unlink()
    process = supervise(program, store, RunId(MINUTE, 2, "e", "train-m"), "prepare", task, **env)
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output
    assert store.snapshot_path("program", task["snapshot"]["program"]).read_bytes() == program.read_bytes()


READER = """
import os
import numpy
def data(hyperparameters):
    print("MODE is", os.environ["MODE"], flush=True)
    return {"x_train": numpy.zeros((600, 4)), "y_train": numpy.arange(600) % 3}
"""


def test_the_tasks_environment_reaches_its_data_function(tmp_path: Path, program: Path) -> None:
    """From code that only the mounted snapshot holds, as in a pod's first run."""
    from scheduler.snapshots.program import deterministic_zip

    code = deterministic_zip([("r.py", READER.encode())])
    (tmp_path / c.CODE_FILE).write_bytes(code)
    store = LocalStore(tmp_path / "store")
    snapshot = {"program": "", "code": hashlib.sha256(code).hexdigest()}
    task = {**prepare_task(dataset="r.py:data"), "snapshot": snapshot, "env": {"MODE": "fast"}}
    process = supervise(program, store, RunId(MINUTE, 1, "e", "train-m"), "prepare", task, **{c.ENV_SNAPSHOT: str(tmp_path)})
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE and "MODE is fast" in output, output


def test_the_supervisor_runs_from_the_sources_too(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    write_data(tmp_path / "d.npz", 0)
    run = RunId(MINUTE, 1, "e", "train-m")
    command = [sys.executable, "-m", "jobs", "supervise", "prepare"]
    task = {"experiment": "e", "task": "train-m", "timezone": "UTC", "snapshot": {"program": "", "code": ""}, **prepare_task()}
    env = {c.ENV_RUN: str(run), c.ENV_STORE: str(store.root), c.ENV_TASK: json.dumps(task), c.ENV_FOLDER: str(tmp_path)}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.DONE, done.stdout + done.stderr


SLEEPER = "import time\ndef data(hyperparameters):\n    print('asleep', flush=True)\n    time.sleep(600)\n"


def sleeper(store: LocalStore) -> dict[str, Any]:
    from scheduler.snapshots.program import deterministic_zip

    code = store.put_snapshot("code", deterministic_zip([("s.py", SLEEPER.encode())]))
    return {**prepare_task(dataset="s.py:data"), "snapshot": {"program": "", "code": code}}


@pytest.mark.holds("code-time")
def test_a_step_out_of_time_says_so(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-m", MINUTE)
    process = supervise(program, store, run, "prepare", sleeper(store), CRONSEMBLE_TIMEOUT="1")
    output, _ = process.communicate()
    assert process.returncode == ExitCode.FAILED, output
    assert (store.read(run).status, store.read(run).reason) == ("failed", "prepare: not done within its deadline of 1 s")


def test_told_to_stop_it_records_the_interrupt(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-m", MINUTE)
    process = supervise(program, store, run, "prepare", sleeper(store))
    assert process.stdout is not None
    with process.stdout as stdout:
        assert any("asleep" in line for line in stdout)
        process.send_signal(signal.SIGTERM)
        stdout.read()
    assert process.wait() == ExitCode.INTERRUPTED
    assert (store.read(run).status, store.read(run).reason) == ("interrupted", "interrupted")


HELPERS = {
    "one that sleeps": "subprocess.Popen(['sleep', TIME])",
    "one that ignores SIGTERM": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep ' + TIME])",
    "a daemon without our environment": "subprocess.run(['env', '-i', *2 * ['/usr/bin/setsid', '-f'], 'sleep', TIME])",
    "a shell's job behind nohup": "os.system('nohup sh -c \"sleep ' + TIME + '; true\" &')",
    "a pool that is not closed": "globals().update(pool=multiprocessing.get_context('fork').Pool(2))",
    "one that never stops printing": "subprocess.Popen(['sh', '-c', 'while true; do echo busy ' + TIME + '; done'])",
    "one that holds the output that its program left": "subprocess.Popen(['sleep', TIME]); os.dup2(os.open('/dev/null', 1), 1)",
}
STARTS_HELPER = """
import multiprocessing, os, subprocess, time
import numpy as np
TIME = "%s"
def data(hyperparameters):
    %s
    if %r:
        print("asleep", flush=True)
        time.sleep(600)
    return {"x_train": np.zeros((600, 4, 4)), "y_train": np.arange(600) %% 3}
"""
"""A data function that starts a helper process, and then sleeps or ends."""


def starts_helper(store: LocalStore, helper: str, seconds: str, sleeps: bool) -> dict[str, Any]:
    from scheduler.snapshots.program import deterministic_zip

    source = STARTS_HELPER % (seconds, helper, sleeps)
    code = store.put_snapshot("code", deterministic_zip([("h.py", source.encode())]))
    return {**prepare_task(dataset="h.py:data"), "snapshot": {"program": "", "code": code}}


def commands_with(text: str) -> list[str]:
    lines = [command_line(process) for process in all_processes()]
    return [line for line in lines if text in line]


@pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS)
@pytest.mark.holds("code-processes")
def test_a_helper_process_ends_with_its_step(tmp_path: Path, program: Path, helper: str) -> None:
    store, seconds = LocalStore(tmp_path), f"3000.{os.getpid()}"
    run = store.claim("e", "train-m", MINUTE)
    began = time.monotonic()
    process = supervise(program, store, run, "prepare", starts_helper(store, helper, seconds, False))
    output, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.DONE, output
    assert time.monotonic() - began < 15
    assert commands_with(seconds) == []
    # A pool's processes are gone with their program.
    assert ("left behind by this step: " in output) == ("pool" not in helper)


@pytest.mark.parametrize("way", ["SIGTERM", "deadline", "SIGKILL of the program"])
def test_a_helper_process_does_not_outlive_a_step_that_is_ended(tmp_path: Path, program: Path, way: str) -> None:
    store, seconds = LocalStore(tmp_path), f"4000.{os.getpid()}"
    run = store.claim("e", "train-m", MINUTE)
    task = starts_helper(store, HELPERS["one that ignores SIGTERM"] + "; " + HELPERS["one that sleeps"], seconds, True)
    process = supervise(program, store, run, "prepare", task, **({"CRONSEMBLE_TIMEOUT": "3"} if way == "deadline" else {}))
    assert process.stdout is not None
    with process.stdout as stdout:
        assert any("asleep" in line for line in stdout)
        if way == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        elif way != "deadline":
            (child,) = [found for found in descendants(process.pid) if found.parent == process.pid]
            os.kill(child.pid, signal.SIGKILL)
        began = time.monotonic()
        stdout.read()
    process.wait()
    assert time.monotonic() - began < 7
    assert commands_with(seconds) == []
    assert store.read(run).status == ("interrupted" if way == "SIGTERM" else "failed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, 256 KiB large."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        missing("a small file system cannot be mounted: run as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing_half_and_the_next_run_works(tmp_path: Path, program: Path, small_disk: Path) -> None:
    store = LocalStore(small_disk)
    write_data(tmp_path / "d.npz", 0)
    run = store.claim("e", "train-m", MINUTE)
    filler = small_disk / "filler"
    task, failures = prepare_task(), 0
    # From no room at all to enough: each run fails at a later write.
    for room in (0, 4, 8, 16, 64, 128):
        filler.write_bytes(b"")
        with open(filler, "wb") as file:
            usage = os.statvfs(small_disk)
            file.write(b"x" * max(0, usage.f_bavail * usage.f_frsize - room * 1024))
        process = supervise(program, store, run, "prepare", task, CRONSEMBLE_FOLDER=str(tmp_path), CRONSEMBLE_TRY=f"t{room}")
        output, _ = process.communicate()
        failures += process.returncode != ExitCode.DONE
        if process.returncode != ExitCode.DONE:
            assert "No space left on device" in output and "Traceback" not in output
        assert all(fingerprint_of(path) == path.stem for path in (small_disk / "datasets").glob("*.npz"))
        assert all(read_json(path) for path in (small_disk / "datasets").glob("e/*.json"))
    assert failures >= 3
    assert process.returncode == ExitCode.DONE, output


def fingerprint_of(path: Path) -> str:
    with np.load(path) as data:
        return fingerprint(dict(data))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_the_kernels_count_of_kills_for_memory_is_read(tmp_path: Path, name: str, text: str) -> None:
    assert memory_kills(tmp_path) == 0
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert memory_kills(tmp_path) == 2


@pytest.mark.parametrize(
    ("other_began", "is_left_out"), [("2026-11-25T01:00:05.000Z", True), ("2026-11-25T01:00:15.000Z", False)]
)
def test_only_a_try_before_this_one_can_have_ended_while_predicting(tmp_path: Path, other_began: str, is_left_out: bool) -> None:
    """One that runs beside it, and began to predict while this one was there, is no reason to leave the member out."""
    store, run = LocalStore(tmp_path), RunId(MINUTE, 1, "e", "ensemble")
    context = RunContext(store, run, "own", {"members": [{"member": "a"}]}, b"", {}, {})
    for name in ("own", "other"):
        store.begin_try(run, name, {"time": "2026-11-25T01:00:10.000Z"})
    for member, mark in (("a", {"time": other_began}), ("b", {"time": "2026-11-25T01:00:05.000Z"})):
        folder = store.try_folder(run, "other") / "probabilities" / member
        folder.mkdir(parents=True)
        write_file(folder / c.START, to_json(mark))
    write_file(store.try_folder(run, "other") / "probabilities" / "b" / c.END, to_json({}))
    assert started_before(context, "a") is is_left_out
    assert not started_before(context, "b")
