"""Prepared data on its way into the store: where it is pinned, and how it is kept. Standard library alone, Python 3.9.

A step in a container of one machine can write into its run's folder alone: there it leaves the data, for the engine to keep.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jobs import contract as c
from jobs.documents import DocumentKind, document_problem
from jobs.store.checksums import is_sha256
from jobs.store.datasets import UnreadableArrays, fingerprint_of
from jobs.store.document_files import read_document
from jobs.store.files import BLOCK, make_folder, read_json, rename_own, replace_file, sha256_of, to_document, write_file
from jobs.store.local_store import LocalStore
from jobs.store.ownership import share
from jobs.store.regular_files import open_regular

PREPARED, PREPARED_DATA = "prepared.json", "prepared.npz"
"""What such a step leaves in its try's folder: the pin to be made, and the data."""


def is_own_reading(task: Mapping[str, Any], env: Mapping[str, str]) -> bool:
    """Whether a run reads its data for itself or its command alone; ``env``: the variables of its contract."""
    return task["data"].get("refresh") == "each_run" or "1" in (env.get(c.ENV_OTHER), env.get(c.ENV_FRESH_DATA))


def local_date(task: Mapping[str, Any], run: c.RunId) -> str:
    """The slot's date in the experiment's zone, YYYY-MM-DD; raises ZoneInfoNotFoundError where there is no time zone data."""
    return run.slot.astimezone(ZoneInfo(str(task["timezone"]))).strftime("%Y-%m-%d")


def pin_of(store: LocalStore, task: Mapping[str, Any], run: c.RunId, env: Mapping[str, str]) -> Path:
    """The pin of the data of a run; raises ZoneInfoNotFoundError. ``env``: the variables of its contract."""
    key = str(task["data"]["key"])
    if is_own_reading(task, env):
        key += "-" + (env.get(c.ENV_INVOCATION) or str(run))
    return store.pin_path(run.experiment, local_date(task, run), key)


def pin_name(pin: Path) -> str:
    """What a pin says that it is, ``<experiment>/<date>-<key>``, so that it is known for another's in another place."""
    return f"{pin.parent.name}/{pin.stem}"


def keep_prepared(store: LocalStore, pin: Path, data: Mapping[str, Any], source: Path) -> dict[str, Any] | None:
    """Keep prepared data and pin it, unless other data has this pin: it is returned, or None if it cannot be read back.

    ``data``: what the pin says, without the file's ``sha256``. Raises OSError.
    """
    pinned = read_document(pin)
    if pinned is not None and pinned.get("fingerprint") != data["fingerprint"]:
        return pinned
    digest = store.put_dataset(str(data["fingerprint"]), source)
    if pinned is None:
        store.files.publish(pin, to_document({**data, "pin": pin_name(pin), "sha256": digest}))
    elif pinned.get("sha256") != digest:
        store.files.replace(pin, to_document({**pinned, "sha256": digest}))
    return read_document(pin)


def leave_prepared(folder: Path, data: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Leave prepared data in a try's folder, where ``source`` lies, for :func:`adopt_prepared`; what its pin will say."""
    pinned = {**data, "sha256": sha256_of(source)}
    rename_own(source, folder / PREPARED_DATA)
    write_file(folder / PREPARED, to_document(pinned))
    return pinned


def adopt_prepared(store: LocalStore, pin: Path, run: c.RunId, folder: Path) -> str:
    """Keep and pin what a step in a container has left in its try's folder, if anything; what is wrong with it, or empty.

    Nothing of it is believed but the data itself, which is the user's: the user's code may have written it. Raises OSError.
    """
    data = read_json(folder / PREPARED)
    if data is None:
        return ""
    fingerprint = data.get("fingerprint")
    if problem := document_problem(DocumentKind.DATA, data):
        return f"{PREPARED}: {problem}"
    if not is_sha256(fingerprint):
        return f"{PREPARED}: `fingerprint` is not one"
    datasets = store.dataset_path(str(fingerprint)).parent
    make_folder(datasets, store.root)
    copy = datasets / f".{uuid.uuid4().hex}.part"
    try:
        # A copy: what lies in the try's folder may have another name there, by which a later step could write to it.
        with open(open_regular(folder / PREPARED_DATA), "rb") as source, open(copy, "wb") as target:
            share(copy)
            for block in iter(lambda: source.read(BLOCK), b""):
                target.write(block)
        if _fingerprint(copy) != fingerprint:
            return f"{PREPARED_DATA} is not the data that {PREPARED} names"
        data.pop("sha256", None)
        pinned = keep_prepared(store, pin, {**data, "run": str(run)}, copy)
    finally:
        copy.unlink(missing_ok=True)
    if pinned is None:
        return f"{pin} cannot be read back"
    described = read_document(folder / c.DATA) or {}
    if (described.get("fingerprint"), described.get("sha256")) != (pinned.get("fingerprint"), pinned.get("sha256")):
        # Another process was first.
        replace_file(folder / c.DATA, to_document(pinned))
    for name in (PREPARED, PREPARED_DATA):
        os.unlink(folder / name)
    return ""


def _fingerprint(path: Path) -> str:
    try:
        return fingerprint_of(path)
    except UnreadableArrays:
        return ""
