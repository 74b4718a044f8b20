"""`get`: the archive's files come out of a store under their dated names, and nothing is written over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stores import Builder

CLI = [sys.executable, "-c", "from scheduler.cli import main; main()"]


def test_copies_of_a_date_or_the_newest_and_never_over_a_file(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    for slot in ("2026-11-19T06:00", "2026-11-20T06:00"):
        builder.run("ensemble", slot, files={"predictions.csv": f"item\n{slot}\n".encode(), "members/jax.csv": b"item\n1\n"})

    def get(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*CLI, "get", *words, "--store", "store", "--experiment", "e"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert get().stdout == "2026-11-20T0600Z.csv\n"
    assert (tmp_path / "2026-11-20T0600Z.csv").read_text() == "item\n2026-11-20T06:00\n"
    assert get("2026-11-20").stdout == "2026-11-20T0600Z.csv (already there)\n"
    assert get("2026-11-19", "--to", "m", "--members").stdout.split() == [
        "m/2026-11-19T0600Z.csv",
        "m/2026-11-19T0600Z.members/jax.csv",
    ]
    (tmp_path / "2026-11-20T0600Z.csv").write_text("mine\n")
    again = get()
    assert again.returncode == 1
    assert again.stderr == "2026-11-20T0600Z.csv: another file is there: move it, or name another folder with --to\n"
    assert (tmp_path / "2026-11-20T0600Z.csv").read_text() == "mine\n"
    assert "no run of e ensemble then" in get("2026-11-18").stderr
