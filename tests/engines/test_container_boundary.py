"""What a member's code in a container can change: its run's folder, and nothing else of the store or of this machine."""

from __future__ import annotations

import hashlib
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from commands import run_command
from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.store import LocalStore, Run
from jobs.store.document_files import read_document
from jobs.store.files import to_json, write_file
from jobs.store.prepared_data import PREPARED, PREPARED_DATA, adopt_prepared
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.container_output import remove_all_but_files
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.runtimes import containers
from scheduler.runtimes.mounts import Mount, step_mounts, with_nested
from scheduler.runtimes.runtime import Runtime
from scheduler.snapshots.program import build_program, deterministic_zip
from tests.conftest import LEGACY

ATTACK = """
from __future__ import print_function
import os

def attack():
    store, run = os.environ["CRONSEMBLE_STORE"], os.environ["CRONSEMBLE_RUN"]
    places = [store, "/program", "/folder"]
    places += [os.path.join(store, name) for name in ("predictions/small", "experiments/small/notes", ".index", "data")]
    for place in list(places):
        for folder, folders, names in os.walk(place):
            if run not in folder:
                places += [os.path.join(folder, name) for name in folders + names if name != run]
    for path in places:
        for change in (
            lambda: open(path, "ab").write(b"x"),
            lambda: open(path + ".new", "wb").write(b"x"),
            lambda: os.mkdir(path + "/new"),
            lambda: os.makedirs(path),
            lambda: os.unlink(path),
            lambda: os.rename(path, path + ".old"),
            lambda: os.chmod(path, 0o777),
            lambda: os.utime(path, (0, 0)),
            lambda: os.symlink("/", path + ".link"),
            lambda: os.link(path, own(store, run) + "/linked"),
        ):
            try:
                change()
            except (IOError, OSError):
                continue
            print("CHANGED", path)
    plant(own(store, run))

def own(store, run):
    for folder, folders, _ in os.walk(store):
        if run in folders:
            return os.path.join(folder, run)

def plant(folder):
    # What the steps after this one open, on the machine itself: links to a file there.
    for name in os.listdir(folder):
        tries = os.path.join(folder, name)
        if not name.startswith("try-"):
            continue
        for name in ("log.txt", "progress.jsonl", "record.json", "selection.json", "ensemble.json", "predictions.csv"):
            path = os.path.join(tries, name)
            if os.path.exists(path):
                os.unlink(path)
            os.symlink(os.environ["VICTIM"], path)
        hidden = os.path.join(tries, "members")
        os.mkdir(hidden)
        os.symlink(os.environ["VICTIM"], os.path.join(hidden, "m.csv"))
        os.chmod(hidden, 0)
        os.mkfifo(os.path.join(tries, "metrics.json.pipe"))
    os.symlink("/", os.path.join(folder, "claim-2.json"))
"""
MODEL = (
    ATTACK
    + """
def model(input_shape, classes, hyperparameters):
    from keras.layers import Dense, Flatten
    from keras.models import Sequential
    if os.environ.get("IS_HOSTILE") == "1" and "-ensemble-" in os.environ["CRONSEMBLE_RUN"]:
        attack()
    elif os.environ.get("IS_HOSTILE") == "1":
        store, run = os.environ["CRONSEMBLE_STORE"], os.environ["CRONSEMBLE_RUN"]
        globals()["plant"] = lambda folder: None
        attack()
    layers = [Flatten(input_shape=input_shape), Dense(classes, activation="softmax")]
    model = Sequential(layers)
    model.compile("sgd", loss="categorical_crossentropy", metrics=["accuracy"])
    return model
"""
)


def tree(store: Path) -> dict[str, str]:
    """Every file and folder of a store by its path: kind, mode and content."""
    states = {}
    for path in sorted(store.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path.is_symlink())
        states[path.relative_to(store).as_posix()] = f"{status.st_mode:o} {content}"
    return states


@pytest.mark.holds("code-container")
def test_a_members_code_changes_nothing_but_its_run(tmp_path: Path, keras3: Path, legacy: str) -> None:
    """Trainings and predictions in a container, the ensemble's other steps on this machine, in the same folder."""
    (tmp_path / "m.py").write_text(MODEL)
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    config = f"""
experiment: small
runtimes: {{keras3: {{python: {keras3}}}, legacy: {{image: {LEGACY}}}}}
model: "m.py:model"
hyperparameters: {{epochs: 1}}
backends: {{cntk: {{env: {{IS_HOSTILE: "%d", VICTIM: {victim}}}}}}}
ensemble: {{quorum: 1}}
"""
    for is_hostile in (0, 1):
        (tmp_path / "config.yaml").write_text(config % is_hostile)
        before = tree(tmp_path / "store") if is_hostile else {}
        done = run_command("run", folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    after = tree(tmp_path / "store")
    assert {name: after.get(name) for name in before if not name.startswith((".index", "experiments"))} == {
        name: state for name, state in before.items() if not name.startswith((".index", "experiments"))
    }
    assert victim.read_text() == "mine\n"
    logs = "".join(path.read_text() for path in tmp_path.glob("store/runs/*/*/*/*/result/log.txt"))
    assert "CHANGED" not in logs
    assert not [name for name in after if (tmp_path / "store" / name).is_symlink() or (tmp_path / "store" / name).is_fifo()]
    rows = json.loads(run_command("history", "--json", folder=tmp_path, check=True).stdout)
    assert [row["status"] for row in rows] == ["succeeded"] * 4
    assert len(list(tmp_path.glob("store/predictions/small/*.csv"))) == 2


DATA = (
    ATTACK
    + """
def data(hyperparameters):
    import numpy
    globals()["plant"] = lambda folder: None
    attack()
    return {"x_train": numpy.zeros((40, 3), "float32"), "y_train": numpy.arange(40) % 2}
"""
)


def prepare(tmp_path: Path, image: str, code: str, name: str) -> Run:
    """A run of prepare with a data function, in a container."""
    engine = LocalEngine(LocalStore(tmp_path / "a store, with: marks"), PlainDisplay(StringIO()), CpuBudget(1))
    digest = engine.store_snapshot("code", deterministic_zip([("d.py", code.encode())]))
    snapshot = {"program": engine.store_snapshot("program", build_program()), "code": digest}
    data = {"dataset": "d.py:data", "predict": "holdout", "refresh": "daily", "key": "k", "holdout": 5}
    task = {"schema": 1, "experiment": "e", "task": f"train-{name}", "threads": 1, "env": {}, "snapshot": snapshot}
    task |= {"timezone": "UTC", "data": data, "data_seed": 1, "seed": 1}
    step = Step(("prepare",), Runtime("keras3", image=image, engine=containers.find_engine()))
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=0, deadline=60))
    assert run is not None
    return run


