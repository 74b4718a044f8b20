"""The changes of a pod's containers as an edit of the configuration makes them: what changes alike in several is one change."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from jobs import contract as c
from scheduler.sync.diff import Change

_CONTAINER_FIELD = re.compile(r"^(?:initContainers|containers)\[[^\]]*\]\.")
_AMOUNTS = re.compile(r"^(.*resources)\.(requests|limits)\.(.+)$")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def summarized(changes: Sequence[Change]) -> list[Change]:
    """The changes of one object, in order, with those merged or left out that follow from another.

    What changes alike in several containers is one change without their names, unless another manager has a part in it; so are
    the requests and the limits of an amount. Left out are variables of the contract that repeat another change.
    """
    alike = [_without_container(change) for change in changes]
    shared = {key for key in map(_key, alike) if sum(1 for change in alike if _key(change) == key) > 1}
    merged = [short if _key(short) in shared else change for change, short in zip(changes, alike, strict=True)]
    fields = {_key(change) for change in merged}
    merged = [_as_amount(change, fields) for change in merged]
    unique = list({_key(change): change for change in merged}.values())
    return [change for change in unique if not _follows(change, unique)]


def _key(change: Change) -> tuple[str, bytes]:
    return change.field, msgspec.json.encode((change.old, change.new, change.owners))


def _without_container(change: Change) -> Change:
    if change.owners or not _CONTAINER_FIELD.match(change.field):
        return change
    return msgspec.structs.replace(change, field=_CONTAINER_FIELD.sub("", change.field))


def _as_amount(change: Change, fields: set[tuple[str, bytes]]) -> Change:
    """The change of an amount without `requests` or `limits`, where both change alike."""
    match = _AMOUNTS.match(change.field)
    if match is None or change.owners:
        return change
    other = {"requests": "limits", "limits": "requests"}[match[2]]
    twin = msgspec.structs.replace(change, field=f"{match[1]}.{other}.{match[3]}")
    return msgspec.structs.replace(change, field=f"{match[1]}.{match[3]}") if _key(twin) in fields else change


def _follows(change: Change, changes: Sequence[Change]) -> bool:
    """Whether a variable repeats what another change says."""
    variable = re.search(r"env\[([A-Z_]+)\]\.value$", change.field)
    if variable is None or change.owners:
        return False
    container = change.field[: variable.start()]
    if variable[1] == c.ENV_IMAGE:
        return any(other.field in (f"{container}image", "image") and other.new == change.new for other in changes)
    if variable[1] == c.ENV_RETRIES:
        return any(other.field == "backoffLimit" for other in changes)
    return variable[1] in _THREADS and any(other.field.endswith("resources.cpu") for other in changes)
