"""The examples are without errors, and the one with functions of its own runs in both runtimes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import run_command
from scheduler.config import load
from scheduler.sync.desired import desired

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = [path for path in sorted(EXAMPLES.rglob("*.yaml")) if path.name != "claim.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_each_is_without_errors(path: Path) -> None:
    experiment = load(path)
    assert str(path.relative_to(EXAMPLES)) in (EXAMPLES / "README.md").read_text()
    if experiment.cluster.images:
        kinds = [each["kind"] for each in desired([experiment])]
        assert kinds.count("CronJob") == len(experiment.members) + 1


def test_functions_of_ones_own_serve_both_kerases(tmp_path: Path, keras3: Path, legacy: str) -> None:
    folder = shutil.copytree(EXAMPLES / "functions", tmp_path / "functions")
    with open(folder / "config.yaml", "a") as file:
        file.write(f"runtimes: {{keras3: {{python: {keras3}}}, legacy: {{image: {legacy}}}}}\n")
    done = run_command("run", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (csv,) = folder.glob("store/predictions/rings/*.csv")
    header, *rows = csv.read_text().splitlines()
    assert header == "item,prediction,probability,inner,outer"
    assert len(rows) == 100
