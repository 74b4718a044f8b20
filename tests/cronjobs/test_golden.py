"""Golden files: the objects of each configuration, as `render` prints them. `make golden` writes them anew."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from cronjobs.experiment import Experiment
from cronjobs.objects import cronjob, volumes
from cronjobs.objects.reader_pod import reader_pod
from cronjobs.tasks import ExperimentContext
from scheduler.config import load
from scheduler.console.yaml_output import to_yaml
from scheduler.snapshots.user_code import build_user_code

HERE = Path(__file__).parent
CONFIGURATIONS = sorted((HERE / "configurations").glob("*.yaml"))
STORES = [path for path in CONFIGURATIONS if path.stem in ("claim", "nfs", "host-path", "options")]


def desired(experiment: Experiment) -> list[dict[str, Any]]:
    """With a program and code whose bytes stay the same while ours change."""
    program, code = b"the program", b"the code" if build_user_code(experiment) else None
    digest = hashlib.sha256(program).hexdigest()
    context = ExperimentContext(experiment, digest, hashlib.sha256(code).hexdigest() if code else "")
    return cronjob.desired(context, program, code)


def compare(name: str, made: str) -> None:
    path = HERE / "golden" / f"{name}.yaml"
    if os.environ.get("CRONSEMBLE_GOLDEN") == "write":
        path.write_text(made, encoding="utf-8")
    assert made == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_objects(path: Path) -> None:
    compare(path.stem, to_yaml(desired(load(path))))


@pytest.mark.parametrize("name", ["nfs", "host-path"])
def test_volumes(name: str) -> None:
    experiment = load(HERE / "configurations" / f"{name}.yaml")
    compare(f"{name}.volume", to_yaml(volumes.persistent_volume(experiment)))


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.stem)
def test_reader_pods(path: Path) -> None:
    compare(f"{path.stem}.reader", to_yaml([reader_pod(load(path), "cronsemble-reader-0a1b2c3d", "me@laptop")]))


def test_no_golden_file_is_left_over() -> None:
    known = {path.stem for path in CONFIGURATIONS} | {"nfs.volume", "host-path.volume"}
    known |= {f"{path.stem}.reader" for path in STORES}
    assert {path.stem for path in (HERE / "golden").glob("*.yaml")} == known
