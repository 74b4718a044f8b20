"""What `status`, `suspend`, `resume`, `delete` and `history --revisions` do with the parts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from cronjobs.config_maps import revisions_name
from cronjobs.resolved import Experiment
from scheduler.cluster import explain, kinds, live, reconcile, removal, revisions, rights, status, suspension, witness
from scheduler.cluster.api import Api
from scheduler.cluster.commands import Flags, finish, open_session, print_plan, refuse, run_plan, say, stopped_by_terminate
from scheduler.cluster.console import confirm, print_table
from scheduler.cluster.failures import NotFound
from scheduler.cluster.reconcile import Target
from scheduler.config import load
from scheduler.errors import CronsembleError


def show_status(files: list[Path], target: Target, as_json: bool) -> int:
    session = open_session(files, target, False)
    with session.api, rights.explained(session.api, session.namespaces, reading=True):
        plan = session.plan()
        jobs: list[Any] = []
        seen: list[Any] = []
        for namespace in session.lives:
            found = live.jobs(session.api, namespace)
            jobs += found
            seen += witness.observed(session.api, namespace, found, witness.pods_of(session.api, namespace) if found else ())
    rows = status.rows(plan, session.lives, jobs, seen, session.api.now())
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(status.COLUMNS, rows)
    return 0


def set_suspended(file: Path, names: list[str], value: bool, target: Target, force: bool, wait: float) -> int:
    experiment = _placed(load(file), target)
    api = Api(target.access())
    namespace = experiment.cluster["namespace"]
    word = "suspended" if value else "resumed"
    with api, rights.explained(api, [namespace]), stopped_by_terminate():
        if not suspension.choose(api, experiment, names, value):
            print(f"nothing to do: {', '.join(names) or 'all'} {word} already")
            return 0
        with reconcile.leases(api, [namespace], wait, say):
            chosen = suspension.choose(api, experiment, names, value)
            suspension.change(api, experiment, chosen, value, force)
    for each in chosen:
        print(f"{word}: {each['metadata']['name']}")
    return 0


def delete(name: str | None, file: Path, target: Target, purge: bool, flags: Flags) -> int:
    """Of the experiment named, in the namespace given; or of the configuration's."""
    if name is None:
        experiment = _placed(load(file), target)
        name, namespace = experiment.name, experiment.cluster["namespace"]
    elif target.namespace is None:
        raise CronsembleError(f"delete {name}: say in which namespace: --namespace NAME")
    else:
        namespace = target.namespace
    api = Api(target.access())
    with api, rights.explained(api, [namespace]), stopped_by_terminate():
        plan = removal.plan_removal(api, namespace, name, purge)
        print_plan(plan, flags)
        if not plan.actions:
            return 0
        refuse(plan, flags)
        confirm(f"This removes experiment {name} from namespace {namespace}; its store stays.", flags.yes)
        with reconcile.leases(api, [namespace], flags.wait, say) as held:
            again = removal.plan_removal(api, namespace, name, purge)
            refuse(again, flags)
            if not {action.key for action in again.actions} <= {action.key for action in plan.actions}:
                raise reconcile.Stale("the cluster has changed meanwhile: delete again")
            return finish(run_plan(api, again, held, "delete"))


def print_revisions(file: Path, target: Target, as_json: bool) -> int:
    experiment = _placed(load(file), target)
    namespace = experiment.cluster["namespace"]
    with Api(target.access()) as api, rights.explained(api, [namespace], reading=True):
        try:
            data = api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment.name)).get("data") or {}
        except NotFound:
            data = {}
    found = revisions.read(data)
    if as_json:
        print(json.dumps(found, indent=1))
    elif not found:
        print(f"no revisions of {experiment.name} in namespace {namespace} yet; next: cronsemble sync")
    else:
        sys.stdout.writelines(f"{line}\n" for line in revision_lines(found))
    return 0


def revision_lines(found: list[dict[str, Any]]) -> list[str]:
    """Newest first: when, who and what, then every task's fields old → new."""
    told: list[list[str]] = []
    for revision, before, after in revisions.states(found):
        folded = f" (stands for {revision['folded']})" if revision.get("folded") else ""
        lines = [f"revision {revision['revision']}  {revision['time']}  {revision['what']} by {revision['by']}{folded}"]
        for name in sorted({*before, *after}):
            if name not in after:
                lines.append(f"    {name}: removed")
                continue
            changes = explain.inner(before.get(name, {}), after[name])
            lines += [
                f"    {name}{path}: {explain.value(old)} → {explain.value(new)}" for path, old, new in changes if old or new
            ]
        told.append(lines)
    return [line for lines in reversed(told) for line in lines]


def _placed(experiment: Experiment, target: Target) -> Experiment:
    if target.namespace is None:
        return experiment
    return replace(experiment, cluster={**experiment.cluster, "namespace": target.namespace})
