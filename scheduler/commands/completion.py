"""What a shell offers at Tab: runs, dates, tasks, members, statuses; what this machine has, and nothing where it cannot be read.

A completer is given what is typed so far and returns (text, description) pairs. Nothing here may print, wait or fail.
"""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from jobs.contract import RunId
    from scheduler.stores.workspace import Workspace

T = TypeVar("T")

Completions = list[tuple[str, str]]
Completer = Callable[[typer.Context, str], Completions]

MOST_RUNS = 30
"""Runs that are offered at most, the newest first; what is typed narrows them."""
MOST_DATES = 15
WORDS = (("latest", "the newest run"), ("today", ""), ("yesterday", ""))


def complete_runs(ctx: typer.Context, incomplete: str) -> Completions:
    """Names of runs: words, dates that have runs, ids and parts of them."""
    return [*_matching(WORDS, incomplete), *_of_store(ctx, lambda workspace: _runs(workspace, incomplete))]


def complete_ensemble_runs(ctx: typer.Context, incomplete: str) -> Completions:
    """As `complete_runs`, of the ensemble alone."""
    from jobs.contract import ENSEMBLE_TASK

    named = _of_store(ctx, lambda workspace: _runs(workspace, incomplete, only_task=ENSEMBLE_TASK))
    return [*_matching(WORDS, incomplete), *named]


def complete_running(ctx: typer.Context, incomplete: str) -> Completions:
    """Runs that are running, and the tasks."""
    from jobs.contract import Status

    def running(workspace: "Workspace") -> Completions:
        store, experiment = workspace.store, workspace.name
        newest = [run for task in store.tasks(experiment) for run in _newest(store.run_ids(experiment, task, True), 3)]
        ids = [(str(run), "running") for run in newest if store.read(run).status == Status.RUNNING]
        return _matching([*ids, *((task, "its running runs") for task in store.tasks(experiment))], incomplete)

    return _of_store(ctx, running)


def complete_dates(ctx: typer.Context, incomplete: str) -> Completions:
    """Dates that have runs, `today` and `yesterday`; after `FROM..` those of the end."""
    first, dots, last = incomplete.rpartition("..")
    words = _matching(WORDS[1:], last)
    dates = _of_store(ctx, lambda workspace: _dates(workspace, last))
    return [(f"{first}{dots}{text}", description) for text, description in [*words, *dates]]


def complete_tasks(ctx: typer.Context, incomplete: str) -> Completions:
    """The tasks of the configuration and of the store."""
    return _matching([(name, "") for name in _tasks(ctx)], incomplete)


def complete_members(ctx: typer.Context, incomplete: str) -> Completions:
    """The members of the configuration."""
    from scheduler.config import load

    def members() -> Completions:
        return [(name, member.backend) for path in _files(ctx) for name, member in load(path).members.items()]

    return _matching(_quietly(members, []), incomplete)


def complete_statuses(ctx: typer.Context, incomplete: str) -> Completions:
    """The statuses of slots and runs, with a hyphen for a space."""
    from jobs.contract import Status

    return _matching([(status.replace(" ", "-"), "") for status in (*map(str, Status), "degraded")], incomplete)


def complete_columns(ctx: typer.Context, incomplete: str) -> Completions:
    """The columns of the history, hyperparameters among them; after a comma the next one."""
    from scheduler.config import load
    from scheduler.history.columns import column_names

    def hyperparameters() -> list[str]:
        return [name for path in _files(ctx) for member in load(path).members.values() for name in member.hyperparameters]

    own: list[str] = _quietly(hyperparameters, [])
    start = len(incomplete) - len(incomplete.rpartition(",")[2])
    names = dict.fromkeys([*column_names(), *own])
    return [(incomplete[:start] + name, "") for name in names if name.startswith(incomplete[start:])]


def complete_removals(ctx: typer.Context, incomplete: str) -> Completions:
    """What `gc --what` takes."""
    from jobs.store.gc import DESCRIPTIONS

    return _matching([(str(kind), description) for kind, description in DESCRIPTIONS.items()], incomplete)


