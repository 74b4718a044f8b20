"""What `plan` and `sync` do with the parts."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scheduler.cluster import explain, reconcile, rights
from scheduler.cluster import plan as plans
from scheduler.cluster.api import Api
from scheduler.cluster.console import Bar, confirm
from scheduler.cluster.plan import PRUNE, Plan
from scheduler.cluster.reconcile import Session, Stale, Target
from scheduler.config import load_all
from scheduler.errors import CronsembleError

if TYPE_CHECKING:
    from scheduler.cluster.apply import Outcome


@dataclass(frozen=True)
class Flags:
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


def open_session(files: list[Path], target: Target, force: bool) -> Session:
    # Thousands of objects without a cycle: looking for cycles would take a fifth of the time.
    gc.disable()
    experiments = reconcile.place(load_all(files), target.namespace)
    return Session(Api(target.access()), experiments, force)


def show_plan(files: list[Path], target: Target, force: bool, as_json: bool, detailed: bool, out: Path | None) -> int:
    """`plan`: 0, or with ``detailed`` 2 where there is something to do."""
    session = open_session(files, target, force)
    with session.api, rights.explained(session.api, session.namespaces, reading=True):
        plan = session.plan()
    if out is not None:
        plans.save(plan, out)
    if as_json:
        print(explain.as_json(plan))
    else:
        print_plan(plan)
        if out is not None:
            print(f"saved; next: cronsemble sync --plan {out}")
    return 2 if detailed and plan.actions else 0


def sync(files: list[Path], target: Target, flags: Flags) -> int:
    """`sync`: 0 when the cluster is as the configuration says, 1 otherwise."""
    session = open_session(files, target, flags.force_conflicts)
    with session.api, rights.explained(session.api, session.namespaces):
        plan = session.plan()
        print_plan(plan, flags)
        refuse(plan, flags)
        if not plan.actions:
            return 0
        _confirm(plan, flags)
        with stopped_by_terminate():
            return _sync(session, plan, flags)


def _sync(session: Session, shown: Plan, flags: Flags) -> int:
    rest = _make_namespaces(session.api, shown)
    with reconcile.leases(session.api, reconcile.touched(rest), flags.wait, say) as held:
        plan = session.plan()
        if not plan.same_work(rest):
            print("the cluster has changed meanwhile; this is the plan now:")
            print_plan(plan, flags)
            refuse(plan, flags)
            if not reconcile.touched(plan) <= set(held):
                raise Stale("a namespace has to be changed whose Lease is not held: sync again")
            _confirm(plan, flags)
        return finish(run_plan(session.api, plan, held))


def sync_saved(path: Path, target: Target, flags: Flags) -> int:
    """`sync --plan`: exactly that plan, or nothing."""
    plan = plans.load(path)
    api = Api(target.access())
    print_plan(plan, flags)
    refuse(plan, flags)
    if not plan.actions:
        return 0
    with api, rights.explained(api, plan.namespaces), stopped_by_terminate():
        reconcile.check_saved(api, plan)
        _confirm(plan, flags)
        rest = _make_namespaces(api, plan)
        with reconcile.leases(api, reconcile.touched(rest), flags.wait, say) as held:
            reconcile.check_saved(api, rest)
            return finish(run_plan(api, rest, held))


def _make_namespaces(api: Api, plan: Plan) -> Plan:
    """Make what a Lease can be in; the rest of the plan."""
    namespaces, rest = reconcile.without_namespaces(plan)
    outcome = run_plan(api, msgspec.structs.replace(plan, actions=tuple(namespaces)), {})
    if outcome.failed:
        finish(outcome)
    return rest


def run_plan(api: Api, plan: Plan, held: dict[str, Any], what: str = "sync") -> Outcome:
    from scheduler.cluster.apply import execute

    with Bar(len(plan.actions)) as bar:
        return execute(api, plan, held, bar, what)


def finish(outcome: Outcome) -> int:
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


def print_plan(plan: Plan, flags: Flags | None = None) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in explain.lines(plan, flags.allowed if flags else frozenset())))
    sys.stdout.flush()


def refuse(plan: Plan, flags: Flags) -> None:
    refused = plan.refused(flags.allowed)
    if refused:
        hints = [each.text + (f": {each.flag} allows it" if each.flag else "") for each in refused]
        raise CronsembleError("\n".join([*hints[:10], *([f"and {len(hints) - 10} more"] if len(hints) > 10 else [])]))


def _confirm(plan: Plan, flags: Flags) -> None:
    # Snapshots that nothing names are no loss: the store has those that ran, and sync makes the others again.
    removed = [action for action in plan.actions if action.verb == PRUNE and action.kind != "ConfigMap"]
    if removed:
        names = ", ".join(action.name for action in removed[:5]) + (f" and {len(removed) - 5} more" if len(removed) > 5 else "")
        confirm(f"This removes {len(removed)} CronJobs: {names}.", flags.yes)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def stopped_by_terminate() -> Iterator[None]:
    """SIGTERM ends a sync as Ctrl-C does: what was begun is finished, and the Lease given back."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
