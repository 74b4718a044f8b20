"""What `plan`, `sync` and `delete` share: the session with a cluster, the plan's printing, and its execution."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scheduler.config import load_all, namespace
from scheduler.console.prompts import ProgressBar, confirm
from scheduler.errors import CronsembleError
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.sync import describe, reconcile
from scheduler.sync import plan as plans
from scheduler.sync.plan import PRUNE, SyncPlan
from scheduler.sync.reconcile import Reconciler

if TYPE_CHECKING:
    from scheduler.sync.apply import Outcome


@dataclass(frozen=True)
class SyncFlags:
    """What a user allows."""

    yes: bool = False
    allow_empty: bool = False
    kill_running: bool = False
    force_conflicts: bool = False
    downgrade: bool = False
    create_namespace: bool = False
    wait: float = 0.0

    @property
    def allowed(self) -> frozenset[str]:
        flags = {
            plans.ALLOW_EMPTY: self.allow_empty,
            plans.KILL_RUNNING: self.kill_running,
            plans.FORCE: self.force_conflicts,
            plans.DOWNGRADE: self.downgrade,
            plans.CREATE_NAMESPACE: self.create_namespace,
        }
        return frozenset(flag for flag, given in flags.items() if given)


def open_reconciler(files: list[Path], target: ClusterTarget, force: bool) -> Reconciler:
    # Thousands of objects without a cycle: looking for cycles would take a fifth of the time.
    gc.disable()
    experiments = namespace.all_in_namespace(load_all(files), target.namespace)
    return Reconciler(KubeClient(target.access()), experiments, force)


def create_namespaces(api: KubeClient, plan: SyncPlan) -> SyncPlan:
    """Make what a Lease can be in; the rest of the plan."""
    namespaces, rest = reconcile.without_namespaces(plan)
    outcome = run_plan(api, msgspec.structs.replace(plan, actions=tuple(namespaces)), {})
    if outcome.failed:
        print_outcome(outcome)
    return rest


def run_plan(api: KubeClient, plan: SyncPlan, held: dict[str, Any], what: str = "sync") -> Outcome:
    from scheduler.sync.apply import execute

    with ProgressBar(len(plan.actions)) as bar:
        return execute(api, plan, held, bar, what)


def print_outcome(outcome: Outcome) -> int:
    if outcome.failed:
        texts = [str(error) for _, error in outcome.failed]
        for text in list(dict.fromkeys(texts))[:10]:
            print(text, file=sys.stderr)
        left = len(set(texts)) - 10
        more = f", {left} more errors" if left > 0 else ""
        done = len(outcome.done)
        raise CronsembleError(f"stopped after {done} changes{more}: mend this and sync again; it goes on from there")
    print(f"done: {len(outcome.done)} changes")
    return 0


def print_plan(plan: SyncPlan, flags: SyncFlags | None = None) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in describe.lines(plan, flags.allowed if flags else frozenset())))
    sys.stdout.flush()


def raise_refusals(plan: SyncPlan, flags: SyncFlags) -> None:
    refused = plan.refused(flags.allowed)
    if refused:
        hints = [each.text + (f": {each.flag} allows it" if each.flag else "") for each in refused]
        raise CronsembleError("\n".join([*hints[:10], *([f"and {len(hints) - 10} more"] if len(hints) > 10 else [])]))


def confirm_removals(plan: SyncPlan, flags: SyncFlags) -> None:
    # Snapshots that nothing names are no loss: the store has those that ran, and sync makes the others again.
    removed = [action for action in plan.actions if action.verb == PRUNE and action.kind != "ConfigMap"]
    if removed:
        names = ", ".join(action.name for action in removed[:5]) + (f" and {len(removed) - 5} more" if len(removed) > 5 else "")
        confirm(f"This removes {len(removed)} CronJobs: {names}.", flags.yes)


def print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
