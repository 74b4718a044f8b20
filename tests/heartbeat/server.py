"""A stand-in for a server of Healthchecks, which is in no package index: what it does follows the rules of its source.

It takes pings by slug and by id, has the Management API of version 3, and decides as Healthchecks does which checks are down:
with cronsim and oncalendar, the libraries that read its schedules, and a clock that a test sets.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from oncalendar import OnCalendar, OnCalendarError

PING_KEY, API_KEY, READ_ONLY_KEY = "ping-key-0123456789abcdef", "api-key-fedcba9876543210", "read-only-key-0123"


def is_cron(schedule: str) -> bool:
    """Whether the server reads a schedule as cron, else as OnCalendar."""
    return "\n" not in schedule.strip() and len(schedule.split()) == 5


def next_expected(schedule: str, timezone: str, after: float) -> float | None:
    """When the server expects the next ping after one; None for never."""
    local = datetime.fromtimestamp(after, UTC).astimezone(ZoneInfo(timezone))
    found = next(CronSim(schedule, local) if is_cron(schedule) else OnCalendar(schedule, local), None)
    return None if found is None else found.timestamp()


@dataclass
class Ping:
    kind: str
    time: float
    body: str
    rid: str


@dataclass
class Check:
    """A check, and the rules by which it is late or down."""

    name: str = ""
    slug: str = ""
    tags: str = ""
    desc: str = ""
    grace: int = 3600
    timeout: int = 86400
    schedule: str | None = None
    tz: str = "UTC"
    manual_resume: bool = False
    channels: str = ""
    code: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "new"
    last_ping: float | None = None
    last_start: float | None = None
    last_rid: str = ""
    pings: list[Ping] = field(default_factory=list)

    def grace_start(self, with_started: bool = True) -> float | None:
        starts = []
        if self.status == "up" and self.last_ping is not None:
            if self.schedule is None:
                starts.append(self.last_ping + self.timeout)
            else:
                expected = next_expected(self.schedule, self.tz, self.last_ping)
                starts += [] if expected is None else [expected]
        if with_started and self.last_start is not None and self.status != "down":
            starts.append(self.last_start)
        return min(starts, default=None)

    def goes_down_at(self) -> float | None:
        start = self.grace_start()
        return None if start is None else start + self.grace

    def shown_status(self, now: float) -> str:
        if self.last_start is not None and now >= self.last_start + self.grace:
            return "down"
        if self.status in ("new", "paused", "down"):
            return self.status
        start = self.grace_start(with_started=False)
        if start is None:
            return "up"
        return "down" if now >= start + self.grace else "grace" if now >= start else "up"

    def ping(self, kind: str, now: float, body: str, rid: str) -> None:
        if self.status == "paused" and self.manual_resume:
            kind = "ign"
        if kind == "start":
            self.last_start, self.last_rid = now, rid
        elif kind in ("success", "fail"):
            self.last_ping = now
            if kind == "fail" or rid in ("", self.last_rid):
                self.last_start = None
            self.status = "down" if kind == "fail" else "up"
        self.pings.append(Ping(kind, now, body, rid))

    def as_json(self, now: float, read_only: bool) -> dict[str, Any]:
        when = {"timeout": self.timeout} if self.schedule is None else {"schedule": self.schedule, "tz": self.tz}
        shown = {
            "name": self.name,
            "slug": self.slug,
            "tags": self.tags,
            "desc": self.desc,
            "grace": self.grace,
            "n_pings": len(self.pings),
            "status": self.shown_status(now),
            "started": self.last_start is not None,
            "manual_resume": self.manual_resume,
            "methods": "",
        }
        if read_only:
            return {**shown, "unique_key": self.code[:8], **when}
        return {**shown, "uuid": self.code, "update_url": f"/api/v3/checks/{self.code}", "channels": self.channels, **when}


class StandIn:
    """The server: its checks, its clock, what it was asked, and the alarms that it has given and taken back, with their times."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = lambda: datetime.now(UTC).timestamp()
        self.checks: list[Check] = []
        self.requests: list[tuple[str, str]] = []
        self.alarms: list[tuple[str, float]] = []
        self.recoveries: list[tuple[str, float]] = []
        self.answers: list[tuple[int, dict[str, str], str]] = []
        """What the next requests are answered with instead."""
        self.is_before_3_1 = False
        """Whether it reads cron alone."""
        self.delay = threading.Event()
        self.is_slow = False
        self.lock = threading.Lock()
        self.url = ""

    def of(self, slug: str) -> Check:
        (check,) = [check for check in self.checks if check.slug == slug]
        return check

    def look(self) -> None:
        """As its alerting process does, again and again: what is due to go down goes down, and somebody is told."""
        for check in self.checks:
            self.look_at(check)

    def look_at(self, check: Check) -> None:
        at = check.goes_down_at()
        if at is not None and self.now() >= at:
            check.status = "down"
            self.alarms.append((check.slug, self.now()))

    # -- requests

    def answer(self, method: str, path: str, query: dict[str, list[str]], key: str, body: bytes) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if parts[0] == "ping":
            return self._ping(parts[1:], query, body)
        if parts[:3] != ["api", "v3", "checks"]:
            return 404, "not found"
        if key not in (API_KEY, READ_ONLY_KEY) or (key == READ_ONLY_KEY and method != "GET"):
            return 401, {"error": "wrong api key"}
        rest = parts[3:]
        if not rest:
            if method == "GET":
                return 200, {"checks": [check.as_json(self.now(), key == READ_ONLY_KEY) for check in self.checks]}
            return self._write(None, json.loads(body))
        found = [check for check in self.checks if check.code == rest[0]]
        if not found:
            return 404, "not found"
        (check,) = found
        if method == "DELETE":
            self.checks.remove(check)
        elif rest[1:] == ["pause"]:
            check.status, check.last_start = "paused", None
        elif rest[1:] == ["resume"]:
            if check.status != "paused":
                return 409, "check is not paused"
            check.status, check.last_start, check.last_ping = "new", None, None
        elif method == "POST":
            return self._write(check, json.loads(body))
        return 200, check.as_json(self.now(), False)

    def _write(self, check: Check | None, spec: dict[str, Any]) -> tuple[int, Any]:
        for name, limit in (("name", 100), ("slug", 100), ("schedule", 100), ("tags", 500)):
            if len(spec.get(name, "")) > limit:
                return 400, {"error": f"json validation error: {name} is too long"}
        for name in ("timeout", "grace"):
            if name in spec and not 60 <= spec[name] <= 31_536_000:
                return 400, {"error": f"json validation error: {name} is too {'small' if spec[name] < 60 else 'large'}"}
        if "schedule" in spec:
            try:
                if self.is_before_3_1 or is_cron(spec["schedule"]):
                    next(CronSim(spec["schedule"], datetime(2000, 1, 1)))
                else:
                    next(OnCalendar(spec["schedule"], datetime(2000, 1, 1, tzinfo=UTC)))
            except (CronSimError, OnCalendarError, StopIteration):
                known = "cron" if self.is_before_3_1 else "cron or OnCalendar"
                return 400, {"error": f"json validation error: schedule is not a valid {known} expression"}
        created = False
        if check is None:
            unique = spec.get("unique", [])
            same = [each for each in self.checks if unique and all(getattr(each, name) == spec[name] for name in unique)]
            created = not same
            check = same[0] if same else Check()
            self.checks += [] if same else [check]
        for name in ("name", "slug", "tags", "desc", "grace", "tz", "manual_resume", "channels"):
            setattr(check, name, spec.get(name, getattr(check, name)))
        if "schedule" in spec:
            check.schedule = spec["schedule"]
        elif "timeout" in spec:
            check.schedule, check.timeout = None, spec["timeout"]
        return 201 if created else 200, check.as_json(self.now(), False)

    def _ping(self, parts: list[str], query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        rid = query.get("rid", [""])[0]
        if rid:
            uuid.UUID(rid)
        if len(parts) == 1:
            found = [check for check in self.checks if check.code == parts[0]]
        else:
            found = [check for check in self.checks if parts[0] == PING_KEY and check.slug == parts[1]]
        if len(found) != 1:
            return (409, "ambiguous slug") if found else (404, "not found")
        kind, before = parts[2] if len(parts) > 2 else "success", found[0].status
        found[0].ping(kind, self.now(), body[:10_000].decode(errors="replace"), rid)
        if (before, found[0].status) == ("down", "up"):
            self.recoveries.append((found[0].slug, self.now()))
        if before != "down" and found[0].status == "down":
            self.alarms.append((found[0].slug, self.now()))
        return 200, "OK"


@contextmanager
def stand_in(address: str = "127.0.0.1") -> Iterator[StandIn]:
    """A server that listens until the end."""
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            if state.is_slow:
                state.delay.wait()
            with state.lock:
                state.requests.append((self.command, parts.path))
                headers: dict[str, str] = {}
                if state.answers:
                    code, headers, content = state.answers.pop(0)
                    answer: Any = content
                else:
                    code, answer = state.answer(
                        self.command, parts.path, parse_qs(parts.query), self.headers.get("X-Api-Key", ""), body
                    )
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            with suppress(ConnectionError):  # who asked may not wait any more
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    state.url = f"http://{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        state.delay.set()
        server.shutdown()
        thread.join()
        server.server_close()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def minutes(first: float, days: float) -> Iterator[float]:
    """Each minute of so many days."""
    for number in range(int(timedelta(days=days).total_seconds() // 60)):
        yield first + 60 * number
