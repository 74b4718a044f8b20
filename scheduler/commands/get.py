"""The command `get`."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from dataclasses import dataclass

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from jobs.store.checksums import LARGEST
from jobs.store.files import publish_bytes, read_fresh
from jobs.store.regular_files import Unreadable, read_regular
from jobs.store.result_files import recorded_files, recorded_sha256
from scheduler.commands.completion import complete_ensemble_runs
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    Offline,
    StoreFolder,
)
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.kube.target import ClusterTarget
from scheduler.rerun import selection
from scheduler.stores import find_run
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace


def get_predictions(workspace: Workspace, what: str, folder: Path, members: bool) -> None:
    """Copy the CSV of each ensemble run that ``what`` names, and what says what it is; with ``members`` each member's too.

    Raises CronsembleError.
    """
    store = workspace.store
    copies: list[tuple[ArchivedFile, Path]] = []
    for run in _choose_runs(store, workspace.name, what, workspace.timezone):
        files = [c.CSV, c.METADATA, *([f"{c.MEMBERS}/*.csv"] if members else [])]
        store.download(run.id, *(f"{c.RESULT}/{name}" for name in files))
        archived = store.archive_path(run.id, run.record)
        target = folder / archived.name
        copies.append((ArchivedFile(run, c.CSV, archived), target))
        if c.METADATA in recorded_files(run.record):
            metadata = ArchivedFile(run, c.METADATA, archived.with_suffix(".json"))
            copies.append((metadata, target.with_suffix(".json")))
        for name in _member_csvs(run) if members else ():
            csv = ArchivedFile(run, f"{c.MEMBERS}/{name}", archived.with_suffix(".members") / name)
            copies.append((csv, target.with_suffix(".members") / name))
    for csv, target in copies:
        data = _read_csv(store, csv)
        try:
            # Never a link: what a user does with the copy must not reach the store.
            is_new = publish_bytes(target, data, is_shared=False)
            if not is_new and read_regular(target, LARGEST, follows_links=True) != data:
                raise CronsembleError(f"{target}: another file is there: move it, or name another folder with --to")
        except Unreadable as error:
            raise CronsembleError(f"{error.filename}: unreadable: {error.why}") from error
        print_line(f"{target}{'' if is_new else ' (already there)'}")


@dataclass(frozen=True)
class ArchivedFile:
    """A CSV of an ensemble run, or its metadata: its name in the result, and where the archive has it."""

    run: Run
    name: str
    archived: Path


def _member_csvs(run: Run) -> list[str]:
    """The names of a result's CSVs of members: by its record, or, of an earlier version's, those that are there."""
    prefix = f"{c.MEMBERS}/"
    listed = [name[len(prefix) :] for name in recorded_files(run.record) if name.startswith(prefix)]
    there = [path.name for path in (run.folder / c.RESULT / c.MEMBERS).glob("*.csv")]
    return sorted(name for name in listed or there if name.endswith(".csv") and "/" not in name)


def _read_csv(store: Store, csv: ArchivedFile) -> bytes:
    """A file as its run wrote it, from the result or the archive; what is wrong with one of them is printed.

    Raises CronsembleError where neither has it whole. Which of two is right is known by the hash in the record; of an earlier
    version's run there is none: its result counts.
    """
    recorded = recorded_sha256(csv.run.record, csv.name)
    paths = (csv.run.folder / c.RESULT / csv.name, csv.archived)
    whole: list[bytes] = []
    problems = []
    for path in paths:
        try:
            if path == csv.archived:
                store.files.download_files(path)
            data = read_fresh(path, lambda path: read_regular(path, LARGEST))
        except FileNotFoundError:
            # gc may have taken the archive's, and a run that died before it was archived has none.
            problems += [f"{store.files.display_path(path)}: it is not in the store"] if path == paths[0] else []
            continue
        except OSError as error:
            problems.append(f"{store.files.display_path(path)}: unreadable: {error.strerror}")
            continue
        if recorded not in (None, hashlib.sha256(data).hexdigest()):
            problems.append(f"{store.files.display_path(path)}: it is not what {csv.run.id} predicted: its sha256 differs")
        elif whole and whole[0] != data:
            problems.append(f"{store.files.display_path(path)}: it is not what the result of {csv.run.id} has")
        else:
            whole.append(data)
    if not whole:
        raise CronsembleError(f"{'; '.join(problems)}: see `cronsemble fsck`")
    for problem in problems:
        print(f"warning: {problem}: see `cronsemble fsck`", file=sys.stderr)
    return whole[0]


def _choose_runs(store: Store, experiment: str, what: str, timezone: str) -> list[Run]:
    """The successful ensemble runs of a date, a slot or a run's name, or the one of the newest slot."""
    candidates: list[Run] = []
    if find_run.is_latest(what):
        with suppress(UnknownRun):
            candidates = [find_run.latest_run(store, experiment, [c.ENSEMBLE_TASK], succeeded=True)]
    elif c.ENSEMBLE_TASK in store.tasks(experiment):
        candidates = selection.originals(store, experiment, what, c.ENSEMBLE_TASK, timezone)
    succeeded = [run for run in candidates if run.status == Status.SUCCEEDED and run.id.task == c.ENSEMBLE_TASK]
    if not succeeded:
        refused = find_run.newest_refused(store, experiment, [c.ENSEMBLE_TASK]) if find_run.is_latest(what) else None
        if refused is not None:
            why = f"{refused.id} is refused: {refused.refused}"
            raise CronsembleError(
                f"{what}: no ensemble run of {experiment} is accepted: {why}: to have it, name it, or accept it"
            )
        raise CronsembleError(
            f"{what}: no ensemble run of {experiment} succeeded: `cronsemble history` shows what became of its runs"
        )
    for run in succeeded:
        if run.refused:
            print(f"note: {run.id} is refused: {run.refused}", file=sys.stderr)
    return succeeded


def get(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]", help=f"The ensemble's runs to copy: {NAMES_OF_RUNS}.", autocompletion=complete_ensemble_runs
        ),
    ] = find_run.LATEST,
    file: File = DEFAULT_FILE,
    to: Annotated[Path, typer.Option(help="The folder to copy into.")] = Path(),
    members: Annotated[bool, typer.Option("--members", help="Each member's probabilities too.")] = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Copy archived predictions out of the store. Example: cronsemble get 2026-11-20 --to morning/"""
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))) as workspace:
        get_predictions(workspace, what, to, members)
