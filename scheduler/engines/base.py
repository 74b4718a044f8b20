"""What makes runs, as the commands see it: the engine of this machine, or that of a cluster."""

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
    """What makes runs: this machine, or a cluster. Its methods may be called by several threads at once."""

    @property
    def outlives(self) -> bool:
        """Whether the runs that it has started go on without this process."""

    @property
    def store(self) -> Store:
        """Where the runs are published."""

    @property
    def observer(self) -> RunObserver:
        """What receives the runs' progress."""

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted, and starts no more runs."""

    def now(self) -> datetime:
        """The time by the clock of where the runs are made, in UTC."""

    def store_snapshot(self, kind: str, data: bytes) -> str:
        """Keep a part of a snapshot (``program``, ``code``) for the runs to come; returns its SHA-256."""

    def record_start(self, context: ExperimentContext, now: datetime) -> None:
        """Record the revision that is about to be run, where runs are recorded so."""

    def runtimes(self, experiment: Experiment, names: Iterable[str]) -> dict[str, Runtime | RuntimeUnavailable]:
        """By name what steps are started in, or why that cannot be had; raises CronsembleError where none may lack."""

    def problems(self, run: Run) -> tuple[list[str], list[str]]:
        """Why the runtime that a run was made in cannot be had; and in what it may differ."""

    def runtime_of(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """The runtime that a run was made in, to repeat it there."""

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """The runtime for those steps of a repeat that need no library."""

    def claim(self, run: c.RunId, kind: str) -> bool:
        """Claim exactly this attempt; False if it is taken."""

    def run(self, spec: RunSpec, claimed: c.RunId | None = None) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was claimed; None if it was not started."""

    def interrupt(self, run: c.RunId | None = None) -> None:
        """Stop a run, or all and the engine; what goes on without this process is only watched no more."""
