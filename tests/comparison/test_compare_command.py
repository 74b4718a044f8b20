"""`compare`: which runs its names mean, what it prints, its JSON, and how it exits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scheduler.cli import app
from scheduler.comparison.run_comparison import RunComparer
from scheduler.comparison.selection import compare_names
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.notices import received_by
from stores import Builder
from year_store import build, write_config

DOCUMENTED = (Path(__file__).resolve().parents[2] / "docs" / "compare.md").read_text()
BEFORE, AFTER, NO_QUORUM = "2025-11-22", "2025-12-04", "2025-12-07"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("nights")
    build(folder / "store", 24)
    write_config(folder, str(folder / "store"))
    yield folder


def compare(folder: Path, *arguments: str) -> int:
    """Run the command in this process; returns its exit status."""
    try:
        code = app(["compare", *arguments, "-f", str(folder / "config.yaml")], standalone_mode=False)
    except typer.Exit as error:
        code = error.exit_code
    return int(code or 0)


def test_what_changed_and_what_it_did_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folder, BEFORE, AFTER) == ExitStatus.DONE
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "before  2025-11-22 06:00  e-ensemble-29396520  succeeded"
    assert re.fullmatch(r"changed: \d+ of 60 labels flipped, largest difference 0\.\d+, accuracy 0\.\d{4} → 0\.\d{4}", lines[2])
    assert "Metrics on the same 60 items:" in lines
    assert any(line.startswith("b2 (was b)  ") for line in lines)
    for line in ("  all trainings: hyperparameters.epochs 4 → 8", "  all tasks: code: models.py changed", "+    return 8"):
        assert lines.count(line) == 1, printed
    assert any(re.match(r"\d+ labels? flipped: ", line) for line in lines)
    # Hostile names reach the terminal without their commands.
    assert "\x1b" not in printed


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_every_key_of_the_json_is_documented(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folder, BEFORE, AFTER, "--json") == ExitStatus.DONE
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"experiment", "ensemble", "trainings", "differences", "code", "data", "notes"}
    documented = set(re.findall(r"`(\w+)`", DOCUMENTED.partition("## As JSON")[2]))
    assert {key for key in keys(printed) if not re.fullmatch(r"x_\w+", key)} <= documented
    ensemble = printed["ensemble"]
    assert len(ensemble["predictions"]["flips"]) == ensemble["verdict"]["labels_flipped"]
    assert ensemble["accuracy"]["difference"] == ensemble["accuracy"]["after"] - ensemble["accuracy"]["before"]
    assert [member["former_name"] for member in ensemble["members"]] == ["", "b", "", ""]
    assert [training["after"]["task"] for training in printed["trainings"]] == ["train-a", "train-b2", "train-c", "train-d"]


def test_the_exit_status_says_what_came_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folder, BEFORE, AFTER, "--detailed-exitcode") == ExitStatus.DIFFERS
    assert compare(folder, BEFORE, AFTER, "--detailed-exitcode", "--tolerance", "1") == ExitStatus.DIFFERS  # labels flipped
    assert compare(folder, BEFORE, NO_QUORUM) == ExitStatus.ERROR
    printed = capsys.readouterr().out
    assert "nothing to compare: e-ensemble-29418120 has no result: no quorum" in printed
    assert "ensemble  " in printed and " → none" in printed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RunComparer:
    """Trainings of a, b and c on the 20th, of a and b on the 21st with two ensembles; c alone on the 22nd."""
    builder = Builder(tmp_path_factory.mktemp("small") / "store")
    for task in ("train-a", "train-b", "train-c"):
        builder.run(task, "2026-11-20T01:00")
    for task in ("train-a", "train-b"):
        builder.run(task, "2026-11-21T01:00")
    builder.run("ensemble", "2026-11-21T06:00")
    builder.run("ensemble", "2026-11-21T12:00")
    builder.run("ensemble", "2026-11-21T18:00", "failed")
    builder.run("train-c", "2026-11-22T01:00", "failed", reason="bad")
    return RunComparer(builder.store)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        # Only one date has an ensemble: the trainings of both are compared, by task.
        (("2026-11-20", "2026-11-21"), ["a 20 → a 21", "b 20 → b 21"]),
        (("2026-11-21", "2026-11-20"), ["a 21 → a 20", "b 21 → b 20"]),
        (("2026-11-20", "2026-11-22"), ["c 20 → c 22"]),
        # Beside a training a date means that of its task.
        (("e-train-a-29393340", "e-train-b-29393340"), None),
        (("train-a-29918940", "2026-11-21"), ["a 20 → a 21"]),
        (("2026-11-21", "train-a-29918940"), ["a 21 → a 20"]),
        # Of several ensemble runs the newest that succeeded.
        (("2026-11-21T06:00Z", "2026-11-21"), ["ensemble 06 → ensemble 12"]),
        (("2026-11-21T06:00Z", "latest"), ["ensemble 06 → ensemble 12"]),
        (("2026-11-21", "2026-11-21T18:00"), ["ensemble 12 → ensemble 18"]),
    ],
)
def test_which_runs_two_names_mean(small: RunComparer, names: tuple[str, str], pairs: list[str] | None) -> None:
    if pairs is None:
        with pytest.raises(CronsembleError, match="e-train-a-29393340: no such run"):
            compare_names(small, "e", *names)
        return
    comparison = compare_names(small, "e", *names)

    def text(side: Any) -> str:
        is_ensemble = side.task == "ensemble"
        return f"ensemble {side.run.slot:%H}" if is_ensemble else f"{side.task.removeprefix('train-')} {side.run.slot:%d}"

    sides = [comparison.ensemble] if comparison.ensemble else comparison.trainings
    assert [f"{text(pair.before)} → {text(pair.after)}" for pair in sides] == pairs  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("names", "task", "message"),
    [
        (("2026-11-21", "2026-11-22"), None, "2026-11-21 has runs of train-a, train-b, 2026-11-22 of train-c: nothing in common"),
        (("latest", "2026-11-21"), None, "both names mean e-ensemble-29921040: name two runs"),
        (("2026-11-20", "2026-12-01"), None, "2026-12-01: no run of then in "),
        (
            ("2026-11-20..2026-11-21", "latest"),
            None,
            "2026-11-20..2026-11-21: a period has many runs: give a date, a time or a run",
        ),
        (
            ("train-a-29918940", "ensemble-29921040"),
            None,
            "is a training, e-ensemble-29921040 an ensemble run: give two of one kind",
        ),
        (("2026-11-20", "2026-11-21"), "train-x", "--task train-x: no runs of it; there are ensemble, train-a, train-b, train-c"),
        (("2026-11-20", "2026-11-21"), "ensemble", "2026-11-20: no run of then in "),
        (("nonsense", "latest"), None, "nonsense: no such run in "),
    ],
)
def test_names_that_mean_nothing_to_compare(small: RunComparer, names: tuple[str, str], task: str | None, message: str) -> None:
    with pytest.raises(CronsembleError, match=re.escape(message)):
        compare_names(small, "e", *names, task)


def test_a_task_chooses_and_notes_say_what_else_there_is(small: RunComparer) -> None:
    notices: list[str] = []
    with received_by(notices.append):
        comparison = compare_names(small, "e", "2026-11-20", "2026-11-21", "train-b")
        assert [training.after.task for training in comparison.trainings] == ["train-b"] and notices == []
        comparison = compare_names(small, "e", "2026-11-20", "2026-11-21")
    assert notices[-1] == "2026-11-20: no ensemble ran then: the trainings are compared"
    assert comparison.notes[0] == "train-c ran only before"
