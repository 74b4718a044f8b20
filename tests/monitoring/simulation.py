"""Weeks of simulated time: a store in which runs begin and end, looked at every few minutes as a scrape would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from jobs import contract as c
from jobs.contract import RunId
from jobs.expected_slots import expected
from jobs.store.files import publish_bytes, to_document, to_json, write_file
from scheduler.metrics.exposition import metrics_text
from scheduler.metrics.values import read_metrics
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at, iso

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels."""
HOUR = 3600.0


@dataclass
class Night:
    """What happens in one night: by task how its run ends, ``missed`` for no run; after how many seconds, if not the usual."""

    ends: dict[str, str] = field(default_factory=dict)
    lasts: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    restarted: tuple[str, ...] = ()
    """Tasks whose run a stop of `serve` interrupts after almost ten minutes, to be gone on with two minutes later."""


@dataclass(frozen=True)
class Task:
    """A task that fires each day at this minute of the day of UTC, or by a schedule of its own; a run lasts so many seconds."""

    name: str
    minute: int
    lasts: float
    schedule: dict[str, str] | None = None


class Simulation:
    """Members and their ensemble for some nights. Its events happen as time goes on; what was not looked at costs nothing."""

    def __init__(self, root: Path, first: str, tasks: list[Task], max_age: int | None, quorum: int) -> None:
        self.builder, self.first, self.tasks = Builder(root), at(f"{first}T00:00").timestamp(), tasks
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._models: dict[str, RunId] = {}
        settings = {"task": "ensemble", "quorum": quorum, "max_age": max_age}
        digest = self.builder.store.put_snapshot("task", to_json(settings))
        self.schedules: dict[str, dict[str, Any]] = {
            task.name: {"deadline": 21600, **(task.schedule or {"schedule": f"{task.minute % 60} {task.minute // 60} * * *"})}
            for task in tasks
        }
        self.schedules["ensemble"] |= {"task": digest}
        self.max_age, self.quorum = max_age, quorum
        self.builder.revise(iso(self.first)[:-1], self.schedules)

    def at(self, time: float, happens: Callable[[], None]) -> None:
        self._events.append((time, len(self._events), happens))

    def add_nights(self, nights: list[Night]) -> None:
        for day, night in enumerate(nights):
            for task in self.tasks:
                end = night.ends.get(task.name, "succeeded")
                if end == "missed":
                    continue
                slot = int(self.first // 60) + day * 1440 + task.minute
                began = slot * 60 + night.late.get(task.name, 4.0)
                run, lasts = RunId(slot, 1, "e", task.name), night.lasts.get(task.name, task.lasts)
                if task.name in night.restarted:
                    self._add_try(run, "a", began, 590, "interrupted")
                    self._add_try(run, "b", began + 710, lasts, end)
                else:
                    self._add_try(run, "a", began, lasts, end)

    def add_expected(self, days: int) -> None:
        """A run that succeeds in each slot of the tasks' schedules, which ``tasks`` may have of any kind."""
        until = self.first + days * 24 * HOUR
        history = HistoryReader(self.builder.store, "e", "UTC", until).history
        for task in self.tasks:
            for slot, _ in expected(history.schedule_periods[task.name], self.first, until):
                self._add_try(RunId(slot, 1, "e", task.name), "a", slot * 60 + 4, task.lasts, "succeeded")

    def _add_try(self, run: RunId, name: str, began: float, lasts: float, end: str) -> None:
        self.at(began, lambda: self._begin(run, name, began))
        self.at(began + lasts, lambda: self._end(run, name, began, began + lasts, end))

    def _begin(self, run: RunId, name: str, began: float) -> None:
        mark = {"schema": 1, "run": str(run), "try": name, "time": iso(began), "kind": "scheduled"}
        self.builder.store.begin_try(run, name, {**mark, "process": {"host": "elsewhere", "boot": "b", "pid": 1, "start": 1}})

    def _end(self, run: RunId, name: str, began: float, ended: float, end: str) -> None:
        store, folder = self.builder.store, self.builder.store.try_folder(run, name)
        record = {"schema": 1, "experiment": "e", "task": run.task, "run": str(run), "try": name, "kind": "scheduled"}
        record |= {"started": iso(began), "finished": iso(ended), "accuracy": 0.9}
        if end == "succeeded" and run.task == "ensemble":
            members = [self._choice(task.name.removeprefix("train-"), run) for task in self.tasks if task.name != "ensemble"]
            combined = [member["member"] for member in members if "run" in member]
            summary = {"members": {name: {"weight": 1.0, "accuracy_here": 0.85} for name in combined}}
            left_out = "; ".join(f"{member['member']}: {member['left_out']}" for member in members if "left_out" in member)
            record |= {"members": members, "ensemble": summary, **({"degraded": left_out} if left_out else {})}
            if len(combined) < self.quorum:
                end = "no quorum"
        if end == "succeeded":
            write_file(folder / c.RECORD, to_json(record))
            assert store.publish(run, name)
            self._models[run.task] = run
            return
        mark = {"schema": 1, "run_id": str(run), "try": name, "time": iso(ended), "status": end, "reason": "out of memory"}
        publish_bytes(folder / c.END, to_document(mark))

    def _choice(self, member: str, ensemble: RunId) -> dict[str, Any]:
        model = self._models.get(f"train-{member}")
        if model is None or (self.max_age is not None and (ensemble.minute - model.minute) * 60 > self.max_age):
            return {"member": member, "left_out": "its model is too old"}
        return {"member": member, "run": str(model), "accuracy": 0.9}

    def happen(self, until: float) -> None:
        """Everything up to an instant."""
        self._events.sort()
        while self._events and self._events[0][0] <= until:
            self._events.pop(0)[2]()

    def text(self, now: float) -> bytes:
        """What is scraped at an instant, when all up to then has happened."""
        self.happen(now)
        return metrics_text([read_metrics(HistoryReader(self.builder.store, "e", "UTC", now))])

    def scrapes(self, days: float, step: float) -> Iterator[tuple[float, dict[Series, float]]]:
        """Each time and the values that were scraped then."""
        now = self.first
        while now < self.first + days * 24 * HOUR:
            yield now, parse(self.text(now))
            now += step


def parse(text: bytes) -> dict[Series, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def unit_test_series(scrapes: list[dict[Series, float]]) -> list[dict[str, str]]:
    """The ``input_series`` of promtool's unit tests; what was not scraped at a time is absent then."""
    names = dict.fromkeys(series for values in scrapes for series in values)
    return [
        {
            "series": f"{name}{{{','.join(f'{key}={_quoted(value)}' for key, value in labels)}}}",
            "values": " ".join(_notation([values.get((name, labels)) for values in scrapes])),
        }
        for name, labels in names
    ]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _notation(values: list[float | None]) -> Iterator[str]:
    """Promtool's: ``_`` for nothing, ``VALUExN`` for one and N more of it."""
    n = 0
    while n < len(values):
        count = 1
        while n + count < len(values) and values[n + count] == values[n]:
            count += 1
        value = values[n]
        yield f"_x{count}" if value is None else f"{value!r}x{count - 1}"
        n += count
