"""The command `status`."""

from __future__ import annotations

import json
from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Any

import typer

from scheduler.commands.options import DEFAULT_FILES, AsJson, Context, Files, Kubeconfig, Namespace
from scheduler.commands.plan_session import open_reconciler
from scheduler.console.prompts import print_table
from scheduler.kube import objects, permissions
from scheduler.kube.target import ClusterTarget
from scheduler.observe import cluster_state
from scheduler.sync.status import COLUMNS
from scheduler.sync.status import rows as status_rows


def show_status(files: list[Path], target: ClusterTarget, as_json: bool) -> int:
    session = open_reconciler(files, target, False)
    with session.api, permissions.explain_denials(session.api, session.namespaces, reading=True):
        plan = session.plan()
        jobs: list[Any] = []
        seen: list[Any] = []
        for namespace in session.lives:
            found = objects.jobs(session.api, namespace)
            jobs += found
            seen += cluster_state.observed_jobs(
                session.api, namespace, found, cluster_state.pods_of(session.api, namespace) if found else ()
            )
    rows = status_rows(plan, session.lives, jobs, seen, session.api.now())
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(COLUMNS, rows)
    return 0


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
