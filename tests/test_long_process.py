"""A line about a program that takes long: at its beginning and while it lasts, with what is done and how long it takes."""

from __future__ import annotations

import sys

import pytest

from scheduler import long_process
from scheduler.long_process import Stage, describe


def test_what_a_line_says() -> None:
    assert describe("building x", "step 2 of 3", 80, 180) == "building x: step 2 of 3, 1m 20s, about 1m 40s left"
    assert describe("building x", "", 200, 180) == "building x: 3m 20s, longer than usual"


def test_lines_are_said_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_process, "INTERVAL", 0.001)
    lines: list[str] = []
    program = "import sys\nprint('stage 1', flush=True)\nsys.stdin.read()\nimport os; os.write(2, b'last\\n'); sys.exit(3)"
    with Stage("testing", lines.append, 60) as stage:
        ended = long_process.run([sys.executable, "-c", program], stage, lambda line: line.strip() or None)
        while not any("last" in line for line in lines):
            pass
    assert ended == long_process.Ended(3, "stage 1\nlast\n")
    assert lines[0] == "testing (usually 1m)"
