"""A command's workspace: the configuration is read once, and the options of the command line say which store is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import run_command
from stores import Builder

COUNTED = """
import atexit, os, sys
opened = []
# Every way to open a file raises this event, also one within a library.
sys.addaudithook(lambda event, values: opened.append(os.path.basename(str(values[0]))) if event == "open" else None)
atexit.register(lambda: print("read:", opened.count("config.yaml"), file=sys.stderr))
"""
HEAD = "experiment: e\nbackends: {jax: {schedule: '0 1 * * *'}}\nruntimes: {keras3: {python: /missing/python}}\n"
LOCAL, REMOTE, BROKEN = f"{HEAD}store: ./store\n", f"{HEAD}store: {{claim: experiments}}\n", f"{HEAD}store: ./store\nbogus: 1\n"
RUN = "e-train-jax-29393340"
COMMANDS = [
    ["run"],
    ["rerun", "2025-11-20", "--dry-run"],
    ["backfill", "2025-11-20..2025-11-21", "--dry-run"],
    ["cancel", RUN],
    ["logs", RUN],
    ["history"],
    ["history", "--revisions"],
    ["show", RUN],
    ["get", "latest"],
    ["compare", RUN, "latest"],
    ["fsck"],
    ["gc", "--dry-run"],
    ["next"],
    ["plan"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    builder = Builder(tmp_path / "store")
    builder.run("train-jax", 29393340)
    return tmp_path


def reads(folder: Path, *arguments: str) -> tuple[int, str]:
    """How often a command opened its configuration, and what it said on stderr."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = run_command(*arguments, folder=folder, env=env, before=COUNTED)
    *said, last = done.stderr.splitlines()
    assert last.startswith("read: "), done.stderr
    assert not any("a bug in cronsemble" in line for line in said), done.stderr
    return int(last.removeprefix("read: ")), "\n".join(said)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("text", [LOCAL, REMOTE, BROKEN], ids=["local", "remote", "broken"])
def test_a_command_reads_the_configuration_once(folder: Path, text: str, command: list[str]) -> None:
    (folder / "config.yaml").write_text(text)
    assert reads(folder, *command)[0] == 1


@pytest.mark.parametrize("command", [[*each, "--cluster"] for each in COMMANDS[:5]], ids=" ".join)
def test_a_command_for_the_cluster_reads_it_once(folder: Path, command: list[str]) -> None:
    (folder / "config.yaml").write_text(LOCAL)
    assert reads(folder, *command)[0] == 1
