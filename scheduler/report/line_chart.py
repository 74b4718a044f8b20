"""Line charts over time as values that a template draws: where lines, ticks and marks lie in a picture of a given size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil, floor, log10

STYLES = 8
"""How many looks of lines there are (colour and dashes); a ninth line has the first one again."""
_MARK_WIDTH = 30
"""Pixels that the name of a mark takes."""
_GAP = 4
"""Times the usual distance of two points, from which on they are not joined."""


@dataclass(frozen=True)
class Series:
    """A named line: a value for each instant of the chart, None where there is none. ``style``: the number of its look."""

    name: str
    values: Sequence[float | None]
    style: int
    is_main: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line at a minute since 1970, with a short name."""

    minute: int
    name: str


@dataclass(frozen=True)
class LineChart:
    """``minutes``: the instants, since 1970, in order. ``unit`` is said once, on the axis."""

    key: str
    title: str
    unit: str
    minutes: Sequence[int]
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    starts_at_zero: bool = False


@dataclass(frozen=True)
class Tick:
    """Where a label stands on an axis, in pixels."""

    position: float
    label: str


@dataclass(frozen=True)
class PlacedLine:
    """A line as SVG path data, its lone points, and where its name stands at the right end."""

    series: Series
    path: str
    points: Sequence[tuple[float, float]]
    label_y: float
    end_y: float


@dataclass(frozen=True)
class PlacedChart:
    """A chart in a picture of ``width`` × ``height`` pixels; ``left``, ``right``, ``top`` and ``bottom`` are the plot's ends."""

    chart: LineChart
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[PlacedLine]
    marks: Sequence[Tick]
    low: float
    high: float


def place(chart: LineChart, width: int, height: int) -> PlacedChart | None:
    """The chart in a picture of that size; None where it has no values."""
    values = [value for series in chart.series for value in series.values if value is not None]
    if not values:
        return None
    names = max(len(series.name) for series in chart.series)
    left, right = 48, width - min(14 + 8 * names, width // 4)
    top, bottom = 26 if chart.marks else 12, height - 24
    low, high, y_values = _axis(min(values), max(values), chart.starts_at_zero, (bottom - top) // 36)
    first, last = chart.minutes[0], chart.minutes[-1]

    def x(minute: float) -> float:
        return round(left + (right - left) * ((minute - first) / (last - first) if last > first else 0.5), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * (value - low) / (high - low), 1)

    longest = _longest_joined(chart.minutes)
    lines = []
    for series in chart.series:
        known = [(minute, value) for minute, value in zip(chart.minutes, series.values, strict=True) if value is not None]
        if known:
            lines.append((series, *_path(known, x, y, longest), y(known[-1][1]), known[-1][0]))
    ends = _apart([end for _, _, _, end, _ in lines], 12, top, bottom)
    placed = [
        PlacedLine(series, path, points, label_y, end)
        for (series, path, points, end, _), label_y in zip(lines, ends, strict=True)
    ]
    marks = _joined([Tick(x(mark.minute), mark.name) for mark in chart.marks if first <= mark.minute <= last])
    y_ticks = [Tick(y(value), _number(value, y_values)) for value in y_values]
    x_ticks = [Tick(x(minute), label) for minute, label in _dates(first, last, max(2, (right - left) // 90))]
    return PlacedChart(chart, width, height, left, right, top, bottom, x_ticks, y_ticks, placed, marks, low, high)


def _joined(marks: Sequence[Tick]) -> list[Tick]:
    """The marks in their order; those that have no room beside each other share the first one's place: ``2–4``."""
    groups: list[list[Tick]] = []
    for mark in marks:
        if groups and mark.position - groups[-1][0].position < _MARK_WIDTH:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    names = [group[0].label if len(group) == 1 else f"{group[0].label}–{group[-1].label}" for group in groups]
    return [Tick(group[0].position, name) for group, name in zip(groups, names, strict=True)]


def _longest_joined(minutes: Sequence[int]) -> float:
    """Minutes between two points up to which a line joins them."""
    steps = sorted(after - before for before, after in zip(minutes, minutes[1:], strict=False))
    return _GAP * steps[len(steps) // 2] if steps else 0


def _path(
    known: Sequence[tuple[int, float]], x: Callable[[float], float], y: Callable[[float], float], longest: float
) -> tuple[str, list[tuple[float, float]]]:
    """The path of a line, which is broken at gaps, and the points that have no neighbour."""
    parts: list[str] = []
    lone: list[tuple[float, float]] = []
    run: list[tuple[float, float]] = []
    before: int | None = None

    def end() -> None:
        if len(run) == 1:
            lone.append(run[0])
        elif run:
            parts.append("M" + " ".join(f"{px:g},{py:g}" for px, py in run))
        run.clear()

    for minute, value in known:
        if before is not None and minute - before > longest:
            end()
        run.append((x(minute), y(value)))
        before = minute
    end()
    return "".join(parts), lone


def _apart(positions: Sequence[float], distance: float, top: float, bottom: float) -> list[float]:
    """The positions moved so that none is nearer to another than ``distance``, as far as there is room."""
    order = sorted(range(len(positions)), key=lambda n: positions[n])
    placed = [0.0] * len(positions)
    at = top - distance
    for n in order:
        at = placed[n] = max(positions[n], at + distance)
    limit = bottom
    for n in reversed(order):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - distance
    return [round(position, 1) for position in placed]


def _axis(low: float, high: float, from_zero: bool, ticks: int) -> tuple[float, float, list[float]]:
    """The ends of an axis that holds two values, and round numbers on it (Heckbert's nice numbers, 1990)."""
    if from_zero:
        low = min(low, 0.0)
    if high - low < 1e-9:
        margin = 0.5 * max(abs(high), 0.001)
        low, high = low - margin, high + margin
        low = max(low, 0.0) if from_zero else low
    raw = (high - low) / max(ticks, 2)
    size = 10 ** floor(log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    values = [n * step for n in range(first, last + 1)]
    return values[0], values[-1], values


def _number(value: float, others: Sequence[float]) -> str:
    step = others[1] - others[0] if len(others) > 1 else 1
    return f"{value:.{max(0, -floor(log10(step) + 1e-9))}f}"


def _dates(first: int, last: int, most: int) -> Iterator[tuple[int, str]]:
    """Minutes of at most about ``most`` dates (UTC) between two minutes, with their labels."""
    begin, end = (datetime.fromtimestamp(minute * 60, UTC).date() for minute in (first, last))
    days = (end - begin).days
    if days < 2:
        yield first, datetime.fromtimestamp(first * 60, UTC).strftime("%m-%d %H:%M")
        if last > first:
            yield last, datetime.fromtimestamp(last * 60, UTC).strftime("%m-%d %H:%M")
        return
    day_step = next((step for step in (1, 2, 7, 14) if days / step <= most), None)
    chosen: Iterable[date]
    if day_step is not None:
        chosen = (
            begin + timedelta(days=n) for n in range(1, days + 1) if (begin + timedelta(days=n)).toordinal() % day_step == 0
        )
    else:
        months = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120, 1200) if days / 30.4 / step <= most)
        numbers = range(begin.year * 12 + begin.month, end.year * 12 + end.month)
        chosen = (date(n // 12, n % 12 + 1, 1) for n in numbers if n % months == 0)
    for day in chosen:
        minute = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() // 60)
        if first <= minute <= last:
            yield minute, day.isoformat()[:7] if day_step is None else day.isoformat()[5:]
