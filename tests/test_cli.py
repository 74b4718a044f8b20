"""The command line by itself: usage, exit codes, errors in one line, the views of runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commands import run_command


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run", "--jobs", "x"], "'--jobs'"),
        (["run", "--nonsense"], "--nonsense"),
        (["rerun"], "Missing argument"),
    ],
)
def test_wrong_usage_is_64(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = cronsemble(tmp_path, *arguments)
    assert done.returncode == 64
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_init_writes_a_starter_with_its_schema_and_never_over_a_file(tmp_path: Path) -> None:
    assert cronsemble(tmp_path, "init").returncode == 0
    assert cronsemble(tmp_path, "check").stdout == "config.yaml: digits: 2 members, an ensemble: no errors\n"
    assert (tmp_path / "cronsemble.schema.json").read_text() == cronsemble(tmp_path, "schema").stdout
    again = cronsemble(tmp_path, "init")
    assert again.returncode == 1
    assert again.stderr == "config.yaml exists already: name another file, or remove it first\n"
    assert "$schema=./cronsemble.schema.json" in (tmp_path / "config.yaml").read_text()
