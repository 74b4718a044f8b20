"""Revisions: what they say, what they add up to, and their folding near a ConfigMap's limit."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cronjobs.revisions import revisions
from scheduler.commands.history import revision_lines
from scheduler.history.revision_changes import NoSnapshots
from scheduler.kube import revision_configmap

NAMES = st.sampled_from(["train-a", "train-b", "ensemble"])
TASK = st.fixed_dictionaries(
    {"schedule": st.sampled_from(["0 1 * * *", "0 2 * * *"]), "task": st.sampled_from(["x", "y"])},
    optional={"suspend": st.booleans()},
)
STATE = st.tuples(
    st.dictionaries(NAMES, TASK), st.fixed_dictionaries({"program": st.sampled_from(["p", "q"]), "code": st.just("")})
)


def sequence(synced: list[Any]) -> list[revisions.Revision]:
    """The revisions of syncs to these states, one after the other."""
    appended: list[revisions.Revision] = []
    before: revisions.Tasks = {}
    for number, (tasks, snapshot) in enumerate(synced, 1):
        header = {"revision": number, "time": f"2026-11-24T22:00:{number:02}Z", "by": "me", "tool": "0", "what": "sync"}
        appended.append({**header, **revisions.delta(before, tasks, snapshot)})
        before = list(revisions.states(appended))[-1][2]
    return appended


@given(st.lists(STATE, min_size=1, max_size=8))
def test_revisions_add_up_to_what_was_synced(synced: list[Any]) -> None:
    for (tasks, snapshot), (_, _, after) in zip(synced, revisions.states(sequence(synced)), strict=True):
        assert set(after) == set(tasks)
        for name, task in tasks.items():
            assert {**after[name], **task, **snapshot} == after[name]


@given(st.lists(STATE, min_size=1, max_size=8), st.integers(100, 2000))
def test_folding_keeps_the_last_state_and_the_number_of_all(synced: list[Any], size: int) -> None:
    appended = sequence(synced)
    kept = revisions.fold(appended, size, None)
    assert list(revisions.states(kept))[-1][2] == list(revisions.states(appended))[-1][2]
    assert sum(revision.get("folded", 1) for revision in kept) == len(appended)
    assert revision_configmap.read(revision_configmap.write(kept)) == kept
    assert kept[-1]["revision"] == appended[-1]["revision"]


def test_what_a_person_reads() -> None:
    first = {"train-a": {"schedule": "0 1 * * *", "task": "1" * 64}, "train-b": {"schedule": "0 1 * * *", "task": "2" * 64}}
    second = {"train-a": {"schedule": "0 2 * * *", "task": "1" * 64}}
    snapshot = {"program": "a" * 64, "code": ""}
    assert revision_lines(sequence([(first, snapshot), (second, snapshot)]), NoSnapshots()) == [
        "revision 2  2026-11-24T22:00:02Z  sync by me",
        "    train-b: removed",
        "    train-a: schedule 0 1 * * * → 0 2 * * *",
        "revision 1  2026-11-24T22:00:01Z  sync by me",
        "    train-a: added, 0 1 * * * UTC",
        "    train-b: added, 0 1 * * * UTC",
    ]


def test_versions_are_compared_as_numbers() -> None:
    assert revision_configmap.is_newer("0.10.0", "0.9.1") and not revision_configmap.is_newer("0.1.0", "0.1.0")
