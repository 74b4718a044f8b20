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

LEGACY, KERAS3, TOOL = "localhost/cronsemble-legacy", "localhost/cronsemble-keras3", "localhost/cronsemble-tool"


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
