"""The only module that changes a cluster: executes a plan's actions, in their order, several at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Protocol

import msgspec

from cronjobs.objects import labels
from cronjobs.revisions import revisions
from scheduler.identity import current_user
from scheduler.kube import kinds, managed_fields, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, Conflict, Forbidden, KubeError, NotFound
from scheduler.kube.managed_fields import OURS, SUSPEND
from scheduler.sync.lease import Lease
from scheduler.sync.plan import Action, SyncPlan, Verb

AT_ONCE = 8
BATCH = 96
"""Actions between two looks at the Lease."""


class Progress(Protocol):
    """What is told of each action; called from several threads."""

    def advance(self) -> None: ...


@dataclass
class Outcome:
    """What became of a plan."""

    done: list[Action] = field(default_factory=list)
    failed: list[tuple[Action, KubeError]] = field(default_factory=list)


def execute(api: KubeClient, plan: SyncPlan, leases: Mapping[str, Lease], progress: Progress, what: str = "sync") -> Outcome:
    """Do what the plan says. After a batch with a failure nothing more is begun: the next sync goes on from there."""
    outcome = Outcome()
    stop = threading.Event()
    waiting: list[tuple[Action, Future[KubeError | None]]] = []

    def settle(left: int) -> None:
        """Take results until no more than ``left`` actions are under way."""
        while len(waiting) > left:
            action, future = waiting.pop(0)
            error = future.result()
            if error is None:
                outcome.done.append(action)
                progress.advance()
            else:
                outcome.failed.append((action, error))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            stage = None
            for batch in batches(plan.actions):
                # Within a stage a batch begins while the last of the one before are under way.
                settle(AT_ONCE if batch[0].stage == stage else 0)
                stage = batch[0].stage
                if outcome.failed:
                    break
                for namespace in {action.namespace for action in batch if action.kind != "Namespace"}:
                    leases[namespace].check()
                waiting += [(action, pool.submit(_attempt, api, action, plan.tool, what, stop)) for action in batch]
            settle(0)
        except BaseException:
            stop.set()
            raise
    return outcome


def batches(actions: Iterable[Action]) -> list[list[Action]]:
    """The actions in lists that may be done at once: by stage, and never too many."""
    lists: list[list[Action]] = []
    for action in actions:
        if not lists or lists[-1][0].stage != action.stage or len(lists[-1]) >= BATCH:
            lists.append([])
        lists[-1].append(action)
    return lists


def _attempt(api: KubeClient, action: Action, tool: str, what: str, stop: threading.Event) -> KubeError | None:
    if stop.is_set():
        return KubeError("not begun")
    try:
        _do(api, action, tool, what)
    except KubeError as error:
        return error
    return None


def _do(api: KubeClient, action: Action, tool: str, what: str) -> None:
    kind = kinds.KINDS[action.kind]
    if action.kind == "Namespace":
        _create_namespace(api, action.name)
    elif action.verb == Verb.RECORD:
        record(api, action.namespace, action.name, action.experiment, action.body, tool, what)
    elif action.verb == Verb.PRUNE:
        delete(api, kind, action)
    else:
        if action.take_over:
            take_over(api, kind, action.namespace, action.name)
        apply(api, kind, action)


def apply(api: KubeClient, kind: kinds.Kind, action: Action) -> None:
    """Server-side apply; a conflict of versions, not of owners, is tried again."""
    for left in (4, 3, 2, 1, 0):
        try:
            api.apply(kind, action.namespace, action.body, OURS, action.force)
            return
        except Conflict as error:
            if error.owners:
                told = "; ".join(f"{path} is owned by {manager}" for manager, path in error.owners)
                raise KubeError(f"{action.kind} {action.name}: {told}: --force-conflicts takes it") from error
            if not left:
                raise
        except NotFound as error:
            raise KubeError(
                f"namespace {action.namespace} does not exist: kubectl create namespace {action.namespace}, or --create-namespace"
            ) from error


def delete(api: KubeClient, kind: kinds.Kind, action: Action) -> None:
    """The very object that was planned; one that is gone already is no error."""
    try:
        api.delete(kind, action.namespace, action.name, action.uid)
    except NotFound:
        pass
    except Conflict as error:
        raise KubeError(f"{action.kind} {action.name}: it is another object than the one planned: sync again") from error


def _create_namespace(api: KubeClient, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    with contextlib.suppress(Conflict):  # Made by another meanwhile.
        api.create(kinds.NAMESPACE, None, body)


def take_over(api: KubeClient, kind: kinds.Kind, namespace: str, name: str) -> None:
    """Make ours what kubectl owns and is ours to say, so that fields which we drop go away."""
    while True:
        metadata = api.get(kind, namespace, name, metadata_only=True)["metadata"]
        entries = list(metadata.get("managedFields") or [])
        kept, trees = [], [managed_fields.owned_by(metadata, OURS)]
        for entry in entries:
            if entry["manager"] == OURS and entry["operation"] == "Apply" and not entry.get("subresource"):
                continue
            if managed_fields.is_kubectl(entry["manager"]) and not entry.get("subresource"):
                mine = managed_fields.adoptable(entry["fieldsV1"])
                trees.append(mine)
                entry = {**entry, "fieldsV1": managed_fields.without(entry["fieldsV1"], mine)}
                if not entry["fieldsV1"]:
                    continue
            kept.append(entry)
        version = f"{kind.version}"
        ours = {
            "manager": OURS,
            "operation": "Apply",
            "apiVersion": version,
            "fieldsType": "FieldsV1",
            "fieldsV1": managed_fields.merged(trees),
        }
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": [*kept, ours]},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        ]
        try:
            api.patch(kind, namespace, name, patch)
            return
        except Conflict:
            continue


def suspend(api: KubeClient, namespace: str, name: str, uid: str, value: bool, force: bool) -> None:
    """Set a CronJob's suspension under the field manager of its own."""
    body = {
        "apiVersion": kinds.CRONJOB.version,
        "kind": kinds.CRONJOB.kind,
        # With the uid an object that has gone is an error, and never half made.
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "spec": {"suspend": value},
    }
    try:
        api.apply(kinds.CRONJOB, namespace, body, SUSPEND, force)
    except Conflict as error:
        if not error.owners:
            raise KubeError(f"CronJob {name}: it has gone meanwhile") from error
        managers = ", ".join(manager for manager, _ in error.owners)
        if any(manager == OURS for manager, _ in error.owners):
            raise KubeError(f"CronJob {name}: the configuration says `suspend:`, edit it there and sync") from error
        raise KubeError(f"CronJob {name}: {managers} set its suspension: --force-conflicts takes it") from error


