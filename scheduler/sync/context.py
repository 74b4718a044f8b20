"""What a plan must know of a namespace beside its objects, and only where something differs. Values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.kube.objects import NamespaceObjects, NamespaceState, Object
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.lost_snapshots import LostSnapshot
from scheduler.sync.namespace_diff import Difference, NamespaceDiff


@dataclass(frozen=True)
class ContextNeeds:
    """What has to be read of a namespace; each part costs a request, so a sync with nothing to do needs none."""

    namespace: bool = False
    unfinished_jobs: bool = False
    jobs_of: tuple[str, ...] = ()
    """Experiments of which every Job is needed."""
    foreign_names: tuple[str, ...] = ()
    """Kinds of objects."""
    configmaps: tuple[str, ...] = ()
    """Names of ConfigMaps that are read whole."""


Restored = tuple[LostSnapshot, Object | str]
"""A snapshot that is gone, and the ConfigMap that holds it again, or why it cannot be had."""


@dataclass(frozen=True)
class NamespaceContext:
    """The parts of ContextNeeds as they were read; empty where they were not needed."""

    namespace: NamespaceState = field(default_factory=NamespaceState)
    unfinished_jobs: Sequence[Object] = ()
    """Our Jobs in the namespace that run or may run again."""
    jobs_of: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    """Experiment → its Jobs, ended or not."""
    foreign_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Kind → name of an object without our labels → the manager that made it."""
    configmaps: Mapping[str, Object] = field(default_factory=dict)
    restored: Sequence[Restored] = ()
    """The snapshots that unfinished Jobs of declared experiments mount, and that are gone."""


def needed_context(desired: Sequence[DesiredState], diff: NamespaceDiff, live: NamespaceObjects) -> ContextNeeds:
    """What the plan for this difference has to know; ``desired`` are the states of the namespace, ``live`` its objects."""
    missing = [difference.kind for difference in diff.objects if difference.difference == Difference.MISSING]
    is_changed = (
        bool(missing or diff.removed_cronjobs)
        or any(difference.changes for difference in diff.objects)
        or any(revision.is_due for revision in diff.revisions)
    )
    return ContextNeeds(
        # It tells whether the pods will be admitted: of interest only where pods are desired.
        namespace=is_changed and not all(state.is_deleted for state in desired),
        # Jobs that run may mount a snapshot that is gone.
        unfinished_jobs=bool(diff.removed_cronjobs or diff.unreferenced_snapshots)
        or any(cronjob["status"].get("active") or is_changed for cronjob in live.cronjobs.values()),
        jobs_of=tuple(state.experiment for state in desired if state.is_deleted),
        foreign_names=tuple(dict.fromkeys(missing)),
        configmaps=tuple(difference.name for difference in diff.objects if difference.difference == Difference.UNVERIFIED),
    )
