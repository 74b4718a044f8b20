"""The fields in which a live object differs from the desired one, as values.

What the server fills in is no difference, for only fields that are desired or owned by us are compared. Quantities
compare by value. Lists compare as the server merges them: by the keys of their items where they have some, else whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cronjobs.objects import quantities
from scheduler.kube.managed_fields import Path, Tree, item_key, shown

ABSENT: Any = None
"""The value of a field that is not there; no desired value is null."""

# x-kubernetes-list-map-keys of the lists in a CronJob, by the list's name (Kubernetes' OpenAPI).
_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
}
_KEY_DEFAULTS = {"protocol": "TCP"}
"""What the server fills in for keys that may be left out."""
_ATOMIC = {"nodeSelector"}
"""x-kubernetes-map-type atomic, and without defaults inside."""
_ZERO_IS_ABSENT = {"readOnly", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty"}
"""Fields that are no pointers in the API's types: the server leaves them out when they are false."""
_QUANTITIES = {"limits", "requests"}
_POD: Path = ("spec", "jobTemplate", "spec", "template", "spec")
_CACHE_SIZE = 1024
_equal_pods: dict[tuple[bytes, bytes, int], Tree | None] = {}
"""Pairs of pods without a difference; the tree is kept, so that no other object gets its identity."""
_COMPARED_METADATA = ("labels", "annotations")
_NOT_COMPARED = ("apiVersion", "kind", "metadata", "status")


class Change(msgspec.Struct, frozen=True):
    """One field; ``old`` or ``new`` is null where it is not there."""

    field: str
    """The path as users read it: ``containers[train].image``."""
    old: Any
    new: Any
    path: tuple[Any, ...] = ()
    owners: tuple[str, ...] = ()
    """Other field managers that own it now."""


def compare(desired: Mapping[str, Any], live: Mapping[str, Any], owned: Tree) -> list[Change]:
    """What applying ``desired`` would change in ``live``, ``owned`` being the fields that we applied before."""
    changes: list[Change] = []
    desired_metadata, live_metadata = desired.get("metadata", {}), live.get("metadata", {})
    tree = owned.get("f:metadata", {})
    for part in _COMPARED_METADATA:
        path = ("metadata", part)
        _compare(desired_metadata.get(part) or {}, live_metadata.get(part) or {}, tree.get(f"f:{part}", {}), path, changes)
    for key in desired.keys() | {field[2:] for field in owned}:
        if key not in _NOT_COMPARED:
            _compare(desired.get(key, ABSENT), live.get(key, ABSENT), owned.get(f"f:{key}"), (key,), changes)
    return changes


