"""The state of each task of a served experiment: its schedules, and its slots that have started, are active or wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from cronjobs.experiment import Task
from cronjobs.tasks import time_limit, total_retries
from jobs import contract as c
from jobs.schedule_periods import SchedulePeriod
from jobs.store import Run
from jobs.store.open_runs import RunState, run_state


@dataclass
class TaskState:
    """What is known of one task; slots are minutes since 1970 in UTC.

    ``settings`` is the task as it is configured, ``resolved`` what its runs need to know, ``snapshot`` the hashes of what they
    need to happen again, ``schedule_periods`` when which schedule held. ``started`` are the slots that have a run of the
    schedule, ``active`` those whose run has not ended, with the run once it is claimed; ``waiting`` is the slot that is due and
    could not start, for the reason ``blocked``. Every slot up to ``settled`` is decided; at ``wake``, in seconds since 1970, it
    is decided again.
    """

    settings: Task
    resolved: dict[str, Any]
    schedule_periods: list[SchedulePeriod]
    snapshot: dict[str, str] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)
    active: dict[int, c.RunId | None] = field(default_factory=dict)
    waiting: int | None = None
    blocked: str = ""
    settled: int = 0
    wake: float = -inf

    def run_state(self, run: Run, own_process: dict[str, Any], now: float) -> RunState:
        """Whether a run of the task that no thread of this process makes needs anything of it."""
        retries = total_retries(self.settings, len(self.resolved.get("members", [])))
        return run_state(run, time_limit(self.settings), retries, own_process, now)
