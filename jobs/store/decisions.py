"""Whether a published run is accepted: what its gate decided, and what was decided by hand since. Standard library, Python 3.9.

A run that is refused is published and kept, but is nobody's latest. What its gate decided stands in its record (``gate``, with
``refused``: why). What is decided by hand is a file beside the result, `decision-<N>.json`, by an exclusive link: of those who
saw the same last one, one gets the next. None is ever changed; the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.contract import parse_time
from jobs.text import one_line

ACCEPTED, REFUSED = "accepted", "refused"
"""What a decision can be."""
_NAME = re.compile(r"decision-([1-9][0-9]{0,8})\.json")


def _name(number: int) -> str:
    return f"decision-{number}.json"


def decision_names(names: Iterable[str]) -> list[str]:
    """Those names of a run's folder that are decisions, in their order."""
    numbers = sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match is not None)
    return [_name(number) for number in numbers]


def next_decision_name(names: Iterable[str]) -> str:
    """The name of the decision that follows those in a run's folder."""
    return _name(max((int(match[1]) for match in map(_NAME.fullmatch, names) if match is not None), default=0) + 1)


def unreadable_decision(name: str) -> dict[str, Any]:
    """What stands for a decision that is there but cannot be read: a run about which it is unknown is not taken."""
    return {"decision": REFUSED, "by": "hand", "reason": f"{name} cannot be read: see cronsemble fsck"}


def refusal(record: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], at: float | None = None) -> str:
    """Why a published run is refused, on one line; empty if it is accepted.

    ``decisions`` are the documents, in their order. ``at``: as of that time (seconds since 1970); decisions of an unknown time
    count always.
    """
    for decision in reversed(decisions):
        time = parse_time(decision.get("time"))
        if at is not None and time is not None and time > at:
            continue
        if decision.get("decision") == ACCEPTED:
            return ""
        return one_line(f"by {decision.get('by') or 'hand'}: {decision.get('reason') or 'no reason given'}")
    return one_line(str((record.get("gate") or {}).get("refused") or ""))
