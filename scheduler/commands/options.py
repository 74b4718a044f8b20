"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.completion import complete_tasks
from scheduler.times import parse_duration

# Annotations are values here, not postponed: typer would evaluate their text at every start.

DEFAULT_FILE = Path("config.yaml")
DEFAULT_FILES = [DEFAULT_FILE]

# What a command is about.
File = Annotated[Path, typer.Option("--file", "-f", help="The configuration file.")]
Files = Annotated[list[Path], typer.Option("--file", "-f", help="A configuration file, or a folder of them (repeat for more).")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="The store's folder, instead of the configuration's.")]
ExperimentName = Annotated[
    str | None, typer.Option("--experiment", help="The experiment's name, where there is no configuration of it.")
]
NAMES_OF_RUNS = "latest, a date (2026-11-20, today, yesterday), a time or slot, a run's id or a part of it"
"""The names that every command takes in a run's place (``scheduler.stores.find_run``)."""
OfTask = Annotated[
    str | None, typer.Option("--task", help="Of the runs that the name means, this task's.", autocompletion=complete_tasks)
]
Tasks = Annotated[
    list[str] | None, typer.Argument(help="Tasks, e.g. train-jax or ensemble; all by default.", autocompletion=complete_tasks)
]
OnlyTasks = Annotated[
    list[str] | None, typer.Option("--task", help="Only this task (repeat for more).", autocompletion=complete_tasks)
]

# Which cluster.
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context; its current one by default.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="The kubeconfig; KUBECONFIG or ~/.kube/config by default.")]
_NAMESPACE = "The namespace; the configuration's cluster.namespace by default."
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help=_NAMESPACE)]
LongNamespace = Annotated[str | None, typer.Option("--namespace", help=_NAMESPACE)]
"""For a command whose -n is a number."""
Offline = Annotated[bool, typer.Option("--offline", help="Do not ask the cluster; show what was last read of its store.")]

# How runs are started.
OnCluster = Annotated[bool, typer.Option("--cluster", help="Run as Jobs on the cluster, not on this machine.")]
WaitOrDetach = Annotated[
    bool, typer.Option("--wait/--detach", help="With --cluster: follow the runs until they have ended, or only submit them.")
]
AskCluster = Annotated[
    bool, typer.Option("--cluster", help="Ask the cluster, not this machine; the default where the store is a volume.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs that the runs share; all by default.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]

# What may be changed, and how long it may take to begin.
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is removed.")]
ForceConflicts = Annotated[
    bool, typer.Option("--force-conflicts", help="Take over fields that others manage, and what kubectl applied.")
]
KillRunning = Annotated[
    bool, typer.Option("--kill-running", help="Remove CronJobs whose Jobs are running too, which ends these.")
]
WaitForLease = Annotated[str | None, typer.Option("--wait", help="How long to wait for another sync to end, e.g. 2m.")]

# How the result is printed.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def parse_wait(duration: str | None) -> float:
    """The seconds of --wait, none by default; raises BadParameter."""
    try:
        return parse_duration(duration) if duration else 0
    except ValueError as error:
        raise typer.BadParameter(f"{duration!r} {error}", param_hint="--wait") from error


def parse_limit(duration: str, option: str) -> int:
    """The seconds of an option that limits how long something may take; raises BadParameter."""
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise typer.BadParameter(f"{duration!r} {error}", param_hint=option) from error
