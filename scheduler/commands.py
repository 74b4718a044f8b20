"""What each command does with the parts: reads, calls, prints."""

from __future__ import annotations

import csv
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from jobs import contract as c
from jobs.store import Run, Store, read_json
from scheduler import terminal, views
from scheduler.config import load, load_all
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.verdict import describe
from scheduler.whereabouts import local_store

if TYPE_CHECKING:
    from scheduler.engine import LocalEngine


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


def print_history(file: Path, as_json: bool, as_csv: bool, limit: int) -> None:
    experiment = load(file)
    rows = views.rows(local_store(experiment), experiment.name, limit)
    if as_json:
        print(json.dumps(rows, indent=1))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, views.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif rows:
        terminal.print_rows(rows)
    else:
        print(f"no runs of {experiment.name} yet; next: cronsemble run")


def print_run(file: Path, name: str, as_json: bool) -> None:
    experiment = load(file)
    store = local_store(experiment)
    run = views.find(store, experiment.name, name)
    if as_json:
        told = {**views.row(run), "record": run.record, "tries": run.tries}
        print(json.dumps({**told, "verdict": read_json(run.folder / c.VERDICT)}, indent=1))
        return
    for key, value in views.row(run).items():
        if value not in (None, ""):
            print(f"{key:<12}{value}")
    for key in ("seed", "threads", "processor", "hyperparameters", "snapshot"):
        if run.record.get(key):
            print(f"{key:<12}{json.dumps(run.record[key])}")
    verdict = read_json(run.folder / c.VERDICT)
    if verdict is not None:
        print(f"{'repeats':<12}{verdict['repeats']}: {describe(verdict)}")
        for name, judged in verdict.get("members", {}).items():
            print(f"{'repeats':<12}{name}: {judged['repeats']}: {describe(judged)}")
    for member in run.record.get("members", []):
        taken = member.get("left_out") or f"{member.get('run')}, accuracy {terminal.number(member.get('accuracy'))}"
        print(f"{'member':<12}{member['member']}: {taken}")
    _print_epochs(run)
    for folder in views.folder_of(run):
        for path in sorted((run.folder / folder).rglob("*")):
            if path.is_file():
                print(f"{'file':<12}{path}")


def _print_epochs(run: Run) -> None:
    path = run.folder / c.RESULT / c.EPOCHS
    if not path.exists():
        return
    with open(path, newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    for name in ("val_loss", "val_accuracy"):
        values = [float(each[name]) for each in epochs]
        print(f"{name:<12} {terminal.chart(values)}  {values[0]:.4f} → {values[-1]:.4f}, {len(values)} epochs")


def print_logs(file: Path, name: str) -> None:
    experiment = load(file)
    run = views.find(local_store(experiment), experiment.name, name)
    for folder in views.folder_of(run):
        path = run.folder / folder / c.LOG
        if path.exists():
            sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))
    if run.reason:
        print(f"{run.status}: {run.reason}")


def print_objects(files: list[Path], volume: bool) -> None:
    """The objects as YAML on stdout; on stderr what they do not say."""
    from cronjobs.volumes import claim_name
    from scheduler import manifests

    experiments = load_all(files)
    found = manifests.store_volumes(experiments) if volume else manifests.desired(experiments)
    said = [] if volume else manifests.notes(experiments)
    if volume:
        said = [f"{each.path}: once these are applied, type store: {{claim: {claim_name(each)}}}" for each in experiments]
    sys.stdout.write(manifests.to_yaml(found))
    sys.stdout.flush()
    for line in said:
        print(line, file=sys.stderr)
