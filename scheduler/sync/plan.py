"""A plan of changes as frozen values: what is printed is what is executed. Can be saved to a file and read again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from scheduler.kube.errors import KubeError
from scheduler.sync.diff import Change

FORMAT = 1
"""The version of a saved plan's format."""


class Verb(StrEnum):
    """What an action does to an object; ``record`` appends a revision."""

    CREATE = "create"
    CHANGE = "change"
    PRUNE = "prune"
    RECORD = "record"


class Flag(StrEnum):
    """The options that allow what a plan otherwise refuses."""

    ALLOW_EMPTY = "--allow-empty"
    KILL_RUNNING = "--kill-running"
    DOWNGRADE = "--downgrade"
    FORCE_CONFLICTS = "--force-conflicts"
    CREATE_NAMESPACE = "--create-namespace"


STAGES: tuple[tuple[frozenset[Verb], str], ...] = (
    (frozenset({Verb.CREATE}), "Namespace"),
    (frozenset({Verb.CREATE, Verb.CHANGE}), "ConfigMap"),
    (frozenset({Verb.CREATE, Verb.CHANGE}), "CronJob"),
    (frozenset({Verb.PRUNE}), "CronJob"),
    (frozenset({Verb.PRUNE}), "Job"),
    (frozenset({Verb.PRUNE}), "ConfigMap"),
    (frozenset({Verb.RECORD}), "ConfigMap"),
)
"""The order of execution: what an object needs is created before it and removed after it. Actions of a stage are independent."""

_STAGE_OF = {(verb, kind): number for number, (verbs, kind) in enumerate(STAGES) for verb in verbs}


class FireTimes(msgspec.Struct, frozen=True):
    """The next fire time of a changed schedule before and after (UTC, ISO 8601; null for never)."""

    before: str | None
    after: str | None
    latent: str | None = None
    """A past slot of the new schedule that the controller may still run late."""
    at_once: bool | msgspec.UnsetType = msgspec.UNSET
    """The change makes the controller run the latent slot at once; the schedule stays as it is."""
    starting_deadline: int | None | msgspec.UnsetType = msgspec.UNSET
    """Of a slot that is run at once, in seconds."""


class Action(msgspec.Struct, frozen=True):
    """One change of one object; for ``record``, ``body`` describes the revision to append."""

    verb: Verb
    kind: str
    namespace: str
    name: str
    experiment: str = ""
    task: str = ""
    changes: tuple[Change, ...] = ()
    body: dict[str, Any] = {}
    force: bool = False
    """Apply with force: every field in conflict belongs to an owner that may be overruled."""
    take_over: bool = False
    """Move the fields that kubectl owns to our field manager first."""
    uid: str = ""
    seen: str = ""
    """The fingerprint of the live object's fields that are desired or owned by us; empty for an object to create."""
    fires: FireTimes | None = None
    running: tuple[str, ...] = ()
    """The object's unfinished Jobs, by name."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Verb, kind, namespace and name."""
        return self.verb, self.kind, self.namespace, self.name

    @property
    def stage(self) -> int:
        """The position in STAGES."""
        return _STAGE_OF[self.verb, self.kind]


class Refusal(msgspec.Struct, frozen=True):
    """Why the whole plan is not executed, and the flag that allows it; empty where none does."""

    text: str
    flag: str = ""


class Heartbeat(msgspec.Struct, frozen=True):
    """The server of Healthchecks that expects an experiment's runs, and the namespace of its CronJobs."""

    server: str
    ping_url: str
    namespace: str


class SyncPlan(msgspec.Struct, frozen=True):
    """What `sync` or `delete` does to a cluster. ``tool`` is the version that made the plan, ``context`` the kubeconfig's."""

    tool: str
    server: str
    context: str
    namespaces: tuple[str, ...]
    experiments: tuple[str, ...]
    actions: tuple[Action, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    unchanged: int = 0
    snapshots: dict[str, dict[str, str]] = {}
    """Experiment → the SHA-256 of its ``program`` and ``code``."""
    heartbeats: dict[str, Heartbeat] | msgspec.UnsetType = msgspec.UNSET
    """By experiment, of those that have one."""
    format: int = FORMAT

    def refused(self, allowed: frozenset[str]) -> list[Refusal]:
        """The refusals that remain with these flags."""
        return [refusal for refusal in self.refusals if refusal.flag not in allowed]

    def same_work(self, other: SyncPlan) -> bool:
        """Whether both do the same to the same state of the cluster."""
        return [_work(action) for action in self.actions] == [_work(action) for action in other.actions]


def _work(action: Action) -> tuple[Any, ...]:
    return (*action.key, action.seen, action.changes, action.force, action.running if action.verb == Verb.PRUNE else ())


def save(plan: SyncPlan, path: Path) -> None:
    """Write the plan to a file that only its owner may read."""
    path.touch(0o600)
    path.write_bytes(msgspec.json.encode(plan))


def load(path: Path) -> SyncPlan:
    """Read a saved plan.

    Raises:
        KubeError: the file cannot be read, is not a plan, or has another format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KubeError(f"--plan {path}: {error.strerror}") from error
    try:
        if (content := msgspec.json.decode(data, type=dict)).get("format") != FORMAT:
            raise KubeError(
                f"--plan {path}: plan format {content.get('format')}, but this version reads format {FORMAT}: "
                f"cronsemble plan --out {path}"
            )
        return msgspec.json.decode(data, type=SyncPlan)
    except msgspec.DecodeError as error:
        raise KubeError(f"--plan {path}: not a plan: `cronsemble plan --out {path}` writes one") from error
