"""Which runs a typed date, time or period means: in the experiment's zone, where none is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.store.files import to_json
from scheduler.errors import CronsembleError
from scheduler.rerun.selection import originals
from stores import Builder


def build(root: Path, timezones: dict[str, str]) -> Builder:
    """A store with a successful ensemble run for each slot, made with a configuration in that zone."""
    builder = Builder(root)
    for slot, timezone in timezones.items():
        task = builder.store.put_snapshot("task", to_json({"timezone": timezone})) if timezone else "0" * 64
        builder.run("ensemble", slot, snapshot={"program": "", "code": "", "task": task})
    return builder


def slots(builder: Builder, what: str) -> list[str]:
    return [f"{run.id.slot:%Y-%m-%dT%H:%M}" for run in originals(builder.store, "e", what, None)]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("2026-11-20T06:00Z", ["2026-11-20T06:00"]),
        ("2026-11-20T0600Z", ["2026-11-20T06:00"]),
        ("2026-11-20T19:00+13:00", ["2026-11-20T06:00"]),
        # Also of the run that was made when the zone was another: the history prints all by the clocks of one.
        ("2026-11-19T17:30", ["2026-11-19T16:30"]),
        ("2026-11-20T07:00", ["2026-11-20T06:00"]),
        ("2026-11-20", ["2026-11-20T06:00"]),
        ("2026-11-19T17:00..2026-11-20T08:00", ["2026-11-19T16:30", "2026-11-20T06:00"]),
        ("2026-11-19..2026-11-23", ["2026-11-19T16:30", "2026-11-20T06:00", "2026-11-22T23:59"]),
    ],
)
def test_what_has_no_zone_is_in_that_of_the_newest_run_which_says_one(tmp_path: Path, what: str, expected: list[str]) -> None:
    zones = {"2026-11-19T16:30": "Pacific/Auckland", "2026-11-20T06:00": "Europe/Berlin", "2026-11-22T23:59": ""}
    assert slots(build(tmp_path, zones), what) == expected


def test_what_has_no_zone_is_in_that_of_the_configuration(tmp_path: Path) -> None:
    builder = build(tmp_path, {"2026-11-19T16:30": "Europe/Berlin"})
    (run,) = originals(builder.store, "e", "2026-11-20T05:30", None, "Pacific/Auckland")
    assert f"{run.id.slot:%H:%M}" == "16:30"


def test_a_time_that_clocks_show_twice_means_both(tmp_path: Path) -> None:
    times = ["2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:30", "2026-10-25T02:30"]
    zones = dict.fromkeys(times, "Europe/Berlin")
    assert slots(build(tmp_path, zones), "2026-10-25T02:30") == ["2026-10-25T00:30", "2026-10-25T01:30"]


def test_a_time_that_clocks_never_show_is_no_time_without_runs(tmp_path: Path) -> None:
    builder = build(tmp_path, {"2026-11-20T06:00": "Europe/Berlin"})
    with pytest.raises(CronsembleError, match="clocks in Europe/Berlin are set forward over this time: type 2026-03-29T01:30"):
        slots(builder, "2026-03-29T02:30")


@pytest.mark.parametrize("what", ["2026-13-01", "2026-11-20T25:00", "2026-11-22..2026-11-20", "2026-11-21"])
def test_what_means_no_run_is_an_error(tmp_path: Path, what: str) -> None:
    builder = build(tmp_path, {"2026-11-20T06:00": "UTC"})
    with pytest.raises(CronsembleError, match=what.replace(".", r"\.")):
        slots(builder, what)
