"""Which reading of the data a run uses, and what has changed since it was read. Standard library, Python 3.9."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jobs import contract as c
from jobs.contract import RunKind
from jobs.store.document_files import read_document
from jobs.store.files import list_names, sha256_of
from jobs.supervisor.run_context import RunContext, notice

AGAIN = "`cronsemble run --fresh-data` reads it again"


def report_used_again(context: RunContext, pinned: Mapping[str, Any]) -> str:
    """Print which reading of this date's data the run uses, where that is another run's, and what has changed since.

    Returns what of it belongs into the history; empty if nothing has changed.
    """
    by_this_command = context.invocation and pinned.get("invocation") == context.invocation
    read = f"read {_moment(context, pinned)} by {pinned.get('run')}"
    changed = [name for name, digest in pinned.get("files", {}).items() if _has_changed(context, name, digest)]
    if changed:
        have = "has" if len(changed) == 1 else "have"
        note = f"{' and '.join(changed)} {have} changed since the data was {read}"
        each_run = "`refresh: each_run` under `data:` reads it for each run"
        notice(context, f"{note}; that reading is used: {AGAIN}, {each_run}", shared=True)
        return note
    if not by_this_command and pinned.get("run") != str(context.run) and context.env.get(c.ENV_KIND) == RunKind.MANUAL:
        notice(context, f"the data was {read}; {AGAIN}", shared=True)
    return ""


def report_own_reading(context: RunContext) -> None:
    """Print that the data was read for the runs of this command alone, where that was asked for."""
    if context.fresh_data:
        notice(context, "the data was read now, for the runs of this command alone")


def report_read_again(context: RunContext, date: str, key: str) -> str:
    """Print what has changed since this date's data was read before, by another configuration or code; returns it.

    ``key`` is that of the new reading. Empty if the data of this date was not read before.
    """
    earlier = _latest_reading(context, date, key)
    if earlier is None:
        return ""
    code = str(context.task["snapshot"]["code"])
    made_by_code = ".py:" in str(context.task["data"]["dataset"])
    # Pins of earlier versions do not say what made their data.
    changed = _changed_code(context, str(earlier["code"]), code) if made_by_code and "code" in earlier else []
    if "declared" in earlier and earlier["declared"] != _declared(context):
        changed.insert(0, "the configuration's `data:`, or a hyperparameter for all members,")
    what = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    have = "has" if len(changed) < 2 else "have"
    note = f"the data is read again: {what or 'what makes it'} {have} changed since it was read {_moment(context, earlier)}"
    notice(context, f"{note} by {earlier.get('run')}")
    return note


def origin(context: RunContext) -> dict[str, Any]:
    """What a pin says of how its data came about, beside the data's own description."""
    return {
        "run": str(context.run),
        "invocation": context.invocation or None,
        "code": context.task["snapshot"]["code"],
        "declared": _declared(context),
    }


def _declared(context: RunContext) -> dict[str, Any]:
    return {name: value for name, value in context.task["data"].items() if name != "key"}


def _has_changed(context: RunContext, name: str, digest: str) -> bool:
    try:
        return sha256_of(Path(context.env.get(c.ENV_FOLDER, ".")) / name) != digest
    except OSError:
        return False


def _moment(context: RunContext, pinned: Mapping[str, Any]) -> str:
    """When data was read, by the experiment's clock: "at 18:44 today", "at 18:44 on 2026-11-20"."""
    try:
        zone = ZoneInfo(str(context.task["timezone"]))
        time = datetime.fromisoformat(str(pinned.get("time")).replace("Z", "+00:00")).astimezone(zone)
    except (KeyError, ValueError, OSError):  # the runtime may have no time zone data
        return f"at {pinned.get('time')}"
    is_today = time.date() == datetime.now(zone).date()
    return f"at {time:%H:%M} " + ("today" if is_today else f"on {time:%Y-%m-%d}")


def _latest_reading(context: RunContext, date: str, key: str) -> dict[str, Any] | None:
    """The latest reading of this date that its tasks share, but for that of ``key``."""
    folder = context.store.pin_path(context.run.experiment, date, key).parent
    names = [name for name in list_names(folder) if name.startswith(date + "-") and name != f"{date}-{key}.json"]
    # A reading for one command or run has a key of two parts.
    pins = [read_document(folder / name) for name in names if "-" not in name[len(date) + 1 :]]
    return max(filter(None, pins), key=lambda pin: str(pin.get("time")), default=None)


def _changed_code(context: RunContext, before: str, after: str) -> list[str]:
    """The names of the files that two snapshots of the user's code do not have alike; none where one cannot be read."""
    try:
        files = [_files(context, digest) for digest in (before, after)]
    except (OSError, zipfile.BadZipFile):
        return []
    return sorted(name for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name))


def _files(context: RunContext, digest: str) -> dict[str, tuple[int, int]]:
    if not digest:
        return {}
    with zipfile.ZipFile(io.BytesIO(context.store.read_snapshot("code", digest))) as archive:
        return {file.filename: (file.CRC, file.file_size) for file in archive.infolist()}
