"""The command `check`: the errors of configurations, and warnings about their schedules."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from datetime import UTC, datetime

from cronjobs.experiment import Experiment
from scheduler.commands.options import DEFAULT_FILES, Files
from scheduler.config import dataset_sizes, load_all
from scheduler.console.messages import print_warnings
from scheduler.history import upcoming
from scheduler.snapshots.code_files import code_files
from scheduler.stores.run_times import longest_durations, store_if_present


def print_schedule_warnings(experiment: Experiment) -> None:
    """Print what a reader of the schedules may not expect in the year to come."""
    durations = longest_durations(store_if_present(experiment), experiment)
    print_warnings(f"{experiment.path}: ", upcoming.warnings(experiment, datetime.now(UTC), durations))


def check(file: Files = DEFAULT_FILES) -> None:
    """Check configurations: every error in one pass. Example: cronsemble check -f config.yaml"""
    for experiment in load_all(file):
        ensemble = "an ensemble" if experiment.ensemble else "no ensemble"
        members = f"{len(experiment.members)} member{'' if len(experiment.members) == 1 else 's'}"
        print(f"{experiment.path}: {experiment.name}: {members}, {ensemble}: no errors")
        print_schedule_warnings(experiment)
        print_warnings(f"{experiment.path}: ", dataset_sizes.warnings(experiment))
        print_warnings(f"{experiment.path}: ", [warning for warning in [code_files(experiment).left_out] if warning])
