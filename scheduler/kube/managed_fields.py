"""Who owns which field: ``managedFields`` as values.

A path is a tuple of steps: a name (``spec``), the key of a list's item (``{"name": "train"}`` as sorted pairs), or a
set's value. The format is the server's ``FieldsV1``: ``f:name``, ``k:{key}``, ``v:value``, and ``.`` for the thing itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

Tree = Mapping[str, Any]
Step = str | tuple[tuple[str, Any], ...]
Path = tuple[Step, ...]

LAST_APPLIED: Path = ("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
"""kubectl's record of what a client-side apply sent: no field that anybody declares."""

OURS = "cronsemble"
SUSPEND = "cronsemble-suspend"


@dataclass(frozen=True)
class Ownership:
    """One entry of managedFields."""

    manager: str
    operation: str
    tree: Tree
    subresource: str = ""


def ownerships(metadata: Mapping[str, Any]) -> list[Ownership]:
    """The entries of an object's managedFields."""
    return [
        Ownership(
            str(entry.get("manager", "")),
            str(entry.get("operation", "")),
            _tree(entry.get("fieldsV1") or {}),
            str(entry.get("subresource", "")),
        )
        for entry in metadata.get("managedFields") or []
    ]


def _tree(fields: Any) -> Tree:
    # Thousands of objects have the same few sets of fields: read each once.
    if isinstance(fields, msgspec.Raw):
        return _parsed(bytes(fields))
    return dict(fields)


@functools.lru_cache(maxsize=4096)
def _parsed(fields: bytes) -> Tree:
    return dict(msgspec.json.decode(fields))


def owned_by(metadata: Mapping[str, Any], manager: str, operation: str = "Apply") -> Tree:
    """The fields that a manager has applied; empty where it has none."""
    for ownership in ownerships(metadata):
        if ownership.manager == manager and ownership.operation == operation and not ownership.subresource:
            return ownership.tree
    return {}


def is_kubectl(manager: str) -> bool:
    """Whether a field manager is one of kubectl's: ``kubectl``, ``kubectl-client-side-apply``, ``kubectl-edit`` …"""
    return manager == "kubectl" or manager.startswith("kubectl-")


def owners_of(owners: list[Ownership], path: Path) -> list[str]:
    """The managers whose fields hold this path, or anything inside it."""
    return sorted({owner.manager for owner in owners if not owner.subresource and _holds(owner.tree, path)})


def _holds(tree: Tree, path: Path) -> bool:
    for step in path:
        if isinstance(step, str):
            subtree = tree.get(f"f:{step}")
        else:
            subtree = next((sub for key, sub in tree.items() if key.startswith("k:") and item_key(key) == step), None)
        if subtree is None:
            return False
        if not subtree:
            return True
        tree = subtree
    return True


@functools.lru_cache(maxsize=4096)
def item_key(key: str) -> tuple[tuple[str, Any], ...]:
    """The pairs of ``k:{"name":"train"}``."""
    return tuple(sorted(msgspec.json.decode(key[2:]).items()))


def leaves(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """Every path that a tree names, containers that it owns themselves left out."""
    for key, sub in tree.items():
        if key.startswith("f:"):
            step: Step = key[2:]
        elif key.startswith("k:"):
            step = item_key(key)
        else:
            continue
        if not sub:
            yield (*path, step)
        else:
            yield from leaves(sub, (*path, step))


def shown(path: Path) -> str:
    """``containers[train].env[A].value``: a CronJob's pod template is understood."""
    text = ""
    for step in path:
        if isinstance(step, str):
            quoted = f"[{step}]" if "." in step or "/" in step else f".{step}"
            text += quoted
        else:
            text += "[" + ",".join(str(value) for _, value in step) + "]"
    text = text.lstrip(".")
    for prefix in ("spec.jobTemplate.spec.template.spec.", "spec.jobTemplate.spec.", "spec."):
        if text.startswith(prefix):
            return text.removeprefix(prefix)
    return text


def merged(trees: Iterable[Tree]) -> Tree:
    """All fields of several sets."""
    union: dict[str, Any] = {}
    for tree in trees:
        for key, sub in tree.items():
            union[key] = merged([union[key], sub]) if key in union else sub
    return union


def adoptable(tree: Tree, with_suspend: bool = False) -> Tree:
    """Of what kubectl owns in an object of ours, what is ours to say: all but others' labels, and suspension unless asked for."""
    adopted = {key: sub for key, sub in tree.items() if key in ("f:spec", "f:data", "f:binaryData", "f:immutable")}
    if "f:spec" in adopted:
        adopted["f:spec"] = {key: sub for key, sub in adopted["f:spec"].items() if with_suspend or key != "f:suspend"}
    metadata = {}
    for part in ("f:labels", "f:annotations"):
        own = {key: sub for key, sub in tree.get("f:metadata", {}).get(part, {}).items() if key[2:].startswith(_OURS)}
        if own:
            metadata[part] = own
    return {**adopted, **({"f:metadata": metadata} if metadata else {})}


_OURS = ("cronsemble.io/", "app.kubernetes.io/", str(LAST_APPLIED[-1]))


def without(tree: Tree, taken: Tree) -> Tree:
    """A set of fields less the leaves of another; of what loses all its fields nothing stays."""
    remaining: dict[str, Any] = {}
    for key, sub in tree.items():
        if key not in taken:
            remaining[key] = sub
        elif sub and taken[key] and (rest := without(sub, taken[key])):
            remaining[key] = rest
    return {} if set(remaining) == {"."} else remaining
