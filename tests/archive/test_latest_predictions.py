"""`latest.csv` and `latest.json` in a real store: the newest accepted slot's, whatever is published, refused or killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.check import find_damage, repair
from jobs.store.files import to_document, write_file
from jobs.store.gc import RemovalKind, RetentionRule, execute_removal, plan_removal
from jobs.store.latest_predictions import LatestFiles, update_latest
from jobs.store.latest_protocol import replacement_steps
from jobs.store.prediction_metadata import prediction_metadata
from jobs.store.result_files import list_result_files

MINUTE = 29_924_640
TIME = "2026-11-25T00:00:00.000Z"


def write_try(
    store: LocalStore, number: int, attempt: int = 1, kind: str = "scheduled", of_earlier: bool = False, **more: object
) -> RunId:
    """What an ensemble's steps leave before the commit; ``of_earlier``: as an earlier version, without metadata."""
    run = RunId(MINUTE + number, attempt, "e", "ensemble")
    folder = store.try_folder(run, "a")
    (folder / c.MEMBERS).mkdir(parents=True)
    column = "rate" if of_earlier else "probability"
    write_file(folder / c.CSV, f"item,prediction,{column},a,b\n{run},a,0.75,0.75,0.25\n".encode())
    write_file(folder / c.MEMBERS / "m.csv", b"m")
    ensemble = {"method": "uniform", "items": 1, "classes": ["a", "b"], "members": {"m": {"weight": 1.0}}}
    members = [{"member": "m", "run": str(RunId(MINUTE, 1, "e", "train-m"))}]
    record = {"run": str(run), "try": "a", "kind": kind, "ensemble": ensemble, "members": members, **more}
    if not of_earlier:
        write_file(folder / c.METADATA, to_document(prediction_metadata(run, record, folder / c.CSV)))
    write_file(folder / c.RECORD, to_document({**record, "files": list_result_files(folder)}))
    return run


def add(store: LocalStore, number: int, attempt: int = 1, kind: str = "scheduled", **more: object) -> RunId:
    """A published run, as a process leaves it that was killed before it had archived it."""
    run = write_try(store, number, attempt, kind, **more)  # type: ignore[arg-type]
    assert store.publish(run, "a")
    return run


def latest(store: LocalStore, experiment: str = "e") -> tuple[str | None, str | None]:
    """Of which runs the two files are; none where one is not there."""
    folder = store.archive_folder(experiment)
    csv, metadata = folder / "latest.csv", folder / "latest.json"
    return (
        csv.read_text().splitlines()[1].partition(",")[0] if csv.exists() else None,
        json.loads(metadata.read_text())["run"] if metadata.exists() else None,
    )


def candidates(store: LocalStore) -> list[str]:
    return [name for name in os.listdir(store.archive_folder("e")) if name.startswith(".")]


def both(run: RunId) -> tuple[str, str]:
    return str(run), str(run)


