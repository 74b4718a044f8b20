"""`cronsemble next` and the warnings of `check`."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands import run_command
from jobs.contract import RECORD, RESULT, RunId
from jobs.store import LocalStore
from scheduler.commands.next import print_expression
from scheduler.config import load
from scheduler.errors import CronsembleError
from scheduler.history import upcoming

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


def write(folder: Path, member: str, ensemble: str = "", top: str = "") -> Path:
    file = folder / "config.yaml"
    file.write_text(
        f"experiment: e\n{top}\nbackends: {{jax: {{{member}}}}}\n" + (f"ensemble: {{{ensemble}}}\n" if ensemble else "")
    )
    return file


def warned(folder: Path, member: str, ensemble: str = "", took: float | None = None) -> list[str]:
    experiment = load(write(folder, member, ensemble))
    return upcoming.warnings(experiment, NOW, {} if took is None else {"train-jax": took})


def test_an_expression_as_json(tmp_path: Path) -> None:
    done = cronsemble(
        tmp_path, "next", "0 9 * * 6", "--timezone", "America/Santiago", "--from", "2025-09-01", "--count", "3", "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (warning,) = told.pop("warnings")
    assert "Sunday 2025-09-07 09:00" in warning
    assert told == {
        "expression": "0 9 * * 6",
        "timezone": "America/Santiago",
        "fires": ["2025-09-06T13:00:00Z", "2025-09-07T12:00:00Z", "2025-09-13T12:00:00Z"],
    }


def test_the_bounds_of_an_interval(tmp_path: Path) -> None:
    def fires(*bounds: str) -> list[str]:
        return json.loads(cronsemble(tmp_path, "next", "0 */12 * * *", *bounds, "--json").stdout)["fires"]  # type: ignore[no-any-return]

    assert fires("--from", "2026-01-01", "--until", "2026-01-01") == ["2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z"]
    assert fires("--from", "2026-01-01T00:00", "--until", "2026-01-01T12:00Z") == ["2026-01-01T12:00:00Z"]
    assert fires("--from", "2026-01-01T13:00+01:00", "--count", "1") == ["2026-01-02T00:00:00Z"]


def test_an_expression_of_crontab_and_what_to_type(tmp_path: Path) -> None:
    expression = ["0 9 * * 7 /usr/bin/job", "--timezone", "Europe/Berlin", "--from", "2026-11-27", "--count", "2"]
    done = cronsemble(tmp_path, "next", "--dialect", "crontab", *expression)
    assert done.returncode == 0, done.stderr
    note, _, first, second, advice = done.stdout.splitlines()
    assert note == 'note: "0 9 * * 7" is the schedule; from the sixth word on it is the command: /usr/bin/job'
    assert [line.split()[-1] for line in (first, second)] == ["2026-11-29T08:00:00Z", "2026-12-06T08:00:00Z"]
    assert advice == 'type "0 9 * * 0": crontab and Kubernetes have the same 261 fire times over 5 years in Europe/Berlin'


def test_an_expression_of_airflow_that_cannot_be_typed(tmp_path: Path) -> None:
    arguments = ["next", "--dialect", "airflow", "0 0 L * *", "--from", "2026-11-27", "--count", "1"]
    done = cronsemble(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2:4] == [
        'nearest "0 0 28-31 * *": 206 fire times over 5 years in UTC, 146 more than airflow\'s 60',
        "Kubernetes has no word for L, a month's last day",
    ]
    assert lines[5].split() == ["Sat", "2026-11-28", "-", "00:00", "+00:00"] and lines[15] == "  and 136 more dates"
    assert lines[-3] == "  if not ((slot + timedelta(days=1)).day == 1):"
    done = cronsemble(tmp_path, *arguments, "--json")
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert (told["fires"], told["verdict"], told["type"]) == (["2026-11-30T00:00:00Z"], "nearest", "0 0 28-31 * *")
    assert told["compared"] == {
        "from": "2026-11-26T23:59:59Z",
        "until": "2031-11-27T23:59:59Z",
        "whole": True,
        "there": 60,
        "here": 206,
        "only_there": 0,
        "only_here": 146,
    }
    assert told["differing_dates"] == 146
    assert told["differences"][0] == {"date": "2026-11-28", "there": [], "here": ["2026-11-28T00:00:00Z"]}
    assert told["guard"]["condition"] == "(slot + timedelta(days=1)).day == 1"


def test_every_task_of_a_configuration(tmp_path: Path) -> None:
    write(tmp_path, 'schedule: "0 1 * * *"', 'schedule: "0 6 * * *", suspend: true', "timezone: Europe/Berlin")
    done = cronsemble(tmp_path, "next", "--from", "2026-03-28", "--count", "2")
    assert [" ".join(line.split()[-7:]) for line in done.stdout.splitlines()[1:3]] == [
        "train-jax Sat 2026-03-28 01:00 +01:00 Europe/Berlin 2026-03-28T00:00:00Z",
        "train-jax Sun 2026-03-29 01:00 +01:00 Europe/Berlin 2026-03-29T00:00:00Z",
    ]
    assert "e: ensemble: is suspended" in done.stdout
    told = json.loads(cronsemble(tmp_path, "next", "--from", "2026-03-29", "--count", "1", "--json").stdout)
    assert told["fires"][0] == {
        "experiment": "e",
        "task": "train-jax",
        "schedule": "0 1 * * *",
        "timezone": "Europe/Berlin",
        "local": "2026-03-29T01:00:00+01:00",
        "fire": "2026-03-29T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["next", "0 9 * * 7"], 1, "'0 9 * * 7': day of week: 7 is outside 0-6: type 0 for Sunday"),
        (["next", "0 9 * * 7"], 1, '"0 9 * * 0" has crontab\'s fire times over 5 years in UTC (Kubernetes would say: '),
        (["next", "--dialect", "crontab", "@reboot"], 1, "'@reboot': @reboot has no time"),
        (["next", "--dialect", "airflow", "H 9 * * *"], 1, "H: Airflow gives it no id to hash"),
        (["next", "--dialect", "airflow", "0 9 * * 7", "--timezone", "Europe/Berln"], 1, "did you mean Europe/Berlin?"),
        (["next", "--dialect", "airflow", "0 9 * * 7", "--from", "1912-01-01"], 1, "from 1970 to 2090"),
        (["next", "--dialect", "airflow"], 64, "only with an expression"),
        (["next", "--dialect", "quartz", "0 9 * * 7"], 64, "--dialect"),
        (["next", "0 9 * * 6", "--timezone", "Europe/Berln"], 1, "is not a time zone: did you mean Europe/Berlin?"),
        (["next", "0 9 * * 6", "--from", "monday"], 1, "--from monday: no date or time: type a date (2026-11-20, today"),
        (["next", "0 9 * * 6", "--from", "2026-02-30"], 1, "--from 2026-02-30: there is no such date or time"),
        (["next", "--timezone", "UTC"], 64, "only with an expression"),
        (["next", "0 9 * * 6", "--count", "0"], 64, "--count"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = cronsemble(tmp_path, *arguments)
    assert done.returncode == code
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "0004-06-01T00:00Z", "9999-12-31T23:59-12:00"])
def test_far_dates_are_refused(text: str) -> None:
    with pytest.raises(CronsembleError, match="--from"):
        print_expression("0 9 * * 6", "America/Santiago", 1, text, None, False)


def test_a_date_before_1970_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    print_expression("0 9 * * 6", "UTC", 1, "1912-06-01", None, True)
    assert json.loads(capsys.readouterr().out)["fires"] == ["1912-06-01T09:00:00Z"]


def test_check_warns_and_succeeds(tmp_path: Path) -> None:
    write(tmp_path, 'schedule: "30 2 31 2 *"')
    done = cronsemble(tmp_path, "check")
    assert done.returncode == 0
    assert done.stdout == "config.yaml: e: 1 member, no ensemble: no errors\n"
    assert done.stderr.startswith("config.yaml: warning: train-jax: '30 2 31 2 *': never fires")


def test_an_interval_that_a_cluster_never_fires(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, "schedule: '@every 1h'")
    assert warning.startswith("train-jax: '@every 1h': a cluster never fires it: starting_deadline must be longer")
    assert warned(tmp_path, "schedule: '@every 1h', starting_deadline: 2h") == []


def test_what_the_ensemble_finds(tmp_path: Path) -> None:
    nightly, morning = 'schedule: "0 1 * * *"', 'schedule: "0 6 * * *"'
    assert warned(tmp_path, nightly, morning) == []
    assert warned(tmp_path, nightly, morning, took=4 * 3600) == []
    assert warned(tmp_path, nightly, morning, took=5.5 * 3600) == [
        "ensemble: at 2026-11-25 06:00 it fires before train-jax of 2026-11-25 01:00 has finished (5h 30m lately): "
        "an older model is taken; let it fire after 2026-11-25 06:30"
    ]
    (line,) = warned(tmp_path, nightly, 'schedule: "30 1 * * *"')
    assert "fires 30m after train-jax, which may start as late as 1h after its time" in line
    (line,) = warned(tmp_path, nightly, nightly)
    assert "fires with train-jax" in line
    (line,) = warned(tmp_path, nightly, 'schedule: "30 0 * * *"')
    assert "fires 30m before train-jax: its model will be 23h 30m old" in line
    (line,) = warned(tmp_path, 'schedule: "0 1 * * 1"', 'schedule: "0 6 * * *", max_age: 36h')
    assert line == (
        "ensemble: at 2026-11-25 06:00 it finds no model of train-jax from within max_age (1d 12h): "
        "the last is of 2026-11-23 01:00"
    )
    assert warned(tmp_path, 'schedule: "*/10 * * * *"', 'schedule: "5 * * * *"') == []


def test_what_an_ensemble_that_waits_finds(tmp_path: Path) -> None:
    nightly, morning = 'schedule: "0 1 * * *"', 'schedule: "0 6 * * *"'
    assert warned(tmp_path, nightly, f"{morning}, wait: 31m", took=5.5 * 3600) == []
    assert warned(tmp_path, nightly, f"{morning}, wait: 20m", took=5.5 * 3600) == [
        "ensemble: at 2026-11-25 06:00 it waits 20m, and goes on before train-jax of 2026-11-25 01:00 has finished "
        "(5h 30m lately): an older model is taken; let it wait 30m, or fire after 2026-11-25 06:30"
    ]
    # Whoever waits until the last start waits for what starts then.
    assert warned(tmp_path, nightly, f"{nightly}, wait: 2h") == []
    (line,) = warned(tmp_path, nightly, 'schedule: "30 1 * * *", wait: 20m')
    assert line.endswith("which may start as late as 1h after its time, and waits 20m: let it wait longer, or fire later")
    # A slot after its own is another night's.
    (line,) = warned(tmp_path, nightly, 'schedule: "30 0 * * *", wait: 2h')
    assert "fires 30m before train-jax" in line
    (line,) = warned(tmp_path, 'schedule: "* * * * *"', 'schedule: "0 * * * *", wait: 2h')
    assert line == (
        "ensemble: from 2026-11-24 13:00 it may wait 2h for its members, and fires again after 1h: "
        "that slot is skipped if it still waits (concurrency: forbid)"
    )


def test_what_the_ensemble_finds_of_several_members_is_one_line(tmp_path: Path) -> None:
    text = """
