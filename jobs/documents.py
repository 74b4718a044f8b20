"""What each kind of JSON document of a store holds: the types of its values. Standard library alone, Python 3.9.

Whoever reads a document may take for granted what stands here, and nothing else: a document with a value of another type is
damaged as a whole, as one that is no JSON. Every key may be missing, or null, unless it stands in ``required``; keys that are
not named here are of any kind, for later versions add some. A time may be any text, number or truth value: what is no time is
an unknown one, and costs no more than a duration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from jobs.contract import (
    CANCELLED,
    CLAIM,
    DATA,
    END,
    ENSEMBLE,
    METADATA,
    METRICS,
    MODEL,
    OBSERVED,
    RECORD,
    REMOVED,
    SELECTION,
    START,
    VERDICT,
    WAIT,
    revision_time,
)

Check = Callable[[Any], str]
"""What is wrong with a value, to stand behind its key (``.accuracy`` is not a number); empty if it fits."""
_LARGEST = 2**63
"""No integer that we write is as large: indexes and packed pages hold 64 bits."""


class DocumentKind(str, Enum):  # noqa: UP042 (Python 3.9 has no StrEnum)
    """A kind of document; the value is the name of its file, where there is one."""

    RECORD = RECORD
    START = START
    END = END
    OBSERVED = OBSERVED
    CANCELLED = CANCELLED
    REMOVED = REMOVED
    CLAIM = CLAIM
    VERDICT = VERDICT
    WAIT = WAIT
    """Of an ensemble's run: for whom it waits, or has waited (``jobs.store.waits``)."""
    SELECTION = SELECTION
    METRICS = METRICS
    MODEL = MODEL
    ENSEMBLE = ENSEMBLE
    METADATA = METADATA
    """What an ensemble's CSV is, in its result; in the archive `<slot>.json` and `latest.json` hold the same."""
    DATA = DATA
    """What a run's data is, in its folder; a pin of a date's data holds the same."""
    REVISION = "revision"
    NOTE = "note"
    """A line of an experiment's notes."""
    OWNER = "owner"
    HEARTBEAT = "heartbeat"
    DECISION = "decision"
    """That a published run is accepted or refused, by hand (``jobs.store.decisions``)."""
    EVENT = "event"
    """What somebody is to be told (``jobs.store.notifications``)."""
    DELIVERY = "delivery"
    """A try to deliver an event to a channel, or what such a channel, or whoever tells, remembers beside."""
    TASK = "task"
    """A task's resolved configuration."""


def document_problem(kind: DocumentKind, document: Mapping[str, Any]) -> str:
    """What is wrong with a document of a kind, in a few words that name the key; empty if its values have their types."""
    return _CHECKS[kind](document).lstrip(".")


# -- types of values


def _scalar(value: Any) -> str:
    return " is a list or an object" if isinstance(value, (dict, list)) else ""  # noqa: UP038 (Python 3.9)


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, str) else " is not a text"


def _name(value: Any) -> str:
    """Of a file or a folder: a path is made of it."""
    is_name = isinstance(value, str) and not any(c in value for c in "/\0") and value not in (".", "..") and len(value) <= 128
    return "" if value is None or is_name else " is not a name"


def _path(value: Any) -> str:
    """Within a run's folder."""
    is_path = isinstance(value, str) and value != "" and not any(_name(part) or not part for part in value.split("/"))
    return "" if value is None or is_path else " is not a path within the run"


def _number(value: Any) -> str:
    if value is None:
        return ""
    return "" if isinstance(value, float) or not _count(value) else " is not a number"


def _count(value: Any) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return "" if value is None or is_count else " is not an integer"


def _flag(value: Any) -> str:
    return "" if value is None or isinstance(value, bool) else " is not true or false"


def _any(value: Any) -> str:
    return ""


def _list_of(check: Check) -> Check:
    def check_list(value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, list):
            return " is not a list"
        return next((f"[{n}]{problem}" for n, item in enumerate(value) if (problem := _present(check, item))), "")

    return check_list


def _map_of(check: Check) -> Check:
    def check_map(value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, dict):
            return " is not an object"
        return next((f".{key[:40]}{problem}" for key, item in value.items() if (problem := check(item))), "")

    return check_map