def test_a_data_functions_data_is_pinned_by_the_engine(tmp_path: Path, keras3_image: str) -> None:
    run = prepare(tmp_path, keras3_image, DATA, "a")
    (folder,) = run.folder.glob("try-*")
    log = (folder / c.LOG).read_text()
    assert run.status == Status.RUNNING and "CHANGED" not in log, (run.reason, log)  # there is no step after prepare
    store = LocalStore(tmp_path / "a store, with: marks")
    (pin,) = (store.root / "datasets" / "e").iterdir()
    pinned, described = read_document(pin), read_document(folder / c.DATA)
    assert pinned == described and pinned is not None and store.data_problem(pinned) == ""
    assert sorted(path.name for path in folder.iterdir()) == [c.DATA, c.LOG, c.PROGRESS, c.START]
    # The next task of that date uses it.
    second = prepare(tmp_path, keras3_image, "def data(hyperparameters): raise SystemExit(3)", "b")
    (folder,) = second.folder.glob("try-*")
    assert (read_document(folder / c.DATA) or {})["sha256"] == pinned["sha256"]


@pytest.mark.holds("code-data")
@pytest.mark.parametrize("lie", ["name", "content", "link", "no data"])
def test_data_is_kept_only_under_its_own_name(tmp_path: Path, lie: str) -> None:
    store, run = LocalStore(tmp_path / "store"), c.RunId(29_924_640, 1, "e", "train-a")
    folder = tmp_path / "try"
    folder.mkdir()
    description: dict[str, Any] = {"fingerprint": "../../../x" if lie == "name" else "0" * 64}
    write_file(folder / PREPARED, to_json(description))
    if lie == "link":
        (folder / PREPARED_DATA).symlink_to("/etc/passwd")
        with pytest.raises(OSError, match="a symbolic link, which is not followed"):
            adopt_prepared(store, store.pin_path("e", "2026-11-20", "k"), run, folder)
    else:
        (folder / PREPARED_DATA).write_bytes(b"no arrays" if lie == "no data" else deterministic_zip([]))
        problem = adopt_prepared(store, store.pin_path("e", "2026-11-20", "k"), run, folder)
        expected = "prepared.json: fingerprint " if lie == "name" else "prepared.npz is not the data that prepared.json names"
        assert problem.startswith(expected)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


@pytest.mark.holds("code-links")
def test_links_pipes_and_what_hides_them_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "link").symlink_to("/")
    (tmp_path / "a" / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a" / "b").chmod(0)
    remove_all_but_files(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["a", "a/b", "a/file"]


def test_what_is_mounted_below_a_folder_that_is_read_is_read_only_too(tmp_path: Path) -> None:
    run = tmp_path / "store" / "runs" / "e" / "train-a" / "2026-11" / "e-train-a-1"
    (run / "try").mkdir(parents=True)
    mounts = step_mounts(tmp_path / "store", run, tmp_path)
    inside = "/store/runs/e/train-a/2026-11/e-train-a-1"
    assert [mount.target for mount in mounts] == ["/store/snapshots", "/store/datasets", "/store/runs/e", inside, "/folder"]
    assert [mount.is_writable for mount in mounts] == [False, False, False, True, False]
    lines = [
        f"1 2 0:1 / {tmp_path}/store rw,relatime shared:1 - nfs4 server:/x rw",
        f"1 2 0:1 / {tmp_path}/store/snapshots/a\\040b rw - ext4 /dev/x rw",
        f"1 2 0:1 / {tmp_path}/proc rw - proc proc rw",
        "1 2 0:1 / /elsewhere rw - ext4 /dev/x rw",
    ]
    nested = with_nested(mounts, "\n".join(lines))[len(mounts) :]
    assert nested == [
        Mount(tmp_path / "store", "/folder/store"),
        Mount(tmp_path / "store/snapshots/a b", "/store/snapshots/a b"),
        Mount(tmp_path / "store/snapshots/a b", "/folder/store/snapshots/a b"),
    ]
