"""Finds a run by its id or a part of it, and the folders of its files."""

from __future__ import annotations

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.errors import UnknownRun


def find_run(store: Store, experiment: str, name: str) -> Run:
    """The run of that id, or the only one whose id holds ``name``; raises UnknownRun."""
    for task in store.tasks(experiment):
        run = c.parse_run_id(name, experiment, task)
        if run is not None and store.run_folder(run).is_dir():
            return store.read(run)
    matches = [run for task in store.tasks(experiment) for run in store.run_ids(experiment, task) if name in str(run)]
    if len(matches) == 1:
        return store.read(matches[0])
    if not matches:
        raise UnknownRun(f"{name}: no such run in {store.files.display_path(store.root)}: `cronsemble history` lists them")
    first = ", ".join(map(str, matches[:3])) + (", …" if len(matches) > 3 else "")
    raise UnknownRun(f"{name}: {len(matches)} runs have this in their id ({first}): type more of it")


def folders_with_files(run: Run) -> list[str]:
    """The folders that hold a run's files: its result, else its tries."""
    if run.status == Status.SUCCEEDED:
        return [c.RESULT]
    return [c.TRY_PREFIX + attempt["name"] for attempt in run.tries]
