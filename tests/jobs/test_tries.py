"""Which try of how many: counted from the marks that tries leave, and told where a run is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import publish_bytes, to_json, write_file
from jobs.store.tries import describe_try, failed_tries, max_tries, recorded_retries
from scheduler.console.run_display import describe_end
from scheduler.history.run_facts import run_fact
from scheduler.history.slot_report import tries, try_line
from scheduler.observe.stored_logs import print_logs
from scheduler.stores.location import locate
from scheduler.stores.workspace import open_workspace

RUN = RunId(29_924_640, 1, "e", "train-a")
LOCAL = {"runtime": {"python": "p"}}
FAILED, INTERRUPTED, PERMANENT = {"status": "failed"}, {"status": "interrupted"}, {"status": "failed", "code": 3}


@pytest.mark.parametrize(
    ("starts_and_ends", "number", "most"),
    [
        ([(LOCAL, FAILED), (LOCAL, None)], 2, 3),
        ([(LOCAL, FAILED), (LOCAL, FAILED), (LOCAL, FAILED)], 3, 3),
        # What did not fail by itself uses up no retry: it is a try more.
        ([(LOCAL, INTERRUPTED), (LOCAL, None), (LOCAL, FAILED), (LOCAL, None)], 4, 5),
        # A pod without an end was killed, and Kubernetes counts that.
        ([({}, None), ({}, FAILED), ({}, None)], 3, 3),
    ],
)
def test_a_try_counts_as_its_engine_counts_it(
    starts_and_ends: list[tuple[dict[str, Any], dict[str, Any] | None]], number: int, most: int
) -> None:
    counted = [{"name": "", "start": {**start, "retries": 2}, "end": end} for start, end in starts_and_ends]
    assert (len(counted), max_tries(counted, recorded_retries(one_try["start"] for one_try in counted))) == (number, most)


def test_of_earlier_versions_only_the_number_is_known() -> None:
    assert recorded_retries([{}, {"retries": None}]) is None
    assert max_tries([], None) is None
    assert (describe_try(2, None), describe_try(2, 3), describe_try(4, 3)) == ("2", "2 of 3", "4 of 4")


def fail(store: LocalStore, name: str, reason: str, **end: Any) -> None:
    """A try that failed, and printed its name."""
    mark = {"time": f"2026-11-23T06:00:0{name}Z", "retries": 2, "kind": "manual", **LOCAL}
    store.begin_try(RUN, name, mark)
    folder = store.try_folder(RUN, name)
    write_file(folder / c.LOG, f"output of {name}\n".encode())
    publish_bytes(folder / c.END, to_json({**FAILED, "reason": reason, "time": "2026-11-23T06:01:00Z", **end}))


def test_a_run_says_at_which_try_it_ended(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    store = LocalStore(tmp_path)
    fail(store, "1", "the disk is full")
    fail(store, "2", "the disk is full")
    assert describe_end(store.read(RUN)) == "failed after 2 tries: the disk is full"
    assert (run_fact(store.read(RUN)).try_number, run_fact(store.read(RUN)).max_tries) == (2, 3)
    fail(store, "3", "")
    folder = store.try_folder(RUN, "3")
    (folder / c.END).unlink()
    record = {"try": "3", "try_number": 3, "max_tries": 3, "retries": 2, "accuracy": 0.5, "started": "2026-11-23T06:00:03Z"}
    write_file(folder / c.RECORD, to_json(record))
    assert store.publish(RUN, "3")
    run = store.read(RUN)
    assert describe_end(run) == "succeeded at try 3 of 3, accuracy 0.5000"
    assert [try_line(one_try).split(" on ")[0] for one_try in tries(run, None)] == ["1 of 3: 1", "2 of 3: 2", "3 of 3: 3"]
    with open_workspace(locate(tmp_path / "none.yaml", tmp_path)) as workspace:
        print_logs(workspace, str(RUN), follow=False)
    assert capsysbinary.readouterr().out.decode().splitlines() == [
        "output of 1",
        "--- try 2 of 3; the one before failed: the disk is full ---",
        "output of 2",
        "--- try 3 of 3; the one before failed: the disk is full ---",
        "output of 3",
    ]


def test_a_failure_that_no_other_try_cures_says_so(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    fail(store, "1", "data: there are no items", **PERMANENT)
    run = store.read(RUN)
    assert failed_tries(run.tries) == 1
    final = "; not tried again, for another try would fail in the same way"
    assert describe_end(run) == f"failed: data: there are no items{final}"
