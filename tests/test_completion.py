"""Completion in the shells: what Tab offers of a store, by each shell's own protocol, and in a real bash; `--version`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.contract import Status
from jobs.store.gc import RemovalKind
from scheduler import VERSION
from stores import Builder, minute
from year_store import write_config

SCRIPT = "#!/bin/sh\nexec {python} -c 'from scheduler.cli import main; main()' \"$@\"\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, its store, and the command as a program."""
    folder = tmp_path_factory.mktemp("completion")
    write_config(folder)
    builder = Builder(folder / "store")
    for day in range(1, 4):
        builder.run("train-a", f"2026-11-0{day}T01:00")
        builder.run("ensemble", f"2026-11-0{day}T06:00")
    builder.run("ensemble", "2026-11-04T06:00", "running")
    program = folder / "cronsemble"
    program.write_text(SCRIPT.format(python=sys.executable))
    program.chmod(0o755)
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    paths = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[1])}
    return {**os.environ, **paths, **more}


def offered(folder: Path, shell: str, words: str) -> str:
    """What the program answers a shell that completes the last of these words."""
    given = (
        {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        if shell == "bash"
        else {"_TYPER_COMPLETE_ARGS": words}
    )
    env = environment(folder, _CRONSEMBLE_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **given)
    done = subprocess.run(["cronsemble"], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


NEWEST = f"e-ensemble-{minute('2026-11-04T06:00')}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cronsemble show ", {"latest", "today", "yesterday", "2026-11-04", "2026-11-01", NEWEST}),
        ("cronsemble logs ensemble-", {NEWEST.removeprefix("e-")}),
        ("cronsemble get 2026-11-0", {"2026-11-01", "2026-11-04"}),
        ("cronsemble history --task ", {"train-a", "train-b2", "ensemble"}),
        ("cronsemble history --status n", {"no-quorum", "not-yet-due"}),
        ("cronsemble history --status ", {status.replace(" ", "-") for status in Status}),
        ("cronsemble history --columns slot,task,items", {"slot,task,items_accuracy", "slot,task,items_loss"}),
        ("cronsemble history --columns learn", {"learning_rate"}),
        ("cronsemble history --sort val", {"validation_accuracy"}),
        ("cronsemble run --member ", {"a", "b2", "c", "d"}),
        ("cronsemble gc --what ", set(RemovalKind)),
        ("cronsemble backfill 2026-11-01..2026-11", {"2026-11-01..2026-11-03"}),
        ("cronsemble cancel ", {NEWEST, "train-a"}),
        ("cronsemble su", {"suspend"}),
    ],
)
def test_what_bash_is_offered(folder: Path, words: str, expected: set[str]) -> None:
    candidates = offered(folder, "bash", words).splitlines()
    assert expected <= set(candidates) and len(set(candidates)) == len(candidates)
    assert all(candidate.startswith(words.rpartition(" ")[2]) for candidate in candidates)


def test_zsh_and_fish_are_told_what_a_run_is(folder: Path) -> None:
    assert f'"{NEWEST}":"ensemble of 2026-11-04 06\\\\:00"' in offered(folder, "zsh", "cronsemble show e-ens")
    assert f"{NEWEST}\tensemble of 2026-11-04 06:00" in offered(folder, "fish", "cronsemble show e-ens").splitlines()


def test_where_there_is_no_store_nothing_is_said(tmp_path: Path, folder: Path) -> None:
    """Nor printed beside what is typed."""
    command = f"-f {tmp_path}/nothing.yaml"
    assert offered(folder, "bash", f"cronsemble show {command} ").split() == ["latest", "today", "yesterday"]
    assert offered(folder, "bash", f"cronsemble run {command} --member ").split() == []


def test_in_a_real_bash(folder: Path) -> None:
    typed = (
        'COMP_WORDS=(cronsemble show e-ens); COMP_CWORD=2; _cronsemble_completion cronsemble; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    script = f'eval "$(_CRONSEMBLE_COMPLETE=source_bash cronsemble)"; {typed}'
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
    assert NEWEST in done.stdout.splitlines()


def test_the_version(folder: Path) -> None:
    done = subprocess.run(["cronsemble", "--version"], env=environment(folder), capture_output=True, text=True, check=True)
    assert done.stdout == f"cronsemble {VERSION}\n"
