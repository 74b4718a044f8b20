"""For whom an ensemble's run waits, or has waited: the document `wait.json` in its folder. Standard library alone, Python 3.9.

It holds ``since`` and ``until`` (when the wait began, and ends at the latest), ``waiting`` (whom it waits for now), ``members``
(whom it has waited for), ``missing`` (who had not ended when the time was up), ``ended`` (when the wait was over), ``process``
(which one wrote it) and ``yields`` (how often a pod ended to make room). Of each slot: ``member``, ``slot``, ``local`` (by the
experiment's clock), ``run`` if it has one, ``outcome`` and ``seconds``. Whoever goes on with the run goes on with the wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jobs.contract import parse_time
from jobs.text import one_line

Mark = Mapping[str, Any]
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def is_over(mark: Mark) -> bool:
    """Whether the wait has ended."""
    return mark.get("ended") is not None


def waiting_text(mark: Mark) -> str:
    """For whom a run waits: ``waiting for jax (01:30), cntk (01:30)``."""
    return one_line(
        "waiting for " + (", ".join(f"{each['member']} ({_when(each)})" for each in _slots(mark, "waiting")) or "members")
    )


def waited(mark: Mark) -> dict[str, Any]:
    """What a record says of a wait: ``seconds``, ``since``, ``until``, ``members`` and ``missing``; empty without one."""
    if not mark:
        return {}
    members, missing = _slots(mark, "members"), _slots(mark, "missing")
    since, ended = parse_time(mark.get("since")), parse_time(mark.get("ended"))
    is_known = since is not None and ended is not None and bool(members or missing)
    seconds = round(max(0.0, (ended or 0.0) - (since or 0.0)), 1) if is_known else 0.0
    times = {"seconds": seconds, "since": mark.get("since"), "until": mark.get("until")}
    return {**times, "members": members, "missing": missing}


def waited_text(record: Mark) -> str:
    """For whom a run has waited, by what its record says: ``waited 42m for cntk of 01:30``; empty for nobody.

    Those who had not ended in time stand behind it: ``waited 42m for cntk of 01:30, 2h in vain for jax of 01:30``.
    """
    members, missing = _slots(record, "members"), _slots(record, "missing")
    parts = []
    if members:
        longest = max(float(each.get("seconds") or 0) for each in members)
        parts.append(f"{duration_text(longest)} for {_joined(members)}")
    if missing:
        parts.append(f"{duration_text(float(record.get('seconds') or 0))} in vain for {_joined(missing)}")
    return one_line(f"waited {', '.join(parts)}") if parts else ""


def waited_lines(mark: Mark) -> Iterable[str]:
    """The same for a log, a line for each slot."""
    for each in _slots(mark, "members"):
        seconds, outcome = float(each.get("seconds") or 0), each.get("outcome") or "ended"
        yield one_line(f"waited {duration_text(seconds)} for {each['member']} of {_when(each)}{_run(each)}: {outcome}")
    for each in _slots(mark, "missing"):
        outcome = each.get("outcome") or "not ended"
        yield one_line(f"{each['member']} of {_when(each)}{_run(each)}: {outcome} when the wait was over: continuing without it")


def duration_text(seconds: float) -> str:
    """Seconds, rounded, in the two largest units: ``1h 5m``, ``42m``, ``30s``."""
    # Of an hour nobody counts the seconds.
    left, parts = round(seconds) if seconds < 3540 else 60 * round(seconds / 60), []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"


def _slots(mark: Mark, key: str) -> list[dict[str, Any]]:
    return [dict(each) for each in mark.get(key) or ()]


def _joined(slots: Iterable[Mark]) -> str:
    return ", ".join(f"{each['member']} of {_when(each)}" for each in slots)


def _when(each: Mapping[str, Any]) -> str:
    return str(each.get("local") or each.get("slot") or "?")


def _run(each: Mapping[str, Any]) -> str:
    return f" ({each['run']})" if each.get("run") else ""
