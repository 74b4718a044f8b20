"""Damage in the runs of a store: folders that are none, marks, results and their files. Standard library alone, Python 3.9."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import RunId, parse_run_id
from jobs.store.document_files import read_document
from jobs.store.files import list_names, sha256_of
from jobs.store.findings import AHEAD, CheckScope, DamageKind, Finding, check_belongs, check_document, report_unreadable
from jobs.store.reading import Run
from jobs.store.regular_files import is_folder, is_regular
from jobs.store.result_files import recorded_files
from jobs.store.run_summaries import MonthSummaries, RunSummary, used_runs
from jobs.store.safe_paths import UnsafePath, split_path
from jobs.store.tombstones import read_tombstones

EARLY = 86400
"""Seconds before its slot at which no run can have begun, whatever the clocks."""
_RUN_FILES = re.compile(
    "|".join(
        [
            *map(re.escape, (c.OBSERVED, c.CANCELLED, c.REMOVED, c.VERDICT, c.WAIT, c.CLAIM, f".{c.CLAIM}")),
            r"(claim|decision|removed)-[0-9]+\.json",
        ]
    )
)
"""The documents of a run's folder, beside its tries and its result."""
_MODEL_LOST = "the model is lost: no ensemble can take it, and rerun --reuse-models cannot use it; rerun trains it again"


