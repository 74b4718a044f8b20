"""Damage: what in a store is not as our own work leaves it, what that means, and the little that is safe to mend."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs import contract
from jobs import contract as c
from jobs.contract import RunId, Status, parse_run_id
from jobs.store import removal
from jobs.store.files import read_json, sha256_of
from jobs.store.local_store import LocalStore
from jobs.store.reading import Run

MISSING, TRUNCATED, WRONG, FOREIGN, CLOCK, HALF, LEFTOVER, UNREADABLE = (
    "missing",
    "truncated",
    "wrong content",
    "foreign",
    "clock nonsense",
    "half a link",
    "leftover",
    "unreadable",
)
_OURS = {"runs", "predictions", "datasets", "snapshots", "experiments", "data"}
_SIDE = {c.OBSERVED, c.CANCELLED, c.REMOVED, c.CLAIM, c.VERDICT, c.RESULT}
EARLY = 86400
"""Seconds before its slot at which no run can have begun, whatever the clocks."""
AHEAD = 3600
"""Seconds after now that no time can lie, whatever the clocks."""
LEFT = 86400


@dataclass
class Finding:
    """Something that is wrong: where, of what kind, what it means, and what --repair does about it, if anything."""

    path: Path
    what: str
    meaning: str
    repair: str = ""
    run: RunId | None = None
    repaired: bool = False


def find_damage(store: LocalStore, experiment: str, now: float, quick: bool) -> Iterator[Finding]:
    """Everything that is wrong with a store; ``quick`` reads no file only for its hash."""
    yield from _top(store)
    yield from _leftovers(store, now)
    yield from _ledger(store, experiment, now)
    for task in store.tasks(experiment):
        yield from _task(store, experiment, task, now, quick)
    yield from _archive(store, experiment)
    yield from _shared(store, quick)


def _top(store: LocalStore) -> Iterator[Finding]:
    if not store.root.is_dir():
        yield Finding(store.root, MISSING, "there is no store")
        return
    for path in sorted(store.root.iterdir()):
        if path.name not in _OURS and not path.name.startswith("."):
            yield Finding(path, FOREIGN, "nothing of ours has this name; it is left alone")


def _leftovers(store: LocalStore, now: float) -> Iterator[Finding]:
    for path in removal.leftovers(store, now - LEFT):
        yield Finding(path, LEFTOVER, "its writer ended before it was done; nothing reads it", "removes it")


# -- what is beside the runs


def _ledger(store: LocalStore, experiment: str, now: float) -> Iterator[Finding]:
    owner = store.ledger.owner_file(experiment)
    if owner.exists() and read_json(owner) is None:
        yield Finding(
            owner, TRUNCATED, "who runs the experiment cannot be told: `serve` or `sync` with --take-over writes it anew"
        )
    before: dict[str, tuple[int, float]] = {}
    for path in store.ledger.revision_files(experiment):
        told = read_json(path)
        problem = "it cannot be read" if told is None else contract.revision_problem(told)
        if told is None or problem:
            meaning = f"no revision: {problem}; slots are told by those around it"
            yield Finding(path, TRUNCATED, meaning, "puts it aside, so that a pod can bring it again")
            continue
        number, moment, engine = int(told["revision"]), contract.revision_time(told), str(told.get("engine", ""))
        if moment > now + AHEAD:
            yield Finding(path, CLOCK, f"it is dated {told['time']}, which is still to come")
        last = before.get(engine)
        # Files lie in the order of their times: a smaller number behind a larger one was written by a clock that jumped.
        if last is not None and 1 < number < last[0]:
            yield Finding(path, CLOCK, f"revision {number} of {engine} is dated after revision {last[0]}: a clock jumped")
        before[engine] = (number, moment)
    for path in store.ledger.note_files(experiment):
        broken = [n for n, line in enumerate(path.read_bytes().splitlines(), 1) if line.strip() and not _is_object(line)]
        if broken:
            lines = ", ".join(map(str, broken[:5]))
            yield Finding(
                path, TRUNCATED, f"{len(broken)} notes cannot be read (line {lines}): what they told of is told as missed"
            )


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


# -- the runs


def _task(store: LocalStore, experiment: str, task: str, now: float, quick: bool) -> Iterator[Finding]:
    folder = store.task_folder(experiment, task)
    if not folder.is_dir():
        yield Finding(folder, FOREIGN, "a task is a folder; it is left alone")
        return
    months = set(store.months(experiment, task))
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name not in months or not path.is_dir():
            yield Finding(path, FOREIGN, "no month of runs; it is left alone")
            continue
        for each in sorted(path.iterdir()):
            run = parse_run_id(each.name, experiment, task)
            if each.name.startswith("."):
                continue
            if run is None:
                yield Finding(each, FOREIGN, f"no run of {experiment}'s {task}; it is left alone")
            elif run.month != path.name:
                yield Finding(each, WRONG, f"a run of {run.month}: nothing finds it here; move it to {run.month}/")
            elif not each.is_dir():
                yield Finding(each, FOREIGN, "a run is a folder; it takes this run's name")
            else:
                yield from _guarded(each, _run(store, store.read(run), now, quick))


def _guarded(path: Path, some: Iterable[Finding]) -> Iterator[Finding]:
    try:
        yield from some
    except OSError as error:
        yield Finding(Path(error.filename or path), UNREADABLE, error.strerror or str(error))


def _run(store: LocalStore, run: Run, now: float, quick: bool) -> Iterator[Finding]:
    folder = run.folder
    if "run" in run.removed:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _SIDE or path.name.startswith(c.TRY_PREFIX):
            continue
        yield Finding(path, FOREIGN, "nothing of ours has this name in a run; it is left alone")
    for name in (c.OBSERVED, c.REMOVED, c.CLAIM):
        if (folder / name).exists() and read_json(folder / name) is None:
            yield Finding(folder / name, TRUNCATED, "what it told of the run is lost")
    for each in run.tries:
        own = folder / (c.TRY_PREFIX + each["name"])
        if each["damaged"]:
            kind = TRUNCATED if (own / each["damaged"]).exists() else MISSING
            yield Finding(own / each["damaged"], kind, f"what became of this try is lost: the history tells it as {run.status}")
        for mark, name in ((each["start"], c.START), (each["end"] or {}, c.END)):
            if mark:
                yield from _clock(own / name, run, mark.get("time"), now)
    result = folder / c.RESULT
    if run.record:
        yield from _record(store, run, now, quick)
    elif result.exists():
        kind = TRUNCATED if (result / c.RECORD).exists() else MISSING
        yield Finding(
            result / c.RECORD, kind, "the run published a result, and what it was cannot be told: the history says unknown"
        )


def _clock(path: Path, run: Run, time: Any, now: float) -> Iterator[Finding]:
    try:
        moment = datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        yield Finding(path, CLOCK, f"its time is {time!r}: no duration can be told")
        return
    if moment > now + AHEAD:
        yield Finding(path, CLOCK, f"it is dated {time}, which is still to come")
    elif moment < run.id.minute * 60 - EARLY:
        yield Finding(path, CLOCK, f"it is dated {time}, long before its slot {run.id.dated_name}")


def _record(store: LocalStore, run: Run, now: float, quick: bool) -> Iterator[Finding]:
    record, folder = run.record, run.folder / c.RESULT
    path = folder / c.RECORD
    if record.get("run") not in (None, str(run.id)):
        yield Finding(path, WRONG, f"it is the record of {record['run']}: the folder was copied or renamed")
    for key in ("started", "finished"):
        yield from _clock(path, run, record.get(key), now)
    if str(record.get("finished")) < str(record.get("started")):
        yield Finding(path, CLOCK, "it finished before it started: its duration is no duration")
    for name in _expected(run):
        if not (folder / name).exists() and not store.is_removed(run.id, f"{c.RESULT}/{name}"):
            yield Finding(folder / name, MISSING, _without(run, name))
    if not quick:
        yield from _model(record.get("model"), folder)
    data = record.get("data")
    if isinstance(data, dict) and data.get("fingerprint"):
        kept = store.dataset_path(str(data["fingerprint"]))
        if not kept.exists():
            yield Finding(kept, MISSING, f"{run.id} learnt from it: it cannot be repeated")
    for kind, digest in sorted((record.get("snapshot") or {}).items()):
        if digest and not store.snapshot_path(kind, str(digest)).exists():
            yield Finding(store.snapshot_path(kind, str(digest)), MISSING, f"the {kind} of {run.id}: it cannot be repeated")


def _model(described: Any, folder: Path) -> Iterator[Finding]:
    if isinstance(described, dict) and described.get("sha256"):
        path = folder / str(described.get("file"))
        if path.is_file() and sha256_of(path) != described["sha256"]:
            yield Finding(path, WRONG, "not the model that was trained: its sha256 differs from the record's")


def _expected(run: Run) -> list[str]:
    """The files that a result of this run must hold, as far as its record tells that it had them."""
    if run.id.task == c.ENSEMBLE_TASK:
        taken = [each["member"] for each in run.record.get("members", []) if each.get("run") and not each.get("left_out")]
        return [c.CSV, *(f"{c.MEMBERS}/{member}.csv" for member in taken)] if "ensemble" in run.record else []
    model = run.record.get("model")
    return [str(model.get("file"))] if isinstance(model, dict) else []


def _without(run: Run, name: str) -> str:
    if run.id.task == c.ENSEMBLE_TASK:
        return "the archive may still have it: predictions/"
    return "the model is lost: no ensemble can take it, and rerun --reuse-models cannot use it; rerun trains it again"


# -- the archive and what runs share


def _archive(store: LocalStore, experiment: str) -> Iterator[Finding]:
    known: set[Path] = set()
    removed: set[Path] = set()
    for run in store.runs(experiment, c.ENSEMBLE_TASK):
        target = store.archive_path(run.id, run.record)
        if "run" in run.removed:
            removed |= {target, store.archive_path(run.id, {"other_configuration": True})}
        csv = run.folder / c.RESULT / c.CSV
        if run.status != Status.SUCCEEDED or not csv.exists():
            continue
        known.add(target)
        if store.is_archive_removed(run.id, target):
            continue
        pairs = [(csv, target)]
        pairs += [(path, target.with_suffix(".members") / path.name) for path in sorted((csv.parent / c.MEMBERS).glob("*.csv"))]
        for source, archived in pairs:
            yield from _guarded(archived, _linked(run.id, source, archived))
    for path in sorted(store.archive_folder(experiment).glob("*")):
        name = path.with_suffix(".csv")
        if name not in known and name not in removed and not path.name.startswith("."):
            yield Finding(path, FOREIGN, "no run made it, or the run is gone; it is left alone")


def _linked(run: RunId, source: Path, archived: Path) -> Iterator[Finding]:
    if not archived.exists():
        yield Finding(archived, HALF, f"{run} was published and its process ended before it was archived", "links it again", run)
    elif not archived.samefile(source) and archived.read_bytes() != source.read_bytes():
        yield Finding(archived, WRONG, f"not what {run} predicted, which is in {source}: a stranger's, or changed since")


def _shared(store: LocalStore, quick: bool) -> Iterator[Finding]:
    for path in sorted((store.root / "snapshots").glob("*/*")):
        if path.name.startswith("."):
            continue
        if not quick and path.is_file() and sha256_of(path) != path.stem:
            yield Finding(path, WRONG, "its sha256 is not its name: no run that names it can be repeated")
    hashes = {}
    for pin in sorted((store.root / "datasets").glob("*/*.json")):
        told = read_json(pin)
        if told is None or not told.get("fingerprint"):
            yield Finding(
                pin, TRUNCATED, "which data this date uses cannot be told: the tasks of the date fail until it is removed"
            )
            continue
        hashes[str(told["fingerprint"])] = told.get("sha256")
    for path in sorted((store.root / "datasets").glob("*.npz")):
        if not quick and not path.name.startswith("."):
            problem = _array_problem(path, hashes.get(path.stem))
            if problem:
                yield Finding(path, WRONG, f"{problem}: runs that learnt from it cannot be repeated")


def _array_problem(path: Path, digest: str | None) -> str:
    if digest is not None:
        return "" if sha256_of(path) == digest else "its sha256 is not what was recorded"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        return f"it cannot be read ({error})"
    return f"{broken} in it is damaged" if broken else ""


# -- what is safe to mend


def repair(store: LocalStore, found: Iterable[Finding]) -> None:
    """Mend what can be mended without losing anything: leftovers, links into the archive, revisions that cannot be read."""
    runs = False
    for each in found:
        runs |= "runs" in each.path.parts
        if not each.repair:
            continue
        try:
            if each.what == LEFTOVER:
                removal.remove(store, each.path)
                each.repaired = True
            elif each.what == HALF and each.run is not None:
                store.publish_archive(each.run)
                each.repaired = each.path.exists()
            elif each.what == TRUNCATED:
                removal.set_aside(each.path)
                each.repaired = True
        except OSError as error:
            each.meaning += f" (not repaired: {error.strerror})"
    if runs:
        removal.drop_index(store)
