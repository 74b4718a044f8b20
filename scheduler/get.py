"""`get`: copies archived predictions out of a store, wherever it is, under their dated names."""

from __future__ import annotations

from pathlib import Path

from jobs import contract as c
from jobs.store import Run, Store, publish_bytes
from scheduler import targets
from scheduler.errors import CronsembleError
from scheduler.whereabouts import Place

LATEST = "latest"


def get_predictions(place: Place, what: str, folder: Path, members: bool) -> None:
    """Copy the CSV of each ensemble run that ``what`` names; with ``members`` each member's too. Raises CronsembleError."""
    runs = _chosen(place.store, place.name, what)
    copied = []
    for run in runs:
        place.store.bring(run.id, f"{c.RESULT}/{c.CSV}", *([f"{c.RESULT}/{c.MEMBERS}/*.csv"] if members else []))
        result, target = run.folder / c.RESULT, folder / place.store.archived(run.id, run.record).name
        copied.append((result / c.CSV, target))
        if members:
            found = sorted((result / c.MEMBERS).glob("*.csv"))
            copied += [(source, target.with_suffix(".members") / source.name) for source in found]
    for source, target in copied:
        try:
            # Never a link: what a user does with the copy must not reach the store.
            data = source.read_bytes()
            is_new = publish_bytes(target, data)
            if not is_new and target.read_bytes() != data:
                raise CronsembleError(f"{target}: another file is there: move it, or name another folder with --to")
        except FileNotFoundError as error:
            raise CronsembleError(f"{place.store.shown(source)}: it is not in the store: see `cronsemble fsck`") from error
        print(f"{target}{'' if is_new else ' (there already)'}")


def _chosen(store: Store, experiment: str, what: str) -> list[Run]:
    """The successful ensemble runs of a date, a slot or a run's name, or the one of the newest slot."""
    if what == LATEST:
        known = (store.read(run) for run in store.run_ids(experiment, c.ENSEMBLE_TASK))
        newest = next((run for run in known if run.status == "succeeded" and not run.record.get("other_configuration")), None)
        found = [] if newest is None else [newest]
    else:
        found = targets.originals(store, experiment, what, c.ENSEMBLE_TASK)
    done = [run for run in found if run.status == "succeeded" and run.id.task == c.ENSEMBLE_TASK]
    if not done:
        raise CronsembleError(
            f"{what}: no ensemble run of {experiment} succeeded then: `cronsemble history` says what became of it"
        )
    return done