def check_runs(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with an experiment's runs, and with what they name."""
    store, experiment = scope.store, scope.experiment
    for name in list_names(store.root / "runs"):
        if not is_folder(store.root / "runs" / name):
            yield Finding(store.root / "runs" / name, DamageKind.FOREIGN, "an experiment is a folder; it is left alone")
    for task in store.tasks(experiment):
        folder = store.task_folder(experiment, task)
        if not is_folder(folder):
            yield Finding(folder, DamageKind.FOREIGN, "a task is a folder; it is left alone")
        elif task != c.ENSEMBLE_TASK and not task.startswith(c.member_task("")):
            yield Finding(folder, DamageKind.FOREIGN, "no task has this name; it is left alone")
        else:
            yield from report_unreadable(folder, _check_task(scope, task))
    for run, user in sorted(scope.lost_results.items()):
        meaning = f"{user} was made with it, and it is gone: neither can be repeated as it was"
        yield Finding(store.run_folder(run) / c.RESULT, DamageKind.MISSING, meaning)


def _check_task(scope: CheckScope, task: str) -> Iterator[Finding]:
    store, experiment = scope.store, scope.experiment
    months = set(store.months(experiment, task))
    for name in list_names(store.task_folder(experiment, task)):
        month = store.task_folder(experiment, task) / name
        if name not in months or not is_folder(month):
            yield Finding(month, DamageKind.FOREIGN, "no month of runs; it is left alone")
        else:
            yield from report_unreadable(month, _check_month(scope, task, month))


def _check_month(scope: CheckScope, task: str, month: Path) -> Iterator[Finding]:
    summaries = scope.summaries.month(scope.experiment, task, month.name)
    for name in list_names(month):
        path = month / name
        run = parse_run_id(name, scope.experiment, task)
        if run is None:
            meaning = f"no run of {scope.experiment}'s {task}; it is left alone"
            yield Finding(path, DamageKind.FOREIGN, meaning)
        elif run.month != month.name:
            meaning = f"a run of {run.month}: it is not found here; move it to {run.month}/"
            yield Finding(path, DamageKind.WRONG_CONTENT, meaning)
        elif not is_folder(path):
            yield Finding(path, DamageKind.FOREIGN, "a run is a folder; it takes this run's name")
        else:
            yield from report_unreadable(path, _check_unless_known(scope, summaries, run))
    summaries.save()


def _check_unless_known(scope: CheckScope, summaries: MonthSummaries, run: RunId) -> Iterator[Finding]:
    """Check a run, unless it is to be quick and nothing of it has changed since nothing was wrong with it."""
    if scope.quick and summaries.is_checked(run):
        summary = summaries.summary(run)
        if summary is not None and not any(_check_summary(scope, run, summary)):
            return
    summaries.read_again(run)
    findings = list(_check_run(scope, run))
    if not findings:
        summaries.set_checked(run)
    yield from findings


def _check_summary(scope: CheckScope, run: RunId, summary: RunSummary) -> Iterator[Finding]:
    """What is wrong with what a run names, by its summary; what it names is noted."""
    if summary.facts.has_record:
        data = {"fingerprint": summary.facts.data, "sha256": summary.facts.data_sha256, "pin": summary.facts.pin}
        yield from _check_needed(scope, run, {"data": data if data["fingerprint"] else None, "snapshot": summary.facts.snapshot})
        _note_lost_results(scope, run, summary.used(run.experiment))


def _check_run(scope: CheckScope, run_id: RunId) -> Iterator[Finding]:
    run = scope.store.read(run_id)
    if "run" in run.removed:
        return
    names = sorted(os.listdir(run.folder))
    for name in names:
        path = run.folder / name
        if _RUN_FILES.fullmatch(name):
            meaning = "what it says of the run is lost"
            document, findings = check_document(path, meaning)
            yield from findings
            yield from check_belongs(path, document, "run_id", str(run_id))
        elif name.startswith(c.TRY_PREFIX) and is_folder(path):
            yield from report_unreadable(path, _check_try(scope, run, path))
        elif not name.startswith(".") and not (name == c.RESULT and is_folder(path)):
            yield Finding(path, DamageKind.FOREIGN, "nothing of ours has this name in a run; it is left alone")
    if c.RESULT in names and is_folder(run.folder / c.RESULT):
        yield from _check_result(scope, run)
    elif c.RECORD_TRACE in names:
        meaning = f"the run published a result, and it is gone: the history shows {run.status}"
        yield Finding(run.folder / c.RESULT, DamageKind.MISSING, meaning)
        yield from check_document(run.folder / c.RECORD_TRACE, f"it says what {c.RESULT} was")[1]


def _check_try(scope: CheckScope, run: Run, folder: Path) -> Iterator[Finding]:
    """The documents of a try without a result; its log, progress and arrays are read by nothing that must be right."""
    lost = f"what became of this try is lost: the history shows {run.status}"
    for name, key in ((c.START, "run"), (c.END, "run_id")):
        path = folder / name
        mark, findings = check_document(path, lost)
        yield from findings
        if mark is not None:
            yield from check_belongs(path, mark, key, str(run.id))
            yield from check_belongs(path, mark, "try", folder.name[len(c.TRY_PREFIX) :])
            yield from _check_time(scope, path, run, mark.get("time"))
        elif name == c.START and not findings:
            yield Finding(path, DamageKind.MISSING, lost)
    others = [folder / c.DATA, folder / c.SELECTION, *sorted(folder.glob(f"{c.PROBABILITIES}/*/*.json"))]
    for path in others:
        yield from check_document(path, "what it says of this try is lost")[1]


def _check_time(scope: CheckScope, path: Path, run: Run, time: Any) -> Iterator[Finding]:
    seconds = c.parse_time(time)
    if seconds is None:
        yield Finding(path, DamageKind.WRONG_TIME, f"its time is {time!r}: its duration is unknown")
        return
    if seconds > scope.now + AHEAD:
        yield Finding(path, DamageKind.WRONG_TIME, f"it is dated {time}, which is in the future")
    elif seconds < run.id.minute * 60 - EARLY:
        yield Finding(path, DamageKind.WRONG_TIME, f"it is dated {time}, long before its slot {run.id.dated_name}")


# -- results


def _check_result(scope: CheckScope, run: Run) -> Iterator[Finding]:
    folder = run.folder / c.RESULT
    path = folder / c.RECORD
    lost = "the run published a result, and what it was is lost: the history shows unknown"
    record, findings = check_document(path, lost)
    if record is None and not findings:
        findings = [Finding(path, DamageKind.MISSING, lost)]
    if not findings:
        yield from _check_trace(run, path)
        findings = list(_check_record_bytes(run, path))
    if findings and _is_trace_whole(run):
        findings[0].repair = "puts back the record that the run wrote"
    yield from findings
    if findings or record is None:
        # The files are checked against what the run wrote, where that is still there.
        if _is_trace_whole(run):
            yield from _check_files(scope, run, read_document(run.folder / c.RECORD_TRACE) or {})
        return
    if record.get("run") not in (None, str(run.id)):
        yield Finding(path, DamageKind.WRONG_CONTENT, f"it is the record of {record['run']}: the folder was copied or renamed")
        return
    for key in ("started", "finished"):
        yield from _check_time(scope, path, run, record.get(key))
    if str(record.get("finished")) < str(record.get("started")):
        yield Finding(path, DamageKind.WRONG_TIME, "it finished before it started: its duration is unknown")
    yield from _check_files(scope, run, record)
    yield from _check_needed(scope, run.id, record)
    _note_lost_results(scope, run.id, used_runs(run.id, record))


def _check_trace(run: Run, path: Path) -> Iterator[Finding]:
    """The second name of the record, where it has one, is a record of the run."""
    trace = run.folder / c.RECORD_TRACE
    if os.path.lexists(trace) and not _is_trace_whole(run):
        yield Finding(trace, DamageKind.WRONG_CONTENT, f"not the record of the run, which is in {path}")


def _check_record_bytes(run: Run, path: Path) -> Iterator[Finding]:
    """The record is what its second name has, where that is a record of the run: the same file, or one of the same bytes."""
    trace = run.folder / c.RECORD_TRACE
    if _is_trace_whole(run) and not os.path.samefile(trace, path) and sha256_of(trace) != sha256_of(path):
        yield Finding(path, DamageKind.WRONG_CONTENT, f"not the record that the run wrote, which is in {trace}")


def _is_trace_whole(run: Run) -> bool:
    """Whether the second name of a run's record holds a record of this run."""
    return (read_document(run.folder / c.RECORD_TRACE) or {}).get("run") == str(run.id)


def _check_files(scope: CheckScope, run: Run, record: dict[str, Any]) -> Iterator[Finding]:
    """The files of a result, against the record's list; of an earlier version's against what its record says of them."""
    folder = run.folder / c.RESULT
    listed, is_complete = recorded_files(record), isinstance(record.get("files"), dict)
    removed = {str(file.get("path")) for file in run.removed.get("files") or [] if isinstance(file, dict)}
    for name, file in listed.items():
        try:
            path = folder.joinpath(*split_path(name))
        except UnsafePath:
            yield Finding(folder / c.RECORD, DamageKind.WRONG_CONTENT, f"it lists {name!r}, which leads out of the result")
            continue
        if f"{c.RESULT}/{name}" in removed and not os.path.lexists(path):
            continue
        yield from report_unreadable(path, _check_file(scope, path, file, _meaning_of_damage(run, record, name)))
    if not is_complete:
        yield from _check_unlisted(run, record, removed)
        return
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent) / name for name in folders):
            if not any(name.startswith(f"{path.relative_to(folder).as_posix()}/") for name in listed):
                yield Finding(path, DamageKind.FOREIGN, "the record lists nothing in it; it is left alone")
        for path in (Path(parent) / name for name in names):
            name = path.relative_to(folder).as_posix()
            # A run that was stopped while it published has an end mark beside its record.
            if name not in listed and name not in (c.RECORD, c.END) and not path.name.startswith("."):
                yield Finding(path, DamageKind.FOREIGN, "the record does not list it; it is left alone")


