"""The difference of a desired and a live object, as values: desired ∪ owned fields against live.

What the server fills in is no drift, for only what we say or own is compared. Quantities compare by value. Lists compare
as the server merges them: by the keys of their items where they have some, else whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cronjobs.objects import quantities
from scheduler.kube.managed_fields import Path, Tree, item_key, shown

ABSENT: Any = None
"""The value of a field that is not there; null is never a value of ours."""

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
_FILLED = {"protocol": "TCP"}
"""Defaults of keys that may be left out."""
_ATOMIC = {"nodeSelector"}
"""x-kubernetes-map-type atomic, and without defaults inside."""
_ZERO_IS_ABSENT = {"readOnly", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty"}
"""Not pointers: the server drops them when they are false."""
_QUANTITIES = {"limits", "requests"}
_POD: Path = ("spec", "jobTemplate", "spec", "template", "spec")
_MOST_ALIKE = 1024
_alike: dict[tuple[bytes, bytes, int], Tree | None] = {}
"""Pairs without a difference; the tree is kept, so that its identity stays its own."""
_COMPARED = ("labels", "annotations")
_LEFT_ALONE = ("apiVersion", "kind", "metadata", "status")


class Change(msgspec.Struct, frozen=True):
    """One field; ``old`` or ``new`` is null where it is not there."""

    field: str
    old: Any
    new: Any
    path: tuple[Any, ...] = ()
    owners: tuple[str, ...] = ()
    """Other managers that own it now."""


def compare(desired: Mapping[str, Any], live: Mapping[str, Any], owned: Tree) -> list[Change]:
    """What applying ``desired`` would change in ``live``, ``owned`` being the fields that we applied before."""
    found: list[Change] = []
    told, have = desired.get("metadata", {}), live.get("metadata", {})
    tree = owned.get("f:metadata", {})
    for part in _COMPARED:
        _value(told.get(part) or {}, have.get(part) or {}, tree.get(f"f:{part}", {}), ("metadata", part), found)
    for key in desired.keys() | {each[2:] for each in owned}:
        if key not in _LEFT_ALONE:
            _value(desired.get(key, ABSENT), live.get(key, ABSENT), owned.get(f"f:{key}"), (key,), found)
    return found


def fingerprint(desired: Mapping[str, Any], live: Mapping[str, Any], owned: Tree) -> str:
    """A hash of the live values of every field that we say or own."""
    seen: list[tuple[str, Any]] = []
    for part in _COMPARED:
        _project(desired["metadata"].get(part) or {}, live["metadata"].get(part) or {}, ("metadata", part), seen)
    for key, wanted in desired.items():
        if key not in _LEFT_ALONE:
            _project(wanted, live.get(key, ABSENT), (key,), seen)
    seen += [(change.field, change.old) for change in compare(desired, live, owned) if change.new is ABSENT]
    return hashlib.sha256(msgspec.json.encode(sorted(seen, key=lambda pair: pair[0]), order="sorted")).hexdigest()


def _value(wanted: Any, have: Any, tree: Tree | None, path: Path, found: list[Change]) -> None:
    """``tree`` is what we own of this value: None for nothing, empty for all of it."""
    # Where both are equal there is nothing that we could have dropped: most of an object is never looked into.
    if wanted == have:
        return
    if have is ABSENT:
        if not _empty(wanted, path):
            _add(found, path, ABSENT, wanted)
    elif wanted is ABSENT:
        if tree is not None:
            _dropped(have, tree, path, found)
    elif isinstance(wanted, dict) and isinstance(have, dict):
        if path == _POD:
            _pod(wanted, have, tree, found)
        else:
            _map(wanted, have, tree, path, found)
    elif isinstance(wanted, list) and isinstance(have, list):
        _list(wanted, have, tree, path, found)
    elif not (_is_quantity(path) and same_quantity(wanted, have)):
        _add(found, path, have, wanted)


def _pod(wanted: dict[str, Any], have: dict[str, Any], tree: Tree | None, found: list[Change]) -> None:
    # The pods of a thousand members are a few different ones: each pair is looked into once. Their bytes are compared,
    # and the owned fields by identity, for a set of fields is read once.
    key = (msgspec.json.encode(wanted), msgspec.json.encode(have), id(tree))
    if key in _alike:
        return
    inner: list[Change] = []
    _map(wanted, have, tree, _POD, inner)
    if inner:
        found += inner
    elif len(_alike) < _MOST_ALIKE:
        _alike[key] = tree


def _map(wanted: dict[str, Any], have: dict[str, Any], tree: Tree | None, path: Path, found: list[Change]) -> None:
    if path[-1] in _ATOMIC:
        _add(found, path, have, wanted)
        return
    for key, value in wanted.items():
        there = have.get(key, ABSENT)
        if there != value:
            _value(value, there, tree.get(f"f:{key}") if tree else None, (*path, key), found)
    if tree:
        for key, there in have.items():
            if key not in wanted and (owned := tree.get(f"f:{key}")) is not None:
                _dropped(there, owned, (*path, key), found)


def _list(wanted: list[Any], have: list[Any], tree: Tree | None, path: Path, found: list[Change]) -> None:
    keys = _KEYS.get(path[-1]) if isinstance(path[-1], str) else None
    if keys is None or not all(isinstance(item, dict) for item in wanted):
        inner: list[Change] = []
        if len(wanted) == len(have):
            for left, right in zip(wanted, have, strict=True):
                _value(left, right, None, (*path, ""), inner)
        if len(wanted) != len(have) or inner:
            _add(found, path, have, wanted)
        return
    there = {_key(item, keys): item for item in have}
    order = []
    for item in wanted:
        key = _key(item, keys)
        if key not in there:
            _add(found, (*path, key), ABSENT, item)
            continue
        order.append(key)
        if there[key] != item:
            _value(item, there[key], _of_item(tree, key), (*path, key), found)
    known = set(order)
    for key in there.keys() - {_key(item, keys) for item in wanted}:
        owned = _of_item(tree, key)
        if owned is not None:
            _dropped(there[key], owned, (*path, key), found)
    now = [key for key in there if key in known]
    if now != order:
        _add(found, path, list(map(_name, now)), list(map(_name, order)))


def _dropped(have: Any, tree: Tree, path: Path, found: list[Change]) -> None:
    """What we own of a value that we do not want any more."""
    if _empty(have, path):
        return
    if not tree or ("." in tree and not isinstance(path[-1], str)):
        _add(found, path, have, ABSENT)
    elif isinstance(have, dict):
        for key, there in have.items():
            if (owned := tree.get(f"f:{key}")) is not None:
                _dropped(there, owned, (*path, key), found)
    elif isinstance(have, list):
        keys = _KEYS.get(path[-1], ()) if isinstance(path[-1], str) else ()
        for item in have if keys else ():
            if (owned := _of_item(tree, _key(item, keys))) is not None:
                _dropped(item, owned, (*path, _key(item, keys)), found)


def _of_item(tree: Tree | None, key: tuple[tuple[str, Any], ...]) -> Tree | None:
    """What we own of a list's item; None for nothing."""
    if not tree:
        return None
    exact = "k:" + msgspec.json.encode(dict(key)).decode()
    if exact in tree:
        return dict(tree[exact])
    return next((sub for each, sub in tree.items() if each.startswith("k:") and item_key(each) == key), None)


def _name(key: tuple[tuple[str, Any], ...]) -> str:
    return ",".join(str(value) for _, value in key)


def _project(wanted: Any, have: Any, path: Path, seen: list[tuple[str, Any]]) -> None:
    if isinstance(wanted, dict) and isinstance(have, dict) and path[-1] not in _ATOMIC:
        for key, value in wanted.items():
            _project(value, have.get(key, ABSENT), (*path, key), seen)
    elif isinstance(wanted, list) and isinstance(have, list) and isinstance(path[-1], str) and path[-1] in _KEYS:
        keys = _KEYS[path[-1]]
        there = {_key(item, keys): item for item in have}
        for item in wanted:
            _project(item, there.get(_key(item, keys), ABSENT), (*path, _key(item, keys)), seen)
    else:
        seen.append((shown(path), have))


def _key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    if len(keys) == 1:
        return ((keys[0], item.get(keys[0])),)
    return tuple(sorted((key, item.get(key, _FILLED.get(key))) for key in keys))


def _empty(value: Any, path: Path) -> bool:
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


def _add(found: list[Change], path: Path, old: Any, new: Any) -> None:
    found.append(Change(shown(path), old, new, path))
