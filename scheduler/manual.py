"""A run by hand: the members now, side by side, and then the ensemble."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from cronjobs.revisions import MANUAL
from cronjobs.tasks import Context
from jobs.contract import ENSEMBLE_TASK, member_task
from jobs.store import Run
from scheduler import revise
from scheduler.code import user_code
from scheduler.config import Experiment, Member
from scheduler.engine import LocalEngine
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.orders import Order, ensemble_order, runtimes_of, train_order
from scheduler.program import build_program
from scheduler.runtimes import Runtime, find_runtime
from scheduler.venvs import Say


def run_members(
    engine: LocalEngine, experiment: Experiment, members: Iterable[Member], with_ensemble: bool, published: bool, now: datetime
) -> list[Run]:
    """Run these members and then the ensemble in the slot of ``now``; returns the runs in that order."""
    chosen, minute, invocation = list(members), int(now.timestamp() // 60), uuid.uuid4().hex[:12]
    engine.store.heal_archive(experiment.name)
    context = keep_context(engine, experiment, published)
    revise.record(engine.store, context, MANUAL, now)
    tasks = [member_task(member.name) for member in chosen] + ([ENSEMBLE_TASK] if with_ensemble else [])
    runtimes = find_runtimes(experiment, {name for task in tasks for name in runtimes_of(context, task)}, engine.watcher.say)
    orders = [train_order(context, member, runtimes, minute, "manual", invocation) for member in chosen]
    done = carry_out_all(engine, orders)
    if with_ensemble and not engine.stopped:
        if experiment.ensemble is None:
            raise CronsembleError("this experiment declares no ensemble")
        done += carry_out_all(engine, [ensemble_order(context, experiment.ensemble, runtimes, minute, "manual", invocation)])
    return [run for run in done if run is not None]


def carry_out_all(engine: LocalEngine, orders: list[Order]) -> list[Run | None]:
    """Side by side; in the orders' order, for what the user wrote first starts first. None: stopped before its turn."""
    with ThreadPoolExecutor(max(1, len(orders))) as pool:
        return list(pool.map(engine.carry_out, orders))


def keep_context(engine: LocalEngine, experiment: Experiment, published: bool = False) -> Context:
    """The experiment with its program and code, both kept in the store."""
    store = engine.store
    store.root.mkdir(parents=True, exist_ok=True)
    code = user_code(experiment)
    program = store.put_snapshot("program", build_program())
    return Context(experiment, program, store.put_snapshot("code", code) if code else "", published)


def find_runtimes(experiment: Experiment, names: Iterable[str], say: Say) -> dict[str, Runtime | RuntimeUnavailable]:
    """Each runtime, or the reason why it cannot be had."""
    found: dict[str, Runtime | RuntimeUnavailable] = {}
    for name in sorted(names):
        try:
            found[name] = find_runtime(experiment, name, say)
        except RuntimeUnavailable as error:
            found[name] = error
    return found
