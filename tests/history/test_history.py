"""The history of a store on disk: a week with edits, suspensions, failures and gaps, row by row; and its index."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from commands import CLI, run_command
from jobs.contract import RunId
from jobs.store.files import publish_bytes, to_json
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.stores.history_reader import HistoryReader
from store_changes import CHANGES, Change, changed_store, write_with_old_times
from stores import Builder, at, minute

NOW = at("2024-11-24T12:00").timestamp()
CONFIG = "experiment: e\ntimezone: Europe/Berlin\nstore: ./store\nbackends: {a: {backend: tensorflow}}\nensemble: {}\n"


def week(root: Path) -> Builder:
    """What happened to an experiment from the 16th to the 24th of November."""
    builder = Builder(root)
    builder.revise("2024-11-16T12:00", {"train-a": {"schedule": "0 1 * * *", "timezone": "Europe/Berlin"}})
    builder.run("train-a", "2024-11-17T00:00")
    builder.run("train-a", "2024-11-18T00:00", "failed", reason="killed by SIGKILL", late=2580)
    builder.run("train-a", "2024-11-18T00:00", attempt=2, kind="backfill", late=90000)
    builder.revise("2024-11-18T10:00", {"train-a": {"schedule": "0 8 * * *"}})
    builder.run("train-a", "2024-11-18T08:00", late=2 * 3600 + 60)
    builder.run("train-a", "2024-11-19T08:00", lasts=30 * 3600)
    builder.revise("2024-11-20T12:00", {"train-a": {"schedule": "0 8 * * *", "suspend": True}})
    builder.run("train-a", "2024-11-21T09:11", kind="manual")
    builder.revise("2024-11-21T12:00", {"train-a": {"schedule": "0 8 * * *"}})
    builder.note("2024-11-22T05:00", "stopped")
    builder.note("2024-11-22T20:00", "started")
    builder.note("2024-11-23T08:00", "skipped", task="train-a", minute=minute("2024-11-23T08:00"), reason="no room")
    builder.run("train-a", "2024-11-24T08:00", "running")
    return builder


def summaries(rows: list[Row]) -> list[tuple[str, str, str, str]]:
    return [(row.slot, row.status, row.why, row.evidence) for row in rows]


WEEK = [
    ("2024-11-25T08:00Z", "not yet due", "", "recorded"),
    ("2024-11-24T08:00Z", "running", "", "recorded"),
    ("2024-11-23T08:00Z", "skipped", "", "recorded"),
    ("2024-11-22T08:00Z", "missed", "", "recorded"),
    ("2024-11-21T09:11Z", "succeeded", "manual", "recorded"),
    ("2024-11-21T08:00Z", "suspended", "", "recorded"),
    ("2024-11-20T08:00Z", "skipped", "", "inferred"),
    ("2024-11-19T08:00Z", "succeeded", "", "recorded"),
    ("2024-11-18T08:00Z", "succeeded", "late, after an edit", "recorded"),
    ("2024-11-18T00:00Z", "succeeded", "backfill", "recorded"),
    ("2024-11-18T00:00Z", "failed", "43m late", "recorded"),
    ("2024-11-17T00:00Z", "succeeded", "", "recorded"),
]


def history(builder: Builder, now: float = NOW) -> HistoryReader:
    return HistoryReader(builder.store, builder.experiment, "Europe/Berlin", now)


def test_a_slot_behind_a_run_that_goes_on_is_due_until_it_can_begin_no_more(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    hourly = {"schedule": "0 */3 * * *", "starting_deadline": 3600}
    builder.revise("2026-11-20T00:30", {"train-a": hourly}, engine="cluster:ns")
    builder.run("train-a", "2026-11-20T03:00", lasts=4.5 * 3600)

    def status(time: str) -> tuple[str, str]:
        (row,) = [row for row in history(builder, at(time).timestamp()).rows(HistoryQuery()) if row.slot == "2026-11-20T06:00Z"]
        return row.status, row.reason

    waits, lost = status("2026-11-20T06:30"), status("2026-11-20T07:10")
    assert waits[0] == "due" and "was still running (concurrency: forbid); it may start until" in waits[1]
    assert lost[0] == "skipped" and lost[1].endswith("was still running (concurrency: forbid)")


def test_a_week_row_by_row(tmp_path: Path) -> None:
    builder = week(tmp_path)
    assert summaries(history(builder).rows(HistoryQuery())) == WEEK
    # With the index, the same.
    assert summaries(history(builder).rows(HistoryQuery())) == WEEK
    assert list((tmp_path / ".index" / "e" / "train-a").iterdir())
    assert [row.slot for row in history(builder).rows(HistoryQuery(limit=3))] == [slot for slot, *_ in WEEK[:3]]
    low, high = minute("2024-11-18T00:00"), minute("2024-11-19T07:59")
    assert summaries(history(builder).rows(HistoryQuery(low, high))) == WEEK[8:11]
    assert summaries(history(builder).rows(HistoryQuery(statuses=["skipped"]))) == [WEEK[2], WEEK[6]]
    assert history(builder).rows(HistoryQuery(tasks=["ensemble"])) == []
    future = history(builder).rows(HistoryQuery(minute("2024-11-25T00:00"), minute("2024-11-27T00:00")))
    assert [row.status for row in future] == ["not yet due"] * 2


def test_an_index_sees_what_is_new(tmp_path: Path) -> None:
    builder = week(tmp_path)
    before = history(builder).rows(HistoryQuery())
    run = RunId(minute("2024-11-24T08:00"), 1, "e", "train-a")
    # The run fails, and a second try succeeds; another run comes; one goes.
    publish_bytes(builder.store.try_folder(run, "a") / "end.json", to_json({"time": "2024-11-24T08:10:00Z", "status": "failed"}))
    assert [row.status for row in history(builder).rows(HistoryQuery(limit=2))] == ["not yet due", "failed"]
    builder.store.begin_try(run, "b", {"time": "2024-11-24T08:11:00Z", "process": {"host": "elsewhere"}})
    assert [row.status for row in history(builder).rows(HistoryQuery(limit=2))] == ["not yet due", "running"]
    (builder.store.try_folder(run, "b") / "record.json").write_bytes(to_json({"try": "b", "accuracy": 0.5}))
    assert builder.store.publish(run, "b")
    assert history(builder).rows(HistoryQuery(limit=2))[1].accuracy == 0.5
    builder.run("train-a", "2024-11-24T09:30", kind="manual")
    shutil.rmtree(builder.store.run_folder(RunId(minute("2024-11-17T00:00"), 1, "e", "train-a")))
    after = history(builder).rows(HistoryQuery())
    assert len(after) == len(before) + 1  # the slot of the 17th is missed
    assert after[-1].status == "missed"


opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


def test_an_old_month_is_read_again_only_where_a_file_was_changed(tmp_path: Path) -> None:
    builder = week(tmp_path)
    folder = builder.store.task_folder("e", "train-a") / "2024-11"
    old = NOW - 40 * 86400
    os.utime(folder, (old, old))
    assert summaries(history(builder).rows(HistoryQuery())) == WEEK
    record = builder.store.run_folder(RunId(minute("2024-11-17T00:00"), 1, "e", "train-a")) / "result" / "record.json"
    text = record.read_text()
    write_with_old_times(record, text.replace("0.9", "0.1").encode())
    opened.clear()
    assert history(builder).rows(HistoryQuery())[-1].accuracy == 0.1
    running = folder / str(RunId(minute("2024-11-24T08:00"), 1, "e", "train-a")) / "result" / "record.json"
    assert {path for path in opened if path.endswith("record.json")} == {str(record), str(running)}
    (tmp_path / ".index" / "e" / "train-a" / "2024-11").write_bytes(b"damaged")
    assert history(builder).rows(HistoryQuery())[-1].accuracy == 0.1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_index_shows_nothing_that_is_no_longer_there(tmp_path: Path, change: Change) -> None:
    builder = changed_store(tmp_path / "store")
    reader = HistoryReader(builder.store, "e", "UTC", NOW)
    before = reader.rows(HistoryQuery())
    change(builder.store)
    after = HistoryReader(builder.store, "e", "UTC", NOW).rows(HistoryQuery())
    shutil.rmtree(builder.store.root / ".index")
    assert after == HistoryReader(builder.store, "e", "UTC", NOW).rows(HistoryQuery()) != before


def test_a_store_that_takes_no_index_has_it_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = week(tmp_path / "store")
    monkeypatch.setenv("CRONSEMBLE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "store" / ".index").write_text("no folder")
    assert summaries(history(builder).rows(HistoryQuery())) == WEEK
    assert list((tmp_path / "cache").rglob("2024-11"))
    assert summaries(history(builder).rows(HistoryQuery())) == WEEK


def cronsemble(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder, env={**os.environ, **env})


def output(folder: Path, *arguments: str) -> str:
    done = cronsemble(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    week(tmp_path / "store")
    return tmp_path


def test_a_row_names_what_has_changed_since_its_data_was_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    note = "d.npz has changed since the data was read at 18:44 today by e-train-a-1"
    training = Builder(tmp_path / "store").run("train-a", "2024-11-20T01:00", degraded="late", data={"note": note})
    (row,) = json.loads(cronsemble(tmp_path, "history", "--json").stdout)
    assert (row["run"], row["degraded"], row["reason"]) == (str(training), "late", note)
    assert {"degraded        late", f"reason          {note}"} <= set(
        cronsemble(tmp_path, "show", str(training)).stdout.splitlines()
    )


def test_a_degraded_run_says_so(tmp_path: Path) -> None:
    """In words, in the row and in what is shown of the run and of the ensemble that took its model."""
    builder = Builder(tmp_path / "store")
    text = "the model predicts NaN or infinity after epoch 3 of 9: the weights of epoch 2, the best before it, are kept"
    training = builder.run("train-a", "2024-11-20T01:00", degraded=text)
    ensemble = builder.run(
        "ensemble", "2024-11-20T06:00", members=[{"member": "a", "run": str(training), "accuracy": 0.9, "degraded": text}]
    )
    (tmp_path / "config.yaml").write_text(CONFIG)
    rows = json.loads(cronsemble(tmp_path, "history", "--since", "2024-11-20", "--until", "2024-11-21", "--json").stdout)
    assert {row["run"]: row["degraded"] for row in rows} == {
        str(training): text,
        str(ensemble): f"the model of a is degraded: {text}",
    }
    assert {row["status"] for row in rows} == {"succeeded"}
    assert f"degraded        {text}\n" in cronsemble(tmp_path, "show", str(training)).stdout
    shown = cronsemble(tmp_path, "show", str(ensemble)).stdout
    assert "status          succeeded, degraded\n" in shown and f" degraded: {text}\n" in shown


def test_table_json_and_csv_show_the_same_rows(folder: Path) -> None:
    window = ["history", "--until", "2024-11-24T08:59", "--limit", "0"]
    rows: list[dict[str, Any]] = json.loads(output(folder, *window, "--json"))
    assert [(row["slot"], row["status"], row["why"], row["evidence"]) for row in rows] == WEEK[2:]
    table = list(csv.DictReader(io.StringIO(output(folder, *window, "--csv"))))
    assert table == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    lines = output(folder, *window).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[1].split()[:4] == ["2024-11-23", "09:00", "train-a", "skipped"]


def test_a_wrong_option_is_an_error_of_one_line(folder: Path) -> None:
    for arguments, text in [
        (["--since", "monday"], "--since monday: no date or time: type a date"),
        (["--status", "gone"], "--status gone: not a status: type one of succeeded, failed"),
        (["--task", "train-b"], "--task train-b: no such task in the history: it has train-a"),
        (["--since", "2024-11-20", "--until", "2024-11-19"], "the end is before the beginning"),
        (["2024-10-01"], "2024-10-01: no slot and no run then"),
        (["nonsense"], "nonsense: no such run in"),
    ]:
        done = cronsemble(folder, "history", *arguments)
        assert done.returncode == 1 and text in done.stderr and done.stderr.count("\n") == 1


def test_the_report_of_a_slot(folder: Path) -> None:
    first = minute("2024-11-18T00:00")
    text = output(folder, "history", "2024-11-18T01:00")
    for part in (
        "expected: 0 1 * * * Europe/Berlin, revision 1 of host:here",
        f"attempt 1: e-train-a-{first}: failed: killed by SIGKILL (recorded)",
        "why it ran: 43m late",
        f"attempt 2: e-train-a-{first}-r2: succeeded",
        "why it ran: backfill",
    ):
        assert part in text
    assert output(folder, "history", f"e-train-a-{first}-r2") == text
    (report,) = json.loads(output(folder, "history", "2024-11-23T08:00Z", "--json"))
    assert report["note"]["reason"] == "no room" and report["attempts"] == []


def test_revisions_and_their_differences(folder: Path) -> None:
    text = output(folder, "history", "--revisions")
    assert "2024-11-20 13:00  serve by me@here on host:here, revision 3\n  train-a: suspended\n" in text
    assert "train-a: schedule 0 1 * * * → 0 8 * * *" in text
    assert "train-a: added, 0 1 * * * Europe/Berlin" in text


def test_an_experiment_without_runs_says_what_is_next(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiment: e\nstore: ./store\nbackends: {a: {backend: jax, schedule: '* * * * *'}}\n")
    for arguments in ([], ["--calendar"]):
        assert output(tmp_path, "history", *arguments) == "no runs of e yet; next: cronsemble run\n"
    for arguments in (["--since", "7d"], ["--until", "2020-01-01"], ["--calendar", "--until", "2020-01-01"]):
        assert output(tmp_path, "history", *arguments) == "no slot and no run matches\n"


def test_the_calendar(folder: Path) -> None:
    lines = output(folder, "history", "--calendar", "--since", "2024-11-16", "--until", "2024-11-23").splitlines()
    # Saturday the 16th and Sunday, then a week from Monday on; what is not drawn was not expected.
    assert lines[3] == "train-a   # ##s-ms"
    cells = json.loads(output(folder, "history", "--calendar", "--json", "--since", "2024-11-18", "--until", "2024-11-18"))
    assert cells == [
        {"date": "2024-11-18", "task": "train-a", "status": "succeeded", "slots": 2, "counts": "2 succeeded", "manual": ""}
    ]


def test_which_models_an_ensemble_took(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    builder = Builder(tmp_path / "store")
    taken = builder.run("train-a", "2024-11-18T00:00")
    builder.run("train-a", "2024-11-17T00:00")
    failed = builder.run("train-a", "2024-11-18T01:00", "failed", reason="out of memory")
    manual = builder.run("train-a", "2024-11-18T02:00", kind="manual")
    late = builder.run("train-a", "2024-11-18T03:00", lasts=7200)
    members = [{"member": "a", "run": str(taken), "accuracy": 0.9}, {"member": "b", "left_out": "no published training"}]
    builder.run("ensemble", "2024-11-18T04:00", members=members, ensemble={"members": {"a": {"weight": 1.0}}})
    text = output(tmp_path, "history", "2024-11-18T04:00Z")
    for part in (
        f"a: took {taken}, weight 1.000",
        f"not {late}: published only at 2024-11-18T05:00:05.000Z",
        f"not {manual}: a manual run feeds only its own ensemble",
        f"not {failed}: failed: out of memory",
        "not the 1 before it: older",
        "b: left out: no published training",
    ):
        assert part in text


def test_several_processes_at_once_print_the_same(folder: Path) -> None:
    command = [*CLI, "history", "--until", "2024-11-24T08:59", "--limit", "0", "--json"]
    for _ in range(2):
        processes = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        outputs = [process.communicate()[0] for process in processes]
        assert len(set(outputs)) == 1 and len(json.loads(outputs[0])) == len(WEEK) - 2
    pages = [path for path in (folder / "store" / ".index").rglob("*") if path.is_file()]
    assert [path.name for path in pages] == ["2024-11"]


def test_what_was_observed_counts_unless_the_run_recorded_more(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    observation = {"time": "2024-11-17T01:00:00Z", "by": "sync", "what": "oom", "status": "failed", "reason": "killed for memory"}
    silent = builder.run("train-a", "2024-11-17T00:00", "running")
    outspoken = builder.run("train-a", "2024-11-18T00:00", "failed", reason="exit status 1")
    assert history(builder).rows(HistoryQuery())[1].status == "running"
    for run in (silent, outspoken):
        builder.store.record_observation(run, observation)
    # A pod that could not even begin has no try.
    builder.store.record_observation(RunId(minute("2024-11-19T00:00"), 1, "e", "train-a"), {**observation, "reason": "no image"})
    assert [(row.status, row.reason, row.evidence) for row in history(builder).rows(HistoryQuery())] == [
        ("failed", "no image", "observed"),
        ("failed", "exit status 1", "recorded"),
        ("failed", "killed for memory", "observed"),
    ]


def test_the_row_of_a_rerun_has_its_verdict_once_that_is_written(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    first = builder.run("train-a", "2024-11-17T00:00")
    # A verdict is waited for in the days after the run, not for ever.
    late = time.time() - first.minute * 60 - 100
    again = builder.run("train-a", "2024-11-17T00:00", attempt=2, kind="rerun", repeats=str(first), late=late)
    assert (history(builder).rows(HistoryQuery())[0].why, history(builder).rows(HistoryQuery())[0].reason) == ("rerun", "")
    publish_bytes(builder.store.run_folder(again) / "verdict.json", to_json({"verdict": "identical"}))
    assert history(builder).rows(HistoryQuery())[0].reason == "identical"
    assert history(builder).rows(HistoryQuery())[0].reason == "identical"
