"""The command `gc`."""

from __future__ import annotations

import json

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from scheduler.commands.options import DEFAULT_FILE, AsJson, DryRun, ExperimentName, File, StoreFolder, Yes
from scheduler.console import tables
from scheduler.console.prompts import confirm
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.identity import current_user
from scheduler.stores import gc as retention
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace
from scheduler.times import format_bytes, format_time, parse_duration

SHOWN = 20
"""Paths that are named one by one."""


def remove_old(
    workspace: Workspace, what: Sequence[str], older_than: str, keep: int, dry_run: bool, yes: bool, as_json: bool
) -> ExitStatus:
    """Remove what the rule says, once it is agreed to; 0, or 1 if something could not be removed."""
    for kind in what:
        if kind not in retention.KINDS:
            told = "; ".join(f"{name} ({text})" for name, text in retention.KINDS.items())
            raise CronsembleError(f"--what {kind}: type one of {told}")
    try:
        age = parse_duration(older_than)
    except ValueError as error:
        raise CronsembleError(f"--older-than {older_than}: {error}") from error
    store = workspace.require_local_store()
    rule = retention.RetentionRule(tuple(what) or retention.DEFAULT_KINDS, age, keep)
    found = retention.plan_removal(store, workspace.name, rule, time.time())
    if as_json:
        print(json.dumps(_told(found), indent=1))
    else:
        _print(found, workspace)
    if dry_run or not found.items:
        return ExitStatus.DONE
    confirm(f"This removes {len(found.items)} files and folders, {format_bytes(found.size)}.", yes)
    now = format_time(time.time(), milliseconds=True)
    failed = list(retention.execute_removal(store, found, now, current_user()))
    for item, problem in failed:
        print(f"{item.path}: {problem.strerror or problem}", file=sys.stderr)
    gone = [item for item in found.items if item.path not in {bad.path for bad, _ in failed}]
    if not as_json:
        print(f"removed {len(gone)} of {len(found.items)}, {format_bytes(sum(item.size for item in gone))}")
    return ExitStatus.ERROR if failed else ExitStatus.DONE


def _told(found: retention.RemovalPlan) -> dict[str, object]:
    items = [
        {
            "kind": item.kind,
            "path": str(item.path),
            "size": item.size,
            "why": item.reason,
            "run": None if item.run is None else str(item.run),
        }
        for item in found.items
    ]
    return {"items": items, "size": found.size, "consequences": found.consequences}


def _print(found: retention.RemovalPlan, workspace: Workspace) -> None:
    if not found.items:
        print(f"nothing to remove of {workspace.name} in {workspace.store.root}")
    for kind, number, size in found.counts():
        print(f"{kind}: {number}, {format_bytes(size)}: {retention.KINDS[kind]}")
        some = [item for item in found.items if item.kind == kind]
        for item in some[:SHOWN]:
            print(tables.clean(f"  {item.path}: {item.reason}"))
        if len(some) > SHOWN:
            print(f"  … and {len(some) - SHOWN} more: --json names all")
    for line in found.consequences:
        print(f"note: {line}")


def gc(
    file: File = DEFAULT_FILE,
    what: Annotated[
        list[str] | None, typer.Option(help="staging, models, data, snapshots, runs or archive (repeat for more).")
    ] = None,
    older_than: Annotated[str, typer.Option(help="Only what is older than this, e.g. 90d.")] = "90d",
    keep: Annotated[int, typer.Option(min=1, help="The newest of each task that stay, whatever their age.")] = 5,
    dry_run: DryRun = False,
    yes: Yes = False,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
) -> None:
    """Remove old models and leftovers; archive and records stay. Example: cronsemble gc --older-than 90d --dry-run"""
    with open_workspace(locate(file, store, experiment), through_cluster=False) as workspace:
        code = remove_old(workspace, what or [], older_than, keep, dry_run, yes, as_json)
    raise typer.Exit(code)
