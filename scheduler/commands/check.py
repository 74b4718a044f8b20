"""The command `check`: the errors of configurations, and warnings about their schedules; with --functions, of functions too."""

import sys
import time

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from datetime import UTC, datetime
from typing import Annotated

import typer

from cronjobs.experiment import Experiment
from cronjobs.objects.labels import WATCH
from jobs.contract import ENSEMBLE_TASK, member_task
from scheduler.commands.options import DEFAULT_FILES, Files, Jobs, parse_limit
from scheduler.config import ConfigErrors, dataset_sizes, gate_warnings, load_all
from scheduler.config.load import problem_at
from scheduler.console.messages import print_line, print_warnings
from scheduler.exit_status import ExitStatus
from scheduler.history import upcoming
from scheduler.stores.run_times import longest_durations, store_if_present
from scheduler.times import format_duration


def print_schedule_warnings(experiment: Experiment) -> None:
    """Print what a reader of the schedules may not expect in the year to come."""
    durations = longest_durations(store_if_present(experiment), experiment)
    print_warnings(f"{experiment.path}: ", upcoming.warnings(experiment, datetime.now(UTC), durations))
    if experiment.heartbeat is not None:
        # Late: who has no heartbeat needs none of it.
        from scheduler.heartbeat.checks import desired_checks
        from scheduler.heartbeat.watched_task import tasks_of_experiment

        _, notes = desired_checks(experiment.name, tasks_of_experiment(experiment), int(time.time() // 86400))
        print_warnings(f"{experiment.path}: heartbeat: ", notes)


def check_sizes(experiments: list[Experiment]) -> None:
    """Raise ConfigErrors for tasks that the cluster whose volume is their store cannot run."""
    problems = []
    for experiment in experiments:
        if not isinstance(experiment.store, str):
            # Late: a store that is a folder needs no objects.
            from cronjobs.objects.cronjob import size_problems

            for task, message in size_problems(experiment):
                known = {ENSEMBLE_TASK: ("ensemble",), WATCH: ("watch",)}
                key = known.get(task) or ("backends", task.removeprefix(member_task("")))
                problems.append(problem_at(experiment.path, key, message.removeprefix(f"{task}: ")))
    if problems:
        raise ConfigErrors(problems)


def try_functions(experiment: Experiment, cpus: int | None, seconds: int) -> ExitStatus:
    """Try the functions of an experiment and print what would fail; nothing is written to its store."""
    from jobs.store import LocalStore
    from jobs.temporary import TemporaryFolder
    from scheduler.commands.engine_choice import StopSignals
    from scheduler.console.check_display import CheckDisplay
    from scheduler.engines.function_check import check_functions, distinct_models
    from scheduler.engines.local import CpuBudget, LocalEngine, cpu_count

    began, place = time.monotonic(), str(experiment.path)
    with (
        TemporaryFolder("check") as folder,
        StopSignals() as signals,
        CheckDisplay(place, len(distinct_models(experiment))) as display,
    ):
        engine = LocalEngine(LocalStore(folder), display, CpuBudget(cpus or cpu_count()))
        signals.stop(engine)
        report = check_functions(engine, experiment, datetime.now(UTC), seconds)
    if engine.stopped:
        print("interrupted", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    print_warnings(f"{place}: ", report.notes)
    for problem in report.problems:
        print(problem_at(experiment.path, problem.key, problem.message))
    if not report.problems and not report.models:
        print_line(f"{place}: functions: not tried")
    elif not report.problems:
        shapes = report.data.get("shapes", {})
        items = "×".join(map(str, shapes.get("x_train", ())[1:])) if shapes else ""
        data = f"data of {items} with {len(report.data.get('class_names', ()))} classes, " if items else ""
        models = f"{report.models} model{'' if report.models == 1 else 's'}{', the method' if report.has_method else ''}"
        print_line(f"{place}: functions: {data}{models}: no errors in {format_duration(time.monotonic() - began)}")
    return ExitStatus.ERROR if report.problems else ExitStatus.DONE


def check(
    file: Files = DEFAULT_FILES,
    functions: Annotated[
        bool, typer.Option("--functions", help="Call the functions, and train each model, on a few items, in their runtimes.")
    ] = False,
    timeout: Annotated[str, typer.Option(help="With --functions: how long the data or one model may take.")] = "5m",
    jobs: Jobs = None,
) -> None:
    """Check configurations: every error in one pass. Example: cronsemble check -f config.yaml"""
    seconds, experiments = parse_limit(timeout, "--timeout"), load_all(file)
    check_sizes(experiments)
    for experiment in experiments:
        ensemble = "an ensemble" if experiment.ensemble else "no ensemble"
        members = f"{len(experiment.members)} member{'' if len(experiment.members) == 1 else 's'}"
        print_line(f"{experiment.path}: {experiment.name}: {members}, {ensemble}: no errors")
        print_schedule_warnings(experiment)
        print_warnings(f"{experiment.path}: ", [*dataset_sizes.warnings(experiment), *gate_warnings.warnings(experiment)])
        if experiment.code or experiment.function_files():
            # Late: its import takes a twentieth of a `check` without code.
            from scheduler.snapshots.user_code import code_warnings

            print_warnings(f"{experiment.path}: ", code_warnings(experiment))
        if (lock := experiment.lock_file()) is not None:
            from scheduler.runtimes.lock import lock_problem

            if problem := lock_problem(experiment):
                warning = f"{lock.name} {problem}: the next run on this machine resolves runtimes.keras3.venv and writes it"
                print_warnings(f"{experiment.path}: ", [warning])
    statuses = []
    for experiment in experiments if functions else []:
        statuses.append(try_functions(experiment, jobs, seconds))
        if statuses[-1] == ExitStatus.INTERRUPTED:
            break
    raise typer.Exit(max(statuses, default=ExitStatus.DONE))
