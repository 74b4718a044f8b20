"""The command `gc`."""

from __future__ import annotations

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated

import typer

from jobs.store import Store
from jobs.store.gc import DEFAULT_KINDS, DESCRIPTIONS, RemovalKind, RemovalPlan, RetentionRule
from scheduler.commands.completion import complete_removals
from scheduler.commands.options import (
    DEFAULT_FILE,
    AsJson,
    Context,
    DryRun,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    StoreFolder,
    Yes,
)
from scheduler.console.json_output import print_json_with_list
from scheduler.console.messages import print_line
from scheduler.console.prompts import confirm
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.stores.gc import execute_removal, plan_removal
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace
from scheduler.times import format_bytes, parse_duration

MAX_LISTED = 20
"""Paths of a kind that are listed one by one."""


def remove_old(
    workspace: Workspace, what: Sequence[str], older_than: str, keep: int, dry_run: bool, yes: bool, as_json: bool
) -> ExitStatus:
    """Remove what the rule says, once that is confirmed; 0, or 1 if something could not be removed. Raises CronsembleError."""
    store, rule = workspace.store, _read_rule(what, older_than, keep)
    plan = plan_removal(store, workspace.name, rule)
    if as_json:
        print_json_with_list("items", _as_objects(plan, store), {"size": plan.size, "consequences": plan.consequences})
    else:
        _print_plan(plan, workspace)
    if dry_run or not plan.items:
        return ExitStatus.DONE
    confirm(f"This removes {len(plan.items)} files and folders, {format_bytes(plan.size)}.", yes)
    number, size, failed = 0, 0, False
    try:
        for removed in execute_removal(store, workspace.name, rule, plan.items):
            if removed.problem:
                print_line(f"{store.files.display_path(removed.item.path)}: {removed.problem}", sys.stderr)
                failed |= not removed.is_kept
            else:
                number, size = number + 1, size + removed.item.size
    finally:
        # Also where it is stopped, or the connection breaks.
        if not as_json:
            print(f"removed {number} of {len(plan.items)}, {format_bytes(size)}", flush=True)
    return ExitStatus.ERROR if failed else ExitStatus.DONE


def _read_rule(what: Sequence[str], older_than: str, keep: int) -> RetentionRule:
    for text in what:
        if text not in list(RemovalKind):
            kinds = "; ".join(f"{kind} ({description})" for kind, description in DESCRIPTIONS.items())
            raise CronsembleError(f"--what {text}: type one of {kinds}")
    try:
        age = parse_duration(older_than)
    except ValueError as error:
        raise CronsembleError(f"--older-than {older_than}: {error}") from error
    return RetentionRule(tuple(map(RemovalKind, what)) or DEFAULT_KINDS, age, keep)


def _as_objects(plan: RemovalPlan, store: Store) -> Iterator[dict[str, object]]:
    for item in plan.items:
        yield {
            "kind": item.kind,
            "path": store.files.display_path(item.path),
            "size": item.size,
            "why": item.reason,
            "run": None if item.run is None else str(item.run),
        }


def _print_plan(plan: RemovalPlan, workspace: Workspace) -> None:
    if not plan.items:
        print_line(f"nothing to remove of {workspace.name} in {workspace.store.files.display_path(workspace.store.root)}")
    for kind, number, size in plan.counts():
        print(f"{kind}: {number}, {format_bytes(size)}: {DESCRIPTIONS[kind]}")
        for item in islice((item for item in plan.items if item.kind == kind), MAX_LISTED):
            print_line(f"  {workspace.store.files.display_path(item.path)}: {item.reason}")
        if number > MAX_LISTED:
            print(f"  … and {number - MAX_LISTED} more: --json lists all")
    for consequence in plan.consequences:
        print_line(f"note: {consequence}")


def gc(
    file: File = DEFAULT_FILE,
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="What to remove: staging, models, data, snapshots, runs, archive or reports (repeat for more).",
            autocompletion=complete_removals,
        ),
    ] = None,
    older_than: Annotated[str, typer.Option(help="Remove only what is older than this, e.g. 90d.")] = "90d",
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest of each task to keep, whatever their age.")] = 5,
    dry_run: DryRun = False,
    yes: Yes = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
) -> None:
    """Remove old models and leftovers; archive and records stay. Example: cronsemble gc --older-than 90d --dry-run"""
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace))) as workspace:
        code = remove_old(workspace, what or [], older_than, keep, dry_run, yes, as_json)
    raise typer.Exit(code)
