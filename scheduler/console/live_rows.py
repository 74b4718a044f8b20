"""The lines of a live display: a row for each task, and one that counts the runs of several slots. Values in, lines out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.console.tables import number
from scheduler.console.text_width import cells, fold, shorten_distinct
from scheduler.times import format_duration

Line = tuple[str, str]
"""A text and its colour, "" for none."""

_BAR = 16
_LEAST_TEXT = 34
"""Columns of a row's text at least: without so many beside its name it goes below that."""
_NEARLY = 0.95
"""How much of an epoch is shown as done at most, by the time that the one before took: it may take longer."""


@dataclass
class Row:
    """What a task's line shows; times are of the monotonic clock.

    ``epoch`` of ``epochs`` was the last to end, at ``epoch_ended``, after ``seconds``; ``metrics`` are its loss and accuracy.
    """

    title: str
    began: float
    stage: str = ""
    colour: str = ""
    ended: float | None = None
    epoch: int = 0
    epochs: int = 0
    epoch_ended: float = 0.0
    seconds: float = 0.0
    metrics: str = ""
    is_success: bool = False

    def restart(self) -> None:
        """Another try begins: nothing of the epochs before counts."""
        self.epoch = self.epochs = 0
        self.stage = self.metrics = ""

    def add_epoch(self, event: dict[str, float | int | None], now: float) -> None:
        """An epoch has ended (``scheduler.console.progress_events``)."""
        self.epoch, self.epochs, self.epoch_ended = int(event["epoch"] or 0), int(event["epochs"] or 0), now
        self.seconds = float(event["seconds"] or 0.0)
        self.metrics = f"loss {number(event.get('val_loss'))}, accuracy {number(event.get('val_accuracy'))}"

    def done(self, now: float) -> float:
        """The part of the epochs that is done, the running one by the time that the one before took."""
        running = min((now - self.epoch_ended) / self.seconds, _NEARLY) if self.seconds > 0 and self.epoch < self.epochs else 0.0
        return (self.epoch + running) / self.epochs if self.epochs else 0.0

    def text(self, now: float) -> str:
        """Its stage, its epochs and the time that they may still take."""
        parts = [self.stage]
        if self.epochs:
            left = 0.0 if self.ended else (self.epochs - self.epoch) * self.seconds - (now - self.epoch_ended)
            # A run that succeeded has its accuracy in its stage.
            parts += [f"epoch {self.epoch}/{self.epochs}", "" if self.is_success else self.metrics]
            parts += [f"{format_duration(left)} left"] if left >= 1 else []
        return ", ".join(filter(None, parts))


def format_elapsed(seconds: float) -> str:
    """A time that goes on, to the second: 0:42, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def lines(rows: Sequence[Row], room: int, height: int, now: float) -> list[Line]:
    """The rows in lines of at most ``room`` columns, at most ``height`` of them: what has no line is counted in the last one."""
    names = shorten_distinct((row.title for row in rows), max(room // 2, 12))
    widest = max(map(cells, names.values()), default=0)
    blocks = [_block(row, names[row.title], widest, room, now) for row in rows]
    shown: list[Line] = []
    for n, block in enumerate(blocks):
        if len(shown) + len(block) > height - (n + 1 < len(blocks)):
            return [*shown, (_shorten_to(_count(rows[n:]), room), "")]
        shown += block
    return shown


def _block(row: Row, name: str, widest: int, room: int, now: float) -> list[Line]:
    elapsed = format_elapsed((row.ended or now) - row.began)
    start = f"{name}{' ' * (widest - cells(name))}  {elapsed:>7}  "
    text, is_ended = row.text(now), row.ended is not None
    bar = "" if is_ended or cells(start) + _BAR + 2 + max(cells(text), _LEAST_TEXT) > room else _bar(row, now) + "  "
    left = room - cells(start) - cells(bar)
    if left >= _LEAST_TEXT or left >= cells(text):
        first, *others = fold(text, left)
        return [((start + bar + first).rstrip(), row.colour), *((" " * (room - left) + other, row.colour) for other in others)]
    return [(part, row.colour) for part in [*fold(start.rstrip(), room), *("  " + part for part in fold(text, room - 2))] if part]


def _bar(row: Row, now: float) -> str:
    """A bar of the epochs; nothing where none has ended yet, for nobody knows how far it is."""
    if not row.epochs:
        return " " * _BAR
    filled = round(row.done(now) * _BAR)
    return "━" * filled + "╌" * (_BAR - filled)


def _count(rows: Sequence[Row]) -> str:
    """Rows that have no line, by the first word of what they do."""
    counts = Counter((row.stage.split() or ["waiting"])[0].rstrip(":,") for row in rows)
    return f"and {len(rows)} more: " + ", ".join(f"{count} {word}" for word, count in counts.items())


def _shorten_to(text: str, room: int) -> str:
    return fold(text, room)[0]


def total_line(ended: int, total: int, elapsed: float) -> str:
    """How many of several runs have ended, since when, and how long the others may take."""
    left = elapsed / ended * (total - ended) if 0 < ended < total else 0.0
    about = f", about {format_duration(left)} left" if left >= 1 else ""
    return f"{ended} of {total} ended, {format_elapsed(elapsed)}{about}"
