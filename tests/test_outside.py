"""What users name cannot lead out of the store or the configuration's folder, and only what was recorded is run."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import contract as c
from jobs.contract import ExitCode, RunId, parse_run_id
from jobs.keras3.prepare import inside
from jobs.portable.inputs import WrongInput, sha256
from jobs.store import LocalStore
from jobs.store.files import read_json, to_json, write_file
from scheduler.config import ConfigErrors, load
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.snapshots.program import build_program
from scheduler.snapshots.user_code import build_user_code
from scheduler.stores import find_run
from stores import Builder
from supervised import supervise

OUTSIDE = st.one_of(
    st.sampled_from(["/etc/passwd", "/", "..", "link", "link/x", "a/link", "./../x", "a/../x", "a/../../x", "link/../x", "//x"]),
    st.lists(st.sampled_from(["..", "a", "link", ".", "", "{date}", "x"]), min_size=1, max_size=6).map("/".join),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OUTSIDE)
@pytest.mark.holds("author-paths")
def test_no_path_of_a_configuration_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    """Neither by .. nor from the root nor by a link: a path that is taken names something below the folder, on a cluster too."""
    folder = tmp_path / "folder"
    if not folder.exists():
        (folder / "a").mkdir(parents=True)
        (tmp_path / "outside").mkdir()
        for place in (tmp_path, folder, folder / "a", tmp_path / "outside"):
            (place / "x.npz").touch()
            (place / "x.py").write_text("def f(a, b, c):\n    return c\n")
        for link in (folder / "link", folder / "a" / "link"):
            link.symlink_to(tmp_path / "outside")
    file = folder / "config.yaml"
    endings = [("data: {{dataset: '{}'}}", ".npz"), ("data: {{predict: '{}'}}", ".npz"), ("model: '{}:f'", ".py"),
               ("data: {{dataset: '{}:f'}}", ".py"), ("code: ['{}']", "")]  # fmt: skip
    for line, ending in endings:
        file.write_text(f"experiment: e\nbackends: {{jax: {{}}}}\n{line.format(name + ending)}\n")
        try:
            load(file)
        except ConfigErrors:
            continue
        path = PurePosixPath(name + ending)
        assert not path.is_absolute() and ".." not in path.parts and (folder / path).resolve().is_relative_to(folder)


NAMES = st.one_of(st.text(max_size=12), st.from_regex(r"[-a-z0-9./\\]{1,12}", fullmatch=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, NAMES)
@pytest.mark.holds("author-names")
def test_names_that_are_taken_are_plain_ones(tmp_path: Path, experiment: str, member: str) -> None:
    """They become folders of the store and objects of the cluster."""
    file = tmp_path / "any.yaml"
    file.write_text(json.dumps({"experiment": experiment, "backends": {member: {"backend": "jax"}}}))
    try:
        found = load(file)
    except ConfigErrors:
        return
    for name in (found.name, *found.members):
        assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) and "\n" not in name


@pytest.mark.holds("author-paths")
def test_a_link_among_the_code_is_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("TOKEN = 1\n")
    folder = tmp_path / "folder"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "stolen.py").symlink_to(tmp_path / "secret.py")
    (folder / "config.yaml").write_text("experiment: e\nbackends: {jax: {}}\ncode: [lib]\n")
    with pytest.raises(CronsembleError, match="stolen.py: a link that leads outside the configuration's folder"):
        build_user_code(load(folder / "config.yaml"))


@pytest.mark.parametrize("name", ["../x.npz", "/etc/x.npz", "link/x.npz", "2026-11-20.npz"])
@pytest.mark.holds("author-paths")
def test_no_name_leads_out_of_the_folder_of_data(tmp_path: Path, name: str) -> None:
    """Asked again where the data is read: a link may come later than the check of the configuration."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "x.npz").touch()
    (folder / "link").symlink_to(tmp_path)
    (folder / "2026-11-20.npz").symlink_to(tmp_path / "x.npz")
    with pytest.raises(WrongInput, match=f"data.predict: {name} leads outside"):
        inside(folder, name, "data.predict")
    assert inside(folder, "./y.npz", "data.predict") == folder / "y.npz"


@given(st.one_of(st.text(), st.from_regex(r"[-./\\a-z0-9\n]*e-train-a-[0-9]+[-./r0-9\n]*")))
@pytest.mark.holds("volume-names")
def test_only_the_exact_name_is_a_runs(text: str) -> None:
    run = parse_run_id(text, "e", "train-a")
    assert (
        run is None
        or re.fullmatch("e-train-a-0*[0-9]+(-r[0-9]+)?", text, re.ASCII)
        and (run.experiment, run.task) == ("e", "train-a")
    )


@pytest.mark.parametrize("name", ["..", "../../x", "/etc/passwd", "e-train-a-1/../..", "runs/e/train-a", "*", ""])
@pytest.mark.holds("volume-names")
def test_no_name_of_a_run_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    builder = Builder(tmp_path / "store")
    builder.run("train-a", "2026-11-20T01:00")
    builder.run("train-a", "2026-11-21T01:00")
    with pytest.raises(UnknownRun):
        find_run.find_run(builder.store, "e", name)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


TASK: dict[str, Any] = {"snapshot": {"program": "", "code": ""}, "quorum": 1, "method": "accuracy", "threads": 1}


