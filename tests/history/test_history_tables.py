"""Tables that answer: columns by name, sorted rows, short run ids, an ensemble's members; on terminals of two widths."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import year_store
from commands import run_command, run_on_terminal
from jobs.contract import parse_run_id
from jobs.store import LocalStore
from scheduler.console.run_display import PlainDisplay, describe_end
from scheduler.stores.degraded_run import degraded_reason

NIGHTS = 24
WINDOW = ["--until", "2025-12-13", "--limit", "0"]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and a store of some nights."""
    folder = tmp_path_factory.mktemp("nights")
    year_store.build(folder / "store", NIGHTS)
    year_store.write_config(folder)
    return folder


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


def rows(folder: Path, *arguments: str) -> Any:
    return json.loads(cronsemble(folder, "history", *WINDOW, "--json", *arguments).stdout)


def on_terminal(folder: Path, columns: int, *arguments: str) -> str:
    """What a command writes to a terminal of so many columns, without colours."""
    return run_on_terminal(*arguments, folder=folder, columns=columns, streams=[1], NO_COLOR="1")


def test_columns_are_chosen_by_name_header_or_hyperparameter(nights: Path) -> None:
    chosen = rows(nights, "--columns", "task,validation,epochs,on items")
    whole = rows(nights)
    trainings = [row for row in whole if row["task"] != "ensemble"]
    assert [list(row) for row in chosen] == [["task", "validation_accuracy", "epochs", "items_accuracy"]] * len(whole)
    assert [row["items_accuracy"] for row in chosen] == [row["items_accuracy"] for row in whole]
    assert [row["validation_accuracy"] for row in chosen if row["task"] != "ensemble"] == [row["accuracy"] for row in trainings]
    assert {(row["task"] == "ensemble", row["epochs"]) for row in chosen} == {(True, None), (False, 4), (False, 8), (False, None)}
    table = cronsemble(nights, "history", *WINDOW, "--csv", "--columns", "run,learning_rate").stdout
    assert [row["run"] for row in csv.DictReader(table.splitlines())] == [row["run"] or "" for row in whole]


def test_rows_are_sorted_before_they_are_limited(nights: Path) -> None:
    known = sorted((row["items_accuracy"] for row in rows(nights) if row["items_accuracy"] is not None), reverse=True)
    best = rows(nights, "--sort", "-items_accuracy", "--limit", "5")
    assert [row["items_accuracy"] for row in best] == known[:5]
    worst = rows(nights, "--sort", "items_accuracy")
    assert [row["items_accuracy"] for row in worst] == known[::-1] + [None] * (len(worst) - len(known))


@pytest.mark.parametrize("option", ["--columns", "--sort"])
def test_a_column_that_there_is_not_is_named_with_those_there_are(nights: Path, option: str) -> None:
    done = cronsemble(nights, "history", *WINDOW, option, "epoch")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"{option} epoch: there is no such column: type some of slot, local, task" in done.stderr
    assert done.stderr.endswith("these runs have the hyperparameters epochs, learning_rate\n")


def test_a_member_is_measured_as_its_ensemble_measured_it(nights: Path) -> None:
    whole = rows(nights)
    ensembles = [row for row in whole if row["task"] == "ensemble" and row["status"] == "succeeded"]
    first: dict[str, float] = {}
    for ensemble in reversed(ensembles):
        for member in json.loads(cronsemble(nights, "show", ensemble["run"], "--json").stdout)["members"]:
            if member["items_accuracy"] is not None:
                first.setdefault(member["run"], member["items_accuracy"])
        if len(first) > 12:
            break
    assert {row["run"]: row["items_accuracy"] for row in whole if row["run"] in first} == first


def test_short_ids_find_their_runs(nights: Path) -> None:
    table = cronsemble(nights, "history", *WINDOW, "--limit", "4").stdout
    short = [line.split() for line in table.splitlines()[1:]]
    runs = {row["run"] for row in rows(nights)}
    for words in short:
        (own,) = [word for word in words if word.rpartition("-")[2].isdigit() and len(word.rpartition("-")[2]) == 8]
        (found,) = [run for run in runs if run is not None and own in run]
        assert cronsemble(nights, "show", own).stdout.count(f"{found}\n") >= 1


def test_a_degraded_ensemble_is_never_plainly_succeeded(nights: Path) -> None:
    degraded = rows(nights, "--status", "degraded")
    assert degraded and {row["status"] for row in degraded} == {"succeeded"} and all(row["degraded"] for row in degraded)
    for width in (80, 140):
        text = on_terminal(nights, width, "history", *WINDOW, "--task", "ensemble", "--status", "degraded")
        assert text.count("succeeded, degraded") == len([row for row in degraded if row["task"] == "ensemble"])
        assert all(len(line) <= width for line in text.splitlines())
        words = " ".join(text.split())
        assert "b took the model of 2025-11-23 01:00, not of 2025-11-24 01:00, which failed: ran out of memory" in words
        assert ("on items" in words or "on change" in words) and "+0." in words


def test_show_lists_the_members_of_an_ensemble(nights: Path) -> None:
    run = next(row for row in rows(nights, "--task", "ensemble") if row["slot"] == "2025-11-24T06:00Z")
    members = {each["member"]: each for each in json.loads(cronsemble(nights, "show", run["run"], "--json").stdout)["members"]}
    assert (members["a"]["age"], members["b"]["age"]) == (5 * 3600, 29 * 3600)
    assert sum(each["weight"] for each in members.values()) == pytest.approx(1)
    lines = cronsemble(nights, "show", run["run"]).stdout.splitlines()
    header = next(n for n, line in enumerate(lines) if line.startswith("member "))
    shown = [line.split() for line in lines[header + 1 : header + 5]]
    assert [words[0] for words in shown] == ["a", "b", "c", "d"]
    assert {words[0]: words[2:7] for words in shown}["b"] == ["2025-11-23", "01:00", "1d", "5h", f"{members['b']['weight']:.3f}"]
    numbers = (f"{members['b']['contribution']['accuracy']:+.4f}", f"{members['b']['items_accuracy']:.4f}")
    assert all(number in lines[header + 2] for number in numbers)


def test_what_has_just_ended_is_told_as_the_history_tells_it(nights: Path) -> None:
    store = LocalStore(nights / "store")
    row = next(row for row in rows(nights, "--task", "ensemble") if row["slot"] == "2025-11-24T06:00Z")
    run_id = parse_run_id(row["run"], "e", "ensemble")
    assert run_id is not None
    run = store.read(run_id)
    reason = degraded_reason(store, "UTC", run)
    assert (run.degraded, reason) == ("", row["degraded"])
    assert describe_end(run, reason) == f"succeeded, degraded, accuracy {row['accuracy']:.4f}: {reason}"
    display = PlainDisplay(out := io.StringIO())
    display.degraded = lambda ended: degraded_reason(store, "UTC", ended)
    display.done("ensemble", run)
    assert out.getvalue() == f"ensemble: {describe_end(run, reason)}\n"
