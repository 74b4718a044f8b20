"""What was told of an experiment: events, and for each channel who delivers each of them. Standard library alone, Python 3.9.

An event is what somebody is to be told; its name follows from what it is about, and its file is an exclusive link: of those
who find the same, one writes it. Its delivery to a channel is claimed by an exclusive link before anything is sent, and the
claim is replaced by its result afterwards. The next try is the next number: it may be claimed when the last one has failed and
its time to wait is over, or when whoever made it is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract import SCHEMA, parse_time
from jobs.store.access import StoreFiles
from jobs.store.document_files import NOTIFICATIONS
from jobs.store.files import to_document
from jobs.store.process_identity import is_alive

EVENTS, CHANNELS = "events", "channels"
MARK, ALERTS, LOOK, RESERVE = "mark.json", "alerts.json", "look.json", "reserve"
"""Since when anything is told; which alerts a channel was told of; the last look; bytes that are kept free for a full store."""
EVENT_NAME = re.compile(r"[a-z]{2,20}-[0-9a-f]{16}")
"""What an event's name looks like."""
DELIVERY_FILE = re.compile(r"([a-z]{2,20}-[0-9a-f]{16})\.([1-9][0-9]{0,5})\.json")
KEPT = 100 * 86400.0
"""Seconds for which what was told and is over is kept: nobody looks further back."""
ABANDONED = 300.0
"""Seconds after which a claim without a result is taken over: no delivery takes as long."""
SENT, FAILED, GIVEN_UP = "sent", "failed", "given up"
"""Results of a delivery. One that failed is tried again; the others are final."""


