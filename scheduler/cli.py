"""The command line: options and help. Commands hold no logic; heavy modules are imported by the command."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli_cluster import add_to as add_cluster_commands
from scheduler.cli_runs import add_to as add_run_commands
from scheduler.options import (
    DEFAULT_FILE,
    DEFAULT_FILES,
    AsJson,
    Context,
    ExperimentName,
    File,
    Files,
    Kubeconfig,
    Namespace,
    Offline,
    StoreFolder,
)

app = typer.Typer(
    name="cronsemble",
    help="Retrain every Keras backend on schedule, combine their predictions, keep them by date.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class LogFormat(StrEnum):
    """How `serve` writes its journal."""

    plain = "plain"
    json = "json"


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Retrain every Keras backend on schedule, combine their predictions, keep them by date."""
    if debug:
        os.environ["CRONSEMBLE_DEBUG"] = "1"


@app.command()
def check(file: Files = DEFAULT_FILES) -> None:
    """Check configurations: every error in one pass. Example: cronsemble check -f config.yaml"""
    from scheduler.coming import print_warnings
    from scheduler.config import load_all

    for experiment in load_all(file):
        ensemble = "an ensemble" if experiment.ensemble else "no ensemble"
        members = f"{len(experiment.members)} member{'' if len(experiment.members) == 1 else 's'}"
        print(f"{experiment.path}: {experiment.name}: {members}, {ensemble}: no errors")
        print_warnings(experiment)


@app.command()
def render(
    file: Files = DEFAULT_FILES,
    volume: Annotated[bool, typer.Option("--volume", help="Print a PersistentVolume and a claim for the store instead.")] = False,
) -> None:
    """Print the cluster's objects as YAML. Example: cronsemble render | kubectl apply --server-side -f -"""
    from scheduler.commands import print_objects

    print_objects(file, volume)


@app.command()
def init(file: Annotated[Path, typer.Argument(help="The file to write.")] = DEFAULT_FILE) -> None:
    """Write a commented starter configuration, and beside it its schema for editors. Example: cronsemble init config.yaml"""
    from scheduler.commands import write_starter

    write_starter(file)


@app.command()
def schema() -> None:
    """Print the configuration's JSON Schema. Example: cronsemble schema > cronsemble.schema.json"""
    from scheduler.config import schema_text

    print(schema_text(), end="")


@app.command("next")
def next_(
    expression: Annotated[str | None, typer.Argument(help="A schedule; without one, those of the configuration.")] = None,
    file: Files = DEFAULT_FILES,
    timezone: Annotated[str | None, typer.Option(help="The expression's zone; UTC by default.")] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, max=100_000, help="Fire times of each task (3) or of the expression (10)."),
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="A date or time in the zone; now by default.")] = None,
    until: Annotated[str | None, typer.Option(help="A date (with its whole day) or time in the zone.")] = None,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="As the cluster has it: what is suspended there, and since when @every counts.")
    ] = False,
    context: Context = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="The namespace; the configuration's by default.")] = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Say when it fires. Example: cronsemble next "0 9 * * 6" --timezone America/Santiago --from 2025-09-01"""
    from scheduler.coming import print_expression, print_tasks

    if expression is None:
        if timezone is not None:
            raise typer.BadParameter(
                "it goes with an expression: a task's zone stands in the configuration", param_hint="--timezone"
            )
        from scheduler.whereabouts import Cluster

        cluster = Cluster(kubeconfig, context, namespace) if on_cluster else None
        print_tasks(file, count or 3, since, until, as_json, cluster)
    else:
        print_expression(expression, timezone or "UTC", count or 10, since, until, as_json)


@app.command()
def serve(
    file: Files = DEFAULT_FILES,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs that runs share; all by default.")] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Answer /metrics and /healthz there, e.g. 127.0.0.1:9000.")
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Lines for people, or JSON objects.")] = LogFormat.plain,
    take_over: Annotated[bool, typer.Option("--take-over", help="Run it here, whoever ran it before.")] = False,
) -> None:
    """Run the schedules on this machine, as Kubernetes would. Example: cronsemble serve -f a.yaml -f b.yaml"""
    from scheduler.config import load_all
    from scheduler.engine import cpu_count
    from scheduler.journal import Journal
    from scheduler.serve import serve as run_schedules

    journal = Journal(log_format is LogFormat.json)
    raise typer.Exit(run_schedules(load_all(file), jobs or cpu_count(), journal, listen, take_over))


add_run_commands(app)


@app.command()
def history(
    slot: Annotated[
        str | None, typer.Argument(help="Tell the whole story of this slot: a time, a date, a run's id or a part of it.")
    ] = None,
    file: File = DEFAULT_FILE,
    since: Annotated[str | None, typer.Option(help="From this date or time on, or for so long (7d).")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time; in the future too.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeat for more).")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status (repeat for more).")] = None,
    calendar: Annotated[bool, typer.Option("--calendar", help="A cell for each day and task.")] = False,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="List what was run, served and synced, and what changed.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows; 0 for all.")] = 50,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="With --revisions: the cluster's; the default where the store is a volume.")
    ] = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="The namespace of a cluster's store.")] = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """What became of every slot, newest first, and why. Example: cronsemble history --since 7d --status missed"""
    from scheduler import past
    from scheduler.whereabouts import Cluster, is_local, opened

    if revisions and (on_cluster or (store is None and not offline and not is_local(file))):
        from scheduler.cluster.looking import print_revisions
        from scheduler.cluster.reconcile import Target

        raise typer.Exit(print_revisions(file, Target(kubeconfig, context, namespace), as_json))
    with opened(file, store, experiment, Cluster(kubeconfig, context, namespace, offline)) as place:
        if revisions:
            past.print_revisions(place, as_json)
        elif slot is not None:
            past.print_story(place, slot, task or [], as_json)
        else:
            past.print_history(place, since, until, task or [], status or [], past.Shown(as_json, as_csv, calendar), limit)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's id, or a part of it that only one run has.")],
    file: File = DEFAULT_FILE,
    as_json: AsJson = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Show one run: record, epochs, members, files. Example: cronsemble show digits-ensemble-29924640"""
    from scheduler.showing import print_run
    from scheduler.whereabouts import Cluster, opened

    with opened(file, store, experiment, Cluster(kubeconfig, context, namespace, offline)) as place:
        print_run(place, run, as_json)


