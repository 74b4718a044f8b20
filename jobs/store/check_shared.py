"""Damage in what outlives or is shared by runs: archive, snapshots, prepared data, report pages. Python 3.9, standard library."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from jobs import contract as c
from jobs.contract import RunId, Status
from jobs.store.checksums import is_sha256
from jobs.store.datasets import UnreadableArrays, fingerprint_of
from jobs.store.files import list_names, sha256_of
from jobs.store.findings import LEFT_ALONE, CheckScope, DamageKind, Finding, check_document, report_unreadable
from jobs.store.latest_predictions import LATEST_CSV, LATEST_JSON
from jobs.store.reading import Run
from jobs.store.regular_files import is_folder, is_regular, read_regular
from jobs.store.report_pages import LARGEST_PAGE, LATEST, is_dated, is_whole, reports_folder
from jobs.store.result_files import archived_files, archived_path, recorded_files
from jobs.store.run_summaries import RunSummary

_SUFFIXES = {"program": ".pyz", "code": ".zip", "task": ".json"}


# -- the archive


def check_archive(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with an experiment's dated CSVs and what lies beside them: they are to be what its runs wrote."""
    store, experiment = scope.store, scope.experiment
    expected: dict[str, frozenset[str]] = {}
    """By the name of a CSV in the archive those of its members' CSVs, and that of its metadata where it has such."""
    removed: set[str] = set()
    same: dict[frozenset[str], frozenset[str]] = {}
    for run_id, summary in scope.summaries.of_task(experiment, c.ENSEMBLE_TASK, skip_unreadable=True):
        if scope.quick and summary is not None and _is_archived(scope, run_id, summary):
            names, target = _names_of(summary), _target(scope, run_id, summary)
        else:
            run = store.read(run_id)
            target = store.archive_path(run.id, run.record)
            if "run" in run.removed:
                removed |= {target.name, store.archive_path(run.id, {"other_configuration": True}).name}
            if run.status != Status.SUCCEEDED:
                continue
            names = _csv_names(run)
            if not store.is_archive_removed(run.id, target):
                for name in names:
                    source = run.folder / c.RESULT / name
                    archived = archived_path(target, name)
                    yield from report_unreadable(archived, _check_archived(scope, run, source, archived, name))
        others = frozenset(Path(name).name for name in names if name != c.CSV)
        expected[target.name] = same.setdefault(others, others)
    folder = store.archive_folder(experiment)
    for name in list_names(folder):
        path = folder / name
        csv = path.with_suffix(".csv").name
        if csv in removed or name in (LATEST_CSV, LATEST_JSON):
            continue
        is_members = path.suffix == ".members" and is_folder(path)
        is_metadata = path.suffix == ".json" and c.METADATA in expected.get(csv, ())
        if csv not in expected or not (is_members or is_metadata or name == csv):
            yield Finding(path, DamageKind.FOREIGN, "no run wrote it, or the run is gone; it is left alone")
        elif is_members:
            for other in list_names(path):
                if other not in expected[csv] - {c.METADATA}:
                    yield Finding(path / other, DamageKind.FOREIGN, "no run wrote it; it is left alone")


def _target(scope: CheckScope, run: RunId, summary: RunSummary) -> Path:
    return scope.store.archive_path(run, {"other_configuration": summary.facts.is_named_for_other})


def _names_of(summary: RunSummary) -> list[str]:
    return [name for name, _ in summary.facts.csvs or []]


def _is_archived(scope: CheckScope, run: RunId, summary: RunSummary) -> bool:
    """Whether a run's CSVs are in the archive, each a file of its size, as its summary has them."""
    if summary.status != Status.SUCCEEDED or summary.facts.csvs is None or c.CSV not in _names_of(summary):
        return False
    target = _target(scope, run, summary)
    for name, size in summary.facts.csvs:
        path = archived_path(target, name)
        if not is_regular(path) or path.stat().st_size != size:
            return False
    return True


def _csv_names(run: Run) -> list[str]:
    """The files of a result that belong into the archive, by the record, or, of an earlier version's, as they are."""
    members = f"{c.MEMBERS}/"
    if isinstance(run.record.get("files"), dict):
        return archived_files(run.record)
    result = run.folder / c.RESULT
    if not (result / c.CSV).exists():
        return []
    return [c.CSV, *(f"{members}{name}" for name in list_names(result / c.MEMBERS) if name.endswith(".csv"))]


def _check_archived(scope: CheckScope, run: Run, source: Path, archived: Path, name: str) -> Iterator[Finding]:
    recorded = recorded_files(run.record).get(name, {})
    if not os.path.lexists(archived):
        if source.exists():
            meaning = f"{run.id} was published and its process ended before it was archived"
            yield Finding(archived, DamageKind.NOT_ARCHIVED, meaning, "links it again", run.id)
        else:
            yield Finding(archived, DamageKind.MISSING, f"neither the archive nor the result of {run.id} has it")
        return
    if not is_regular(archived):
        yield Finding(archived, DamageKind.UNREADABLE, "it is no file")
        return
    if recorded:
        is_same_size = archived.stat().st_size == recorded.get("size")
        is_right = is_same_size and (scope.quick or sha256_of(archived) == recorded.get("sha256"))
    else:
        is_right = not source.exists() or archived.samefile(source) or sha256_of(archived) == sha256_of(source)
    if not is_right:
        whose = (
            f"which is in {source}" if source.exists() and not archived.samefile(source) else "and its result is the same file"
        )
        meaning = f"not what {run.id} predicted, {whose}: another file, or changed since"
        yield Finding(archived, DamageKind.WRONG_CONTENT, meaning)