def _check_file(scope: CheckScope, path: Path, file: dict[str, Any], meaning: str) -> Iterator[Finding]:
    if not os.path.lexists(path):
        yield Finding(path, DamageKind.MISSING, meaning)
    elif not is_regular(path):
        yield Finding(path, DamageKind.UNREADABLE, f"it is no file: {meaning}")
    elif file.get("size") is not None and path.stat().st_size < file["size"]:
        yield Finding(path, DamageKind.TRUNCATED, meaning)
    elif file.get("size") not in (None, path.stat().st_size) or (not scope.quick and sha256_of(path) != file.get("sha256")):
        yield Finding(path, DamageKind.WRONG_CONTENT, f"its sha256 differs from the record's: {meaning}")


def _meaning_of_damage(run: Run, record: dict[str, Any], name: str) -> str:
    model = record.get("model")
    if isinstance(model, dict) and name == model.get("file"):
        return _MODEL_LOST
    if name in (c.CSV, c.METADATA) or name.startswith(f"{c.MEMBERS}/"):
        return "the archive may still have it: predictions/"
    if name == c.VALIDATION or name.startswith(f"{c.PROBABILITIES}/"):
        return f"a rerun of {run.id} cannot be compared by it"
    return f"what it says of {run.id} is lost"


def _check_unlisted(run: Run, record: dict[str, Any], removed: set[str]) -> Iterator[Finding]:
    """A result of an earlier version: what the record says too must be what its files say."""
    folder = run.folder / c.RESULT
    for name in _expected_files(run, record):
        if not (folder / name).exists() and f"{c.RESULT}/{name}" not in removed and name not in recorded_files(record):
            yield Finding(folder / name, DamageKind.MISSING, _meaning_of_damage(run, record, name))
    for name, key in ((c.MODEL, "model"), (c.DATA, "data"), (c.METRICS, "metrics"), (c.ENSEMBLE, "ensemble")):
        document, findings = check_document(folder / name, f"the record has it too, as `{key}`")
        yield from findings
        if document is not None and record.get(key) is not None and document != record[key]:
            yield Finding(folder / name, DamageKind.WRONG_CONTENT, f"it is not what the record has as `{key}`")
    selection, findings = check_document(folder / c.SELECTION, "the record has it too, as `members`")
    yield from findings
    if selection is not None and record.get("members") is not None and selection.get("members") != record["members"]:
        yield Finding(folder / c.SELECTION, DamageKind.WRONG_CONTENT, "it is not what the record has as `members`")
    start, findings = check_document(folder / c.START, "when the run began is lost")
    yield from [*findings, *check_belongs(folder / c.START, start, "run", str(run.id))]
    for path in sorted(folder.glob(f"{c.PROBABILITIES}/*/probabilities.json")):
        summary, findings = check_document(path, "what it says of a prediction is lost")
        yield from findings
        array = path.with_suffix(".npy")
        if summary is not None and summary.get("sha256") and array.exists() and sha256_of(array) != summary["sha256"]:
            meaning = _meaning_of_damage(run, record, f"{c.PROBABILITIES}/")
            yield Finding(array, DamageKind.WRONG_CONTENT, f"its sha256 is not the one beside it: {meaning}")


