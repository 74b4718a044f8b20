"""What tests share: interpreters and engines that must be there in CI, and are said to be missing elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cluster import binaries
from cron_reference.program import build
from needs import missing
from scheduler.runtimes import containers

pytest_plugins = ["cluster.fixtures"]

# Machines are noisy: a test that is right must not fail for being slow.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

LONGEST_FIRST = (
    "chaos/test_chaos.py",
    "rerun/test_rerun.py",
    "test_end_to_end.py",
    "serve/test_serve.py",
    "engines/test_container_boundary.py",
    "rerun/test_gated_nights.py",
    "test_ensemble_methods.py",
    "images/test_images.py",
    "models/test_models.py",
    "rerun/test_backfill.py",
    "test_distribution.py",
    "test_stop_signals.py",
    "test_previous_version.py",
    "export/test_mlflow.py",
    "archive/test_real_runs.py",
    "metrics/test_alerting.py",
    "engines/test_containers.py",
    "kube/test_against_kubectl.py",
    "jobs/test_supervise.py",
    "test_control_characters.py",
)
"""The files that take longest. `make test` gives files to its processes in this order, so that both are done at the same time."""

LEGACY, KERAS3, TOOL = "localhost/cronsemble-legacy", "localhost/cronsemble-keras3", "localhost/cronsemble-tool"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need a cluster come last: its control plane runs from the first of them to the end. Else the longest first."""
    needs_cluster = {item.path for item in items if "cluster" in getattr(item, "fixturenames", ())}
    folder = Path(__file__).parent
    place = {folder / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: (item.path in needs_cluster, place.get(item.path, len(place))))


@pytest.fixture(scope="session")
def keras3() -> Path:
    """The interpreter of the keras3 runtime."""
    path = os.environ.get("CRONSEMBLE_TEST_KERAS3", "")
    if not path:
        missing("CRONSEMBLE_TEST_KERAS3 names no interpreter: run `make test`")
    return Path(path)


def _image(reference: str) -> str:
    try:
        engine = containers.find_engine()
    except containers.NoContainerEngine as error:
        missing(f"no container engine: {error}")
    if containers.image_id(engine, reference) is None:
        missing(f"there is no image {reference}: run `make images`")
    return reference


@pytest.fixture(scope="session")
def legacy() -> str:
    """The image of theano and cntk."""
    return _image(LEGACY)


@pytest.fixture(scope="session")
def keras3_image() -> str:
    """The image of tensorflow and jax."""
    return _image(KERAS3)


@pytest.fixture(scope="session")
def tool_image() -> str:
    """The image of the tool itself."""
    return _image(TOOL)


@pytest.fixture(scope="session")
def cron_reference() -> Path:
    """The program that asks the Go library which Kubernetes uses, built once into the cache."""
    try:
        return build()
    except binaries.NoBinaries as error:
        missing(f"the judge of fire times cannot be built: {error}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode:
        missing("a small file system cannot be mounted here: run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