@pytest.mark.holds("volume-models")
def test_a_model_that_is_not_the_recorded_one_is_not_loaded(tmp_path: Path, program: Path) -> None:
    """The member is left out with the reason. This interpreter has no Keras: one that was recorded gets as far as its import."""
    store = LocalStore(tmp_path)
    said = {}
    for name, recorded in (("damaged", "0" * 64), ("whole", "")):
        training = RunId(29_924_640, 1, "e", f"train-{name}")
        store.begin_try(training, "a", {"time": "2026-11-23T06:00:00Z"})
        folder = store.try_folder(training, "a")
        write_file(folder / "model.h5", b"bytes")
        described = {"file": "model.h5", "sha256": recorded or sha256(str(folder / "model.h5")), "class_names": ["0", "1"],
                     "backend": "jax", "threads": 1, "seed": 1, "data_format": "channels_last"}  # fmt: skip
        # What lies beside the record is not believed.
        write_file(folder / c.MODEL, to_json({**described, "sha256": sha256(str(folder / "model.h5"))}))
        write_file(folder / c.RECORD, to_json({"try": "a", "kind": "scheduled", "accuracy": 0.5, "model": described}))
        assert store.publish(training, "a")
        run = store.claim("e", "ensemble", 29_924_641)
        store.begin_try(run, "a", {"time": "2026-11-23T06:00:00Z"})
        store.dataset_path("f").parent.mkdir(exist_ok=True)
        np.savez(store.dataset_path("f"), class_names=np.array(["0", "1"]))
        write_file(store.try_folder(run, "a") / c.DATA, to_json({"fingerprint": "f"}))
        task = {**TASK, "members": [{"member": name, "backend": "jax", "threads": 1}]}
        process = supervise(program, store, run, f"predict --member {name}", task)
        told, _ = process.communicate()
        assert process.returncode == ExitCode.DONE, told
        said[name] = str((read_json(store.try_folder(run, "a") / "probabilities" / name / c.END) or {})["left_out"])
    assert said["damaged"].endswith("model.h5: the file is not the one that was recorded (its sha256 differs)")
    assert "No module named 'keras'" in said["whole"]


@pytest.mark.holds("volume-code")
def test_code_that_is_not_the_recorded_one_is_not_run(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path)
    digest = store.put_snapshot("code", b"one")
    store.snapshot_path("code", digest).write_bytes(b"two")
    data = {"dataset": "x.py:f", "predict": "holdout", "key": "k", "hyperparameters": {}}
    task = {**TASK, "data": data, "data_seed": 1, "model": "mlp", "snapshot": {"program": "", "code": digest}}
    process = supervise(program, store, RunId(29_924_640, 1, "e", "train-a"), "prepare", task)
    said, _ = process.communicate()
    assert process.returncode == ExitCode.WRONG_INPUT
    assert "is damaged: the file's sha256 differs from its name" in said


@pytest.mark.holds("volume-data")
def test_data_that_is_not_what_was_pinned_is_read_again_and_replaced_if_it_is_the_same(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path / "store")
    images = np.arange(600 * 16, dtype="float32").reshape(600, 4, 4)
    np.savez(tmp_path / "d.npz", x_train=images, y_train=np.arange(600) % 3)
    data = {"dataset": "d.npz", "predict": "holdout", "key": "k", "hyperparameters": {}}
    task = {**TASK, "data": data, "data_seed": 1, "model": "mlp"}

    def prepare(minute: int) -> tuple[int | None, str]:
        run = RunId(minute, 1, "e", "train-a")
        process = supervise(program, store, run, "prepare", task, **{c.ENV_FOLDER: str(tmp_path)})
        said, _ = process.communicate()
        return process.returncode, said

    assert prepare(29_924_640)[0] == ExitCode.DONE
    (made,) = (store.root / "datasets").glob("*.npz")
    (pin,) = (store.root / "datasets/e").iterdir()
    whole, pinned = made.read_bytes(), json.loads(pin.read_text())
    for minute, damage in enumerate((whole[:-1] + b"x", whole[:1000], b"", None), 29_924_641):
        made.unlink()
        if damage is not None:
            made.write_bytes(damage)
        code, said = prepare(minute)
        assert code == ExitCode.DONE and "it was read again, and is the same data" in said
        assert made.read_bytes() == whole
    # The next date finds it damaged too: what it pins is what it has read.
    made.write_bytes(whole[:-1] + b"x")
    assert prepare(29_924_640 + 1440)[0] == ExitCode.DONE
    assert made.read_bytes() == whole and {json.loads(path.read_text())["sha256"] for path in pin.parent.iterdir()} == {
        pinned["sha256"]
    }
    np.savez(tmp_path / "d.npz", x_train=images + 1, y_train=np.arange(600) % 3)
    made.write_bytes(b"")
    code, said = prepare(29_924_650)
    assert code == ExitCode.WRONG_INPUT and f"and what is read now is other data: remove {pin}" in said


@pytest.mark.holds("volume-data")
def test_a_step_uses_no_data_that_was_changed_since_the_step_before_it(tmp_path: Path, program: Path) -> None:
    store = LocalStore(tmp_path / "store")
    run = store.claim("e", "train-a", 29_924_640)
    store.begin_try(run, "a", {"time": "2026-11-23T06:00:00Z"})
    store.dataset_path("f").parent.mkdir(parents=True)
    store.dataset_path("f").write_bytes(b"changed")
    write_file(store.try_folder(run, "a") / c.DATA, to_json({"fingerprint": "f", "sha256": "0" * 64}))
    process = supervise(program, store, run, "train", TASK)
    said, _ = process.communicate()
    assert process.returncode == ExitCode.FAILED and "is not what it was: the file's sha256 differs" in said