def test_the_newest_scheduled_or_backfilled_slot_is_the_latest(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert update_latest(store, "e").run is None and not store.archive_folder("e").exists()
    second = add(store, 20)
    assert update_latest(store, "e").run == second and latest(store) == both(second)
    archive = store.archive_folder("e")
    # Another name of the dated files, which nobody may write: whoever reads one reads on when the other replaces it.
    for suffix in (".csv", ".json"):
        dated = archive / f"{second.dated_name}{suffix}"
        assert (archive / f"latest{suffix}").samefile(dated) and not dated.stat().st_mode & 0o222
    for number, attempt, kind, more in (
        (10, 1, "scheduled", {}),  # finished late
        (15, 1, "backfill", {}),
        (20, 2, "rerun", {"repeats": str(second)}),
        (30, 1, "manual", {"published": True}),
        (31, 1, "scheduled", {"other_configuration": True}),
        (32, 1, "scheduled", {"gate": {"refused": "accuracy 0.2 is below 0.9"}}),
    ):
        add(store, number, attempt, kind, **more)
        store.repair_archives("e")
        assert update_latest(store, "e").run == second and latest(store) == both(second)
    third = add(store, 32, 2, "backfill")
    with open(archive / "latest.csv") as reader:
        assert update_latest(store, "e").run == third and latest(store) == both(third)
        assert str(second) in reader.read()
    assert (archive / f"{third.dated_name}.csv").exists() and not candidates(store)


def test_a_decision_by_hand_moves_it_and_changes_no_dated_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first, second = add(store, 1), add(store, 2)
    update_latest(store, "e")
    metadata = store.archive_path(second, {}).with_suffix(".json")
    before = metadata.read_bytes()
    for decision, expected in (("refused", both(first)), ("accepted", both(second)), ("refused", both(first))):
        store.decide(second, {"decision": decision, "reason": "looked at", "by": "me", "time": TIME})
        update_latest(store, "e")
        assert latest(store) == expected
    assert metadata.read_bytes() == before and store.archive_path(second, {}).exists()
    store.decide(first, {"decision": "refused", "reason": "this too", "by": "me", "time": TIME})
    assert update_latest(store, "e").run is None and latest(store) == (None, None)
    store.decide(first, {"decision": "accepted", "by": "me", "time": TIME})
    assert update_latest(store, "e").run == first and latest(store) == both(first)


def test_a_run_of_an_earlier_version_can_be_the_latest(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run = add(store, 1, of_earlier=True)
    store.repair_archives("e")
    assert not store.archive_path(run, {}).with_suffix(".json").exists()
    # As an earlier version left it: nothing is wrong with that.
    assert [finding for finding in find_damage(store, "e", 2e9, False) if finding.path.parent.name == "e"] == []
    update_latest(store, "e")
    assert latest(store) == both(run)
    described = json.loads((store.archive_folder("e") / "latest.json").read_text())["csv"]
    assert (described["schema"], described["columns"]) == (1, ["item", "prediction", "rate"])
    inode = (store.archive_folder("e") / "latest.json").stat().st_ino
    update_latest(store, "e")
    assert (store.archive_folder("e") / "latest.json").stat().st_ino == inode


def test_what_cannot_be_known_leaves_it_as_it_was(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = add(store, 1)
    update_latest(store, "e")
    second = add(store, 2)
    result = store.run_folder(second) / c.RESULT
    (result / c.CSV).unlink()
    (result / c.CSV).write_text("item\ncut o")
    assert "damaged" in update_latest(store, "e").problem and latest(store) == both(first)
    (result / c.RECORD).unlink()
    (result / c.RECORD).write_text("{")
    assert str(second) in update_latest(store, "e").problem and latest(store) == both(first) and not candidates(store)


@pytest.mark.parametrize("error", ["EXDEV", "EMLINK"])
def test_where_there_are_no_links_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    import errno

    def refuse(source: object, target: object) -> None:
        raise OSError(getattr(errno, error), error)

    store = LocalStore(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    for number in (1, 2):
        run = write_try(store, number)
        os.rename(store.try_folder(run, "a"), store.run_folder(run) / c.RESULT)
        (store.archive_folder("e")).mkdir(parents=True, exist_ok=True)
        store.archive_path(run, {}).write_bytes((store.run_folder(run) / c.RESULT / c.CSV).read_bytes())
        for _ in range(2):
            assert update_latest(store, "e").run == run and latest(store) == both(run) and not candidates(store)


# -- several processes


def steps_of(store: LocalStore, run: RunId) -> Iterator[object]:
    """The steps of the process that publishes a run, each after the yield before it."""
    yield "publish"
    assert store.publish(run, "a")
    yield "archive"
    store.publish_archive(run)
    yield from replacement_steps(LatestFiles(store, run.experiment))


@pytest.mark.parametrize("first", [0, 1], ids=["older", "newer"])
def test_two_processes_interrupt_each_other_at_every_step(tmp_path: Path, first: int) -> None:
    """``first``: whose process begins; half of the times it is killed where the other begins, and does not go on."""
    for before in range(1, 14):
        for between in range(1, 14):
            store = LocalStore(tmp_path / f"{before}-{between}")
            older, newer = (write_try(store, number) for number in (1, 2))
            steps = [steps_of(store, run) for run in (older, newer)]
            rest = [] if (before + between) % 2 else [first] * 40
            seen: list[tuple[str | None, str | None]] = []
            for turn in [first] * before + [1 - first] * between + rest + [1 - first] * 40:
                next(steps[turn], None)
                seen.append(latest(store))
            for names in zip(*seen, strict=True):
                runs = [name for name in names if name is not None]
                assert runs == sorted(runs), (before, between, seen)
            update_latest(store, "e")
            assert latest(store) == both(newer if store.result(newer) else older) and not candidates(store)


_RACERS = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from jobs.store import LocalStore
from archive.test_latest_predictions import latest, write_try
from jobs.store.latest_predictions import update_latest
store, random = LocalStore(Path(sys.argv[1])), random.Random(1)
newest = [-1, -1]
for round in range(60):
    numbers = random.sample(range(10 * round, 10 * round + 10), 4)
    runs = [write_try(store, number) for number in numbers]
    children = []
    for run in runs:
        child = os.fork()
        if not child:
            time.sleep(random.random() / 200)
            store.publish(run, "a")
            store.publish_archive(run)
            update_latest(store, "e")
            os._exit(0)
        children.append(child)
        random.random()
    deadlines = sorted((random.random() / 20, child) for child in random.sample(children, 3))
    began = time.monotonic()
    while children:
        while deadlines and time.monotonic() - began > deadlines[0][0]:
            os.kill(deadlines.pop(0)[1], signal.SIGKILL)
        for n, name in enumerate(latest(store)):
            number = int(name.rpartition("-")[2]) if name else -1
            assert number >= newest[n], (number, newest)
            newest[n] = number
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.remove(child)
                deadlines = [one for one in deadlines if one[1] != child]
    # Any process that looks makes up for those that were killed.
    update = update_latest(store, "e")
    committed = [run for run in runs if store.result(run)]
    assert not committed or update.run == max(committed), (update, committed)
    assert latest(store) == (str(update.run),) * 2 or update.run is None
print("held", max(newest))
"""


def test_killed_at_random_and_ending_in_any_order_no_older_slot_follows_a_newer_one(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", _RACERS, str(tmp_path), *paths], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("held")


# -- gc and fsck


def findings(store: LocalStore, quick: bool = False) -> list[tuple[str, str]]:
    archive = store.archive_folder("e")
    found = find_damage(store, "e", time.time(), quick)
    return [(finding.path.name, str(finding.what)) for finding in found if finding.path.parent == archive]


@pytest.mark.parametrize("quick", [False, True])
def test_fsck_names_what_is_behind_or_nobodys_and_repairs_it(tmp_path: Path, quick: bool) -> None:
    store = LocalStore(tmp_path)
    first = add(store, 1)
    store.repair_archives("e")
    update_latest(store, "e")
    archive = store.archive_folder("e")
    assert findings(store, quick) == []
    second = add(store, 2)
    store.publish_archive(second)
    expected = [("latest.csv", "not archived"), ("latest.json", "not archived")]
    assert findings(store, quick) == expected
    problems = list(find_damage(store, "e", time.time(), quick))
    (behind,) = [finding.meaning for finding in problems if finding.path.name == "latest.csv"]
    assert behind.startswith(f"it is that of {first}, and {second} is the newest accepted run")
    repair(store, problems)
    assert findings(store, quick) == [] and latest(store) == both(second)
    for name in ("latest.csv", "latest.json"):
        (archive / name).unlink()
        assert findings(store, quick) == [(name, "not archived")]
        update_latest(store, "e")
    (archive / "latest.csv").unlink()
    (archive / "latest.csv").write_text("mine\n")
    assert findings(store, quick) == [("latest.csv", "wrong content")]
    repair(store, list(find_damage(store, "e", time.time(), quick)))
    assert latest(store) == both(second)
    assert (archive / ".latest.csv.damaged").read_text() == "mine\n"
    text = (archive / "latest.json").read_text()
    (archive / "latest.json").unlink()
    (archive / "latest.json").write_text(text.replace("uniform", "accurate"))
    assert findings(store, quick) == [("latest.json", "wrong content")]
    update_latest(store, "e")
    store.decide(first, {"decision": "refused", "by": "me", "time": TIME})
    store.decide(second, {"decision": "refused", "by": "me", "time": TIME})
    assert findings(store, quick) == [("latest.csv", "wrong content"), ("latest.json", "wrong content")]
    repair(store, list(find_damage(store, "e", time.time(), quick)))
    assert latest(store) == (None, None)


def test_fsck_knows_what_lies_beside_a_dated_csv(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run = add(store, 1)
    store.repair_archives("e")
    update_latest(store, "e")
    metadata = store.archive_path(run, {}).with_suffix(".json")
    metadata.unlink()
    assert findings(store) == [(metadata.name, "not archived")]
    repair(store, list(find_damage(store, "e", time.time(), False)))
    assert findings(store) == [] and metadata.samefile(store.run_folder(run) / c.RESULT / c.METADATA)
    metadata.unlink()
    metadata.write_text("{}")
    (metadata.parent / "mine.json").write_text("{}")
    assert findings(store) == [(metadata.name, "wrong content"), ("mine.json", "foreign")]


def test_gc_keeps_the_latest_however_old_and_removes_leftovers(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    runs = [add(store, number, finished=TIME) for number in range(4)]
    # Newer ones, of which none may be the latest.
    for number in range(4, 7):
        add(store, number, finished=TIME, gate={"refused": "worse"})
    store.repair_archives("e")
    update_latest(store, "e")
    leftover = store.archive_folder("e") / f".latest-{MINUTE}-1-{'0' * 32}.csv.part"
    os.link(store.archive_path(runs[0], {}), leftover)
    os.utime(leftover, (1e9, 1e9))
    kinds = (RemovalKind.STAGING, RemovalKind.RUNS, RemovalKind.ARCHIVE)
    rule, now = RetentionRule(kinds, 0.0, 1), 2e9
    plan = plan_removal(store, "e", rule, now)
    assert not [one.problem for one in execute_removal(store, "e", rule, plan.items, now, TIME, "me") if one.problem]
    assert latest(store) == both(runs[3]) and store.result(runs[3]) is not None
    assert store.result(runs[2]) is None and not store.archive_path(runs[2], {}).with_suffix(".json").exists()
    assert not leftover.exists()
    assert findings(store) == []
    # What was removed is not made again, and what is refused now has nothing older to go back to.
    store.decide(runs[3], {"decision": "refused", "by": "me", "time": TIME})
    assert update_latest(store, "e").run is None and latest(store) == (None, None)