experiment: e
store: ./store
backends:
  a: {backend: jax, schedule: "0 1 * * *"}
  b: {backend: jax, schedule: "0 1 * * *"}
  c: {backend: jax, schedule: "50 0 * * *"}
ensemble: {schedule: "0 1 * * *"}
"""
    (tmp_path / "config.yaml").write_text(text)
    experiment = load(tmp_path / "config.yaml")
    assert upcoming.warnings(experiment, NOW, {}) == [
        "ensemble: at 2026-11-25 01:00 it fires with train-a, train-b, 10m after train-c, "
        "which may start as late as 1h after their times: let it fire later"
    ]
    took = {"train-a": 1200.0, "train-b": 1800.0, "train-c": 900.0}
    (tmp_path / "config.yaml").write_text(text.replace('ensemble: {schedule: "0 1', 'ensemble: {schedule: "2 1'))
    experiment = load(tmp_path / "config.yaml")
    assert upcoming.warnings(experiment, NOW, took) == [
        "ensemble: at 2026-11-25 01:02 it fires before train-a of 2026-11-25 01:00, train-b of 2026-11-25 01:00, "
        "train-c of 2026-11-25 00:50 have finished (20m, 30m, 15m lately): older models are taken; "
        "let it fire after 2026-11-25 01:30"
    ]
    (tmp_path / "config.yaml").write_text(text.replace('ensemble: {schedule: "0 1', 'ensemble: {schedule: "40 0'))
    experiment = load(tmp_path / "config.yaml")
    assert upcoming.warnings(experiment, NOW, {}) == [
        "ensemble: at 2026-11-25 00:40 it fires 20m before train-a, train-b, 10m before train-c: "
        "their models will be 23h 40m, 23h 50m old; let it fire later"
    ]


@pytest.mark.parametrize("took", [None, 5.0, 150.0])
@pytest.mark.parametrize("schedule", ["* * * * *", "*/2 * * * *", "*/5 * * * *"])
def test_a_member_that_fires_often_is_neither_missing_nor_waited_for(tmp_path: Path, schedule: str, took: float | None) -> None:
    assert warned(tmp_path, f'schedule: "{schedule}"', 'schedule: "0 6 * * *", max_age: 36h', took=took) == []
    # Its model is a few minutes old, weeks ahead too.
    assert warned(tmp_path, f'schedule: "{schedule}"', 'schedule: "30 6 1 * *", max_age: 10m', took=0) == []


def test_a_member_that_has_not_fired_for_years_is_missing(tmp_path: Path) -> None:
    (line,) = warned(tmp_path, 'schedule: "0 1 29 2 *"', 'schedule: "0 6 * * *", max_age: 36h')
    assert line.endswith("it finds no model of train-jax from within max_age (1d 12h): the last is of 2024-02-29 01:00")


def test_past_runs_and_slots_are_read_from_the_store(tmp_path: Path) -> None:
    write(tmp_path, 'schedule: "0 1 * * *"', 'schedule: "0 6 * * *"')
    store = LocalStore(tmp_path / "store")
    began = NOW - timedelta(hours=40)
    for task, took in (("train-jax", 20), ("ensemble", 1)):
        run = RunId(int(began.timestamp()) // 60, 1, "e", task)
        (store.run_folder(run) / RESULT).mkdir(parents=True)
        record = {"kind": "scheduled", "started": began.isoformat(), "finished": (began + timedelta(hours=took)).isoformat()}
        (store.run_folder(run) / RESULT / RECORD).write_text(json.dumps(record))
    done = cronsemble(tmp_path, "check")
    assert "has finished (20h lately)" in done.stderr
    write(tmp_path, 'schedule: "0 1 * * *"', 'schedule: "@every 7h"')
    told = json.loads(cronsemble(tmp_path, "next", "--from", "2026-11-24T12:00Z", "-n", "1", "--json").stdout)
    assert [each["fire"] for each in told["fires"] if each["task"] == "ensemble"] == ["2026-11-24T14:00:00Z"]
