"""Packages of one's own in the virtual environment: resolved once, pinned with hashes, part of the snapshot, and made again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from jobs.store import LocalStore
from scheduler.cache import cache_folder
from scheduler.config import ConfigErrors, load
from scheduler.runtimes import lock
from scheduler.snapshots.user_code import build_user_code
from test_end_to_end import cronsemble

CONFIG = """
experiment: small
store: ./store
runtimes: {{keras3: {{venv: {packages}}}}}
data: {{dataset: "d.py:load"}}
model: mlp
hyperparameters: {{epochs: 1, patience: 1}}
backends: {{jax: {{}}}}
"""
DATA = """
import cowsay, numpy

def load(hyperparameters):
    assert cowsay.__version__ == "6.1", cowsay.__version__
    x = numpy.linspace(0, 1, 80, dtype="float32").reshape(40, 2)
    return {"x_train": x, "y_train": numpy.arange(40) % 2, "x_test": x, "y_test": numpy.arange(40) % 2}
"""


def write(folder: Path, packages: str) -> Path:
    (folder / "d.py").write_text(DATA)
    (folder / "config.yaml").write_text(CONFIG.format(packages=packages))
    return folder / "config.yaml"


def test_a_rerun_makes_the_environment_of_its_run_again(tmp_path: Path) -> None:
    write(tmp_path, '["cowsay==6.1"]')
    warned = cronsemble(tmp_path, "check")
    assert (warned.returncode, warned.stderr.count("config.lock does not exist: the next run")) == (0, 1)
    done = cronsemble(tmp_path, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    pins = (tmp_path / "config.lock").read_text()
    assert re.search(r"^cowsay==6\.1 \\\n    --hash=sha256:[0-9a-f]{64}", pins, re.MULTILINE) and "://" not in pins
    assert re.findall(r"^keras==\S+", pins, re.MULTILINE) == re.findall(r"^keras==\S+", _base(), re.MULTILINE)
    assert cronsemble(tmp_path, "check").stderr == ""
    (run,) = LocalStore(tmp_path / "store").runs("small", "train-jax")
    python = Path(run.record["python"])
    assert python.is_relative_to(cache_folder() / "venvs")
    shutil.rmtree(python.parent.parent)
    # Whatever is asked for today.
    write(tmp_path, "[six]")
    (tmp_path / "config.lock").unlink()
    again = cronsemble(tmp_path, "rerun", str(run.id), "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["runs"][0]["verdict"] == "identical", again.stdout
    assert python.exists() and not (tmp_path / "config.lock").exists()
    shutil.rmtree(python.parent.parent)


def _base() -> str:
    return (Path(lock.__file__).parents[1] / "requirements" / "keras3.txt").read_text()


def test_the_snapshot_holds_the_lock_and_an_edit_makes_it_stale(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, "[pandas]"))
    assert lock.lock_problem(experiment) == "does not exist"
    request = json.dumps(lock._request(experiment))
    text = f"{lock._FIRST_LINE}\n# requested: {request}\npandas==1 --hash=sha256:0\n"
    (tmp_path / "config.lock").write_text(text)
    assert lock.lock_problem(experiment) == ""
    code = build_user_code(experiment)
    assert code is not None and lock.lock_of_code(code) == text
    assert lock.lock_problem(load(write(tmp_path, "[pandas, six]"))) == "is of another list of packages"
    (tmp_path / "config.lock").write_text("something else\n")
    assert lock.lock_problem(experiment) == "is of another list of packages"
    plain = build_user_code(load(write(tmp_path, "null, python: python3")))
    assert plain is not None and lock.lock_of_code(plain) is None


def test_a_requirements_file_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("# what the data needs\npandas  # tables\n\nxgboost==3.1\n")
    experiment = load(write(tmp_path, "own.txt"))
    assert lock.requested_packages(experiment) == ["pandas", "xgboost==3.1"]


@pytest.mark.parametrize(
    ("packages", "problem"),
    [
        ("[--index-url]", "'--index-url' is given: type a requirement, e.g. pandas"),
        ("['-e .']", "'-e .' is given: type a requirement"),
        ("absent.txt", "absent.txt is no file in the configuration's folder: name a requirements file"),
        ("../own.txt", "type a path within the configuration's folder"),
        ("[pandas], python: python3", "python and venv are given, and one is meant"),
        ("[]", "nothing is given: type {python: PATH}, {venv: [PACKAGE]} or {image: REF}"),
        ("[1]", "1 is given: it must be text"),
    ],
)
def test_packages_that_are_none_are_refused(tmp_path: Path, packages: str, problem: str) -> None:
    with pytest.raises(ConfigErrors, match=re.escape(problem)):
        load(write(tmp_path, packages))


def test_packages_that_cannot_be_resolved_are_named(tmp_path: Path) -> None:
    write(tmp_path, '["no-such-package-of-anyone==1"]')
    done = cronsemble(tmp_path, "run")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "runtimes.keras3.venv: the packages cannot be resolved: the package index has no no-such-package-of-anyone" in done.stderr
    )
    assert not (tmp_path / "config.lock").exists()
