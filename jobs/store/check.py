"""Damage in a store of this machine: what is not as our own work leaves it, what that means, and what can be repaired.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from jobs import contract
from jobs import contract as c
from jobs.contract import RunId, Status, parse_run_id
from jobs.documents import DocumentKind, document_problem
from jobs.store import removal
from jobs.store.document_files import read_document
from jobs.store.files import parse_object, sha256_of
from jobs.store.local_store import LocalStore
from jobs.store.reading import Run
from jobs.store.try_claims import is_claim


class DamageKind(str, Enum):  # noqa: UP042 (Python 3.9 has no StrEnum)
    """What is wrong with a file or folder."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    WRONG_CONTENT = "wrong content"
    FOREIGN = "foreign"
    """Nothing of ours has this name."""
    WRONG_TIME = "wrong time"
    NOT_ARCHIVED = "not archived"
    LEFTOVER = "leftover"
    UNREADABLE = "unreadable"

    def __str__(self) -> str:
        return str(self.value)


_FOLDERS = {"runs", "predictions", "datasets", "snapshots", "experiments", "data"}
"""Of a store."""
_RUN_FILES = {c.OBSERVED, c.CANCELLED, c.REMOVED, c.CLAIM, c.VERDICT, c.RESULT}
"""Of a run's folder, beside its tries."""
EARLY = 86400
"""Seconds before its slot at which no run can have begun, whatever the clocks."""
AHEAD = 3600
"""Seconds after now that no time can lie, whatever the clocks."""
LEFTOVER_AGE = 86400
"""Seconds without a change after which what was being written is a leftover."""


@dataclass
class Finding:
    """Something that is wrong: where, of what kind, what it means, and what --repair does about it, if anything."""

    path: Path
    what: str
    """A :class:`DamageKind`."""
    meaning: str
    repair: str = ""
    run: RunId | None = None
    repaired: bool = False


def find_damage(store: LocalStore, experiment: str, now: float, quick: bool) -> Iterator[Finding]:
    """Everything that is wrong with a store; ``quick`` reads no file only for its hash, ``now`` is in seconds since 1970."""
    yield from _check_root(store)
    for path in removal.leftovers(store, now - LEFTOVER_AGE):
        yield Finding(path, DamageKind.LEFTOVER, "its writer ended before it was done; nothing reads it", "removes it")
    yield from _check_ledger(store, experiment, now)
    for task in store.tasks(experiment):
        yield from _check_task(store, experiment, task, now, quick)
    yield from _check_archive(store, experiment)
    yield from _check_snapshots_and_data(store, quick)


def _check_root(store: LocalStore) -> Iterator[Finding]:
    if not store.root.is_dir():
        yield Finding(store.root, DamageKind.MISSING, "there is no store")
        return
    for path in sorted(store.root.iterdir()):
        if path.name not in _FOLDERS and not path.name.startswith("."):
            yield Finding(path, DamageKind.FOREIGN, "nothing of ours has this name; it is left alone")


# -- what is beside the runs


