"""What makes runs, as the commands see it: the engine of this machine, or that of a cluster; and who is told of progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from cronjobs.experiment import Experiment
from cronjobs.tasks import ExperimentContext
from jobs import contract as c
from jobs.store import Run, Store
from scheduler.console.run_display import RunObserver
from scheduler.engines.run_spec import RunSpec
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes.runtime import Runtime


class Engine(Protocol):
    """What makes runs: this machine, or a cluster."""

    @property
    def outlives(self) -> bool:
        """Whether what it has begun goes on without this process."""

    @property
    def store(self) -> Store: ...

    @property
    def observer(self) -> RunObserver: ...

    @property
    def stopped(self) -> bool: ...

    def store_snapshot(self, kind: str, data: bytes) -> str:
        """Have a part of a snapshot (``program``, ``code``) at hand for runs to come; its hash."""

    def record_start(self, context: ExperimentContext, now: datetime) -> None:
        """Write down what is about to be run."""

    def runtimes(self, experiment: Experiment, names: Iterable[str]) -> dict[str, Runtime | RuntimeUnavailable]:
        """What steps are started in, or the reasons why that cannot be had."""

    def problems(self, run: Run) -> tuple[list[str], list[str]]:
        """Why what a run was made in cannot be had; and how it may differ."""

    def runtime_of(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """What a run was made in, to repeat it there."""

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """What steps of its repeat that need no library are started in."""

    def claim(self, run: c.RunId, kind: str) -> bool:
        """Take exactly this attempt; False if somebody has it."""

    def run(self, order: RunSpec, claimed: c.RunId | None = None) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was taken; None if it was not begun."""

    def interrupt(self, run: c.RunId | None = None) -> None: ...
