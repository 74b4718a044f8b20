"""Stores for a watch to look at, and its command as its pod types it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands import run_command
from scheduler import VERSION
from stores import Builder

NIGHTLY = {"train-a": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}}


def night(root: Path) -> Builder:
    builder = Builder(root)
    builder.revise("2026-11-18T12:00", NIGHTLY)
    builder.run("train-a", "2026-11-19T01:00")
    builder.run("train-a", "2026-11-20T01:00", "failed", reason="the disk of the night")
    return builder


def night_before_now(root: Path) -> None:
    """A store whose newest slot, of an hour ago, failed."""
    slot = (datetime.now(UTC) - timedelta(hours=1)).replace(second=0, microsecond=0)
    builder = Builder(root)
    builder.revise(f"{slot - timedelta(hours=2):%Y-%m-%dT%H:%M}", {"train-a": {"schedule": f"{slot.minute} {slot.hour} * * *"}})
    builder.run("train-a", f"{slot:%Y-%m-%dT%H:%M}", "failed", reason="the disk of the night")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **more}


def command(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run_command("watch", *arguments, env=env)


def settings(folder: Path, **values: object) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps({"schema": 1, "version": VERSION, "experiment": "e", "timezone": "UTC", **values}))
    return path
