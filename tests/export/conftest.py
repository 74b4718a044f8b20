"""The command in an environment with the real MLflow and TensorBoard, made once into the cache; a store of twenty nights."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import year_store
from needs import missing
from scheduler.cache import cache_folder
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes.venvs import build_venv, find_python

ROOT = Path(__file__).resolve().parents[2]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def export_python() -> Path:
    """An interpreter with what the commands need and both extras, by requirements/export.txt."""
    pins = (ROOT / "requirements" / "export.txt").read_bytes()
    try:
        interpreter, version = find_python()
        key = hashlib.sha256(pins + str(version).encode()).hexdigest()[:16]
        return build_venv(cache_folder() / "venvs" / f"export-{key}", pins, interpreter, print, ", 90 MB to download once")
    except RuntimeUnavailable as error:
        missing(f"no environment with MLflow and TensorBoard: {error}")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and its store; read only."""
    path = tmp_path_factory.mktemp("nights")
    year_store.build(path / "store", 6)
    year_store.write_config(path)
    return path


@pytest.fixture(scope="session")
def program(export_python: Path) -> Program:
    """Runs Python code there, in a folder."""

    def run(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [str(export_python), "-c", code, *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)

    return run
