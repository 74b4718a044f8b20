"""A store of twenty nights with its configuration, opened from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import cronsemble
import year_store

NIGHTS = 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and its store; read only."""
    path = tmp_path_factory.mktemp("nights")
    year_store.build(path / "store", NIGHTS)
    year_store.write_config(path)
    return path


@pytest.fixture(scope="session")
def experiment(folder: Path) -> cronsemble.Experiment:
    return cronsemble.open(folder / "config.yaml")
