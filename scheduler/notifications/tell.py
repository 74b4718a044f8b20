"""Tells what is new: looks, writes events down, and delivers to each channel what it was not told yet, each once.

Whoever tells calls :class:`Teller` again and again, `serve` after each slot and every minute, a watch task or `cronsemble
notify` once. All that it remembers is in the store, so that two of them, a restart or a kill double nothing and lose nothing:
an event is claimed for a channel before it is sent, and the claim of a process that is gone is taken over. Between a receiver's
taking a message and the note that says so lies a moment in which a kill makes the next one send it again, with the same id.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from cronjobs.notify import Channel, Notify
from jobs.contract import parse_time
from jobs.store import LocalStore, Store
from jobs.store.files import publish_bytes
from jobs.store.notifications import FAILED, GIVEN_UP, RESERVE, SENT, Delivery, NotificationLedger
from jobs.store.process_identity import process_identity
from jobs.text import one_line
from scheduler.errors import CronsembleError
from scheduler.history.slots import LocalClock
from scheduler.notifications import incidents
from scheduler.notifications.channels.alertmanager import AGAIN, HOLDS, alert, post_alerts
from scheduler.notifications.channels.errors import DeliveryError
from scheduler.notifications.channels.send import send
from scheduler.notifications.events import OPENED, RESOLVED, WELL, Surroundings, known_incidents, new_events
from scheduler.notifications.incidents import GONE, Fact, ProblemKind, cause_in_store
from scheduler.notifications.look import View, view
from scheduler.notifications.messages import Message, Sender, message, messages
from scheduler.notifications.unwritten import UnwrittenTroubles, is_turn
from scheduler.times import format_duration, format_time

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds after a delivery that failed until it is tried again: at first, and at most; doubled each time between them."""
GIVES_UP = 3 * 86400.0
"""Seconds after which a message that is never taken is given up."""
_RESERVED = 65536
"""Bytes that are kept free for what a full store has to say."""
_SHORTAGE = 4 * _RESERVED
"""Free bytes with which a store counts as full."""
_TOLD_AGAIN = (
    "nobody can write down that this was told: while it lasts it is told again after an hour, after six, and then once a day, "
    "and its end is not told"
)
_DEFAULT_EVENTS: Mapping[str, Collection[str]] = {
    "webhook": (*(str(kind) for kind in ProblemKind), RESOLVED, WELL),
    "command": (*(str(kind) for kind in ProblemKind), RESOLVED, WELL),
}
_PEOPLES_EVENTS = (*(str(kind) for kind in ProblemKind), WELL)
"""What people are told: that all is well again says that each of them has ended."""

Say = Callable[[str, str], None]
"""Called with an event's name for programs and a line for people."""


@dataclass(frozen=True)
class TellResult:
    """What a call did: ``sent`` and ``failed`` are lines on messages; at ``again`` (seconds since 1970) there is more to do."""

    events: Sequence[Mapping[str, Any]] = ()
    sent: Sequence[str] = ()
    failed: Sequence[str] = ()
    again: float = inf
    trouble: str = ""
    """Why the store could not be looked at, or what was found not be written down."""


def is_wanted(channel: Channel, event: Mapping[str, Any]) -> bool:
    """Whether a channel is told of an event."""
    kind = str(event.get("type"))
    kind = str((event.get("incident") or {}).get("kind")) if kind == OPENED else kind
    return kind in (channel.events or _DEFAULT_EVENTS.get(channel.kind, _PEOPLES_EVENTS))