def _expected_files(run: Run, record: dict[str, Any]) -> list[str]:
    """The files that a result of an earlier version must hold, as far as its record says that it had them."""
    if run.id.task == c.ENSEMBLE_TASK:
        members = [member for member in record.get("members") or [] if member.get("run") and not member.get("left_out")]
        files = [c.CSV, *(f"{c.MEMBERS}/{member['member']}.csv" for member in members)]
        return files if "ensemble" in record else []
    model = record.get("model")
    return [Path(str(model.get("file"))).name] if isinstance(model, dict) else []


def _check_needed(scope: CheckScope, run: RunId, record: dict[str, Any]) -> Iterator[Finding]:
    """The prepared data and the snapshot that a run names."""
    store, data = scope.store, record.get("data")
    if isinstance(data, dict) and data.get("fingerprint"):
        fingerprint = str(data["fingerprint"])
        if data.get("sha256"):
            scope.data_hashes.setdefault(fingerprint, set()).add(str(data["sha256"]))
        if data.get("pin"):
            scope.pins.setdefault(str(data["pin"]), run)
        if not _exists(scope, store.dataset_path(fingerprint)):
            meaning = f"{run} was trained on it: it cannot be repeated"
            yield Finding(store.dataset_path(fingerprint), DamageKind.MISSING, meaning)
    snapshot = record.get("snapshot")
    for kind, digest in sorted(snapshot.items()) if isinstance(snapshot, dict) else ():
        if kind in ("program", "code", "task") and digest and not _exists(scope, store.snapshot_path(kind, str(digest))):
            predicts = ", nor can its model predict" if kind == "code" and _is_built_by_code(record.get("model")) else ""
            meaning = f"the {kind} of {run}: it cannot be repeated{predicts}"
            yield Finding(store.snapshot_path(kind, str(digest)), DamageKind.MISSING, meaning)


def _is_built_by_code(model: Any) -> bool:
    """Whether a model's file holds weights alone, for which a function of the user's builds the model."""
    return isinstance(model, dict) and bool(model.get("format")) and ":" in str(model.get("model"))


def _exists(scope: CheckScope, path: Path) -> bool:
    """Whether something shared is there: asked once, for thousands of runs name it."""
    if path not in scope.shared:
        scope.shared[path] = path.exists()
    return scope.shared[path]


def _note_lost_results(scope: CheckScope, run: RunId, used: Iterable[RunId]) -> None:
    """Keep which of the results that a run was made with are neither there, nor removed by gc, nor reported as missing."""
    for other in used:
        folder = scope.store.run_folder(other)
        has_result = is_folder(folder / c.RESULT) or os.path.lexists(folder / c.RECORD_TRACE)
        if not has_result and "run" not in read_tombstones(folder):
            scope.lost_results.setdefault(other, run)
