"""The command `get`."""

from __future__ import annotations

import itertools

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from jobs.store.files import publish_bytes
from jobs.store.regular_files import Unreadable, read_regular
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    Offline,
    StoreFolder,
)
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.rerun import selection
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace

LATEST = "latest"
LARGEST_CSV = 1 << 30
"""Bytes of the largest CSV that is copied."""


def get_predictions(workspace: Workspace, what: str, folder: Path, members: bool) -> None:
    """Copy the CSV of each ensemble run that ``what`` names; with ``members`` each member's too. Raises CronsembleError."""
    store = workspace.store
    copies: list[tuple[Path, Path]] = []
    for run in _choose_runs(store, workspace.name, what):
        store.download(run.id, f"{c.RESULT}/{c.CSV}", *([f"{c.RESULT}/{c.MEMBERS}/*.csv"] if members else []))
        result, target = run.folder / c.RESULT, folder / store.archive_path(run.id, run.record).name
        copies.append((result / c.CSV, target))
        if members:
            csvs = sorted((result / c.MEMBERS).glob("*.csv"))
            copies += [(csv, target.with_suffix(".members") / csv.name) for csv in csvs]
    for source, target in copies:
        try:
            # Never a link: what a user does with the copy must not reach the store.
            data = read_regular(source, LARGEST_CSV)
            is_new = publish_bytes(target, data, is_shared=False)
            if not is_new and read_regular(target, LARGEST_CSV, follows_links=True) != data:
                raise CronsembleError(f"{target}: another file is there: move it, or name another folder with --to")
        except FileNotFoundError as error:
            path = store.files.display_path(source)
            raise CronsembleError(f"{path}: it is not in the store: see `cronsemble fsck`") from error
        except Unreadable as error:
            path = store.files.display_path(source) if error.filename == str(source) else error.filename
            raise CronsembleError(f"{path}: unreadable: {error.why}") from error
        print_line(f"{target}{'' if is_new else ' (already there)'}")


def _choose_runs(store: Store, experiment: str, what: str) -> list[Run]:
    """The successful ensemble runs of a date, a slot or a run's name, or the one of the newest slot."""
    if what == LATEST:
        runs = (store.read(run) for run in store.run_ids(experiment, c.ENSEMBLE_TASK, skip_unreadable=True))
        own = (run for run in runs if run.status == Status.SUCCEEDED and not run.record.get("other_configuration"))
        candidates = list(itertools.islice(own, 1))
    elif c.ENSEMBLE_TASK in store.tasks(experiment):
        candidates = selection.originals(store, experiment, what, c.ENSEMBLE_TASK)
    else:
        candidates = []
    succeeded = [run for run in candidates if run.status == Status.SUCCEEDED and run.id.task == c.ENSEMBLE_TASK]
    if not succeeded:
        raise CronsembleError(
            f"{what}: no ensemble run of {experiment} succeeded: `cronsemble history` shows what became of its runs"
        )
    return succeeded


def get(
    what: Annotated[
        str, typer.Argument(help="A date (2026-11-20 or today, in the experiment's zone), a slot, an ensemble run, or latest.")
    ] = "latest",
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