def _tasks(ctx: typer.Context) -> list[str]:
    from cronjobs.tasks import tasks_of
    from scheduler.config import load

    def declared() -> list[str]:
        return [name for path in _files(ctx) for name, _ in tasks_of(load(path))]

    stored = _of_store(ctx, lambda workspace: [(name, "") for name in workspace.store.tasks(workspace.name)])
    declared_names: list[str] = _quietly(declared, [])
    return list(dict.fromkeys([*declared_names, *(name for name, _ in stored)]))


def _files(ctx: typer.Context) -> list[Path]:
    """The configuration files that the words before the cursor name."""
    given = ctx.params.get("file") or [Path("config.yaml")]
    return [Path(path) for path in (given if isinstance(given, list | tuple) else [given])]


def _runs(workspace: "Workspace", incomplete: str, only_task: str | None = None) -> Completions:
    import heapq

    from scheduler.history.slots import LocalClock
    from scheduler.times import format_local

    store, experiment = workspace.store, workspace.name
    timezone = workspace.timezone
    clock = LocalClock(timezone)
    tasks = [task for task in store.tasks(experiment) if only_task in (None, task)]
    newest_first = heapq.merge(
        *(store.run_ids(experiment, task, skip_unreadable=True) for task in tasks), key=lambda run: -run.minute
    )
    named: Completions = []
    for run in newest_first:
        # Any of them is typed: the whole id, the part of it after the experiment, or as the history shortens it.
        after = str(run).removeprefix(f"{experiment}-")
        forms = (str(run), after, after.removeprefix("train-"))
        form = next((form for form in forms if form.startswith(incomplete)), None)
        if form is not None:
            named.append((form, f"{run.task} of {format_local(clock.local(run.minute), timezone)}"))
        if len(named) == MOST_RUNS:
            break
    return [*_dates(workspace, incomplete), *named]


def _dates(workspace: "Workspace", incomplete: str) -> Completions:
    if incomplete and not incomplete[0].isdigit():
        return []
    from scheduler.history.slots import LocalClock

    store, experiment, clock = workspace.store, workspace.name, LocalClock(workspace.timezone)
    found: dict[str, None] = {}
    for task in store.tasks(experiment):
        own: dict[str, None] = {}
        for run in store.run_ids(experiment, task, skip_unreadable=True):
            date = clock.local(run.minute)[:10]
            if date.startswith(incomplete):
                own[date] = None
            if len(own) == MOST_DATES:
                break
        found |= own
    return [(date, "") for date in sorted(found, reverse=True)[:MOST_DATES]]


def _newest(runs: "Iterator[RunId]", number: int) -> "list[RunId]":
    return [run for _, run in zip(range(number), runs, strict=False)]


def _matching(pairs: Iterable[tuple[str, str]], incomplete: str) -> Completions:
    return [(text, description) for text, description in pairs if text.startswith(incomplete)]


def _of_store(ctx: typer.Context, read: "Callable[[Workspace], Completions]") -> Completions:
    """What is read from the store that the words before the cursor mean; of one that only a cluster mounts, from its mirror."""
    from scheduler.kube.target import ClusterTarget
    from scheduler.stores.location import locate
    from scheduler.stores.workspace import open_workspace

    def opened() -> Completions:
        params = ctx.params
        target = ClusterTarget(params.get("kubeconfig"), params.get("context"), params.get("namespace"), offline=True)
        location = locate(_files(ctx)[0], params.get("store"), params.get("experiment"), target)
        with open_workspace(location) as workspace:
            return read(workspace)

    return _quietly(opened, [])


def _quietly(read: Callable[[], T], otherwise: T) -> T:
    """The value, or another where it cannot be had; nothing is printed beside what is typed."""
    try:
        with _silent():
            return read()
    except Exception:
        return otherwise


@contextmanager
def _silent() -> Iterator[None]:
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        yield
    sys.stdout.flush()
