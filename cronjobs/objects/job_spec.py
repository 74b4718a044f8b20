"""The spec of a task's Jobs, by a schedule or not: its retry policy, its deadline, and how long it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cronjobs.experiment import Task
from jobs.contract import ExitCode


def job_spec(task: Task, retries: int, seconds: int, pod: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a task's Jobs: what is tried again, for how many seconds in all, and which ends are final."""
    return {
        "backoffLimit": retries,
        "activeDeadlineSeconds": seconds,
        **({"ttlSecondsAfterFinished": int(task.ttl)} if task.ttl is not None else {}),
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [int(ExitCode.WRONG_INPUT)]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": dict(pod),
    }


def let_yield(spec: Mapping[str, Any]) -> None:
    """Have a Job's await step end for a while without that being a failure: its pod makes room, and is started again."""
    rule = {
        "action": "Ignore",
        "onExitCodes": {"containerName": "await", "operator": "In", "values": [int(ExitCode.TRY_LATER)]},
    }
    spec["podFailurePolicy"]["rules"].insert(0, rule)
