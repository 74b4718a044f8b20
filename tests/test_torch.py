"""torch, where its environment was made: `make test-torch`. CI leaves it out, for the download is 3 GB."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from commands import CLI


def test_two_trainings_of_torch_are_equal_bit_by_bit(tmp_path: Path) -> None:
    python = os.environ.get("CRONSEMBLE_TEST_TORCH")
    if not python:
        pytest.skip("CRONSEMBLE_TEST_TORCH names no interpreter with torch: run `make test-torch`")
    (tmp_path / "config.yaml").write_text(
        f"experiment: small\nstore: ./store\nruntimes: {{keras3: {{python: {python}}}}}\n"
        "hyperparameters: {epochs: 2, patience: 9, filters: [8], dense: 16, seed: 7}\n"
        "backends: {torch: {}}\nensemble: {quorum: 1}\n"
    )
    for _ in range(2):
        done = subprocess.run([*CLI, "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    first, second = (path.read_bytes() for path in tmp_path.glob("store/predictions/small/*.members/torch.csv"))
    assert first == second
