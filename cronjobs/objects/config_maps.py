"""The ConfigMaps that pods mount: a snapshot's program and user code by the hash of their content, and the revisions."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cronjobs.objects import labels
from cronjobs.objects.volumes import ObjectsError
from jobs import contract as c

LARGEST = 1 << 20
"""Bytes that a ConfigMap may hold; we keep our CronJobs under it too."""


def program_name(digest: str) -> str:
    """The name of the ConfigMap that holds the program of that SHA-256."""
    return f"cronsemble-program-{digest[:12]}"


def code_name(digest: str) -> str:
    """The name of the ConfigMap that holds the user code of that SHA-256."""
    return f"cronsemble-code-{digest[:12]}"


def revisions_name(experiment: str) -> str:
    """The name of the ConfigMap that says what was synced, from when to when; every pod mounts it if it is there."""
    return f"{experiment}-revisions"


def program_map(namespace: str, data: bytes) -> dict[str, Any]:
    """The ConfigMap of a program; raises ObjectsError if it is too large."""
    return _snapshot(namespace, labels.PROGRAM, program_name, c.PROGRAM_FILE, data, "")


def code_map(namespace: str, data: bytes) -> dict[str, Any]:
    """The ConfigMap of user code; raises ObjectsError if it is too large."""
    hint = ": list what it needs under `code:`, and `put` data into the store; `cronsemble check` names the largest files"
    return _snapshot(namespace, labels.CODE, code_name, c.CODE_FILE, data, hint)


def mounted(pod: Mapping[str, Any]) -> set[str]:
    """The names of the ConfigMaps that a pod's spec mounts."""
    names = set()
    for volume in pod.get("volumes") or ():
        sources = [volume, *(volume.get("projected", {}).get("sources") or ())]
        names |= {source["configMap"]["name"] for source in sources if "configMap" in source}
    return names


def _snapshot(namespace: str, component: str, name: Callable[[str], str], key: str, data: bytes, hint: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    if len(data) > LARGEST:
        raise ObjectsError(f"the {component} has {len(data):,} bytes, at most {LARGEST:,} fit a ConfigMap{hint}")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name(digest),
            "namespace": namespace,
            "labels": labels.shared(component),
            "annotations": {labels.SHA256: digest},
        },
        "immutable": True,
        "binaryData": {key: base64.b64encode(data).decode()},
    }
