"""The command line by itself: usage, exit codes, errors in one line, the views of runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CLI = [sys.executable, "-c", "from scheduler.cli import main; main()"]


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run", "--jobs", "x"], "'--jobs'"),
        (["run", "--nonsense"], "--nonsense"),
        (["show"], "Missing argument"),
    ],
)
def test_wrong_usage_is_64(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = cronsemble(tmp_path, *arguments)
    assert done.returncode == 64
    assert said in done.stderr
    assert "Traceback" not in done.stderr
