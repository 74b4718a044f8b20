"""What `plan`, `sync` and `delete` share: opening a cluster, printing a plan, asking before removals, and executing it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scheduler.commands.heartbeat_session import update_after_sync
from scheduler.config import load_all, namespace
from scheduler.console.messages import print_line
from scheduler.console.progress import Progress
from scheduler.console.prompts import confirm
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.stores.stored_snapshots import StoredSnapshots
from scheduler.sync import describe, reconcile
from scheduler.sync.plan import Flag, SyncPlan, Verb
from scheduler.sync.reconcile import Reconciler, StalePlan

if TYPE_CHECKING:
    from scheduler.sync.apply import Outcome
    from scheduler.sync.lease import Lease

_MOST_ERRORS = 10
"""More errors or refusals than these are only counted."""


@dataclass(frozen=True)
class SyncFlags:
    """What a user allows, and for how many seconds a Lease is waited for."""

    yes: bool = False
    allow_empty: bool = False
    kill_running: bool = False
    force_conflicts: bool = False
    downgrade: bool = False
    create_namespace: bool = False
    wait: float = 0.0

    @property
    def allowed(self) -> frozenset[str]:
        """The flags that were given."""
        flags = {
            Flag.ALLOW_EMPTY: self.allow_empty,
            Flag.KILL_RUNNING: self.kill_running,
            Flag.FORCE_CONFLICTS: self.force_conflicts,
            Flag.DOWNGRADE: self.downgrade,
            Flag.CREATE_NAMESPACE: self.create_namespace,
        }
        return frozenset(flag for flag, is_given in flags.items() if is_given)


@dataclass(frozen=True)
class Purpose:
    """Which command executes a plan, as revisions and messages name it, and what its confirmation begins and ends with."""

    command: str = "sync"
    subject: str = ""
    """The experiment that is deleted, and from where."""
    reassurance: str = ""

    def question(self, removals: str) -> str:
        """The sentence that a user confirms."""
        return f"This removes {self.subject}{removals}{self.reassurance}."


def open_reconciler(files: list[Path], target: ClusterTarget, force: bool, restores: bool = True) -> Reconciler:
    """Begin to reconcile the experiments of these files; raises CronsembleError for what is wrong in them.

    ``restores``: snapshots that the cluster has lost, and a Job waits for, are read from the store.
    """
    # Thousands of objects without a cycle: looking for cycles would take a fifth of the time.
    gc.disable()
    experiments = namespace.all_in_namespace(load_all(files), target.namespace)
    read = StoredSnapshots(experiments, target).read if restores else None
    return reconcile.reconciler_of(KubeClient(target.access()), experiments, force, read)


def plan_and_execute(reconciler: Reconciler, flags: SyncFlags, purpose: Purpose) -> ExitStatus:
    """Plan, print, ask, and execute; 0 once the cluster, and the checks of a heartbeat, are as desired.

    With the Leases held it is planned again, and asked again if that is another plan.

    Raises:
        CronsembleError: the plan is refused or not confirmed, or an action failed.
    """
    plan = reconciler.plan()
    print_plan(plan, flags)
    raise_refusals(plan, flags)
    if not plan.actions:
        record_admission(reconciler)
        return update_after_sync(reconciler.api, plan)
    confirm_removals(plan, flags, purpose)
    rest = create_namespaces(reconciler.api, plan)
    with hold_leases(reconciler.api, reconcile.changed_namespaces(rest), flags.wait) as leases:
        current = reconciler.plan()
        if not current.same_work(rest):
            print("the cluster has changed in the meantime; this is the plan now:")
            print_plan(current, flags)
            raise_refusals(current, flags)
            if not reconcile.changed_namespaces(current) <= set(leases):
                raise StalePlan(f"a namespace has to be changed whose Lease is not held: {purpose.command} again")
            confirm_removals(current, flags, purpose)
        status = execute_plan(reconciler.api, current, leases, purpose.command)
        record_admission(reconciler)
    # Without the Leases: another sync need not wait for that server.
    return max(status, update_after_sync(reconciler.api, current))


def record_admission(reconciler: Reconciler) -> None:
    """Record what admission has changed of objects that are as desired otherwise, and was said with the plan."""
    if reconciler.unrecorded_admission:
        from scheduler.sync import record

        experiments = [state.experiment for state in reconciler.desired]
        for name, changes in reconciler.unrecorded_admission.items():
            record.record_admission(reconciler.api, name, changes, experiments)


def create_namespaces(api: KubeClient, plan: SyncPlan) -> SyncPlan:
    """Create what a Lease can be in; returns the rest of the plan."""
    namespaces, rest = reconcile.without_namespaces(plan)
    if namespaces:
        outcome = _execute(api, msgspec.structs.replace(plan, actions=tuple(namespaces)), {}, "sync")
        _raise_failures(outcome, "sync")
    return rest


def execute_plan(api: KubeClient, plan: SyncPlan, leases: Mapping[str, Lease], command: str) -> ExitStatus:
    """Execute a plan under these Leases and print what was done; raises CronsembleError for an action that failed."""
    outcome = _execute(api, plan, leases, command)
    if outcome.admission:
        _finish_admission(api, plan, outcome)
    _raise_failures(outcome, command)
    print(f"done: {_count(outcome)}")
    return ExitStatus.DONE


def _finish_admission(api: KubeClient, plan: SyncPlan, outcome: Outcome) -> None:
    """Print and record what admission changed of the applied objects."""
    from scheduler.sync import admission, record

    # Of changed objects the plan has said it, from a dry run.
    for line in admission.notes(changes for action, changes in outcome.admission if action.verb == Verb.CREATE):
        print_line(f"note: {line}")
    for name in plan.namespaces:
        changes = [(action.experiment, changed) for action, changed in outcome.admission if action.namespace == name]
        record.record_admission(api, name, changes, plan.experiments)


def _execute(api: KubeClient, plan: SyncPlan, leases: Mapping[str, Lease], command: str) -> Outcome:
    from scheduler.sync.apply import execute

    with Progress(command, len(plan.actions)) as progress:
        return execute(api, plan, leases, progress, command)


def _raise_failures(outcome: Outcome, command: str) -> None:
    if not outcome.failed:
        return
    errors = list(dict.fromkeys(str(error) for _, error in outcome.failed))
    for error in errors[:_MOST_ERRORS]:
        print(error, file=sys.stderr)
    more = f", {len(errors) - _MOST_ERRORS} more errors" if len(errors) > _MOST_ERRORS else ""
    raise CronsembleError(f"stopped after {_count(outcome)}{more}: fix this and {command} again, which goes on from there")


def _count(outcome: Outcome) -> str:
    return f"{len(outcome.done)} change{'' if len(outcome.done) == 1 else 's'}"


def print_plan(plan: SyncPlan, flags: SyncFlags | None = None) -> None:
    """Print a plan on stdout, without the refusals that the flags lift."""
    for line in describe.lines(plan, flags.allowed if flags else frozenset()):
        print_line(line)


def raise_refusals(plan: SyncPlan, flags: SyncFlags) -> None:
    """Raise CronsembleError with the refusals that the flags do not lift."""
    refusals = plan.refused(flags.allowed)
    if refusals:
        texts = [refusal.text + (f": {refusal.flag} allows it" if refusal.flag else "") for refusal in refusals]
        more = [f"and {len(texts) - _MOST_ERRORS} more"] if len(texts) > _MOST_ERRORS else []
        raise CronsembleError(*texts[:_MOST_ERRORS], *more)


def confirm_removals(plan: SyncPlan, flags: SyncFlags, purpose: Purpose) -> None:
    """Ask before CronJobs, Jobs and revisions are removed; raises CronsembleError for a no."""
    if removals := describe.removals(plan):
        confirm(purpose.question(removals), flags.yes)


@contextmanager
def hold_leases(api: KubeClient, namespaces: Iterable[str], wait: float) -> Iterator[dict[str, Lease]]:
    """The Leases of namespaces, for which another sync is waited for so many seconds; what is waited for is shown."""
    with Progress(at_once=True) as progress, reconcile.leases(api, namespaces, wait, progress.say) as leases:
        progress.clear()
        yield leases
