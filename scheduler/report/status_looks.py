"""How the report shows each status: a sign and a class of its style, so that no status is told from another by colour alone."""

from __future__ import annotations

from jobs.contract import RunKind, Status
from scheduler.history.slots import Row

DEGRADED = "succeeded, degraded"
"""Of a run that succeeded with less than was asked for."""
SIGNS: dict[str, str] = {
    Status.FAILED: "x",
    Status.DIED: "†",
    Status.NO_QUORUM: "q",
    Status.REFUSED: "!",
    Status.MISSED: "m",
    Status.UNKNOWN: "?",
    Status.INTERRUPTED: "i",
    Status.RUNNING: "r",
    Status.DUE: "…",
    Status.SKIPPED: "s",
    Status.SUSPENDED: "–",
    DEGRADED: "~",
    Status.SUCCEEDED: "✓",
    Status.NOT_YET_DUE: "·",
}
"""By status its sign, the worst status first: what stands for several slots shows the worst of them."""
_CLASSES: dict[str, str] = {
    Status.FAILED: "bad",
    Status.DIED: "bad",
    Status.NO_QUORUM: "bad",
    Status.REFUSED: "bad",
    Status.MISSED: "gap",
    Status.UNKNOWN: "gap",
    Status.INTERRUPTED: "warn",
    Status.RUNNING: "busy",
    Status.DUE: "busy",
    Status.SKIPPED: "warn",
    Status.SUSPENDED: "off",
    DEGRADED: "warn",
    Status.SUCCEEDED: "good",
    Status.NOT_YET_DUE: "off",
}
PROBLEMS = frozenset(
    {
        Status.FAILED,
        Status.DIED,
        Status.NO_QUORUM,
        Status.REFUSED,
        Status.MISSED,
        Status.UNKNOWN,
        Status.INTERRUPTED,
        DEGRADED,
    }
)
"""What somebody should look at."""
_SEVERITY = {status: n for n, status in enumerate(SIGNS)}


def status_of(row: Row) -> str:
    """A row's status; one that succeeded with less than was asked for is DEGRADED."""
    return DEGRADED if row.degraded else row.status


def severity(status: str) -> int:
    """The place of a status among all, the worst first; one of another version's program is the worst."""
    return _SEVERITY.get(status, -1)


def sign(status: str) -> str:
    """A character."""
    return SIGNS.get(status, "?")


def style_class(status: str) -> str:
    """The class of the page's style."""
    return _CLASSES.get(status, "gap")


def is_manual(row: Row) -> bool:
    """Whether somebody made the run by hand: it says nothing of the schedule's slots."""
    return row.kind == RunKind.MANUAL