def _check_ledger(store: LocalStore, experiment: str, now: float) -> Iterator[Finding]:
    last_owner = store.ledger.owner_file(experiment)
    for owner in store.ledger.owner_files(experiment):
        if not owner.exists() or read_document(owner) is not None:
            continue
        meaning = "it does not say who runs the experiment: `serve --take-over` becomes the next owner"
        if owner != last_owner:
            meaning = "it said who ran the experiment before: nothing reads it any more"
        yield Finding(owner, DamageKind.TRUNCATED, meaning)
    latest: dict[str, int] = {}
    for path in store.ledger.revision_files(experiment):
        revision = read_document(path)
        problem = "it cannot be read" if revision is None else document_problem(DocumentKind.REVISION, revision)
        if revision is None or problem:
            meaning = f"no revision: {problem}; the history takes the revisions before and after it"
            yield Finding(path, DamageKind.TRUNCATED, meaning, "hides it, so that a pod can write it again")
            continue
        number, engine = int(revision["revision"]), str(revision.get("engine", ""))
        if contract.revision_time(revision) > now + AHEAD:
            yield Finding(path, DamageKind.WRONG_TIME, f"it is dated {revision['time']}, which is in the future")
        # Files lie in the order of their times: a smaller number behind a larger one was written by a clock that jumped.
        if 1 < number < latest.get(engine, 0):
            meaning = f"revision {number} of {engine} is dated after revision {latest[engine]}: a clock jumped"
            yield Finding(path, DamageKind.WRONG_TIME, meaning)
        latest[engine] = number
    for path in store.ledger.note_files(experiment):
        lines = enumerate(path.read_bytes().splitlines(), 1)
        unreadable = [number for number, line in lines if line.strip() and parse_object(line) is None]
        if unreadable:
            numbers = ", ".join(map(str, unreadable[:5]))
            meaning = f"{len(unreadable)} notes cannot be read (line {numbers}): their slots are shown as missed"
            yield Finding(path, DamageKind.TRUNCATED, meaning)


# -- the runs


def _check_task(store: LocalStore, experiment: str, task: str, now: float, quick: bool) -> Iterator[Finding]:
    folder = store.task_folder(experiment, task)
    if not folder.is_dir():
        yield Finding(folder, DamageKind.FOREIGN, "a task is a folder; it is left alone")
        return
    months = set(store.months(experiment, task))
    for month in sorted(folder.iterdir()):
        if month.name.startswith("."):
            continue
        if month.name not in months or not month.is_dir():
            yield Finding(month, DamageKind.FOREIGN, "no month of runs; it is left alone")
            continue
        for path in sorted(month.iterdir()):
            run = parse_run_id(path.name, experiment, task)
            if path.name.startswith("."):
                continue
            if run is None:
                yield Finding(path, DamageKind.FOREIGN, f"no run of {experiment}'s {task}; it is left alone")
            elif run.month != month.name:
                meaning = f"a run of {run.month}: it is not found here; move it to {run.month}/"
                yield Finding(path, DamageKind.WRONG_CONTENT, meaning)
            elif not path.is_dir():
                yield Finding(path, DamageKind.FOREIGN, "a run is a folder; it takes this run's name")
            else:
                yield from _report_unreadable(path, _check_run(store, store.read(run), now, quick))


