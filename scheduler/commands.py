"""What each command does with the parts: reads, calls, prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import contract as c
from jobs.store import Run, Store
from scheduler import terminal
from scheduler.config import SCHEMA_FILE, Experiment, Member, load, load_all, schema_text, starter
from scheduler.errors import CronsembleError, RuntimeUnavailable

if TYPE_CHECKING:
    from scheduler.working import OnCluster


def write_starter(file: Path) -> None:
    """Write the starter and the schema that it refers to; neither is ever written over."""
    schema = file.with_name(SCHEMA_FILE)
    try:
        with open(file, "x", encoding="utf-8") as out:
            out.write(starter())
    except FileExistsError as error:
        raise CronsembleError(f"{file} exists already: name another file, or remove it first") from error
    try:
        with open(schema, "x", encoding="utf-8") as out:
            out.write(schema_text())
    except FileExistsError:
        print(f"{schema} exists already and was left as it is; `cronsemble schema` prints today's")
    print(f"wrote {file}; next: cronsemble check -f {file}")


def run_now(
    file: Path,
    names: list[str],
    ensemble: bool | None,
    jobs: int | None,
    publish: bool,
    skip_unavailable: bool,
    folder: Path | None = None,
    cluster: OnCluster | None = None,
) -> int:
    """Run members and ensemble; 0 if all succeeded or were left at work as asked, 1 if any did not, 130 if interrupted."""
    from scheduler.manual import run_members
    from scheduler.working import placed, working

    experiment = load(file)
    for name in names:
        if name not in experiment.members:
            raise CronsembleError(f"--member {name}: not a member; there are {', '.join(experiment.members)}")
    members = [member for name, member in experiment.members.items() if not names or name in names]
    with_ensemble = (not names) if ensemble is None else ensemble
    with (
        placed(file, folder, None, cluster) as place,
        terminal.watcher() as watcher,
        working(place.store, experiment, watcher, jobs, cluster) as engine,
    ):
        if skip_unavailable:
            members = _available(experiment, members, watcher.say)
        also = with_ensemble and experiment.ensemble is not None
        runs = run_members(engine, experiment, members, also, publish, datetime.now(UTC))
    if engine.stopped:
        print("interrupted; the same command starts again" if not engine.outlives else "interrupted", file=sys.stderr)
        return 130
    _print_outcome(place.store, runs)
    good = ("succeeded", "running") if cluster is not None and not cluster.wait else ("succeeded",)
    return 0 if all(run.status in good for run in runs) else 1


def _available(experiment: Experiment, members: list[Member], say: Callable[[str], None]) -> list[Member]:
    """The members whose runtime can be had here."""
    from scheduler.runtimes import find_runtime

    for runtime in sorted({member.runtime for member in members}):
        try:
            find_runtime(experiment, runtime, say)
        except RuntimeUnavailable as error:
            out = [member.name for member in members if member.runtime == runtime]
            members = [member for member in members if member.runtime != runtime]
            say(f"left out: {', '.join(out)}: {error}")
    return members


def _print_outcome(store: Store, runs: list[Run]) -> None:
    for run in runs:
        if run.status == "succeeded":
            if run.id.task == c.ENSEMBLE_TASK:
                print(f"archived: {store.shown(store.archived(run.id, run.record))}")
        elif run.status != "running":
            print(f"{run.id}: {run.status}: {run.reason}; see: cronsemble logs {run.id}", file=sys.stderr)
    print("next: cronsemble history")


def print_objects(files: list[Path], volume: bool) -> None:
    """The objects as YAML on stdout; on stderr what they do not say."""
    from cronjobs.volumes import claim_name, security
    from scheduler import manifests

    experiments = load_all(files)
    if volume:
        found = manifests.store_volumes(experiments)
        said = [f"{each.path}: once these are applied, type store: {{claim: {claim_name(each)}}}" for each in experiments]
    else:
        found, said = manifests.desired(experiments), manifests.notes(experiments)
        for each in experiments:
            needs = security(each)
            if needs.reason:
                said.append(
                    f"{each.path}: a namespace that enforces more than Pod Security {needs.level} refuses the pods: "
                    f"{needs.reason}; `cronsemble render --volume` prints a claim for it"
                )
    sys.stdout.write(manifests.to_yaml(found))
    sys.stdout.flush()
    for line in said:
        print(line, file=sys.stderr)
