"""Starts a step of a run as whoever starts a run does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore


def supervise(program: Path, store: LocalStore, run: RunId, step: str, task: dict[str, Any], **env: str) -> subprocess.Popen[str]:
    described = {
        "experiment": run.experiment,
        "task": run.task,
        "timezone": "UTC",
        "snapshot": {"program": "", "code": ""},
        **task,
    }
    own = {c.ENV_RUN: str(run), c.ENV_TRY: "a", c.ENV_STORE: str(store.root), c.ENV_TASK: json.dumps(described), **env}
    return subprocess.Popen(
        [sys.executable, str(program), "supervise", *step.split()],
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
