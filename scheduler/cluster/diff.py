"""The difference of a desired and a live object, as values: desired ∪ owned fields against live.

What the server fills in is no drift, for only what we say or own is compared. Quantities compare by value. Lists compare
as the server merges them: by the keys of their items where they have some, else whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cronjobs import quantities
from scheduler.cluster.fields import Path, Step, Tree, item_key, shown

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
    _metadata(desired, live, found)
    for key, wanted in desired.items():
        if key not in _LEFT_ALONE:
            _value(wanted, live.get(key, ABSENT), (key,), found)
    for part in _COMPARED:
        tree = owned.get("f:metadata", {}).get(f"f:{part}", {})
        _dropped(
            tree,
            desired["metadata"].get(part) or {},
            live["metadata"].get(part) or {},
            ("metadata", part),
            found,
        )
    rest = {key: sub for key, sub in owned.items() if key[2:] not in _LEFT_ALONE}
    _dropped(rest, desired, live, (), found)
    return found


def fingerprint(desired: Mapping[str, Any], live: Mapping[str, Any], owned: Tree) -> str:
    """A hash of the live values of every field that we say or own."""
    seen: list[tuple[str, Any]] = []
    for part in _COMPARED:
        _project(desired["metadata"].get(part) or {}, live["metadata"].get(part) or {}, ("metadata", part), seen)
    for key, wanted in desired.items():
        if key not in _LEFT_ALONE:
            _project(wanted, live.get(key, ABSENT), (key,), seen)
    dropped: list[Change] = []
    _dropped({k: s for k, s in owned.items() if k[2:] not in _LEFT_ALONE}, desired, live, (), dropped)
    seen += [(change.field, change.old) for change in dropped]
    return hashlib.sha256(msgspec.json.encode(sorted(seen, key=lambda pair: pair[0]), order="sorted")).hexdigest()


def _metadata(desired: Mapping[str, Any], live: Mapping[str, Any], found: list[Change]) -> None:
    for part in _COMPARED:
        have = live["metadata"].get(part) or {}
        for key, wanted in (desired["metadata"].get(part) or {}).items():
            if have.get(key) != wanted:
                _add(found, ("metadata", part, key), have.get(key, ABSENT), wanted)


def _value(wanted: Any, have: Any, path: Path, found: list[Change]) -> None:
    if wanted == have:
        return
    if have is ABSENT:
        if not _empty(wanted, path):
            _add(found, path, ABSENT, wanted)
    elif isinstance(wanted, dict) and isinstance(have, dict):
        if path[-1] in _ATOMIC:
            _add(found, path, have, wanted)
            return
        for key, value in wanted.items():
            if key not in have or have[key] != value:
                _value(value, have.get(key, ABSENT), (*path, key), found)
    elif isinstance(wanted, list) and isinstance(have, list):
        _list(wanted, have, path, found)
    elif not (_is_quantity(path) and same_quantity(wanted, have)):
        _add(found, path, have, wanted)


def _list(wanted: list[Any], have: list[Any], path: Path, found: list[Change]) -> None:
    keys = _KEYS.get(path[-1]) if isinstance(path[-1], str) else None
    if keys is None or not all(isinstance(item, dict) for item in wanted):
        inner: list[Change] = []
        if len(wanted) == len(have):
            for left, right in zip(wanted, have, strict=True):
                _value(left, right, (*path, ""), inner)
        if len(wanted) != len(have) or inner:
            _add(found, path, have, wanted)
        return
    there = {_key(item, keys): item for item in have}
    order = []
    for item in wanted:
        key = _key(item, keys)
        if key in there:
            order.append(key)
            _value(item, there[key], (*path, key), found)
        else:
            _add(found, (*path, key), ABSENT, item)
    wanted_keys = set(order)
    if [key for key in there if key in wanted_keys] != order:
        names = [",".join(str(value) for _, value in key) for key in there if key in wanted_keys]
        _add(found, path, names, [",".join(str(value) for _, value in key) for key in order])


def _dropped(tree: Tree, desired: Any, live: Any, path: Path, found: list[Change]) -> None:
    """What we own, do not want any more, and is still there."""
    for key, sub in tree.items():
        if key == "." or live is ABSENT:
            continue
        step, have, want = _at(key, live, desired)
        if have is ABSENT:
            continue
        whole = not sub or (key[0] == "k" and "." in sub)
        if want is ABSENT and whole:
            if not _empty(have, (*path, step)):
                _add(found, (*path, step), have, ABSENT)
        elif sub:
            _dropped(sub, want, have, (*path, step), found)


def _at(key: str, live: Any, desired: Any) -> tuple[Step, Any, Any]:
    kind, name = key[0], key[2:]
    if kind == "f":
        have = live.get(name, ABSENT) if isinstance(live, dict) else ABSENT
        return name, have, desired.get(name, ABSENT) if isinstance(desired, dict) else ABSENT
    if kind == "k":
        step = item_key(key)
        return step, _item(live, step), _item(desired, step)
    value = msgspec.json.decode(name) if kind == "v" else None
    have = value if isinstance(live, list) and value in live else ABSENT
    return name, have, value if isinstance(desired, list) and value in desired else ABSENT


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


def _item(items: Any, step: tuple[tuple[str, Any], ...]) -> Any:
    if not isinstance(items, list):
        return ABSENT
    return next((item for item in items if all(item.get(key, _FILLED.get(key)) == value for key, value in step)), ABSENT)


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