# -- report pages


def check_pages(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with the report pages that a watch keeps of an experiment."""
    folder = reports_folder(scope.store.root, scope.experiment)
    for name in list_names(folder):
        path = folder / name
        if not (name == LATEST or is_dated(name)):
            yield Finding(path, DamageKind.FOREIGN, LEFT_ALONE)
        elif not is_regular(path):
            yield Finding(path, DamageKind.UNREADABLE, "it is no file")
        elif not scope.quick:
            yield from report_unreadable(path, _check_page(path))


def _check_page(path: Path) -> Iterator[Finding]:
    if not is_whole(read_regular(path, LARGEST_PAGE)):
        meaning = "its end is missing: the next look of the watch makes that of its day, and the latest, anew"
        yield Finding(path, DamageKind.TRUNCATED, meaning)


# -- snapshots


def check_snapshots(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with programs, code and configurations: each is named by its hash."""
    folder = scope.store.root / "snapshots"
    for kind in list_names(folder):
        if kind not in _SUFFIXES or not is_folder(folder / kind):
            yield Finding(folder / kind, DamageKind.FOREIGN, LEFT_ALONE)
            continue
        for name in list_names(folder / kind):
            path = folder / kind / name
            if path.suffix != _SUFFIXES[kind] or not is_sha256(path.stem):
                yield Finding(path, DamageKind.FOREIGN, LEFT_ALONE)
            elif not scope.quick or kind == "task":
                yield from report_unreadable(path, _check_snapshot(path))


def _check_snapshot(path: Path) -> Iterator[Finding]:
    if sha256_of(path) != path.stem:
        meaning = "its sha256 is not its name: no run that names it can be repeated"
        yield Finding(path, DamageKind.WRONG_CONTENT, meaning)


# -- prepared data


def check_data(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with prepared data, which is named by its arrays, and with what pins it to a date."""
    folder = scope.store.root / "datasets"
    datasets = []
    for name in list_names(folder):
        path = folder / name
        if is_folder(path):
            yield from report_unreadable(path, _check_pins(scope, path))
        elif path.suffix == ".npz":
            datasets.append(path)
        else:
            yield Finding(path, DamageKind.FOREIGN, LEFT_ALONE)
    for pin, run in sorted(scope.pins.items()):
        experiment, _, name = pin.rpartition("/")
        path = folder / experiment / f"{name}.json"
        if experiment == scope.experiment and not os.path.lexists(path):
            meaning = f"{run} used what it pinned: the next task of its date reads the data anew"
            yield Finding(path, DamageKind.MISSING, meaning)
    for path in datasets if not scope.quick else ():
        yield from report_unreadable(path, _check_dataset(scope, path))


def _check_pins(scope: CheckScope, folder: Path) -> Iterator[Finding]:
    for name in list_names(folder):
        path = folder / name
        if path.suffix != ".json":
            yield Finding(path, DamageKind.FOREIGN, LEFT_ALONE)
            continue
        meaning = "it does not say which data this date uses: the tasks of the date fail until it is removed"
        pin, findings = check_document(path, meaning)
        yield from findings
        if pin is None:
            continue
        if not pin.get("fingerprint"):
            yield Finding(path, DamageKind.TRUNCATED, meaning)
            continue
        if pin.get("pin") not in (None, f"{folder.name}/{path.stem}"):
            yield Finding(path, DamageKind.WRONG_CONTENT, f"it is the pin {pin['pin']}: the file was copied or renamed")
        fingerprint = str(pin["fingerprint"])
        if pin.get("sha256"):
            scope.data_hashes.setdefault(fingerprint, set()).add(str(pin["sha256"]))
        dataset = scope.store.dataset_path(fingerprint)
        if not dataset.exists():
            yield Finding(dataset, DamageKind.MISSING, f"{path} pins it: the next task of its date reads it again")


def _check_dataset(scope: CheckScope, path: Path) -> Iterator[Finding]:
    problem = ""
    recorded = scope.data_hashes.get(path.stem, set())
    if recorded and {sha256_of(path)} != recorded:
        problem = "its sha256 is not what was recorded"
    elif is_sha256(path.stem):
        try:
            problem = "" if fingerprint_of(path) == path.stem else "its arrays are not those of its name"
        except UnreadableArrays as error:
            problem = f"it cannot be read ({error})"
    elif not recorded:
        problem = _zip_problem(path)
    if problem:
        yield Finding(path, DamageKind.WRONG_CONTENT, f"{problem}: runs that were trained on it cannot be repeated")


def _zip_problem(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        return f"it cannot be read ({error})"
    return f"{damaged} in it is damaged" if damaged else ""
