"""What each command does with the parts: reads, calls, prints."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from jobs import contract as c
from jobs.store import Run, Store
from scheduler import terminal
from scheduler.config import SCHEMA_FILE, load, load_all, schema_text, starter
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.whereabouts import local_store

if TYPE_CHECKING:
    from scheduler.engine import LocalEngine


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
) -> int:
    """Run members and ensemble; 0 if all succeeded, 1 if any did not, 130 if interrupted."""
    from scheduler.engine import Budget, LocalEngine, cpu_count
    from scheduler.manual import run_members
    from scheduler.runtimes import find_runtime

    experiment = load(file)
    for name in names:
        if name not in experiment.members:
            raise CronsembleError(f"--member {name}: not a member; there are {', '.join(experiment.members)}")
    members = [member for name, member in experiment.members.items() if not names or name in names]
    with_ensemble = (not names) if ensemble is None else ensemble
    with terminal.watcher() as watcher:
        if skip_unavailable:
            for runtime in sorted({member.runtime for member in members}):
                try:
                    find_runtime(experiment, runtime, watcher.say)
                except RuntimeUnavailable as error:
                    out = [member.name for member in members if member.runtime == runtime]
                    members = [member for member in members if member.runtime != runtime]
                    watcher.say(f"left out: {', '.join(out)}: {error}")
        engine = LocalEngine(local_store(experiment), watcher, Budget(jobs or cpu_count()))
        stop_on_signals(engine)
        also = with_ensemble and experiment.ensemble is not None
        runs = run_members(engine, experiment, members, also, publish, datetime.now(UTC))
    if engine.stopped:
        print("interrupted; the same command starts again", file=sys.stderr)
        return 130
    _print_outcome(engine.store, runs)
    return 0 if all(run.status == "succeeded" for run in runs) else 1


def stop_on_signals(engine: LocalEngine) -> None:
    """Have Ctrl-C and SIGTERM stop the engine and its children."""

    def interrupt(_: int, __: FrameType | None) -> None:
        engine.watcher.say("stopping")
        engine.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _print_outcome(store: Store, runs: list[Run]) -> None:
    for run in runs:
        if run.status != "succeeded":
            print(f"{run.id}: {run.status}: {run.reason}; see: cronsemble logs {run.id}", file=sys.stderr)
        elif run.id.task == c.ENSEMBLE_TASK:
            print(f"archived: {store.archived(run.id, run.record)}")
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
