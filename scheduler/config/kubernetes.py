"""The checks of what a cluster reads: names, labels, quantities, volumes. On the values as written, before defaults spread."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cronjobs.objects import quantities
from scheduler.config.convert import shown
from scheduler.config.document import Document
from scheduler.config.errors import nearest
from scheduler.config.keys import StoreKeys

Path = tuple[Any, ...]
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SECRET_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
_OURS = ("app.kubernetes.io/", "cronsemble.io/", "batch.kubernetes.io/", "kueue.x-k8s.io/", "job-name", "controller-uid")
_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")
_AFFINITY = ("nodeAffinity", "podAffinity", "podAntiAffinity")
_LEAST = 64 * 1024**2


def check(document: Document, value: dict[str, Any]) -> None:
    """Add every problem to the document; values of a wrong type are left to the keys' model."""
    _store(document, value)
    for path, group in _tasks(value):
        key = "limits" if path == ("watch",) else "resources"
        _resources(document, (*path, key), group.get(key))
        for key in ("labels", "annotations", "node_selector"):
            for name, item in _items(group.get(key)):
                _pair(
                    document, (*path, key, name), name, item, check_value=key != "annotations", may_be_ours=key == "node_selector"
                )
        for n, item in enumerate(group.get("tolerations") or []) if isinstance(group.get("tolerations"), list) else ():
            _known(document, (*path, "tolerations", n), item, _TOLERATION)
        _known(document, (*path, "affinity"), group.get("affinity"), _AFFINITY)
        _name(document, (*path, "priority_class"), group.get("priority_class"), _SUBDOMAIN)
        _name(document, (*path, "queue"), group.get("queue"), _LABEL)
        for name, item in _items(group.get("env")):
            _secret_key(document, (*path, "env", name), item)
    heartbeat = value.get("heartbeat")
    _secret_key(document, ("heartbeat", "ping_key"), heartbeat.get("ping_key") if isinstance(heartbeat, dict) else None)
    _cluster(document, value.get("cluster"))


def _secret_key(document: Document, path: Path, item: Any) -> None:
    if isinstance(item, dict):
        _name(document, (*path, "secret"), item.get("secret"), _SUBDOMAIN)
        _name(document, (*path, "key"), item.get("key"), _SECRET_KEY)