def _object(checks: Mapping[str, Check], *required: str) -> Check:
    def check_object(value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, dict):
            return " is not an object"
        for key in required:
            if value.get(key) is None:
                return f".{key} is missing"
        for key, item in value.items():
            # Most values are right, and there are many.
            check = checks.get(key)
            if check is not None and item is not None and (problem := check(item)):
                return f".{key}{problem}"
        return ""

    return check_object


def _present(check: Check, value: Any) -> str:
    """Of an item of a list, which cannot be absent."""
    return " is null" if value is None and check is not _any else check(value)


# -- documents

_time = _scalar
_texts = _list_of(_text)
_process = _object({"host": _text, "boot": _text, "pid": _count, "start": _count})
_snapshot = _object(dict.fromkeys(("program", "code", "task"), _name))
_environment = _object({"variables": _map_of(_scalar), "secrets": _texts, "versions": _map_of(_scalar)})
_DATA: dict[str, Check] = {
    **dict.fromkeys(("sha256", "note", "source", "predict", "invocation", "run", "key"), _text),
    "fingerprint": _name,
    "time": _time,
    "class_names": _list_of(_scalar),
    "files": _map_of(_scalar),
    "shapes": _map_of(_list_of(_scalar)),
    "warnings": _texts,
}
_data = _object(_DATA)
_model = _object(
    {
        **dict.fromkeys(("sha256", "format", "model", "backend", "data_format"), _text),
        "file": _name,
        "class_names": _list_of(_scalar),
        "input_shape": _list_of(_scalar),
        "classes": _count,
        "versions": _map_of(_scalar),
    }
)
_metrics = _object({"accuracy": _number, "loss": _number, "degraded": _text})
_ensemble = _object(
    {
        "method": _text,
        "accuracy": _number,
        "loss": _number,
        "items": _count,
        "classes": _list_of(_scalar),
        "members": _map_of(
            _object(
                {
                    **dict.fromkeys(("accuracy", "accuracy_here", "loss", "weight", "disagreement"), _number),
                    "contribution": _object({"accuracy": _number, "loss": _number, "labels_changed": _count}),
                    "contribution_problem": _text,
                }
            )
        ),
        "calibration": _object(
            {
                **dict.fromkeys(("temperature", "loss_before", "loss_after"), _number),
                **dict.fromkeys(("calibration_error_before", "calibration_error_after"), _number),
                **dict.fromkeys(("validation_items", "folds"), _count),
            }
        ),
        "agreement": _object(
            {"disputed_items": _count, "mean_entropy": _number, "disagreements": _map_of(_map_of(_number))},
        ),
    }
)
_gate = _object(
    {
        **dict.fromkeys(("refused", "not_judged", "accepted", "previous", "note"), _text),
        **dict.fromkeys(("accuracy", "loss", "previous_accuracy", "previous_loss", "drop", "p_value"), _number),
        **dict.fromkeys(("items", "lost", "gained", "learnt_before"), _count),
        "interval": _list_of(_number),
        "limits": _map_of(_number),
    }
)
_OUTCOME: dict[str, Check] = {
    **dict.fromkeys(("run", "left_out", "degraded"), _text),
    "member": _name,
    "probabilities": _path,
    "validation": _path,
    "accuracy": _number,
    "class_names": _list_of(_scalar),
    "environment": _environment,
    "refused": _object(dict.fromkeys(("run", "reason"), _text)),
}
"""What a member's prediction came to, in an ensemble's record and selection, and at the end of the prediction itself."""
_members = _list_of(_object(_OUTCOME, "member"))
_METADATA = _object(
    {
        **dict.fromkeys(("experiment", "run", "slot", "kind", "repeats", "method", "degraded", "refused"), _text),
        **dict.fromkeys(("schema", "attempt", "items"), _count),
        **dict.fromkeys(("accuracy", "loss", "temperature"), _number),
        "finished": _time,
        "other_configuration": _flag,
        "csv": _object({"file": _name, "sha256": _name, "size": _count, "schema": _count, "columns": _texts}),
        "classes": _list_of(_scalar),
        "members": _list_of(
            _object(
                {
                    **dict.fromkeys(("run", "slot", "degraded"), _text),
                    **dict.fromkeys(("weight", "accuracy", "loss", "validation_accuracy"), _number),
                    "member": _name,
                    "file": _path,
                },
                "member",
            )
        ),
        "left_out": _list_of(_object({**dict.fromkeys(("run", "slot", "reason"), _text), "member": _name}, "member")),
        "data": _object({"fingerprint": _name}),
    },
    "run",
)
_VERDICT: dict[str, Check] = {
    **dict.fromkeys(("verdict", "reason", "repeats", "run", "status"), _text),
    **dict.fromkeys(("largest_difference", "labels_flipped", "items", "tolerance"), _number),
    **dict.fromkeys(("accuracy_before", "accuracy_after", "loss_before", "loss_after"), _number),
    "differs": _texts,
    "flipped_items": _list_of(_object(dict.fromkeys(("item", "before", "after", "label"), _text))),
}
_SCHEDULE: dict[str, Check] = {
    **dict.fromkeys(("schedule", "timezone", "concurrency"), _text),
    "suspend": _flag,
    "starting_deadline": _number,
    "deadline": _number,
}
_awaited = _list_of(
    _object(
        {
            **dict.fromkeys(("slot", "local", "run", "outcome"), _text),
            "member": _name,
            "seconds": _number,
            "since": _time,
        },
        "member",
    )
)
_WAITED: dict[str, Check] = {"seconds": _number, "since": _time, "until": _time, "members": _awaited, "missing": _awaited}
"""For whom an ensemble's run has waited, in its record and beside it."""
_TASK: dict[str, Check] = {
    **dict.fromkeys(("experiment", "task", "member", "backend", "runtime", "model", "method", "timezone", "data_format"), _text),
    **dict.fromkeys(("max_age", "wait", "threads", "log_limit", "timeout", "quorum", "gpus"), _number),
    "validation": _flag,
    "schedules": _map_of(_object(_SCHEDULE)),
    "snapshot": _snapshot,
    "hyperparameters": _map_of(_any),
    "env": _map_of(_scalar),
    "secrets": _any,
    "published": _flag,
    "gate": _map_of(_number),
}
_REVISION = _object(
    {
        **dict.fromkeys(("by", "tool", "what", "engine"), _text),
        **dict.fromkeys(("program", "code"), _name),
        "revision": _count,
        "folded": _count,
        "gone": _texts,
        "tasks": _map_of(_object({**_SCHEDULE, **dict.fromkeys(("task", "program", "code"), _name)})),
    },
    "revision",
)


