"""The Management API of a Healthchecks server, version 3. Its key is in no address, and in no message."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cronjobs.experiment import API_KEY_VARIABLE
from jobs.pings import Problem, Signal, post, proxies, reason_of
from jobs.text import one_line
from scheduler.errors import CronsembleError
from scheduler.heartbeat.checks import DESCRIPTION, TAG, ExistingCheck, Timing, experiment_tag, parse_check

API_KEY = API_KEY_VARIABLE
_TIMEOUT = 10.0
_TRIES = 3
_LONGEST_WAIT = 20.0
"""Seconds for which a server may ask to be left alone, between two tries."""
_LARGEST_ANSWER = 20_000_000


class HeartbeatError(CronsembleError):
    """A server of Healthchecks cannot be asked, or refuses what it is asked."""


class ScheduleRefusedError(HeartbeatError):
    """The server does not understand a schedule: one before 3.1 knows no OnCalendar."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is sent nowhere but where it was said to be."""

    def redirect_request(self, *_: Any) -> None:
        """None: the answer stays what it is."""


class HeartbeatApi:
    """The checks of one project. Its methods raise HeartbeatError, those that give a timing ScheduleRefusedError too."""

    def __init__(
        self, server: str, ping_url: str, key: str, env: Mapping[str, str], sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.server = server
        self._ping_url, self._key, self._env, self._sleep = ping_url, key, env, sleep
        if not key.isascii() or not key.isprintable() or " " in key:
            raise HeartbeatError(f"{API_KEY} has characters that no key has: does a line end with it?")

    def checks(self) -> list[ExistingCheck]:
        """All checks of the project."""
        answer = self._ask("GET", "")
        try:
            return [parse_check(check) for check in answer["checks"]]
        except (KeyError, TypeError, ValueError) as error:
            hint = "is the key one that may only read?" if isinstance(error, KeyError) else "is this a server of Healthchecks?"
            raise HeartbeatError(f"{self.server}: its list of checks has not what one has: {hint}") from error

    def create(self, experiment: str, slug: str, timing: Timing) -> ExistingCheck:
        """Make a check, or take the one that somebody has made of that name meanwhile."""
        body = {
            "name": slug,
            "slug": slug,
            "desc": DESCRIPTION,
            "tags": f"{TAG} {experiment_tag(experiment)}",
            # Whoever is told of anything in the project is told of this; later it is the user's choice.
            "channels": "*",
            "unique": ["name"],
        }
        return self._check(self._ask("POST", "", body | _timing(timing)))

    def change(self, check: ExistingCheck, timing: Timing) -> None:
        """Give a check another timing."""
        self._ask("POST", check.uuid, _timing(timing))

    def pause(self, check: ExistingCheck) -> None:
        """Have a check expect nothing, whatever pings it gets."""
        if not check.resumes_by_hand:
            self._ask("POST", check.uuid, {"manual_resume": True})
        self._ask("POST", f"{check.uuid}/pause", {})

    def resume(self, check: ExistingCheck) -> None:
        """Have a check expect pings again, once it has had one."""
        self._ask("POST", f"{check.uuid}/resume", {})

    def remove(self, check: ExistingCheck) -> None:
        """Remove a check with all that it has had."""
        self._ask("DELETE", check.uuid)

    def arm(self, check: ExistingCheck) -> None:
        """Send a check a ping, from which on it expects the next: a new one expects none."""
        text = b"cronsemble expects the runs of this task from now on"
        problem = post(f"{self._ping_url}/{check.uuid}{Signal.SUCCESS}", text, self._env)
        if problem is not None:
            host = urlsplit(self._ping_url).netloc
            raise HeartbeatError(f"check {check.slug} expects no runs yet: {host} has not got its first ping: {problem.text}")

    def _check(self, answer: Any) -> ExistingCheck:
        try:
            return parse_check(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise HeartbeatError(f"{self.server}: its answer is no check: is this a server of Healthchecks?") from error

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        for number in range(1, _TRIES + 1):
            answer, problem, wait = self._try(method, path, body)
            if problem is None:
                return answer
            if problem.is_final or number == _TRIES:
                is_schedule = problem.code == 400 and "schedule" in (body or ()) and "schedule" in problem.text
                raise (ScheduleRefusedError if is_schedule else HeartbeatError)(f"{self.server}: {problem.text}")
            self._sleep(min(wait or float(number), _LONGEST_WAIT))
        raise AssertionError

    def _try(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[Any, Problem | None, float]:
        """The answer; else what is wrong, and for how many seconds the server asks to be left alone."""
        address = f"{self.server}/api/v3/checks/{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data=data, method=method)
        request.add_header("X-Api-Key", self._key)
        request.add_header("Content-Type", "application/json")
        request.add_header("User-Agent", "cronsemble")
        try:
            opener = urllib.request.build_opener(_NoRedirect, proxies(self._env, urlsplit(address).hostname or ""))
            with opener.open(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read(_LARGEST_ANSWER)), None, 0.0
        except urllib.error.HTTPError as error:
            with error:
                retry_after = error.headers.get("Retry-After") or ""
                is_final = error.code != 429 and error.code < 500
                problem = Problem(_refusal(error.code, _message(error)), is_final, error.code)
            return None, problem, float(retry_after) if retry_after.isdigit() else 0.0
        except ValueError:
            return None, Problem("its answer is no JSON: is this a server of Healthchecks?", True), 0.0
        except Exception as error:  # whatever a server, a proxy or a resolver does
            return None, Problem(reason_of(error)), 0.0


def _timing(timing: Timing) -> dict[str, Any]:
    """A timing as the API takes it. Paused, a check stays so until it is resumed: the end of a run that went on resumes none."""
    when = {"timeout": timing.timeout} if timing.schedule is None else {"schedule": timing.schedule, "tz": timing.timezone}
    return {**when, "grace": timing.grace, "manual_resume": True}


def _message(error: urllib.error.HTTPError) -> str:
    try:
        answer = json.loads(error.read(10_000))
        return one_line(str(answer["error"]), 200)
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _refusal(code: int, message: str) -> str:
    known = {
        401: f"it does not know the API key in {API_KEY}, or it may only read (401)",
        403: "it refuses (403): is the API key another project's, or has the project as many checks as it may have?",
        404: "it has no Management API of version 3 there (404): is `heartbeat.server` its address?",
        429: "too many requests (429)",
    }
    if 300 <= code < 400:
        return f"it refers to another address ({code}), to which no key is sent: name that one"
    return known.get(code, f"it answers {code}") + (f": {message}" if message else "")