def as_answered(desired: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The desired object with the values that a server's answer to its apply has in its fields; what the answer lacks is gone."""
    result = dict(desired)
    result["metadata"] = dict(desired["metadata"])
    for part in _COMPARED_METADATA:
        if part in desired["metadata"]:
            result["metadata"][part] = _answered(
                desired["metadata"][part], answer["metadata"].get(part) or {}, ("metadata", part)
            )
    for key, value in desired.items():
        if key not in _NOT_COMPARED and (answered := _answered(value, answer.get(key, ABSENT), (key,))) is not ABSENT:
            result[key] = answered
    return result


def _answered(desired: Any, answer: Any, path: Path) -> Any:
    """The answer's value, as far as it is desired; ABSENT where the answer has none."""
    if desired == answer:
        return desired
    if answer is ABSENT:
        return desired if _is_empty(desired, path) else ABSENT
    changes: list[Change] = []
    _compare(desired, answer, None, path, changes)
    if not changes:
        return desired
    if isinstance(desired, dict) and isinstance(answer, dict) and path[-1] not in _ATOMIC:
        values = {key: _answered(value, answer.get(key, ABSENT), (*path, key)) for key, value in desired.items()}
        return {key: value for key, value in values.items() if value is not ABSENT}
    keys = _KEYS.get(path[-1]) if isinstance(path[-1], str) else None
    if keys and isinstance(desired, list) and isinstance(answer, list) and all(isinstance(item, dict) for item in desired):
        items = {_key(item, keys): item for item in desired}
        answered = ((_key(item, keys), item) for item in answer)
        return [_answered(items[key], item, (*path, key)) for key, item in answered if key in items]
    return answer


def fingerprint(desired: Mapping[str, Any], live: Mapping[str, Any], owned: Tree) -> str:
    """A SHA-256 of the live values of every field that is desired or owned by us."""
    fields: list[tuple[str, Any]] = []
    for part in _COMPARED_METADATA:
        _project(desired["metadata"].get(part) or {}, live["metadata"].get(part) or {}, ("metadata", part), fields)
    for key, value in desired.items():
        if key not in _NOT_COMPARED:
            _project(value, live.get(key, ABSENT), (key,), fields)
    fields += [(change.field, change.old) for change in compare(desired, live, owned) if change.new is ABSENT]
    return hashlib.sha256(msgspec.json.encode(sorted(fields, key=lambda field: field[0]), order="sorted")).hexdigest()


def _compare(desired: Any, live: Any, tree: Tree | None, path: Path, changes: list[Change]) -> None:
    """``tree`` is what we own of this value: None for nothing, empty for all of it."""
    # Where both are equal there is nothing that we could have dropped: most of an object is never looked into.
    if desired == live:
        return
    if live is ABSENT:
        if not _is_empty(desired, path):
            _add(changes, path, ABSENT, desired)
    elif desired is ABSENT:
        if tree is not None:
            _compare_dropped(live, tree, path, changes)
    elif isinstance(desired, dict) and isinstance(live, dict):
        if path == _POD:
            _compare_pods(desired, live, tree, changes)
        else:
            _compare_maps(desired, live, tree, path, changes)
    elif isinstance(desired, list) and isinstance(live, list):
        _compare_lists(desired, live, tree, path, changes)
    elif not (_is_quantity(path) and same_quantity(desired, live)):
        _add(changes, path, live, desired)


def _compare_pods(desired: dict[str, Any], live: dict[str, Any], tree: Tree | None, changes: list[Change]) -> None:
    # The pods of a thousand members are a few different ones: each pair is compared once. A pair is known by its bytes,
    # and the owned fields by identity, for equal sets of fields are one object (managed_fields caches them).
    key = (msgspec.json.encode(desired), msgspec.json.encode(live), id(tree))
    if key in _equal_pods:
        return
    pod_changes: list[Change] = []
    _compare_maps(desired, live, tree, _POD, pod_changes)
    if pod_changes:
        changes += pod_changes
    elif len(_equal_pods) < _CACHE_SIZE:
        _equal_pods[key] = tree


def _compare_maps(desired: dict[str, Any], live: dict[str, Any], tree: Tree | None, path: Path, changes: list[Change]) -> None:
    if path[-1] in _ATOMIC:
        _add(changes, path, live, desired)
        return
    for key, value in desired.items():
        live_value = live.get(key, ABSENT)
        if live_value != value:
            _compare(value, live_value, tree.get(f"f:{key}") if tree else None, (*path, key), changes)
    if tree:
        for key, live_value in live.items():
            if key not in desired and (owned := tree.get(f"f:{key}")) is not None:
                _compare_dropped(live_value, owned, (*path, key), changes)


def _compare_lists(desired: list[Any], live: list[Any], tree: Tree | None, path: Path, changes: list[Change]) -> None:
    keys = _KEYS.get(path[-1]) if isinstance(path[-1], str) else None
    if keys is None or not all(isinstance(item, dict) for item in desired):
        item_changes: list[Change] = []
        if len(desired) == len(live):
            for left, right in zip(desired, live, strict=True):
                _compare(left, right, None, (*path, ""), item_changes)
        if len(desired) != len(live) or item_changes:
            _add(changes, path, live, desired)
        return
    live_items = {_key(item, keys): item for item in live}
    order = []
    for item in desired:
        key = _key(item, keys)
        if key not in live_items:
            _add(changes, (*path, key), ABSENT, item)
            continue
        order.append(key)
        if live_items[key] != item:
            _compare(item, live_items[key], _tree_of_item(tree, key), (*path, key), changes)
    common = set(order)
    for key in live_items.keys() - {_key(item, keys) for item in desired}:
        owned = _tree_of_item(tree, key)
        if owned is not None:
            _compare_dropped(live_items[key], owned, (*path, key), changes)
    live_order = [key for key in live_items if key in common]
    if live_order != order:
        _add(changes, path, list(map(_format_key, live_order)), list(map(_format_key, order)))


def _compare_dropped(live: Any, tree: Tree, path: Path, changes: list[Change]) -> None:
    """What we own of a value that is not desired any more."""
    if _is_empty(live, path):
        return
    if not tree or ("." in tree and not isinstance(path[-1], str)):
        _add(changes, path, live, ABSENT)
    elif isinstance(live, dict):
        for key, value in live.items():
            if (owned := tree.get(f"f:{key}")) is not None:
                _compare_dropped(value, owned, (*path, key), changes)
    elif isinstance(live, list):
        keys = _KEYS.get(path[-1], ()) if isinstance(path[-1], str) else ()
        for item in live if keys else ():
            if (owned := _tree_of_item(tree, _key(item, keys))) is not None:
                _compare_dropped(item, owned, (*path, _key(item, keys)), changes)


def _tree_of_item(tree: Tree | None, key: tuple[tuple[str, Any], ...]) -> Tree | None:
    """What we own of a list's item; None for nothing."""
    if not tree:
        return None
    exact = "k:" + msgspec.json.encode(dict(key)).decode()
    if exact in tree:
        return dict(tree[exact])
    return next((fields for name, fields in tree.items() if name.startswith("k:") and item_key(name) == key), None)


def _format_key(key: tuple[tuple[str, Any], ...]) -> str:
    return ",".join(str(value) for _, value in key)


def _project(desired: Any, live: Any, path: Path, fields: list[tuple[str, Any]]) -> None:
    """Add the live value of each leaf that is desired."""
    if isinstance(desired, dict) and isinstance(live, dict) and path[-1] not in _ATOMIC:
        for key, value in desired.items():
            _project(value, live.get(key, ABSENT), (*path, key), fields)
    elif isinstance(desired, list) and isinstance(live, list) and isinstance(path[-1], str) and path[-1] in _KEYS:
        keys = _KEYS[path[-1]]
        live_items = {_key(item, keys): item for item in live}
        for item in desired:
            _project(item, live_items.get(_key(item, keys), ABSENT), (*path, _key(item, keys)), fields)
    else:
        fields.append((shown(path), live))


def _key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    if len(keys) == 1:
        return ((keys[0], item.get(keys[0])),)
    return tuple(sorted((key, item.get(key, _KEY_DEFAULTS.get(key))) for key in keys))


def _is_empty(value: Any, path: Path) -> bool:
    """Whether the server leaves such a value out."""
    return value is None or value == "" or value == {} or value == [] or (value is False and path[-1] in _ZERO_IS_ABSENT)


def _is_quantity(path: Path) -> bool:
    return path[-1] == "sizeLimit" or (len(path) > 1 and path[-2] in _QUANTITIES)


def same_quantity(left: Any, right: Any) -> bool:
    """Whether two quantities are the same amount: ``1`` and ``1000m``, ``1Gi`` and ``1024Mi``."""
    try:
        return quantities.parse(left) == quantities.parse(right)
    except quantities.QuantityError:
        return False


def _add(changes: list[Change], path: Path, old: Any, new: Any) -> None:
    changes.append(Change(shown(path), old, new, path))