@app.command()
def get(
    what: Annotated[
        str, typer.Argument(help="A date (2026-11-20, in the experiment's zone), a slot, an ensemble run, or latest.")
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
    from scheduler.get import get_predictions
    from scheduler.whereabouts import Cluster, opened

    with opened(file, store, experiment, Cluster(kubeconfig, context, namespace, offline)) as place:
        get_predictions(place, what, to, members)


@app.command()
def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The files to copy.")],
    file: File = DEFAULT_FILE,
    name: Annotated[
        str | None, typer.Option("--as", metavar="PATH", help="Its path under data/; with / at the end a folder for them.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of another file of that name.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Copy data into the store's data folder. Example: cronsemble put inputs.npz --as inputs/"""
    from scheduler.put import put_files
    from scheduler.whereabouts import Cluster

    put_files(file, store, files, name, Cluster(kubeconfig, context, namespace), replace)


@app.command()
def gc(
    file: File = DEFAULT_FILE,
    what: Annotated[
        list[str] | None, typer.Option(help="staging, models, data, snapshots, runs or archive (repeat for more).")
    ] = None,
    older_than: Annotated[str, typer.Option(help="Only what is older than this, e.g. 90d.")] = "90d",
    keep: Annotated[int, typer.Option(min=1, help="The newest of each task that stay, whatever their age.")] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
) -> None:
    """Remove old models and leftovers; archive and records stay. Example: cronsemble gc --older-than 90d --dry-run"""
    from scheduler.upkeep import clear
    from scheduler.whereabouts import locate

    raise typer.Exit(clear(locate(file, store, experiment), what or [], older_than, keep, dry_run, yes, as_json))


@app.command()
def fsck(
    file: File = DEFAULT_FILE,
    quick: Annotated[bool, typer.Option("--quick", help="Read no file only to compare its hash.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is safe to mend.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
) -> None:
    """Find and explain damage in the store; 1 if anything is wrong. Example: cronsemble fsck --repair"""
    from scheduler.upkeep import check_store
    from scheduler.whereabouts import Cluster, opened

    with opened(file, store, experiment, Cluster(kubeconfig, context, namespace)) as place:
        code = check_store(place, quick, repair, as_json)
    raise typer.Exit(code)


# Last in the help: what a machine alone can do comes first.
add_cluster_commands(app)


def main() -> None:
    """The entry point: errors as one line on stderr, 1 for an error, 64 for wrong usage."""
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        # Only the subclasses that are not exported know how to show themselves.
        if hasattr(error, "show"):
            error.show()
        else:
            print(error, file=sys.stderr)
        sys.exit(64)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("CRONSEMBLE_DEBUG"):
            raise
        print(_one_line(error), file=sys.stderr)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _one_line(error: Exception) -> str:
    from scheduler.config import ConfigErrors
    from scheduler.errors import CronsembleError

    if isinstance(error, ConfigErrors | CronsembleError):
        return str(error)
    if isinstance(error, OSError):
        return f"cronsemble: {error.filename or ''}: {error.strerror or error}"
    return f"cronsemble: {type(error).__name__}: {error} (a fault of ours: --debug shows where)"
