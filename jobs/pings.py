"""Pings: how a scheduled run tells a server of Healthchecks that it began and how it ended. Standard library alone, Python 3.9.

A ping never fails or holds a run: it is sent by a thread of its own, tried twice, and waited for only so long. What kept it from
its server is said in words that hold no key: whoever has that can send pings in the run's name.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT = 5.0
"""Seconds for which a server may be silent."""
PATIENCE = 10.0
"""Seconds that the end of a step waits for all of its pings."""
LARGEST_BODY = 10_000
"""Bytes of a ping's text, which is what a server keeps by default: it cuts the end, which says how the run ended."""
_PAUSE = 1.0
_KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Signal:
    """What a ping says: the end of the address that it is sent to."""

    START = "/start"
    SUCCESS = ""
    FAIL = "/fail"
    LOG = "/log"
    """Something is noted, and the check stays as it is: a try has failed, and another follows."""


def check_slug(experiment: str, task: str) -> str:
    """What the addresses of a task's pings end with, and its check is named."""
    return f"{experiment}-{task}"


def key_problem(key: str | None) -> str:
    """Why a ping key cannot be one, as words that do not hold it; empty if it can."""
    if not key:
        return "there is no ping key"
    return (
        ""
        if _KEY.fullmatch(key)
        else "the ping key has characters that no key has: is it a whole address, or does a line end with it?"
    )


def ping_id(run: object) -> str:
    """The id that ties the pings of a run together: the server matches its end with its beginning.

    One for all tries: a beginning that was lost would else leave the one before it open.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cronsemble:{run}"))


def body_of(text: str, lines: Iterable[str]) -> bytes:
    """A ping's text: one line about the run, and as much of the end of its log as fits behind it."""
    head = text.encode(errors="replace")[:2000]
    room = LARGEST_BODY - len(head) - 1
    tail = "\n".join(lines).encode(errors="replace")
    if len(tail) > room:
        tail = tail[-room:]
        # From the beginning of a line, and of a character.
        tail = tail[tail.find(b"\n") + 1 :] if b"\n" in tail else tail.decode(errors="ignore").encode()
    return head + (b"\n" + tail if tail else b"")


class Pings:
    """Sends a run's pings to one check, in order, by a thread of its own.

    ``url`` is the address below which the key and the check's slug lie; ``env`` has the variables of proxies; ``say`` is given a
    line for each ping that did not arrive, by whoever calls `finish`; ``before`` is called by the thread before it sends any.
    """

    def __init__(
        self,
        url: str,
        key: str,
        slug: str,
        run: object,
        say: Callable[[str], None],
        env: Mapping[str, str],
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self._before = before
        self._address = f"{url}/{quote(key)}/{slug}"
        self._query, self._say, self._env = f"?rid={ping_id(run)}", say, env
        self._host = urlsplit(url).netloc
        self._waiting: list[tuple[str, bytes]] = []
        self._problems: list[str] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, signal: str, body: bytes = b"") -> None:
        """Send a ping; returns at once."""
        with self._lock:
            self._waiting.append((signal, body))
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, daemon=True)
                self._thread.start()

    def finish(self, patience: float = PATIENCE) -> None:
        """Wait for the pings, at most so many seconds, and say which did not arrive."""
        thread = self._thread
        if thread is not None:
            thread.join(patience)
        with self._lock:
            lost = [signal for signal, _ in self._waiting] if thread is not None and thread.is_alive() else []
            problems, self._problems, self._waiting = self._problems, [], []
        problems += [f"{_name(signal)}: no answer within {patience:g} s" for signal in lost]
        for problem in problems:
            self._say(f"heartbeat: {self._host} has not got the ping of the {problem}")

    def _send_all(self) -> None:
        self._before()
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                signal, body = self._waiting[0]
            problem = post(f"{self._address}{signal}{self._query}", body, self._env)
            if problem and not problem.is_final:
                time.sleep(_PAUSE)
                problem = post(f"{self._address}{signal}{self._query}", body, self._env)
            with self._lock:
                if self._waiting and self._waiting[0] == (signal, body):
                    self._waiting.pop(0)
                if problem:
                    self._problems.append(f"{_name(signal)}: {problem.text}")


class Problem:
    """What kept a request from its server: ``text`` holds no address; ``is_final``: asking again would be answered the same.

    ``code``: the HTTP status of its answer; 0 without one.
    """

    def __init__(self, text: str, is_final: bool = False, code: int = 0) -> None:
        self.text, self.is_final, self.code = text, is_final, code


def post(address: str, body: bytes, env: Mapping[str, str]) -> Problem | None:
    """Send a text to an address; None once the server has taken it."""
    import urllib.error  # late, all: a run without a heartbeat needs none of it
    import urllib.request

    class _NoRedirect(urllib.request.HTTPRedirectHandler):
        """A key is sent nowhere but where it was said to be."""

        def redirect_request(self, *_: Any) -> None:
            """None: the answer stays what it is."""

    request = urllib.request.Request(address, data=body, method="POST")
    request.add_header("Content-Type", "text/plain; charset=utf-8")
    request.add_header("User-Agent", "cronsemble")
    try:
        opener = urllib.request.build_opener(_NoRedirect, proxies(env, urlsplit(address).hostname or ""))
        with opener.open(request, timeout=TIMEOUT) as answer:
            answer.read(1000)
    except urllib.error.HTTPError as error:
        error.close()
        return Problem(_answer(error.code), error.code != 429 and error.code < 500)
    except Exception as error:  # whatever a server, a proxy or a resolver does: a ping fails no run
        return Problem(reason_of(error))
    return None


def proxies(env: Mapping[str, str], host: str) -> Any:
    """A handler for the proxies that variables name, unless they except the host."""
    import urllib.request

    named = {scheme: env.get(f"{scheme}_proxy") or env.get(f"{scheme.upper()}_PROXY", "") for scheme in ("http", "https")}
    excepted = (env.get("no_proxy") or env.get("NO_PROXY", "")).replace(" ", "").split(",")
    is_excepted = "*" in excepted or any(
        name and (host == name.lstrip(".") or host.endswith("." + name.lstrip("."))) for name in excepted
    )
    return urllib.request.ProxyHandler({} if is_excepted else {scheme: proxy for scheme, proxy in named.items() if proxy})


def reason_of(error: BaseException) -> str:
    """Why a request failed, in words that hold no part of its address."""
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, BaseException) else error
    if isinstance(cause, TimeoutError) or "timed out" in str(reason):
        return f"no answer within {TIMEOUT:g} s"
    verification = getattr(cause, "verify_message", None)
    if verification:
        return f"its certificate is refused: {verification}"
    if isinstance(cause, OSError) and cause.strerror:
        return str(cause.strerror)
    return type(cause).__name__


def _answer(code: int) -> str:
    known = {
        404: "it knows no such check, or another ping key (404): `cronsemble sync` makes checks",
        409: "several checks have this slug (409): remove all but one",
        429: "too many requests (429)",
    }
    if 300 <= code < 400:
        return f"it refers to another address ({code}), to which no key is sent: name that one"
    return known.get(code, f"it answers {code}")


def _name(signal: str) -> str:
    return {Signal.START: "start", Signal.SUCCESS: "success", Signal.FAIL: "failure", Signal.LOG: "failed try"}[signal]
