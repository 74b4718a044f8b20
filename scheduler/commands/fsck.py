"""The command `fsck`."""

from __future__ import annotations

import json

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import time
from typing import Annotated

import typer

from jobs.store import check
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
from scheduler.console import tables
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace


def check_store(workspace: Workspace, quick: bool, repair: bool, as_json: bool) -> int:
    """Find, explain and, if asked to, mend damage; 0 if nothing is left that is wrong, else 1."""
    findings = _findings(workspace, quick, repair)
    if as_json:
        keys = ("path", "what", "meaning", "repair", "repaired")
        told = [
            {key: getattr(each, key) for key in keys} | {"path": workspace.store.display_path(each.path)} for each in findings
        ]
        print(json.dumps(told, indent=1))
    else:
        for each in findings:
            mended = "repaired: " if each.repaired else ""
            hint = "" if each.repaired or not each.repair else f" (--repair: {each.repair})"
            print(tables.clean(f"{mended}{workspace.store.display_path(each.path)}: {each.what}: {each.meaning}{hint}"))
        left, where = sum(not each.repaired for each in findings), workspace.store.display_path(workspace.store.root)
        print(f"{where}: {left} found" if left else f"{where}: nothing is wrong")
    return 1 if any(not each.repaired for each in findings) else 0


def _findings(workspace: Workspace, quick: bool, repair: bool) -> list[check.Finding]:
    """All that is wrong, mended where that is wanted; by a program beside the store where that is elsewhere."""
    store = workspace.store
    told = store.check_remotely(workspace.name, quick, repair)
    if told is not None:
        return [check.Finding(path=store.root / each.pop("path"), **each) for each in told]
    found = list(check.findings(store, workspace.name, time.time(), quick))
    if repair:
        check.repair(store, found)
    return found


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
    """Find and explain damage in the store. Example: cronsemble fsck --repair"""
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace))) as workspace:
        code = check_store(workspace, quick, repair, as_json)
    raise typer.Exit(code)
