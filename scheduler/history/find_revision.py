"""Which revision a user means: by its number, with its engine where several count, ``latest``, or what held at a date or time."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.schedule_periods import RevisionPeriod, at
from scheduler.errors import CronsembleError
from scheduler.history.query import ExperimentHistory
from scheduler.times import is_time, parse_last_time

LATEST = "latest"


def revision_name(period: RevisionPeriod) -> str:
    """What names a revision alone: ``host:workstation/3``."""
    return f"{period.engine}/{period.revision['revision']}"


def find_revision(history: ExperimentHistory, name: str) -> RevisionPeriod:
    """The revision that a name means; of a date that which held when it ended, or holds now. Raises CronsembleError."""
    periods = history.revision_periods
    if not periods:
        raise CronsembleError(f"no revisions of {history.experiment}: `cronsemble run`, `serve` and `sync` record them")
    if name.lower() == LATEST:
        return periods[-1]
    if is_time(name):
        instant = min(parse_last_time(name, history.timezone, history.now, "--revisions").timestamp(), history.now)
        period = at(history.scheduling_periods, instant)
        if period is None:
            since = history.clock.local(int(periods[0].start // 60))
            raise CronsembleError(f"--revisions {name}: no revision held then; the first is of {since}")
        return period
    named = _named(periods, name)
    if not named:
        raise CronsembleError(f"--revisions {name}: no such revision: `cronsemble history --revisions` lists them")
    if len(named) > 1:
        choice = ", ".join(dict.fromkeys(map(revision_name, named)))
        raise CronsembleError(
            f"--revisions {name}: {len(named)} revisions have this number ({choice}): type one of these, or a time"
        )
    return named[0]


def _named(periods: Sequence[RevisionPeriod], name: str) -> list[RevisionPeriod]:
    whole = [period for period in periods if revision_name(period) == name]
    return whole or [period for period in periods if str(period.revision["revision"]) == name]
