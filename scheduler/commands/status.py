"""The command `status`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import typer

from cronjobs.objects import labels
from scheduler.commands.options import DEFAULT_FILES, AsJson, Context, Files, Kubeconfig, Namespace
from scheduler.commands.plan_session import open_reconciler
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line
from scheduler.console.tables import print_mappings
from scheduler.exit_status import ExitStatus
from scheduler.history.cronjob_warnings import CronJobWarning
from scheduler.history.observed_runs import ObservedJob
from scheduler.kube import objects, permissions
from scheduler.kube.objects import Object
from scheduler.kube.target import ClusterTarget
from scheduler.observe import cluster_state
from scheduler.observe.cronjob_events import cronjob_warnings
from scheduler.sync.status import COLUMNS, watch_lines
from scheduler.sync.status import rows as status_rows


def show_status(files: list[Path], target: ClusterTarget, as_json: bool) -> ExitStatus:
    """Print a row for each task of these files' experiments; returns 0. Raises CronsembleError."""
    reconciler = open_reconciler(files, target, force=False, restores=False)
    api = reconciler.api
    with api, permissions.explain_denials(api, reconciler.namespaces, reading=True):
        plan = reconciler.plan()
        jobs: list[Object] = []
        observed: list[ObservedJob] = []
        warnings: dict[tuple[str, str], list[CronJobWarning]] = {}
        for namespace, live in reconciler.live.items():
            tasks = {
                name: str(each["metadata"]["labels"].get(labels.TASK))
                for name, each in live.cronjobs.items()
                if not labels.is_watch(each["metadata"]["labels"])
            }
            for warning in cronjob_warnings(cluster_state.list_cronjob_events(api, namespace), tasks):
                warnings.setdefault((namespace, warning.cronjob), []).append(warning)
            namespace_jobs = objects.jobs(api, namespace)
            pods = cluster_state.list_permitted_pods(api, namespace) if namespace_jobs else ()
            jobs += namespace_jobs
            observed += cluster_state.observed_jobs(api, namespace, namespace_jobs, pods)
    now = api.now()
    rows = status_rows(plan, reconciler.live, jobs, observed, now, warnings)
    if as_json:
        print_json(rows)
    else:
        print_mappings(COLUMNS, rows, {"timezone": 4, "schedule": 3, "last": 2, "experiment": 1})
        for line in watch_lines(plan, reconciler.live, jobs, now):
            print_line(line)
    return ExitStatus.DONE


def status(
    file: Files = DEFAULT_FILES,
    as_json: AsJson = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the state of each task on the cluster. Example: cronsemble status --json"""
    from scheduler.kube.target import ClusterTarget

    raise typer.Exit(show_status(file, ClusterTarget(kubeconfig, context, namespace), as_json))
