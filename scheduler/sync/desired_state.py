"""What one experiment needs in one namespace, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from cronjobs.experiment import HeartbeatSettings
from scheduler.kube.objects import Object


@dataclass(frozen=True)
class DesiredState:
    """The objects of an experiment in a namespace, or none of them where it is to be deleted."""

    experiment: str
    namespace: str
    objects: tuple[Object, ...] = ()
    level: str = "restricted"
    """The Pod Security level that its pods need, and ``level_reason`` why."""
    level_reason: str = ""
    notes: tuple[str, ...] = ()
    """What a user should know of these objects, a line each."""
    heartbeat: HeartbeatSettings | None = None
    """The server that expects its runs, if one does."""
    is_deleted: bool = False
    """The experiment is removed as a whole: its CronJobs, and the Jobs that were started by hand."""
    purge: bool = False
    """Its revisions are removed too; only with ``is_deleted``."""

    @property
    def cronjobs(self) -> list[Object]:
        """The CronJobs among the objects."""
        return [body for body in self.objects if body["kind"] == "CronJob"]
