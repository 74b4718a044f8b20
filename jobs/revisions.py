"""Revisions: what was synced or served, from when on; and how one leads to the next. Standard library alone, Python 3.9.

A revision is a JSON object that says what differs from the one before it of the same engine: ``revision`` (its number,
from 1), ``time``, ``by``, ``tool`` (version), ``what`` (sync, suspend, resume, delete, serve, run), ``engine``
(``host:<name>`` or ``cluster:<server>/<namespace>``), ``program`` and ``code`` (SHA-256), ``tasks`` (by name:
``schedule``, ``timezone``, ``suspend``, ``concurrency``, ``starting_deadline`` and ``deadline`` in seconds, ``task``: the
SHA-256 of its resolved configuration, see `annotation_text`) and ``gone`` (names of tasks). One that says ``folded``, for how
many it stands, says everything: what it does not name is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jobs.contract import revision_time
from jobs.documents import DocumentKind, document_problem

Revision = dict[str, Any]
Tasks = dict[str, dict[str, Any]]

MANUAL = "run"
"""The ``what`` of a revision by `cronsemble run`: recorded, but it schedules nothing."""


def annotation_text(configuration: Mapping[str, Any]) -> str:
    """A task's resolved configuration as it stands in a pod's annotation: by the SHA-256 of this a cluster's revisions name it.

    This machine's name it by that of the file that the store keeps.
    """
    import json  # late: who reads revisions needs it not

    return json.dumps(configuration, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def states(revisions: Iterable[Revision]) -> Iterator[tuple[Revision, Tasks, Tasks]]:
    """Each revision of one engine with the tasks before and after it; every task holds program and code too."""
    now: Tasks = {}
    for revision in revisions:
        before = {name: dict(task) for name, task in now.items()}
        now = _after(before, revision)
        yield revision, before, now


def _after(before: Tasks, revision: Revision) -> Tasks:
    if revision.get("folded"):
        before = {}
    snapshot = {key: revision[key] for key in ("program", "code") if key in revision}
    inherited = next(({k: t[k] for k in ("program", "code") if k in t} for t in before.values()), {})
    after = {name: {**task, **snapshot} for name, task in before.items() if name not in (revision.get("gone") or ())}
    for name, changes in (revision.get("tasks") or {}).items():
        after[name] = {**inherited, **snapshot, **after.get(name, {}), **changes}
    return after


def merge(*lists: Iterable[Revision]) -> list[Revision]:
    """Revisions from several places without doubles, each engine's in the order of its numbers; a folded one yields.

    What is no revision is left out. An engine that counts from 1 anew (its ConfigMap was deleted) goes on after its last.
    """
    by_key: dict[tuple[str, str, int], Revision] = {}
    for revision in (revision for revisions in lists for revision in revisions):
        if document_problem(DocumentKind.REVISION, revision):
            continue
        key = (str(revision.get("engine", "")), str(revision["time"]), int(revision["revision"]))
        if key not in by_key or (by_key[key].get("folded") or 0) > (revision.get("folded") or 0):
            by_key[key] = revision
    return [revision for chain in chains(by_key.values()) for revision in chain]


def chains(revisions: Iterable[Revision]) -> list[list[Revision]]:
    """Each engine's revisions in the order of its numbers, by the engines' names; one that counts anew goes on after its last.

    A cluster's times are whole seconds: of the same second, the ``delete`` that ends a count comes before what counts anew.
    """
    engines: dict[str, list[Revision]] = {}
    for revision in revisions:
        engines.setdefault(str(revision.get("engine", "")), []).append(revision)
    chains = []
    for _, own in sorted(engines.items()):
        counts: list[dict[int, Revision]] = [{}]
        for revision in sorted(own, key=_chronological):
            if revision["revision"] in counts[-1]:
                counts.append({})
            counts[-1][revision["revision"]] = revision
        chains.append([count[number] for count in counts for number in sorted(count)])
    return chains


def _chronological(revision: Revision) -> tuple[float, bool, int]:
    return revision_time(revision), revision.get("what") != "delete", revision["revision"]