@dataclass(frozen=True)
class Delivery:
    """The last try to deliver an event to a channel: its number, and what its file says."""

    event: str
    number: int
    document: Mapping[str, Any]

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be sent any more."""
        return self.document.get("result") in (SENT, GIVEN_UP)

    def may_be_claimed(self, now: float) -> bool:
        """Whether the next try may begin: this one has failed and its time to wait is over, or whoever made it is gone."""
        if self.is_done:
            return False
        if self.document.get("result") == FAILED:
            return now >= (parse_time(self.document.get("again")) or 0.0)
        if is_alive(dict(self.document.get("process") or {})) is False:
            return True
        return now - (parse_time(self.document.get("time")) or 0.0) > ABANDONED


class NotificationLedger:
    """What a store holds of the notifications of one experiment; all of it raises OSError for a store out of reach."""

    def __init__(self, files: StoreFiles, experiment: str) -> None:
        self._files, self.experiment = files, experiment
        self.folder = files.root / "experiments" / experiment / NOTIFICATIONS

    # -- events

    def event_file(self, event: str) -> Path:
        """The file of the event of that name."""
        return self.folder / EVENTS / f"{event}.json"

    def add_event(self, document: Mapping[str, Any]) -> bool:
        """Write an event, ``id`` and what else it says; False if it is there already."""
        path = self.event_file(str(document["id"]))
        return self._files.publish(path, to_document({"schema": SCHEMA, "experiment": self.experiment, **document}))

    def events(self) -> list[dict[str, Any]]:
        """Every event that can be read, in the order of their times."""
        folder = self.folder / EVENTS
        documents = (
            self._files.read_document(folder / name) for name in self._files.list_names(folder) if name.endswith(".json")
        )
        return sorted(filter(None, documents), key=lambda event: (str(event.get("time")), str(event.get("id"))))

    # -- looks

    def begin(self, time: str, channel: str = "") -> float:
        """Since when anything is told, or told to a channel, in seconds since 1970: ``time`` (ISO 8601) if that is new."""
        path = (self.channel_folder(channel) if channel else self.folder) / MARK
        mark = self._files.read_document(path)
        if mark is None:
            data = to_document({"schema": SCHEMA, "experiment": self.experiment, "channel": channel or None, "time": time})
            if not self._files.publish(path, data) and self._files.read_document(path) is None:
                self._files.replace(path, data)  # a damaged one: what was told before stays told
            mark = self._files.read_document(path) or {}
        return parse_time(mark.get("time")) or parse_time(time) or 0.0

    def last_look(self) -> float | None:
        """When somebody last looked for what is to be told, in seconds since 1970; None if nobody has."""
        return parse_time((self._files.read_document(self.folder / LOOK) or {}).get("time"))

    def record_look(self, time: str) -> None:
        """Write that everything up to a time (ISO 8601) was looked at."""
        self._files.replace(self.folder / LOOK, to_document({"schema": SCHEMA, "experiment": self.experiment, "time": time}))

    # -- channels

    def channel_folder(self, channel: str) -> Path:
        """The folder of a channel's deliveries."""
        return self.folder / CHANNELS / channel

    def deliveries(self, channel: str) -> dict[str, Delivery]:
        """By event the last try to deliver it. One whose file cannot be read may have been sent: it counts as sent."""
        last: dict[str, int] = {}
        for event, number in self._delivery_numbers(channel):
            last[event] = max(last.get(event, 0), number)
        return {
            event: Delivery(
                event, number, self._files.read_document(self.delivery_file(channel, event, number)) or {"result": SENT}
            )
            for event, number in last.items()
        }

    def delivery_file(self, channel: str, event: str, number: int) -> Path:
        """The file of the n-th try to deliver an event to a channel."""
        return self.channel_folder(channel) / f"{event}.{number}.json"

    def claim(self, channel: str, event: str, number: int, document: Mapping[str, Any]) -> bool:
        """Claim the n-th try to deliver an event; of several who try, one gets True."""
        return self._files.publish(self.delivery_file(channel, event, number), self._delivery(channel, event, document))

    def finish(self, channel: str, event: str, number: int, document: Mapping[str, Any]) -> None:
        """Write what became of a try that this process has claimed."""
        self._files.replace(self.delivery_file(channel, event, number), self._delivery(channel, event, document))

    def _delivery(self, channel: str, event: str, document: Mapping[str, Any]) -> bytes:
        return to_document({"schema": SCHEMA, "experiment": self.experiment, "channel": channel, "event": event, **document})

    # -- what a channel that keeps alerts has

    def alerts(self, channel: str) -> dict[str, Any]:
        """The alerts that the channel was last told of, by event (``alerts``), and when (``time``)."""
        return self._files.read_document(self.channel_folder(channel) / ALERTS) or {}

    def record_alerts(self, channel: str, document: Mapping[str, Any]) -> None:
        """Write which alerts the channel was told of."""
        data = to_document({"schema": SCHEMA, "experiment": self.experiment, "channel": channel, **document})
        self._files.replace(self.channel_folder(channel) / ALERTS, data)

    # -- what may be removed

    def removable(self, now: float) -> Iterator[Path]:
        """What nobody needs any more at ``now`` (seconds since 1970), in the order in which it may go.

        Of the tries of a delivery all but the last, after a day; and of what is over as a whole (all was well again after it) and
        was found long before the last look, the events, and then their deliveries.
        """
        deliveries = [(channel, *delivery) for channel in self._channels() for delivery in self._delivery_numbers(channel)]
        last = {(channel, event): number for channel, event, number in sorted(deliveries)}
        before = min(now, self.last_look() or 0.0) - KEPT
        events = self.events()
        over = [event for event in events if event.get("type") == "well" and (parse_time(event.get("time")) or now) < before]
        incidents = {str(incident) for event in over for incident in event.get("incidents") or ()}
        own = [event for event in events if str((event.get("incident") or {}).get("id")) in incidents]
        # In this order: what has ended must not look as if it went on, nor as if nobody had been told that it ended.
        gone = [str(event["id"]) for kind in ("opened", "resolved") for event in own if event["type"] == kind]
        gone += [str(event["id"]) for event in over]
        yield from (self.event_file(event) for event in gone)
        for channel, event, number in sorted(deliveries):
            path = self.delivery_file(channel, event, number)
            if event in gone or (number < last[channel, event] and self._is_old(path, now - 86400)):
                yield path

    def _is_old(self, path: Path, before: float) -> bool:
        return (parse_time((self._files.read_document(path) or {}).get("time")) or 0.0) < before

    def _channels(self) -> list[str]:
        return self._files.list_names(self.folder / CHANNELS)

    def _delivery_numbers(self, channel: str) -> Iterator[tuple[str, int]]:
        for match in map(DELIVERY_FILE.fullmatch, self._files.list_names(self.channel_folder(channel))):
            if match is not None:
                yield match[1], int(match[2])