def _tasks(value: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    groups: list[tuple[Path, Any]] = [(("defaults",), value.get("defaults")), (("ensemble",), value.get("ensemble"))]
    groups.append((("watch",), value.get("watch")))
    groups += [(("backends", name), member) for name, member in _items(value.get("backends"))]
    for path, group in groups:
        if isinstance(group, dict):
            yield path, group


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _store(document: Document, value: dict[str, Any]) -> None:
    store = value.get("store")
    if not isinstance(store, dict):
        return
    for key in ("empty_dir", "emptyDir", "emptydir"):
        if key in store:
            message = "an emptyDir ends with its pod, and no ensemble would find a model: type store: {claim: NAME}"
            document.problem(("store", key), message, at_key=True)
            store = value["store"] = {name: item for name, item in store.items() if name != key} or {"claim": "none"}
    named = [key for key in StoreKeys.__struct_fields__ if store.get(key) is not None]
    if len(named) != 1 and set(store) <= set(StoreKeys.__struct_fields__):
        problem = f"{' and '.join(named)} are" if named else "nothing is"
        document.problem(("store",), f"{problem} given: name one of {', '.join(StoreKeys.__struct_fields__)}")
    _name(document, ("store", "claim"), store.get("claim"), _SUBDOMAIN)
    nfs = store.get("nfs")
    places: list[tuple[Path, Any]] = [(("store", "host_path"), store.get("host_path"))]
    places += [(("store", "nfs", "path"), nfs.get("path"))] if isinstance(nfs, dict) else []
    for path, text in places:
        if isinstance(text, str) and (not text.startswith("/") or ".." in text.split("/")):
            document.problem(path, f"{shown(text)} is given: it must be an absolute path without .., e.g. /srv/experiments")


def _cluster(document: Document, cluster: Any) -> None:
    if not isinstance(cluster, dict):
        return
    _name(document, ("cluster", "namespace"), cluster.get("namespace"), _LABEL)
    _name(document, ("cluster", "service_account"), cluster.get("service_account"), _SUBDOMAIN)
    for n, name in enumerate(cluster.get("pull_secrets") or []) if isinstance(cluster.get("pull_secrets"), list) else ():
        _name(document, ("cluster", "pull_secrets", n), name, _SUBDOMAIN)
    for runtime, image in _items(cluster.get("images")):
        if isinstance(image, str) and not re.fullmatch(r"[^\s:@][^\s]*", image):
            document.problem(
                ("cluster", "images", runtime), f"{shown(image)} is not an image's reference, e.g. registry.example/keras3:1"
            )
    resource = cluster.get("gpu_resource")
    if isinstance(resource, str) and not (_qualified(resource) and "/" in resource):
        document.problem(
            ("cluster", "gpu_resource"), f"{shown(resource)} is given: type a name with a domain, e.g. nvidia.com/gpu"
        )


def _resources(document: Document, path: Path, resources: Any) -> None:
    for key, quantity in _items(resources):
        if key not in ("cpu", "memory", "tmp") or not isinstance(quantity, int | float | str) or isinstance(quantity, bool):
            continue
        place = (*path, key)
        try:
            amount = quantities.parse(quantity)
        except quantities.QuantityError as error:
            document.problem(place, f"{shown(quantity)}: {error}")
            continue
        if key == "cpu" and not 0 < amount <= 1024:
            hint = f": did you mean {amount / 1000:g} CPUs, {amount:g}m?" if amount > 1024 else ""
            document.problem(place, f"{shown(quantity)} is given: it must be above 0 and at most 1024 CPUs{hint}")
        elif key != "cpu" and amount < _LEAST:
            number = re.match(r"[0-9.]*", str(quantity))
            unit = "Mi" if str(quantity).endswith("m") or amount >= 100 else "Gi"
            hint = f"did you mean {number[0]}{unit}?" if number and number[0] else "type e.g. 4Gi"
            document.problem(place, f"{shown(quantity)} is {amount:g} bytes, at least 64Mi is needed: {hint}")


def _pair(document: Document, path: Path, name: str, value: Any, check_value: bool, may_be_ours: bool) -> None:
    if not _qualified(name):
        document.problem(
            path, "not a label's name: use letters, digits, -, _ and ., at most 63, e.g. team or example.com/team", True
        )
    elif not may_be_ours and name.startswith(_OURS):
        document.problem(path, "this name is set by cronsemble or Kubernetes: use another", True)
    elif check_value and isinstance(value, str) and value and not _NAME.fullmatch(value):
        document.problem(path, f"{shown(value)} is not a label's value: use letters, digits, -, _ and ., at most 63")


def _qualified(name: str) -> bool:
    domain, slash, rest = name.rpartition("/")
    return bool(_NAME.fullmatch(rest)) and (not slash or bool(_SUBDOMAIN.fullmatch(domain)))


def _known(document: Document, path: Path, value: Any, keys: tuple[str, ...]) -> None:
    for name, _ in _items(value):
        if name not in keys:
            document.problem((*path, name), f"unknown key: {nearest(name, keys)}", at_key=True)


def _name(document: Document, path: Path, value: Any, pattern: re.Pattern[str]) -> None:
    characters = {_LABEL: "at most 63 lower-case letters, digits and -", _SUBDOMAIN: "lower-case letters, digits, - and ."}
    if isinstance(value, str) and not pattern.fullmatch(value):
        document.problem(path, f"{shown(value)} is given: use {characters.get(pattern, 'letters, digits, -, _ and .')}")
