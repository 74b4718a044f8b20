"""The predict steps of an ensemble's try on this machine: which members share a step, and which steps may run side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import LOG_LIMIT, PROBABILITIES
from jobs.store.log_files import LOG_PATTERN, read_log
from jobs.supervisor.log_writer import LogWriter
from scheduler.engines.run_spec import Step
from scheduler.runtimes.runtime import Runtime, has_module

_MODULE = "jobs/portable/fork_server.py"
"""Of a job program that can predict with several members in a step, and with several steps at once."""


@dataclass(frozen=True)
class PredictStep:
    """A predict step of these members, which takes so many CPUs."""

    members: tuple[str, ...]
    runtime: Runtime
    threads: int

    @property
    def argv(self) -> tuple[str, ...]:
        """The step's arguments."""
        return ("predict", *(part for member in self.members for part in ("--member", member)))


def predict_steps(task: Mapping[str, Any], steps: Sequence[Step], program: Path) -> list[list[PredictStep]]:
    """A try's predict steps: those of a list may run side by side, the lists one after the other.

    Members of one backend, whose environment, threads and runtime are the same, share a step: the framework is imported once.
    Steps in containers and steps on this machine are never at once: what a container could leave in the folder of their run, as
    a link in the place of a file, is removed first. A member without a runtime has no step. ``program`` may be an earlier
    version, whose steps are one at a time.
    """
    specs = {str(spec["member"]): spec for spec in task.get("members", ())}
    groups: dict[str, tuple[list[str], Runtime]] = {}
    is_able = has_module(program, _MODULE)
    for step in steps:
        if not isinstance(step.runtime, Runtime):
            continue
        member = step.argv[-1]
        spec = specs.get(member, {})
        names = ("backend", "threads", "env", "secrets", "gpus")
        key = repr((step.runtime, [spec.get(name) for name in names]) if is_able else member)
        groups.setdefault(key, ([], step.runtime))[0].append(member)
    found = [
        PredictStep(tuple(members), runtime, int(specs.get(members[0], {}).get("threads") or 1))
        for members, runtime in groups.values()
    ]
    if not is_able:
        return [[step] for step in found]
    # The longest first.
    found.sort(key=lambda step: -len(step.members))
    waves = [[step for step in found if (step.runtime.engine is None) is on_machine] for on_machine in (True, False)]
    return [wave for wave in waves if wave]


def append_member_logs(folder: Path, members: Sequence[str], limit: int = LOG_LIMIT) -> None:
    """Append to a try's log those that its members' predict steps have written each on their own. Raises OSError."""
    for member in members:
        own = folder / PROBABILITIES / member
        with LogWriter(folder, limit) as log:
            for _, data in read_log(own):
                log.write(data)
        for path in own.glob(LOG_PATTERN):
            with suppress(FileNotFoundError):
                os.unlink(path)


def log_limit(task: Mapping[str, Any]) -> int:
    """The bytes that are kept of a try's output."""
    return int(task.get("log_limit", c.LOG_LIMIT))
