"""The spec of a task's Jobs, by a schedule or not: its retry policy, its deadline, and how long it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cronjobs.experiment import Task
from jobs.contract import ExitCode


def job_spec(task: Task, retries: int, pod: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a task's Jobs: what is tried again, for how long, and which ends are final."""
    return {
        "backoffLimit": retries,
        "activeDeadlineSeconds": int(task.deadline),
        **({"ttlSecondsAfterFinished": int(task.ttl)} if task.ttl is not None else {}),
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [int(ExitCode.WRONG_INPUT)]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": dict(pod),
    }
