"""What tests share: interpreters and engines that must be there in CI, and are said to be missing elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from needs import missing
from scheduler import containers

pytest_plugins = ["cluster.fixtures"]

LEGACY = "localhost/cronsemble-legacy"


@pytest.fixture(scope="session")
def keras3() -> Path:
    """The interpreter of the keras3 runtime."""
    path = os.environ.get("CRONSEMBLE_TEST_KERAS3", "")
    if not path:
        missing("CRONSEMBLE_TEST_KERAS3 names no interpreter: run `make test`")
    return Path(path)


@pytest.fixture(scope="session")
def legacy() -> str:
    """The image of theano and cntk."""
    try:
        engine = containers.find_engine()
    except containers.NoEngine as error:
        missing(f"no container engine: {error}")
    if containers.image_id(engine, LEGACY) is None:
        missing(f"there is no image {LEGACY}: run `make images`")
    return LEGACY
