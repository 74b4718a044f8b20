"""A plan: frozen values that say what a sync does, shown as they are executed, kept in a file and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from scheduler.kube.errors import KubeError
from scheduler.sync.diff import Change

FORMAT = 1
CREATE, CHANGE, PRUNE, RECORD = "create", "change", "prune", "record"
ALLOW_EMPTY, KILL_RUNNING, DOWNGRADE = "--allow-empty", "--kill-running", "--downgrade"
FORCE, CREATE_NAMESPACE = "--force-conflicts", "--create-namespace"


class FireTimes(msgspec.Struct, frozen=True):
    """The next fire time of a changed schedule before and after (UTC, ISO 8601; null for never)."""

    before: str | None
    after: str | None
    latent: str | None = None
    """A past slot of the new schedule that the controller may still run late."""


class Action(msgspec.Struct, frozen=True):
    """One change of one object; of a ``record``, the revision that is appended."""

    verb: str
    kind: str
    namespace: str
    name: str
    experiment: str = ""
    task: str = ""
    changes: tuple[Change, ...] = ()
    body: dict[str, Any] = {}
    force: bool = False
    """Take fields whose owner is known and may be overruled."""
    take_over: bool = False
    """Make what kubectl owns ours first."""
    uid: str = ""
    seen: str = ""
    """The fingerprint of the live object's fields that we say or own; empty for one that is not there."""
    fires: FireTimes | None = None
    running: tuple[str, ...] = ()
    """Unfinished Jobs of the object."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.verb, self.kind, self.namespace, self.name


class Refusal(msgspec.Struct, frozen=True):
    """Why a sync does nothing at all, and the flag that says it is meant; without a flag there is none."""

    text: str
    flag: str = ""


class SyncPlan(msgspec.Struct, frozen=True):
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
    """Experiment → the hashes of its program and code."""
    format: int = FORMAT

    def refused(self, allowed: frozenset[str]) -> list[Refusal]:
        """The refusals that these flags do not lift."""
        return [refusal for refusal in self.refusals if refusal.flag not in allowed]

    def same_work(self, other: SyncPlan) -> bool:
        """Whether both do the same to what they found in the same state."""
        return [_work(action) for action in self.actions] == [_work(action) for action in other.actions]


def _work(action: Action) -> tuple[Any, ...]:
    return (*action.key, action.seen, action.changes, action.force, action.running if action.verb == PRUNE else ())


def save(plan: SyncPlan, path: Path) -> None:
    """Write the plan to a file that only its owner may read."""
    path.touch(0o600)
    path.write_bytes(msgspec.json.encode(plan))


def load(path: Path) -> SyncPlan:
    """The plan of a file; raises ClusterError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KubeError(f"--plan {path}: {error.strerror}") from error
    try:
        if (found := msgspec.json.decode(data, type=dict)).get("format") != FORMAT:
            raise KubeError(f"--plan {path}: a plan of format {found.get('format')}: make it anew with this version")
        return msgspec.json.decode(data, type=SyncPlan)
    except msgspec.DecodeError as error:
        raise KubeError(f"--plan {path}: not a plan: `cronsemble plan --out {path}` writes one") from error
