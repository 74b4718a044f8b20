"""The command `fsck`."""

from __future__ import annotations

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from collections.abc import Sequence
from typing import Annotated

import typer

from jobs.store import Store
from jobs.store.findings import Finding
from scheduler.commands.options import (
    DEFAULT_FILE,
    AsJson,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    StoreFolder,
)
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.stores.check import check_store
from scheduler.stores.location import locate
from scheduler.stores.workspace import open_workspace


def print_findings(store: Store, findings: Sequence[Finding], as_json: bool) -> ExitStatus:
    """Print what is wrong and what was repaired; 0 if nothing is left that is wrong, else 1."""
    unrepaired = sum(not finding.repaired for finding in findings)
    if as_json:
        keys = ("what", "meaning", "repair", "repaired")
        objects = [
            {"path": store.files.display_path(finding.path), **{key: getattr(finding, key) for key in keys}}
            for finding in findings
        ]
        print_json(objects)
    else:
        for finding in findings:
            prefix = "repaired: " if finding.repaired else ""
            hint = f" (--repair: {finding.repair})" if finding.repair and not finding.repaired else ""
            path = store.files.display_path(finding.path)
            print_line(f"{prefix}{path}: {finding.what}: {finding.meaning}{hint}")
        root = store.files.display_path(store.root)
        problems = "1 problem" if unrepaired == 1 else f"{unrepaired} problems"
        print_line(f"{root}: {problems}" if unrepaired else f"{root}: nothing is wrong")
    return ExitStatus.ERROR if unrepaired else ExitStatus.DONE


def fsck(
    file: File = DEFAULT_FILE,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read large files only to compare their hashes.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired without losing anything.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
) -> None:
    """Find and explain damage in the store. Example: cronsemble fsck --repair"""
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace))) as workspace:
        findings = check_store(workspace.store, workspace.name, quick, repair)
        code = print_findings(workspace.store, findings, as_json)
    raise typer.Exit(code)
