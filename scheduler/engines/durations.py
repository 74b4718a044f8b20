"""How long a run is going to take, by the newest successes of its task: what takes long is started first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from jobs.contract import parse_time
from jobs.store import Store
from scheduler.engines.run_spec import RunSpec

_RUNS = 3
"""How many of a task's newest runs are looked at for one that succeeded."""


def longest_first(store: Store, specs: Sequence[RunSpec]) -> list[int]:
    """The positions of these runs, those first that are going to take longest; of those not known the order is kept, at the end.

    Graham's rule for few processors: whoever starts the longest last waits for it alone, with the other processors idle.
    """
    seconds = [_seconds(store, spec) for spec in specs]
    return sorted(range(len(specs)), key=lambda position: -seconds[position])


def _seconds(store: Store, spec: RunSpec) -> float:
    """The seconds of the newest success of a task, from its try's start to its end; 0 where there is none to be read."""
    try:
        for run in islice(store.run_ids(str(spec.task["experiment"]), str(spec.task["task"])), _RUNS):
            record = store.result(run) or {}
            started, finished = parse_time(record.get("started")), parse_time(record.get("finished"))
            if started is not None and finished is not None:
                return finished - started
    except OSError:
        pass
    return 0.0
