"""Stored documents with values of any type anywhere: each is read as what it is, or costs its own row; no command raises."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import contract as c
from jobs.contract import RunId
from jobs.documents import DocumentKind, document_problem
from jobs.store import LocalStore
from jobs.store.check import find_damage
from jobs.store.document_files import document_kind
from jobs.store.files import to_json
from jobs.store.gc import RemovalKind, RetentionRule, plan_removal
from jobs.store.notifications import NotificationLedger
from jobs.store.removal import record_removal
from scheduler.cli import app
from scheduler.errors import CronsembleError
from stores import ELSEWHERE, Builder, at, minute

CONFIG = "experiment: e\nstore: ./store\nbackends: {jax: {schedule: '0 1 * * *'}}\nensemble: {schedule: '0 6 * * *'}\n"
NOW = at("2026-11-26T12:00").timestamp()
TIME = "2026-11-20T01:00:00Z"
WINDOW = ["--since", "2026-11-09", "--until", "2026-11-26"]


def build(folder: Path) -> None:
    """A store with every kind of document."""
    (folder / "config.yaml").write_text(CONFIG)
    builder = Builder(folder / "store")
    store = builder.store
    for time in ("2026-11-09T00:00", "2026-11-19T00:00"):
        builder.revise(time, {"train-jax": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *", "deadline": 600}})
    builder.note("2026-11-22T01:00", "skipped", task="train-jax", minute=minute("2026-11-22T01:00"), reason="no room")
    builder.note("2026-11-22T02:00", "started", since="2026-11-21T02:00:00Z")
    store.ledger.take_ownership("e", {"engine": "host:here", "by": "me", "process": ELSEWHERE})
    store.ledger.record_heartbeat("e", "here", "2026-11-23T06:00:00Z")
    store.pin_path("e", "2026-11-20", "k").parent.mkdir(parents=True)
    store.pin_path("e", "2026-11-20", "k").write_bytes(to_json({"fingerprint": "f", "sha256": "0" * 64, "warnings": ["few"]}))
    snapshot = {"program": store.put_snapshot("program", b"p"), "code": "", "task": store.put_snapshot("task", b'{"max_age": 9}')}
    data = {
        "fingerprint": "f",
        "class_names": ["a", "b"],
        "note": "read again",
        "shapes": {"x_train": [3, 4]},
        "files": {"f": "0"},
    }
    model = {"file": "model.h5", "sha256": "0" * 64, "class_names": ["a", "b"], "format": "weights", "model": "m.py:f"}
    metrics = {"accuracy": 0.9, "loss": 0.1, "degraded": "a little"}
    environment = {"variables": {"OMP_NUM_THREADS": "1"}, "secrets": ["TOKEN"]}
    more = {"degraded": "a little", "hyperparameters": {"epochs": 1}, "seed": 7, "threads": 1, "environment": environment}
    image = {"reference": "r", "identity": {"inputs": "i"}}
    files = {
        "model.h5": b"w",
        c.EPOCHS: b"epoch,val_loss,val_accuracy\n1,0.5,0.9\n",
        c.MODEL: to_json(model),
        c.DATA: to_json(data),
    }
    files |= {c.METRICS: to_json(metrics)}
    trained = builder.run(
        "train-jax",
        "2026-11-20T01:00",
        files=files,
        model=model,
        data=data,
        snapshot=snapshot,
        metrics=metrics,
        image=image,
        **more,
    )
    builder.run("train-jax", "2026-11-21T01:00", "failed", reason="no memory", files={c.DATA: to_json(data)})
    stopped = builder.run("train-jax", "2026-11-23T01:00", "failed", reason="x")
    store.cancel(stopped, {"reason": "enough", "by": "me", "time": "2026-11-23T02:00:00Z"})
    seen = builder.run("train-jax", "2026-11-24T01:00", "interrupted")
    tries = [{"try": "z", "reason": "evicted", "started": "2026-11-24T01:00:00Z"}]
    store.record_observation(seen, {"status": "failed", "what": "memory", "reason": "r", "tries": tries})
    mark = {"kind": "scheduled", "process": ELSEWHERE, "time": "2026-11-25T01:00:00Z"}
    store.claim_attempt(RunId(minute("2026-11-25T01:00"), 1, "e", "train-jax"), mark)
    members = [{"member": "jax", "run": str(trained), "accuracy": 0.9}, {"member": "other", "left_out": "too old"}]
    files = {c.CSV: b"item\n", c.SELECTION: to_json({"members": members}), "probabilities/jax/end.json": to_json(members[0])}
    files |= {"probabilities/jax/start.json": to_json({"time": "2026-11-20T06:00:01Z"})}
    files |= {
        c.METADATA: to_json({"run": "e", "members": [{"member": "jax", "weight": 1.0}], "csv": {"file": "x.csv", "size": 5}})
    }
    ensemble = {"accuracy": 0.9, "loss": 0.2, "members": {"jax": {"weight": 1.0}}}
    combined = builder.run("ensemble", "2026-11-20T06:00", files=files, members=members, ensemble=ensemble, data=data)
    repeat = builder.run("ensemble", "2026-11-20T06:00", attempt=2, kind="rerun", repeats=str(combined), ensemble=ensemble)
    assert store.decide(
        combined, {"decision": "refused", "reason": "the holdout is wrong", "by": "me", "time": "2026-11-20T07:00:00Z"}
    )
    awaited = {"member": "jax", "slot": "2026-11-20T01:00Z", "local": "01:00", "run": str(trained), "outcome": "succeeded"}
    times = {"since": "2026-11-20T06:00:01Z", "until": "2026-11-20T08:00:00Z", "time": "2026-11-20T06:42:01Z"}
    waited = {**times, "members": [{**awaited, "seconds": 2520.0}], "missing": [], "waiting": [awaited], "yields": 1}
    store.record_wait(combined, {**waited, "process": ELSEWHERE, "ended": "2026-11-20T06:42:01Z"})
    verdict = {"verdict": "changed", "repeats": str(combined), "items": 1, "labels_flipped": 1, "largest_difference": 0.5}
    store.record_verdict(repeat, {**verdict, "differs": ["seed"], "members": {"jax": {**verdict, "repeats": str(trained)}}})
    notifications = NotificationLedger(store.files, "e")
    notifications.begin("2026-11-20T00:00:00Z", "team")
    incident = {"id": "0" * 16, "kind": "failed", "task": "train-jax", "first": 1, "slots": 1, "tasks": ["train-jax"]}
    event = {"id": f"opened-{'0' * 16}", "type": "opened", "time": "2026-11-20T00:00:00Z", "incident": incident}
    assert notifications.add_event(event)
    assert notifications.claim("team", event["id"], 1, {"time": "2026-11-20T00:00:00Z", "process": ELSEWHERE})
    removed = builder.run("train-jax", "2026-11-10T01:00", "failed")
    row = {"status": "failed", "reason": "x", "accuracy": None, "started": "2026-11-10T01:00:00Z", "try_number": 1}
    record_removal(store, removed, [{"path": "x", "size": 1, "why": "y"}], "2026-11-20T00:00:00Z", "me", row)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    build(folder)
    return folder


def documents(folder: Path) -> list[Path]:
    paths = [path for path in sorted((folder / "store").rglob("*.json*")) if not any(part.startswith(".") for part in path.parts)]
    return [path.relative_to(folder) for path in paths]


ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 2**31, 2**63, 10**300, -0.5, 1e308, "", "x", "\0", "/", "..", "../../x", "a/b", "x" * 300,
        "\ud800", "é", "99999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-11-20",
        "2026-11-20T01:00:00", [], [None], [[]], ["x"], [1], {}, {"": None}, {"x": {}}, {"file": 1}, {"a": [1]}, "NaN",
        "Infinity", "1e999", "-r99999999999", "e-train-jax-0",
    ]
)  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value in a document, itself excepted."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*way, key)
        yield from places(item, (*way, key))


def changed(document: Any, way: tuple[Any, ...], odd: Any, is_removed: bool) -> Any:
    document = copy.deepcopy(document)
    holder = document
    for key in way[:-1]:
        holder = holder[key]
    if is_removed:
        del holder[way[-1]]
    else:
        holder[way[-1]] = odd
    return document


def commands(folder: Path) -> list[list[str]]:
    """All that reads a store, of every run and slot."""
    runs = [path.name for path in sorted((folder / "store/runs/e").glob("*/2026-11/e-*"))]
    return [
        ["history", *WINDOW],
        ["history", *WINDOW, "--json"],
        ["history", *WINDOW, "--calendar"],
        ["history", "--revisions"],
        ["next"],
        ["check"],
        ["rerun", "2026-11-20", "--dry-run"],
        ["backfill", "2026-11-19..2026-11-24", "--dry-run"],
        *(["show", run] for run in runs),
        *(["compare", *pair] for pair in zip(runs, runs[1:], strict=False)),
        *(["show", run, "--json"] for run in runs[:2]),
        *(["history", run] for run in runs),
    ]


def run_command(arguments: list[str], folder: Path) -> None:
    """Run a command in process: it may say that something is wrong, in a line."""
    try:
        app([*arguments, "-f", str(folder / "config.yaml")], standalone_mode=False)
    except (CronsembleError, typer.Exit) as error:
        assert "Traceback" not in str(error)


def read_everything(folder: Path, arguments: list[list[str]]) -> None:
    for command in arguments:
        run_command(command, folder)
    store = LocalStore(folder / "store")
    list(find_damage(store, "e", NOW, False))
    plan_removal(store, "e", RetentionRule(tuple(RemovalKind), 3600, 1), NOW)


def rows(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> dict[tuple[str, str | None], dict[str, Any]]:
    capfdbinary.readouterr()
    app(["history", *WINDOW, "--json", "-f", str(folder / "config.yaml")], standalone_mode=False)
    return {(row["slot"], row["run"]): row for row in json.loads(capfdbinary.readouterr().out)}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_value_of_any_type_costs_at_most_its_row(
    data: st.DataObject, original: Path, tmp_path_factory: pytest.TempPathFactory, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("changed") / "copy"
    shutil.copytree(original, folder)
    expected = rows(folder, capfdbinary)
    shutil.rmtree(folder / "store/.index", ignore_errors=True)
    name = data.draw(st.sampled_from(documents(original)))
    path = folder / name
    if name.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        number = data.draw(st.integers(0, len(lines) - 1))
        way = data.draw(st.sampled_from(list(places(lines[number]))))
        lines[number] = changed(lines[number], way, data.draw(ODD), data.draw(st.booleans()))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        document = json.loads(path.read_text())
        way = data.draw(st.sampled_from(list(places(document))))
        path.write_text(json.dumps(changed(document, way, data.draw(ODD), data.draw(st.integers(0, 4)) == 0)))
    command = data.draw(st.lists(st.sampled_from(commands(folder)), min_size=4, max_size=4))
    read_everything(folder, command)
    if name.parts[1] == "runs":
        now = rows(folder, capfdbinary)
        own = name.parts[5]
        others = {key: row for key, row in expected.items() if own not in key and row["slot"] not in _slots(expected, own)}
        assert {key: row for key, row in now.items() if key in others} == others
    shutil.rmtree(folder.parent)


def _slots(expected: dict[tuple[str, str | None], dict[str, Any]], run: str) -> set[str]:
    return {row["slot"] for key, row in expected.items() if key[1] == run}


@given(st.sampled_from(list(DocumentKind)), st.recursive(ODD, lambda inner: st.dictionaries(st.text(max_size=9), inner)))
def test_whether_a_document_has_its_types_is_always_known(kind: DocumentKind, value: Any) -> None:
    assert isinstance(document_problem(kind, value if isinstance(value, dict) else {"x": value}), str)


@pytest.mark.parametrize(
    ("kind", "document", "problem"),
    [
        (DocumentKind.RECORD, {"accuracy": "high"}, "accuracy is not a number"),
        (DocumentKind.RECORD, {"accuracy": True}, "accuracy is not a number"),
        (DocumentKind.RECORD, {"accuracy": 2**63}, "accuracy is not a number"),
        (DocumentKind.RECORD, {"accuracy": 1e300, "started": 7, "new in a later version": [{}]}, ""),
        (DocumentKind.RECORD, {"members": [{"run": "r"}]}, "members[0].member is missing"),
        (DocumentKind.RECORD, {"members": [None]}, "members[0] is null"),
        (DocumentKind.RECORD, {"members": {"jax": 1}}, "members is not a list"),
        (DocumentKind.RECORD, {"data": {"fingerprint": "../x"}}, "data.fingerprint is not a name"),
        (DocumentKind.RECORD, {"snapshot": {"task": 1}}, "snapshot.task is not a name"),
        (DocumentKind.RECORD, dict.fromkeys(("accuracy", "members", "data", "metrics", "run")), ""),
        (DocumentKind.START, {"process": {"pid": "1"}}, "process.pid is not an integer"),
        (DocumentKind.START, {"time": [1]}, "time is a list or an object"),
        (DocumentKind.END, {"tail": "x"}, "tail is not a list"),
        (DocumentKind.END, {"probabilities": "../../x"}, "probabilities is not a path within the run"),
        (DocumentKind.REVISION, {"time": TIME}, "revision is missing"),
        (DocumentKind.REVISION, {"revision": 1, "time": "2026-11-20T01:00:00"}, "time is not a time with a zone"),
        (DocumentKind.REVISION, {"revision": 1, "time": "9999-12-31T23:59:59-12:00"}, "time is not a time with a zone"),
        (DocumentKind.REVISION, {"revision": 1, "time": TIME, "tasks": {"a": None}}, "tasks is not an object of objects"),
        (DocumentKind.NOTE, {"task": "a", "minute": "1"}, "minute is not an integer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(kind: DocumentKind, document: dict[str, Any], problem: str) -> None:
    assert document_problem(kind, document) == problem


def test_every_document_of_a_store_has_a_kind_and_its_types(original: Path) -> None:
    kinds = set()
    for name in documents(original):
        kind = document_kind(name)
        if name.suffix == ".json":
            assert kind is not None, name
            assert document_problem(kind, json.loads((original / name).read_text())) == "", name
            kinds.add(kind)
    assert kinds == set(DocumentKind) - {DocumentKind.NOTE, DocumentKind.ENSEMBLE}


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a list": lambda path: path.write_text("[1]"),
    "25,000 levels": lambda path: path.write_text("[" * 25_000),
    "nothing": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_row_says_that_it_is_unreadable(
    name: str, original: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    expected = rows(folder, capfdbinary)
    (path,) = (folder / "store/runs/e/train-jax/2026-11").glob(f"*-{minute('2026-11-20T01:00')}/result/record.json")
    DAMAGES[name](path)
    now = rows(folder, capfdbinary)
    key = ("2026-11-20T01:00Z", path.parts[-3])
    assert now[key]["status"] == "unknown" and now[key]["reason"].startswith("unreadable: result/record.json: ")
    del now[key], expected[key]
    assert now == expected
