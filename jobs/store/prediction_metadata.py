"""What an ensemble's CSV is, as values for `<slot>.json` beside it in the archive. Standard library alone, Python 3.9.

It is made of the record alone, and of the CSV's own first line: whoever has the archive needs nothing else to know what the CSV
holds, how it was made and whether it may be used. It is written into the result before the commit, so that the record has its
hash; what was decided of the run by hand since does not change it. docs/archive.md has its schema.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.contract import MEMBERS, RunId, member_task, parse_run_id, slot_text
from jobs.store.files import sha256_of
from jobs.store.reading import degraded_reason
from jobs.store.regular_files import open_regular
from jobs.text import one_line

METADATA_SCHEMA = 1
"""Version of the document: what it has may become more, and a key's meaning does not change within a version."""
_FIXED_COLUMNS = 3
"""Of a CSV: the item, the class that is predicted and its probability; then a column for each class."""


def archive_name(run: RunId, record: Mapping[str, Any]) -> str:
    """The name of an ensemble run's CSV in the archive without its suffix; it says if another configuration than its made it."""
    return run.dated_name + ("-other-configuration" if record.get("other_configuration") else "")


def prediction_metadata(run: RunId, record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What the CSV of an ensemble run is.

    Args:
        run: the run.
        record: what it records; keys that an earlier version did not write are absent, and their values null here.
        path: its CSV; an error of the file system is raised as OSError.
    """
    ensemble: Mapping[str, Any] = record.get("ensemble") or {}
    combined: Mapping[str, Any] = ensemble.get("members") or {}
    name, members, left_out = archive_name(run, record), [], []
    for outcome in record.get("members") or ():
        member = str(outcome.get("member"))
        training = parse_run_id(str(outcome.get("run")), run.experiment, member_task(member))
        model = {
            "member": member,
            "run": None if training is None else str(training),
            "slot": None if training is None else slot_text(training.minute),
        }
        if outcome.get("left_out"):
            left_out.append({**model, "reason": one_line(str(outcome["left_out"]))})
            continue
        numbers = combined.get(member) or {}
        members.append(
            {
                **model,
                "weight": numbers.get("weight"),
                "accuracy": numbers.get("accuracy_here"),
                "loss": numbers.get("loss"),
                "validation_accuracy": outcome.get("accuracy"),
                "degraded": one_line(str(outcome.get("degraded") or "")) or None,
                "file": f"{name}.{MEMBERS}/{member}.csv",
            }
        )
    temperature = (ensemble.get("calibration") or {}).get("temperature")
    return {
        "schema": METADATA_SCHEMA,
        "experiment": run.experiment,
        "run": str(run),
        "slot": slot_text(run.minute),
        "attempt": run.attempt,
        "kind": record.get("kind"),
        "repeats": record.get("repeats"),
        "other_configuration": bool(record.get("other_configuration")),
        "finished": record.get("finished"),
        "csv": {"file": f"{name}.csv", **_describe_csv(path)},
        "classes": ensemble.get("classes"),
        "items": ensemble.get("items"),
        "method": ensemble.get("method"),
        **({} if temperature is None else {"temperature": temperature}),
        "accuracy": ensemble.get("accuracy"),
        "loss": ensemble.get("loss"),
        "members": members,
        "left_out": left_out,
        "degraded": degraded_reason(dict(record)) or None,
        "refused": one_line(str((record.get("gate") or {}).get("refused") or "")) or None,
        "data": {"fingerprint": (record.get("data") or {}).get("fingerprint")},
    }


def _describe_csv(path: Path) -> dict[str, Any]:
    """Size and hash of a CSV, the names of its columns before those of the classes, and the version of its schema."""
    with open(open_regular(path), newline="", encoding="utf-8", errors="replace") as file:
        try:
            columns = next(csv.reader(file), [])[:_FIXED_COLUMNS]
        except csv.Error:
            columns = []
    # Version 1 called the third column `rate`.
    return {
        "schema": 1 if columns[2:] == ["rate"] else 2,
        "columns": columns,
        "size": path.stat().st_size,
        "sha256": sha256_of(path),
    }