_INCIDENT = _object(
    {
        **dict.fromkeys(("id", "kind", "cause", "severity", "task", "slot", "local", "since", "since_local"), _text),
        **dict.fromkeys(("run", "reason", "evidence", "how"), _text),
        **dict.fromkeys(("first", "last", "minute", "slots"), _count),
        **dict.fromkeys(("tasks", "still_works", "commands"), _texts),
        "is_fact": _flag,
    },
    "id",
)


def _revision(value: Any) -> str:
    problem = _REVISION(value)
    if not problem and None in (value.get("tasks") or {}).values():
        problem = ".tasks is not an object of objects"
    if problem:
        return problem
    try:
        revision_time(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        return ".time is not a time with a zone"
    return ""


_CHECKS: Mapping[DocumentKind, Check] = {
    DocumentKind.RECORD: _object(
        {
            **dict.fromkeys(("run", "experiment", "task", "slot", "try", "kind", "invocation", "repeats", "repeats_kind"), _text),
            **dict.fromkeys(("degraded", "python", "processor", "host"), _text),
            **dict.fromkeys(("attempt", "try_number", "max_tries", "retries"), _count),
            **dict.fromkeys(("started", "step_started", "finished"), _time),
            **dict.fromkeys(("published", "other_configuration"), _flag),
            **dict.fromkeys(("seed", "threads"), _scalar),
            "accuracy": _number,
            "snapshot": _snapshot,
            "hyperparameters": _map_of(_any),
            "data": _data,
            "environment": _environment,
            "image": _object({"reference": _text, "identity": _object({"inputs": _text})}),
            "metrics": _metrics,
            "model": _model,
            "ensemble": _ensemble,
            "members": _members,
            "gate": _gate,
            "waited": _object(_WAITED),
        }
    ),
    DocumentKind.START: _object(
        {
            **dict.fromkeys(("run", "try", "kind", "invocation"), _text),
            "time": _time,
            "process": _process,
            "until": _time,
            "snapshot": _snapshot,
            "retries": _count,
            "claim": _count,
            "runtime": _map_of(_text),
        }
    ),
    DocumentKind.END: _object(
        {
            **_OUTCOME,
            **dict.fromkeys(("status", "reason", "step"), _text),
            "time": _time,
            "code": _count,
            "exit_code": _count,
            "final": _flag,
            "tail": _texts,
        }
    ),
    DocumentKind.OBSERVED: _object(
        {
            **dict.fromkeys(("status", "reason", "what", "kind", "job", "by"), _text),
            **dict.fromkeys(("time", "started", "ended"), _time),
            "tries": _list_of(
                _object(
                    {
                        **dict.fromkeys(("try", "pod", "container", "what", "reason", "state"), _text),
                        **dict.fromkeys(("started", "ended"), _time),
                    },
                    "try",
                )
            ),
        }
    ),
    DocumentKind.CANCELLED: _object({**dict.fromkeys(("reason", "by", "kind"), _text), "time": _time}),
    DocumentKind.REMOVED: _object(
        {
            "by": _text,
            "time": _time,
            "files": _list_of(_object({"path": _text, "why": _text, "size": _number}, "path")),
            "run": _object(
                {
                    **dict.fromkeys(("status", "reason", "evidence", "kind", "refused"), _text),
                    **dict.fromkeys(("started", "finished"), _time),
                    **dict.fromkeys(("accuracy", "loss"), _number),
                    **dict.fromkeys(("try_number", "max_tries"), _count),
                }
            ),
        }
    ),
    DocumentKind.CLAIM: _object({"kind": _text, "job": _text, "time": _time, "process": _process, "snapshot": _snapshot}),
    DocumentKind.VERDICT: _object({**_VERDICT, "members": _map_of(_object(_VERDICT))}),
    DocumentKind.WAIT: _object(
        {
            **_WAITED,
            **dict.fromkeys(("time", "ended"), _time),
            "process": _process,
            "waiting": _awaited,
            "yields": _count,
        }
    ),
    DocumentKind.SELECTION: _object({"members": _members}),
    DocumentKind.METRICS: _metrics,
    DocumentKind.MODEL: _model,
    DocumentKind.ENSEMBLE: _ensemble,
    DocumentKind.METADATA: _METADATA,
    DocumentKind.DATA: _object(_DATA, "fingerprint"),
    DocumentKind.REVISION: _revision,
    DocumentKind.NOTE: _object(
        {**dict.fromkeys(("event", "reason", "task", "engine"), _text), "time": _time, "since": _time, "minute": _count}
    ),
    DocumentKind.OWNER: _object({"engine": _text, "by": _text, "time": _time, "process": _process}),
    DocumentKind.HEARTBEAT: _object({"time": _time}),
    DocumentKind.DECISION: _object({**dict.fromkeys(("run_id", "decision", "by", "reason"), _text), "time": _time}, "decision"),
    DocumentKind.EVENT: _object(
        {"id": _name, "type": _text, "time": _time, "incident": _INCIDENT, "incidents": _texts, "ended": _list_of(_INCIDENT)},
        "id",
        "type",
    ),
    DocumentKind.DELIVERY: _object(
        {
            **dict.fromkeys(("channel", "event", "result", "reason", "answer", "message"), _text),
            **dict.fromkeys(("time", "since", "again"), _time),
            "process": _process,
            "alerts": _texts,
            "failures": _count,
        }
    ),
    DocumentKind.TASK: _object({**_TASK, "members": _list_of(_object(_TASK, "member")), "data": _map_of(_any)}),
}
