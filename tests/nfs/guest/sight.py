"""What one client makes the other sees at once, though it looked a moment before; what it removes is gone, never half there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import member_task
from jobs.store import LocalStore, removal
from jobs.store.files import MISSING_ERRNOS, publish_bytes, to_json
from jobs.store.latest_model import choose_models
from nfs.guest.clients import SERVER, VERSIONS, Worker, fork, fresh, mount, on
from nfs.guest.runs import EXPERIMENT, TIME, begin, csv_of, faults_of, run_of, write

TRAINING, ENSEMBLE = run_of(0, member_task("a")), run_of(5)

X_SHA256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

Look = Callable[[LocalStore], Any]
Change = Callable[[LocalStore], Any]


def _made(store: LocalStore) -> None:
    write(store, TRAINING, "t", model={"file": "model.h5"})
    assert store.publish(TRAINING, "t")


def _buried(store: LocalStore) -> None:
    removal.record_removal(store, TRAINING, [{"path": "result/model.h5"}], TIME, "gc")


def _chosen(store: LocalStore) -> str:
    (choice,) = choose_models(store, ENSEMBLE, ["a"], None, "")
    return f"{choice.run or ''} {choice.reason}".strip()


STEPS: list[tuple[str, Change, Look, Any]] = [
    (
        "who runs it",
        lambda store: store.ledger.take_ownership(EXPERIMENT, {"engine": "host:x"}),
        lambda store: bool(store.ledger.owner(EXPERIMENT)),
        True,
    ),
    (
        "a revision",
        lambda store: store.ledger.add_revision(EXPERIMENT, {"revision": 1, "time": TIME}),
        lambda store: len(store.ledger.revisions(EXPERIMENT)),
        1,
    ),
    (
        "another revision",
        lambda store: store.ledger.add_revision(EXPERIMENT, {"revision": 2, "time": TIME}),
        lambda store: len(store.ledger.revisions(EXPERIMENT)),
        2,
    ),
    (
        "a note",
        lambda store: store.ledger.add_note(EXPERIMENT, "x", {"time": TIME}),
        lambda store: len(list(store.ledger.notes(EXPERIMENT))),
        1,
    ),
    (
        "another note",
        lambda store: store.ledger.add_note(EXPERIMENT, "x", {"time": TIME}),
        lambda store: len(list(store.ledger.notes(EXPERIMENT))),
        2,
    ),
    (
        "a sign of life",
        lambda store: store.ledger.record_heartbeat(EXPERIMENT, "x", "2026-11-23T06:01:00Z"),
        lambda store: store.ledger.last_heartbeat(EXPERIMENT, "x"),
        "2026-11-23T06:01:00Z",
    ),
    (
        "the next sign",
        lambda store: store.ledger.record_heartbeat(EXPERIMENT, "x", "2026-11-23T06:02:00Z"),
        lambda store: store.ledger.last_heartbeat(EXPERIMENT, "x"),
        "2026-11-23T06:02:00Z",
    ),
    ("a snapshot", lambda store: store.put_snapshot("code", b"x"), lambda store: store.snapshot_problem("code", X_SHA256), ""),
    (
        "a claim",
        lambda store: store.claim_attempt(TRAINING, {"process": {}}),
        lambda store: store.claim_of(TRAINING) is not None,
        True,
    ),
    ("a try", lambda store: begin(store, TRAINING, "t"), lambda store: store.read(TRAINING).status, "running"),
    (
        "its data",
        lambda store: publish_bytes(store.try_folder(TRAINING, "t") / c.DATA, to_json({"fingerprint": "f"})),
        lambda store: store.pinned_data(TRAINING),
        {"fingerprint": "f"},
    ),
    ("its result", _made, lambda store: store.result(TRAINING) is not None, True),
    ("its model's removal", _buried, lambda store: store.is_removed(TRAINING, "result/model.h5"), True),
]
"""What client 1 makes, how client 2 looks for it, and what it must see."""


def at_once() -> dict[str, Any]:
    missed, slowest = [], 0.0
    for version in VERSIONS:
        folder = fresh(f"sight-{version}")
        made, seen = LocalStore(mount(1, version) / folder), LocalStore(mount(2, version) / folder)

        def looks(store: LocalStore, orders: Any, answers: Any) -> None:
            for _, _, look, _ in STEPS:
                look(store)
            while (number := orders.recv()) is not None:
                answers.send((STEPS[number][2](store), _chosen(store)))
                # The next ones are looked for in vain, so that this client remembers that they are not there.
                for _, _, look, _ in STEPS:
                    look(store)
                _chosen(store)

        orders, asked = fork.Pipe()[::-1]
        answered, answers = fork.Pipe()
        watcher = Worker(2, looks, seen, orders, answers)
        for number, (name, change, _, expected) in enumerate(STEPS):
            on(1, change, made)
            began = time.monotonic()
            asked.send(number)
            assert answered.poll(60), f"vers={version} {name}: no answer"
            found, chosen = answered.recv()
            slowest = max(slowest, time.monotonic() - began)
            if found != expected:
                missed.append(f"vers={version} {name}: {found!r} is seen, not {expected!r}")
            told = {"its result": str(TRAINING), "its model's removal": f"the model of {TRAINING} was removed by gc"}
            if name in told and chosen != told[name]:
                missed.append(f"vers={version} {name}: the ensemble takes {chosen!r}, not {told[name]!r}")
        asked.send(None)
        watcher.answer()
    assert not missed, "\n".join(missed)
    return {"changes": 2 * len(STEPS), "slowest look": round(slowest, 2)}


RUNS = 16
KEPT = 4


def listing() -> dict[str, Any]:
    """One publishes, one removes what is old, two list on both clients: nothing is missed, doubled or half there."""
    facts: dict[str, Any] = {}
    for version in VERSIONS:
        folder = fresh(f"listing-{version}")
        published, going = fork.Value("i", 0), fork.Value("i", 0)

        def publisher(root: Path, published: Any = published) -> None:
            store = LocalStore(root)
            for number in range(RUNS):
                write(store, run_of(number), "t")
                assert store.publish(run_of(number), "t")
                assert store.publish_archive(run_of(number)) is not None
                published.value = number + 1

        def remover(root: Path, published: Any = published, going: Any = going) -> int:
            store = LocalStore(root)
            while going.value < RUNS - KEPT:
                if published.value < going.value + KEPT:
                    continue
                run = run_of(going.value)
                going.value += 1
                record = store.result(run)
                assert record is not None
                paths = [store.run_folder(run) / c.RESULT, store.archive_path(run, record)]
                paths += [paths[1].with_suffix(".members")]
                files = [{"path": path.name, "size": 1, "why": "old"} for path in paths]
                row = {"status": "succeeded", "reason": "", "evidence": "recorded"}
                removal.record_removal(store, run, files, TIME, "gc", row)
                for path in paths:
                    assert removal.remove(store, path)
            return int(going.value)

        def lister(root: Path, published: Any = published, going: Any = going) -> int:
            store, listings = LocalStore(root), 0
            while going.value < RUNS - KEPT:
                sure = published.value
                runs = list(store.runs(EXPERIMENT, c.ENSEMBLE_TASK))
                ids = [run.id for run in runs]
                assert len(ids) == len(set(ids)), f"doubled: {ids}"
                missing = [number for number in range(sure) if run_of(number) not in ids]
                assert not missing, f"{missing} are not listed, though the first {sure} were published before"
                for run in runs:
                    number = run.id.minute - run_of(0).minute
                    expected = ("succeeded",) if number < sure else ("succeeded", "running", "died")
                    assert run.status in expected, f"{run.id} is {run.status}: {run.reason}"
                    if run.status == "succeeded" and run.record:
                        try:
                            faults = faults_of(run.folder / c.RESULT, run.id, run.record)
                        except OSError as error:
                            assert error.errno in MISSING_ERRNOS and number < going.value, f"{run.id}: {error}"
                        else:
                            assert not faults, faults
                for path in store.archive_folder(EXPERIMENT).glob("[0-9]*.csv"):
                    try:
                        data = path.read_bytes()
                    except OSError as error:
                        assert error.errno in MISSING_ERRNOS, f"{path}: {error}"
                        continue
                    assert len(data) == len(csv_of(run_of(0), "t")), f"{path} has {len(data)} bytes"
                listings += 1
            return listings

        workers = [
            Worker(1, publisher, mount(1, version) / folder),
            Worker(2, remover, mount(2, version) / folder),
            Worker(1, lister, mount(1, version) / folder),
            Worker(2, lister, mount(2, version) / folder),
        ]
        answers = [worker.answer() for worker in reversed(workers)][::-1]
        assert min(answers[2:]) > 0, f"vers={version}: nothing was listed meanwhile"
        left = {run.id: run for run in LocalStore(SERVER / folder).runs(EXPERIMENT, c.ENSEMBLE_TASK)}
        assert [bool(left[run_of(number)].removed) for number in range(RUNS)] == [True] * (RUNS - KEPT) + [False] * KEPT
        facts[version] = {"published": RUNS, "removed": RUNS - KEPT, "listings": answers[2:]}
    return facts