class Teller:
    """Tells the channels of one experiment what is new in its store.

    ``settings``: the channels. ``environment``: has their secrets. ``say`` is called with what a journal should have.
    ``folder`` is where commands run, ``place`` what names the experiment in a command line (``-f FILE``). What a store that
    cannot be written this object remembers, and the file ``memory`` for others of this machine; where each look is another pod
    there is none, and ``looks`` says of an instant when the look before it and its own were.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        timezone: str,
        settings: Notify,
        environment: Mapping[str, str],
        say: Say = lambda event, text: None,
        folder: Path | None = None,
        place: str = "",
        memory: Path | None = None,
        looks: Callable[[float], tuple[float, float] | None] | None = None,
    ) -> None:
        self.store, self.experiment, self.timezone, self.settings = store, experiment, timezone, settings
        self._environment, self._say, self._folder, self._place = environment, say, folder, place
        self.ledger = NotificationLedger(store.files, experiment)
        self.sender = Sender(experiment, timezone, settings.link)
        self._unwritten = UnwrittenTroubles(memory)
        self._looks = looks
        self._posted_unwritten: dict[str, float] = {}
        """By channel that has alerts when they were last posted while the store could not be written."""
        self._unfinished: list[tuple[str, str, int, dict[str, Any]]] = []
        """What became of deliveries, that could not be written yet: channel, event, number and document."""

    def tell(self, now: float, facts: Sequence[Fact] = (), judged: Collection[ProblemKind] = ()) -> TellResult:
        """Look, and tell what is new at ``now`` (seconds since 1970).

        ``facts``: what whoever calls has seen to be wrong beside the slots; ``judged``: the kinds of it that it would have seen.
        Never raises for a store or a receiver that fails: that is said, and tried again by the next call. Raises CronsembleError
        where this machine does not reach a store elsewhere, which is the trouble of nobody else.
        """
        try:
            return self._tell(now, facts, judged)
        except (OSError, CronsembleError) as error:
            first = error
        if not isinstance(first, OSError) and self._is_ours_alone(first):
            raise first
        if isinstance(first, OSError) and cause_in_store(str(first)) == incidents.FULL and self._free_reserve():
            try:
                return self._tell(now, _with(facts, self._seen(incidents.FULL, now, str(first.strerror))), judged)
            except (OSError, CronsembleError) as error:
                first = error
        return self._tell_unwritten(now, first, facts)

    def look(self, now: float, facts: Sequence[Fact] = (), judged: Collection[ProblemKind] = ()) -> list[dict[str, Any]]:
        """The events that are new, without writing or telling anything. Raises OSError, CronsembleError."""
        events = self.ledger.events()
        found, _ = self._new_events(events, now, facts, judged, None)
        return found

    def open_events(self) -> list[dict[str, Any]]:
        """The events of what is wrong now, as far as somebody has looked."""
        return _open_events(self.ledger.events())

    # -- with the store

    def _tell(self, now: float, facts: Sequence[Fact], judged: Collection[ProblemKind]) -> TellResult:
        time = format_time(now, milliseconds=True)
        self._write_unfinished()
        mark = self.ledger.begin(time)
        marks = {channel.name: self.ledger.begin(time, channel.name) for channel in self.settings.channels}
        events = self.ledger.events()
        # What was told while the store could not be written is an event that was told.
        for fact in (*self._unwritten.facts.values(), *self._shortage(now)):
            facts = _with(facts, fact)
        new, _ = self._new_events(events, now, facts, judged, mark)
        for event in new:
            self.ledger.add_event(event)
        events = [*events, *(event for event in new if event["id"] not in {known["id"] for known in events})]
        self.ledger.record_look(time)
        was_unwritten = bool(self._unwritten.facts)
        self._unwritten.written()
        sent: list[str] = []
        failed: list[str] = []
        again = now if was_unwritten else inf
        for channel in self.settings.channels:
            deliver = self._post_alerts if channel.kind == "alertmanager" else self._deliver
            again = min(again, deliver(channel, events, marks[channel.name], now, sent, failed))
        self._keep_reserve()
        return TellResult(new, sent, failed, again)

    def _new_events(
        self,
        events: Sequence[Mapping[str, Any]],
        now: float,
        facts: Sequence[Fact],
        judged: Collection[ProblemKind],
        mark: float | None,
    ) -> tuple[list[dict[str, Any]], View]:
        last_look = self.ledger.last_look()
        found = view(self.store, self.experiment, self.timezone, now, last_look, facts, judged, self._place)
        outlook = incidents.look(found.situation, known_incidents(events))
        # What was over before anybody was told anything is nobody's business.
        mark = self._mark() if mark is None else mark
        over = {
            each.id for each in outlook.opened if each.ended is not None and each.ended * 60 <= (now if mark is None else mark)
        }
        outlook = incidents.Outlook(
            [each for each in outlook.opened if each.id not in over],
            [each for each in outlook.resolved if each.id not in over],
            outlook.is_well,
        )
        present = {event["id"] for event in events}
        return [event for event in new_events(outlook, events, found.around) if event["id"] not in present], found

    def _mark(self) -> float | None:
        return parse_time((self.store.files.read_document(self.ledger.folder / "mark.json") or {}).get("time"))

    def _deliver(
        self,
        channel: Channel,
        events: Sequence[Mapping[str, Any]],
        mark: float,
        now: float,
        sent: list[str],
        failed: list[str],
    ) -> float:
        """Send what is left to a channel; when to do so again, in seconds since 1970."""
        deliveries = self.ledger.deliveries(channel.name)
        pending = [event for event in _told_since(events, mark) if is_wanted(channel, event)]
        pending = [event for event in pending if not _is_done(deliveries.get(str(event["id"])))]
        if not pending:
            return inf
        waits = [parse_time(last.document.get("again")) or 0.0 for last in _failed(pending, deliveries)]
        if waits and max(waits) > now:
            return max(waits)
        free = [event for event in pending if _is_free(deliveries.get(str(event["id"])), now)]
        again = inf if len(free) == len(pending) else now + FIRST_WAIT
        for group in messages(free, self.sender):
            own = [event for event in free if event["id"] in group.events]
            wait = self._send(channel, own, deliveries, now, sent, failed)
            if wait is not None:
                # The others wait: the receiver is down, and one message is enough to see when it is up again.
                return wait
        return again

    def _send(
        self,
        channel: Channel,
        events: Sequence[Mapping[str, Any]],
        deliveries: Mapping[str, Delivery],
        now: float,
        sent: list[str],
        failed: list[str],
    ) -> float | None:
        """Claim and send events as one message; when to try again if it was not taken."""
        claims: dict[str, tuple[int, dict[str, Any]]] = {}
        claimed: list[Mapping[str, Any]] = []
        for event in events:
            name = str(event["id"])
            last = deliveries.get(name)
            number = 1 if last is None else last.number + 1
            since = (last.document.get("since") if last is not None else None) or format_time(now, milliseconds=True)
            claim = {"time": format_time(now, milliseconds=True), "since": since, "process": process_identity()}
            if self.ledger.claim(channel.name, name, number, claim):
                claims[name] = (number, claim)
                claimed.append(event)
        if not claimed:
            return None
        one = message(claimed, self.sender)
        wait = None
        try:
            if self._unwritten.take(channel.name, {_problem(event) for event in claimed}):
                answer = "told while the store could not be written"
            else:
                answer = self._send_to(channel, one)
        except DeliveryError as error:
            tries = max(number for number, _ in claims.values())
            delay = max(min(FIRST_WAIT * 2.0 ** min(tries - 1, 10), LONGEST_WAIT), min(error.retry_after, LONGEST_WAIT))
            # Not since its first try: it may have waited for another message to be taken.
            began: float = min(parse_time(event.get("time")) or now for event in claimed)
            is_over = tries >= 2 and now - began >= GIVES_UP
            wait = None if is_over else now + delay
            end: dict[str, Any] = {"result": GIVEN_UP if is_over else FAILED, "reason": str(error), "message": one.id}
            end |= {} if wait is None else {"again": format_time(wait, milliseconds=True)}
            how = f"given up after {format_duration(now - began)}" if is_over else f"tried again in {format_duration(delay)}"
            line = f"{channel.name}: {one.subject}: {error}: {how}"
            failed.append(line)
            what = "given up" if is_over else "not sent"
        else:
            end = {"result": SENT, "answer": one_line(answer, 200), "message": one.id}
            line = f"{channel.name}: {one.subject}: {answer}"
            sent.append(line)
            what = "sent"
        self._unfinished += [(channel.name, name, number, {**claim, **end}) for name, (number, claim) in claims.items()]
        try:
            self._write_unfinished()
        finally:
            # Afterwards: whoever reads it may end this process, and nobody else sends it again.
            self._say(what, line)
        return wait

    def _write_unfinished(self) -> None:
        """Write what became of deliveries; raises OSError. What is not written is not sent again by this process."""
        while self._unfinished:
            self.ledger.finish(*self._unfinished[0])
            del self._unfinished[0]

    def _send_to(self, channel: Channel, one: Message) -> str:
        return send(channel, one, self._environment, self._folder, self.settings.withheld)

    def _post_alerts(
        self,
        channel: Channel,
        events: Sequence[Mapping[str, Any]],
        mark: float,
        now: float,
        sent: list[str],
        failed: list[str],
    ) -> float:
        """Have the alerts of an Alertmanager be what is wrong now; when to post them again, in seconds since 1970."""
        firing = {str(event["id"]): event for event in _open_events(events) if is_wanted(channel, event)}
        before = self.ledger.alerts(channel.name)
        known = {str(name) for name in before.get("alerts") or ()}
        posted: float = parse_time(before.get("time")) or 0.0
        waits: float | None = parse_time(before.get("again"))
        if waits is not None and now < waits:
            return waits
        if set(firing) == known and (not firing or 0 <= now - posted < AGAIN):
            return posted + AGAIN if firing else inf
        by_name = {str(event["id"]): event for event in events}
        over = [by_name[name] for name in sorted(known - set(firing)) if name in by_name]
        alerts = [alert(event, self.sender, now + HOLDS) for event in firing.values()]
        alerts += [alert(event, self.sender, now) for event in over]
        text = f"{channel.name}: {len(firing)} firing, {len(over)} over"
        try:
            answer = post_alerts(channel, alerts, self._environment) if alerts else "nothing to post"
        except DeliveryError as error:
            from scheduler.notifications.channels.secrets import hide

            reason = hide(str(error), channel.secrets(), self._environment)
            tries = int(before.get("failures") or 0) + 1
            wait = now + min(FIRST_WAIT * 2.0 ** min(tries - 1, 10), AGAIN)
            document = {**before, "failures": tries, "again": format_time(wait, milliseconds=True), "reason": reason}
            self.ledger.record_alerts(channel.name, document)
            failed.append(f"{text}: {reason}")
            if tries == 1:
                self._say("not sent", f"{text}: {reason}: tried again until it is taken")
            return wait
        self.ledger.record_alerts(channel.name, {"time": format_time(now, milliseconds=True), "alerts": sorted(firing)})
        if set(firing) != known:
            sent.append(f"{text}: {answer}")
            self._say("sent", f"{text}: {answer}")
        return now + AGAIN if firing else inf

    # -- without it

    def _tell_unwritten(self, now: float, error: Exception, facts: Sequence[Fact]) -> TellResult:
        """Tell that the store cannot be used, which nobody can write down: once for each cause, if somebody remembers that."""
        number = getattr(error, "errno", None)
        text = one_line(str(getattr(error, "strerror", None) or (os.strerror(number) if number else error)), 300)
        cause = cause_in_store(text) or GONE
        key = (str(ProblemKind.STORE), cause)
        last_look, told = self._last_look(), self._told_of(key)
        found = next((fact for fact in facts if (fact.kind, fact.cause) == key), None)
        fact = self._unwritten.first(found or self._seen(cause, now, text))
        opened = incidents.Outlook(
            [incidents.OpenedIncident(_fact_id(self.experiment, fact), "", fact.kind, cause, fact.minute, fact=fact)], [], False
        )
        around = Surroundings(LocalClock(self.timezone), now, place=self._place)
        (event,) = new_events(opened, (), around)
        if self._looks is not None:
            event["incident"]["still_works"] = [*event["incident"]["still_works"], _TOLD_AGAIN]
        one = message([event], self.sender)
        sent: list[str] = []
        failed: list[str] = []
        for channel in self.settings.channels:
            if not is_wanted(channel, event) or not self._is_turn(channel, key, now, last_look, told):
                continue
            try:
                if channel.kind == "alertmanager":
                    answer = post_alerts(channel, [alert(event, self.sender, now + HOLDS)], self._environment)
                    is_again = channel.name in self._posted_unwritten
                    self._posted_unwritten[channel.name] = now
                    if is_again:
                        continue
                else:
                    answer = self._send_to(channel, one)
            except DeliveryError as problem:
                failed.append(f"{channel.name}: {one.subject}: {problem}")
                continue
            self._unwritten.add(channel.name, key)
            sent.append(f"{channel.name}: {one.subject}: {answer}")
            self._say("sent", sent[-1])
        return TellResult([event], sent, failed, now + FIRST_WAIT, text)

    def _is_ours_alone(self, error: CronsembleError) -> bool:
        """Whether it is the way to a store elsewhere that failed, and not the store."""
        return not isinstance(self.store, LocalStore) and getattr(error, "errno", None) is None

    def _is_turn(
        self, channel: Channel, key: tuple[str, str], now: float, last_look: float | None, told: Collection[str]
    ) -> bool:
        """Whether a channel is told now of a trouble that nobody can write down."""
        if channel.kind == "alertmanager":
            # Whatever is posted again is the same alert there, and ends unless it is.
            return now - self._posted_unwritten.get(channel.name, 0.0) >= AGAIN
        if channel.name in told or self._unwritten.is_told(channel.name, key):
            return False
        return self._looks is None or is_turn(self._looks(now), last_look)

    def _told_of(self, key: tuple[str, str]) -> set[str]:
        """The channels that know of a trouble, as far as the store can be read."""
        told: set[str] = set()
        with suppress(OSError, CronsembleError):
            open_ids = {str(event["id"]) for event in _open_events(self.ledger.events()) if _problem(event) == key}
            for channel in self.settings.channels if open_ids else ():
                deliveries = self.ledger.deliveries(channel.name)
                if any(_is_done(deliveries.get(event)) for event in open_ids):
                    told.add(channel.name)
        return told

    def _shortage(self, now: float) -> list[Fact]:
        """That the store is full, as whoever looks can see before a write fails: less than the reserve fits is left."""
        if not isinstance(self.store, LocalStore):
            return []
        disk = os.statvfs(self.store.root)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and free <= _SHORTAGE:
            reason = f"No space left on device: {free // 1024} KiB are free"
        elif disk.f_files and not disk.f_favail:
            reason = "No space left on device: it has room for no more files"
        else:
            return []
        return [self._seen(incidents.FULL, now, reason)]

    def _last_look(self) -> float | None:
        with suppress(OSError, CronsembleError):
            return self.ledger.last_look()
        return None

    def _seen(self, cause: str, now: float, reason: str) -> Fact:
        """A trouble of the store, with one name for all who see it: it began after the last look that was written down."""
        last_look = self._last_look()
        return Fact(ProblemKind.STORE, cause, int((now if last_look is None else min(last_look, now)) // 60), reason)

    def _keep_reserve(self) -> None:
        """Keep some bytes of the store, which are given back when it is full: so that this can be written down."""
        path = self.ledger.folder / RESERVE
        with suppress(OSError):
            if isinstance(self.store, LocalStore) and not path.exists():
                disk = os.statvfs(path.parent)
                if disk.f_bavail * disk.f_frsize > _SHORTAGE:
                    publish_bytes(path, b"\0" * _RESERVED)

    def _free_reserve(self) -> bool:
        if not isinstance(self.store, LocalStore):
            return False
        try:
            (self.ledger.folder / RESERVE).unlink()
        except OSError:
            return False
        return True


def _with(facts: Sequence[Fact], fact: Fact) -> Sequence[Fact]:
    """The facts and this one, unless there is one like it."""
    return facts if any((fact.kind, fact.cause) == (other.kind, other.cause) for other in facts) else [*facts, fact]


def _fact_id(experiment: str, fact: Fact) -> str:
    return incidents.incident_id(experiment, "", fact.kind, fact.cause, fact.minute)


def _problem(event: Mapping[str, Any]) -> tuple[str, str]:
    """The kind and the cause of what an event is about."""
    incident = event.get("incident") or {}
    return (str(incident.get("kind")), str(incident.get("cause"))) if event.get("type") == OPENED else ("", str(event["id"]))


def _told_since(events: Sequence[Mapping[str, Any]], mark: float) -> list[Mapping[str, Any]]:
    """The events that a channel which began at ``mark`` is told of: later ones, and those of what was wrong then."""
    is_open = {event["incident"]["id"] for event in events if event.get("type") == OPENED and event.get("incident")}
    for event in events:
        if event.get("type") == RESOLVED and event.get("incident") and (parse_time(event.get("time")) or 0.0) < mark:
            is_open.discard(event["incident"]["id"])
    return [
        event
        for event in events
        if (parse_time(event.get("time")) or 0.0) >= mark
        or (event.get("type") == OPENED and (event.get("incident") or {}).get("id") in is_open)
    ]


def _open_events(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    still = {incident.id for incident in known_incidents(events) if incident.is_open}
    return [dict(event) for event in events if event.get("type") == OPENED and event["incident"]["id"] in still]


def _is_done(last: Delivery | None) -> bool:
    return last is not None and last.is_done


def _is_free(last: Delivery | None, now: float) -> bool:
    return last is None or last.may_be_claimed(now)


def _failed(events: Sequence[Mapping[str, Any]], deliveries: Mapping[str, Delivery]) -> list[Delivery]:
    last = [deliveries[str(event["id"])] for event in events if str(event["id"]) in deliveries]
    return [each for each in last if each.document.get("result") == FAILED]
