"""Pairs of ensemble runs that the page shows side by side: the newest two, and those around the worst change of level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.contract import RunId
from scheduler.comparison.difference import describe
from scheduler.comparison.run_comparison import Comparison, RunComparer
from scheduler.errors import CronsembleError
from scheduler.history.query import ExperimentHistory
from scheduler.report.findings import Findings
from scheduler.report.trend import Trend

MOST_FLIPS = 100
"""Flipped items of a pair that are shown."""
MOST_DIFF_LINES = 200
"""Lines of the diff of the code that are shown."""


@dataclass(frozen=True)
class DatePair:
    """Two runs, before and after, compared; ``title`` says which they are."""

    title: str
    before: str
    after: str
    comparison: Comparison

    @property
    def key(self) -> str:
        """What the page calls it by."""
        pairs = [self.comparison.ensemble] if self.comparison.ensemble else self.comparison.trainings
        return "-".join(f"{pair.before.run.minute}-{pair.after.run.minute}" for pair in pairs[:1])

    def differences(self) -> list[str]:
        """What was pinned and differs, a line each."""
        tasks = self.comparison.tasks
        return [describe(difference, tasks) for difference in self.comparison.differences]

    def code_lines(self) -> list[str]:
        """The unified diff of the code, and why there is none where it cannot be read; its first lines."""
        lines = list(_code_lines(self.comparison))
        left_out = len(lines) - MOST_DIFF_LINES
        return lines if left_out <= 0 else [*lines[:MOST_DIFF_LINES], f"({left_out} more lines: cronsemble compare --full)"]


def _code_lines(comparison: Comparison) -> Iterator[str]:
    for code in comparison.code:
        if code.problem:
            yield f"({code.problem})"
        for file in code.files:
            yield f"--- {'/dev/null' if file.change == 'added' else file.name}"
            yield f"+++ {'/dev/null' if file.change == 'removed' else file.name}"
            yield from file.lines
            if file.note:
                yield f"({file.note})"


def chosen_pairs(trend: Trend, findings: Findings) -> list[tuple[str, RunId, RunId]]:
    """Which ensemble runs are shown side by side: a title, the one before and the one after."""
    points = trend.points
    pairs = [("the newest two", points[-2].result.run.id, points[-1].result.run.id)] if len(points) > 1 else []
    for change in findings.level_changes[:1]:
        before, since, newest = change.last_before.result.run.id, change.since.result.run.id, points[-1].result.run.id
        pairs.append(
            (f"{change.name} {'worse' if change.is_worse else 'better'}: the last before, the first since", before, since)
        )
        pairs.append((f"{change.name}: the last before, the newest", before, newest))
    unique = {(before, after): (title, before, after) for title, before, after in reversed(pairs)}
    return list(reversed(unique.values()))


def compare_pairs(comparer: RunComparer, history: ExperimentHistory, pairs: Sequence[tuple[str, RunId, RunId]]) -> list[DatePair]:
    """Each pair, compared; one that cannot be is left out."""
    compared = []
    for title, before, after in pairs:
        try:
            comparison = comparer.compare(comparer.store.read(before), comparer.store.read(after))
        except CronsembleError:
            continue
        compared.append(date_pair(title, history, comparison))
    return compared


def date_pair(title: str, history: ExperimentHistory, comparison: Comparison) -> DatePair:
    """A comparison with the local times of its two sides."""
    pair = comparison.ensemble or comparison.trainings[0]
    before, after = (history.clock.local(side.run.minute) for side in (pair.before, pair.after))
    return DatePair(title, before, after, comparison)