def record(api: KubeClient, namespace: str, name: str, experiment: str, told: Mapping[str, Any], tool: str, what: str) -> None:
    """Append a revision; one that another wrote meanwhile comes before it."""
    tried: dict[str, Any] | None = None
    for _ in range(8):
        try:
            known: dict[str, Any] | None = api.get(kinds.CONFIGMAP, namespace, name)
        except NotFound:
            known = None
        data = (known or {}).get("data") or {}
        old = revision_configmap.read(data)
        if tried in old:
            return  # It was written, and only the answer lost.
        before = next(reversed([after for _, _, after in revisions.states(old)]), {})
        number = max([each["revision"] for each in old], default=0) + 1
        held = {key: told[key] for key in ("program", "code") if key in told}
        revision = {
            "revision": number,
            "time": api.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "by": _user(api),
            "tool": tool,
            "what": what,
            "engine": f"cluster:{api.access.server}/{namespace}",
            **revisions.delta(before, told["tasks"], held, partial=bool(told.get("partial"))),
        }
        tried = msgspec.json.decode(msgspec.json.encode(revision))
        kept = [*old, revision]
        if sum(map(len, data.values())) + len(str(revision)) > revision_configmap.FULL:
            kept = revisions.fold(kept, revision_configmap.AFTER_FOLDING, told.get("recorded_until"))
        annotations = {revision_configmap.NUMBER: str(number), revision_configmap.VERSION: tool}
        if told.get("digest"):
            annotations[revision_configmap.DIGEST] = told["digest"]
        if _write_revisions(api, namespace, name, experiment, known, revision_configmap.write(kept), annotations):
            return
    raise KubeError(f"ConfigMap {name} in namespace {namespace} changes faster than a revision can be added: try again")


def _write_revisions(
    api: KubeClient,
    namespace: str,
    name: str,
    experiment: str,
    known: dict[str, Any] | None,
    data: dict[str, str],
    annotations: dict[str, str],
) -> bool:
    metadata: dict[str, Any] = {"annotations": annotations, "labels": labels.of_experiment(experiment, labels.REVISIONS)}
    try:
        if known is None:
            metadata.update(name=name, namespace=namespace)
            api.create(kinds.CONFIGMAP, namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
            return True
        metadata["resourceVersion"] = known["metadata"]["resourceVersion"]
        gone = {key: None for key in known.get("data") or {} if key not in data}
        fresh = {key: value for key, value in data.items() if (known.get("data") or {}).get(key) != value}
        api.patch(kinds.CONFIGMAP, namespace, name, {"metadata": metadata, "data": {**gone, **fresh}})
    except Conflict:
        return False
    return True


def _user(api: KubeClient) -> str:
    """Who this is: to the server, and on which machine."""
    try:
        body = {"apiVersion": kinds.SUBJECT_REVIEW.version, "kind": kinds.SUBJECT_REVIEW.kind}
        answer = api.create(kinds.SUBJECT_REVIEW, None, body)
        return f"{answer['status']['userInfo']['username']} ({current_user()})"
    except (NotFound, Forbidden, ApiError, KeyError):
        return current_user()