def _report_unreadable(path: Path, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, and a last one where a file could not be read."""
    try:
        yield from findings
    except OSError as error:
        yield Finding(Path(error.filename or path), DamageKind.UNREADABLE, error.strerror or str(error))


def _check_run(store: LocalStore, run: Run, now: float, quick: bool) -> Iterator[Finding]:
    folder = run.folder
    if "run" in run.removed:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _RUN_FILES or path.name.startswith(c.TRY_PREFIX) or is_claim(path.name):
            continue
        yield Finding(path, DamageKind.FOREIGN, "nothing of ours has this name in a run; it is left alone")
    for name in (c.OBSERVED, c.CANCELLED, c.REMOVED, c.CLAIM, *filter(is_claim, sorted(os.listdir(folder)))):
        if (folder / name).exists() and read_document(folder / name) is None:
            yield Finding(folder / name, DamageKind.TRUNCATED, "what it said of the run is lost")
    for attempt in run.tries:
        try_folder, damaged = folder / (c.TRY_PREFIX + attempt["name"]), attempt["damaged"]
        if damaged:
            kind = DamageKind.TRUNCATED if (try_folder / damaged).exists() else DamageKind.MISSING
            meaning = f"what became of this try is lost: the history shows {run.status}"
            yield Finding(try_folder / damaged, kind, meaning)
        for mark, name in ((attempt["start"], c.START), (attempt["end"] or {}, c.END)):
            if mark:
                yield from _check_time(try_folder / name, run, mark.get("time"), now)
    result = folder / c.RESULT
    if run.record:
        yield from _check_record(store, run, now, quick)
    elif result.exists():
        kind = DamageKind.TRUNCATED if (result / c.RECORD).exists() else DamageKind.MISSING
        meaning = "the run published a result, and what it was is lost: the history shows unknown"
        yield Finding(result / c.RECORD, kind, meaning)


def _check_time(path: Path, run: Run, time: Any, now: float) -> Iterator[Finding]:
    seconds = c.parse_time(time)
    if seconds is None:
        yield Finding(path, DamageKind.WRONG_TIME, f"its time is {time!r}: its duration is unknown")
        return
    if seconds > now + AHEAD:
        yield Finding(path, DamageKind.WRONG_TIME, f"it is dated {time}, which is in the future")
    elif seconds < run.id.minute * 60 - EARLY:
        yield Finding(path, DamageKind.WRONG_TIME, f"it is dated {time}, long before its slot {run.id.dated_name}")


def _check_record(store: LocalStore, run: Run, now: float, quick: bool) -> Iterator[Finding]:
    record, folder = run.record, run.folder / c.RESULT
    path = folder / c.RECORD
    if record.get("run") not in (None, str(run.id)):
        meaning = f"it is the record of {record['run']}: the folder was copied or renamed"
        yield Finding(path, DamageKind.WRONG_CONTENT, meaning)
    for key in ("started", "finished"):
        yield from _check_time(path, run, record.get(key), now)
    if str(record.get("finished")) < str(record.get("started")):
        yield Finding(path, DamageKind.WRONG_TIME, "it finished before it started: its duration is unknown")
    for name in _expected_files(run):
        if not (folder / name).exists() and not store.is_removed(run.id, f"{c.RESULT}/{name}"):
            yield Finding(folder / name, DamageKind.MISSING, _meaning_of_missing(run))
    if not quick:
        yield from _check_model(record.get("model"), folder)
    data = record.get("data")
    if isinstance(data, dict) and data.get("fingerprint"):
        dataset = store.dataset_path(str(data["fingerprint"]))
        if not dataset.exists():
            yield Finding(dataset, DamageKind.MISSING, f"{run.id} was trained on it: it cannot be repeated")
    for kind, digest in sorted((record.get("snapshot") or {}).items()):
        if digest and not store.snapshot_path(kind, str(digest)).exists():
            predicts = ", nor can its model predict" if kind == "code" and _is_built_by_code(record.get("model")) else ""
            meaning = f"the {kind} of {run.id}: it cannot be repeated{predicts}"
            yield Finding(store.snapshot_path(kind, str(digest)), DamageKind.MISSING, meaning)


def _is_built_by_code(model: Any) -> bool:
    """Whether a model's file holds weights alone, for which a function of the user's builds the model."""
    return isinstance(model, dict) and bool(model.get("format")) and ":" in str(model.get("model"))


def _check_model(model: Any, folder: Path) -> Iterator[Finding]:
    if isinstance(model, dict) and model.get("sha256"):
        path = folder / str(model.get("file"))
        if path.is_file() and sha256_of(path) != model["sha256"]:
            meaning = "not the model that was trained: its sha256 differs from the record's"
            yield Finding(path, DamageKind.WRONG_CONTENT, meaning)


def _expected_files(run: Run) -> list[str]:
    """The files that a result of this run must hold, as far as its record says that it had them."""
    if run.id.task == c.ENSEMBLE_TASK:
        members = [member for member in run.record.get("members", []) if member.get("run") and not member.get("left_out")]
        files = [c.CSV, *(f"{c.MEMBERS}/{member['member']}.csv" for member in members)]
        return files if "ensemble" in run.record else []
    model = run.record.get("model")
    return [str(model.get("file"))] if isinstance(model, dict) else []


def _meaning_of_missing(run: Run) -> str:
    if run.id.task == c.ENSEMBLE_TASK:
        return "the archive may still have it: predictions/"
    return "the model is lost: no ensemble can take it, and rerun --reuse-models cannot use it; rerun trains it again"


# -- the archive and what runs share


def _check_archive(store: LocalStore, experiment: str) -> Iterator[Finding]:
    expected: set[Path] = set()
    removed: set[Path] = set()
    for run in store.runs(experiment, c.ENSEMBLE_TASK):
        target = store.archive_path(run.id, run.record)
        if "run" in run.removed:
            removed |= {target, store.archive_path(run.id, {"other_configuration": True})}
        csv = run.folder / c.RESULT / c.CSV
        if run.status != Status.SUCCEEDED or not csv.exists():
            continue
        expected.add(target)
        if store.is_archive_removed(run.id, target):
            continue
        members = sorted((csv.parent / c.MEMBERS).glob("*.csv"))
        for source, archived in [(csv, target), *((path, target.with_suffix(".members") / path.name) for path in members)]:
            yield from _report_unreadable(archived, _check_archived(run.id, source, archived))
    for path in sorted(store.archive_folder(experiment).glob("*")):
        csv = path.with_suffix(".csv")
        if csv not in expected and csv not in removed and not path.name.startswith("."):
            yield Finding(path, DamageKind.FOREIGN, "no run wrote it, or the run is gone; it is left alone")


def _check_archived(run: RunId, source: Path, archived: Path) -> Iterator[Finding]:
    if not archived.exists():
        meaning = f"{run} was published and its process ended before it was archived"
        yield Finding(archived, DamageKind.NOT_ARCHIVED, meaning, "links it again", run)
    elif not archived.samefile(source) and archived.read_bytes() != source.read_bytes():
        meaning = f"not what {run} predicted, which is in {source}: another file, or changed since"
        yield Finding(archived, DamageKind.WRONG_CONTENT, meaning)


def _check_snapshots_and_data(store: LocalStore, quick: bool) -> Iterator[Finding]:
    for path in sorted((store.root / "snapshots").glob("*/*")):
        if path.name.startswith("."):
            continue
        if not quick and path.is_file() and sha256_of(path) != path.stem:
            meaning = "its sha256 is not its name: no run that names it can be repeated"
            yield Finding(path, DamageKind.WRONG_CONTENT, meaning)
    hashes = {}
    for path in sorted((store.root / "datasets").glob("*/*.json")):
        pin = read_document(path)
        if pin is None or not pin.get("fingerprint"):
            meaning = "it does not say which data this date uses: the tasks of the date fail until it is removed"
            yield Finding(path, DamageKind.TRUNCATED, meaning)
            continue
        hashes[str(pin["fingerprint"])] = pin.get("sha256")
    for path in sorted((store.root / "datasets").glob("*.npz")):
        if not quick and not path.name.startswith("."):
            problem = _array_problem(path, hashes.get(path.stem))
            if problem:
                yield Finding(path, DamageKind.WRONG_CONTENT, f"{problem}: runs that were trained on it cannot be repeated")


def _array_problem(path: Path, digest: str | None) -> str:
    if digest is not None:
        return "" if sha256_of(path) == digest else "its sha256 is not what was recorded"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        return f"it cannot be read ({error})"
    return f"{damaged} in it is damaged" if damaged else ""


# -- what can be repaired


def repair(store: LocalStore, findings: Iterable[Finding]) -> None:
    """Repair what can be without losing anything: leftovers, links into the archive, revisions that cannot be read.

    Sets ``repaired`` of each finding, or adds to its ``meaning`` why it could not be.
    """
    concerns_runs = False
    for finding in findings:
        concerns_runs |= "runs" in finding.path.parts
        if not finding.repair:
            continue
        try:
            if finding.what == DamageKind.LEFTOVER:
                removal.remove(store, finding.path)
                finding.repaired = True
            elif finding.what == DamageKind.NOT_ARCHIVED and finding.run is not None:
                store.publish_archive(finding.run)
                finding.repaired = finding.path.exists()
            elif finding.what == DamageKind.TRUNCATED:
                removal.set_aside(finding.path)
                finding.repaired = True
        except OSError as error:
            finding.meaning += f" (not repaired: {error.strerror})"
    if concerns_runs:
        removal.drop_index(store)
