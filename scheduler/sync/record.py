"""Appends revisions to the ConfigMap of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from cronjobs.revisions import revisions
from scheduler.identity import current_user
from scheduler.kube import kinds, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, Conflict, KubeError, NotFound
from scheduler.sync.admission import AdmissionChanges, recorded_with
from scheduler.times import format_time

_ATTEMPTS = 8
"""How often it is tried while others append."""


def append_revision(
    api: KubeClient, namespace: str, name: str, experiment: str, body: Mapping[str, Any], tool: str, command: str
) -> None:
    """Append a revision to the ConfigMap of this name, after those that others have appended meanwhile.

    Args:
        body: the desired ``tasks``; of a sync ``program``, ``code``, the ``digest`` of all and ``recorded_until``; with
            ``partial`` the tasks that it does not name stay as they are.
        tool, command: the version and the command that made the change.

    Raises:
        KubeError: others append faster than we can.
    """
    written: dict[str, Any] | None = None
    for _ in range(_ATTEMPTS):
        try:
            configmap: dict[str, Any] | None = api.get(kinds.CONFIGMAP, namespace, name)
        except NotFound:
            configmap = None
        data = (configmap or {}).get("data") or {}
        recorded = revision_configmap.read(data)
        if written in recorded:
            return  # It was written, and only the answer was lost.
        before = next(reversed([after for _, _, after in revisions.states(recorded)]), {})
        number = max((revision["revision"] for revision in recorded), default=0) + 1
        snapshot = {key: body[key] for key in ("program", "code") if key in body}
        revision = {
            "revision": number,
            "time": format_time(api.now()),
            "by": _user(api),
            "tool": tool,
            "what": command,
            "engine": f"cluster:{api.access.server}/{namespace}",
            **revisions.delta(before, body["tasks"], snapshot, partial=bool(body.get("partial"))),
        }
        written = msgspec.json.decode(msgspec.json.encode(revision))
        kept = [*recorded, revision]
        if sum(map(len, data.values())) + len(str(revision)) > revision_configmap.FULL:
            kept = revisions.fold(kept, revision_configmap.AFTER_FOLDING, body.get("recorded_until"))
        annotations = {revision_configmap.NUMBER: str(number), revision_configmap.VERSION: tool}
        if body.get("digest"):
            annotations[revision_configmap.DIGEST] = body["digest"]
        if _write_revisions(api, namespace, name, experiment, configmap, revision_configmap.write(kept), annotations):
            return
    raise KubeError(f"ConfigMap {name} in namespace {namespace} changes faster than a revision can be added: try again")


def record_admission(
    api: KubeClient, namespace: str, changes: Iterable[tuple[str, AdmissionChanges]], experiments: Sequence[str]
) -> None:
    """Record what admission changed of objects beside the revisions of their experiments, and do nothing where there are none.

    Each change comes with its object's experiment; what ``experiments`` share (an empty name) is recorded with the first.
    """
    digests: dict[str, list[str]] = {}
    for experiment, changed in changes:
        digests.setdefault(experiment or experiments[0], []).append(changed.digest)
    for experiment, own in digests.items():
        _record_digests(api, namespace, revisions_name(experiment), own)


def _record_digests(api: KubeClient, namespace: str, name: str, digests: Sequence[str]) -> None:
    for _ in range(_ATTEMPTS):
        try:
            metadata = api.get(kinds.CONFIGMAP, namespace, name, metadata_only=True)["metadata"]
            recorded = str((metadata.get("annotations") or {}).get(revision_configmap.ADMISSION, "")).split()
            annotations = {revision_configmap.ADMISSION: " ".join(recorded_with(recorded, digests))}
            body = {"metadata": {"annotations": annotations, "resourceVersion": metadata["resourceVersion"]}}
            api.patch(kinds.CONFIGMAP, namespace, name, body)
        except Conflict:
            continue
        except NotFound:
            pass
        return


def _write_revisions(
    api: KubeClient,
    namespace: str,
    name: str,
    experiment: str,
    configmap: dict[str, Any] | None,
    data: dict[str, str],
    annotations: dict[str, str],
) -> bool:
    """Replace the data of the revisions' ConfigMap as it was read; False where it has changed since."""
    metadata: dict[str, Any] = {"annotations": annotations, "labels": labels.of_experiment(experiment, labels.REVISIONS)}
    try:
        if configmap is None:
            metadata.update(name=name, namespace=namespace)
            api.create(kinds.CONFIGMAP, namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
            return True
        metadata["resourceVersion"] = configmap["metadata"]["resourceVersion"]
        old = configmap.get("data") or {}
        removed = {key: None for key in old if key not in data}
        changed = {key: value for key, value in data.items() if old.get(key) != value}
        api.patch(kinds.CONFIGMAP, namespace, name, {"metadata": metadata, "data": {**removed, **changed}})
    except Conflict:
        return False
    return True


def _user(api: KubeClient) -> str:
    """The user's name, to the server and on this machine; the latter alone where the server does not say."""
    try:
        body = {"apiVersion": kinds.SUBJECT_REVIEW.version, "kind": kinds.SUBJECT_REVIEW.kind}
        answer = api.create(kinds.SUBJECT_REVIEW, None, body)
        return f"{answer['status']['userInfo']['username']} ({current_user()})"
    except (ApiError, KeyError):
        return current_user()
