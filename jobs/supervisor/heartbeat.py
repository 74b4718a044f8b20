"""What a scheduled run's supervisor tells a server of Healthchecks: that it began, and how it ended. Python 3.9."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from functools import partial

from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.pings import Pings, Signal, body_of, check_slug, key_problem
from jobs.store import Run
from jobs.store.log_files import last_lines
from jobs.store.tries import is_permanent
from jobs.supervisor.process_tree import hide_memory
from jobs.supervisor.run_context import RunContext, StepError, notice
from jobs.text import one_line

FIRST_STEP, LAST_STEPS = "prepare", ("train", "combine")
"""The step that begins a try's work, and those whose end is the run's."""
_LINES, _WIDTH = 200, 500
"""Lines of the log's end that are read for a ping, and the characters of each."""


@dataclass(frozen=True)
class PingAddress:
    """Where a pod's pings go, and the key that they need: no program of a step gets it."""

    url: str
    key: str


def take_address(env: MutableMapping[str, str]) -> PingAddress | None:
    """Take the address and the key out of the variables; None where there is no address."""
    url, key = env.pop(c.ENV_PING_URL, ""), env.pop(c.ENV_PING_KEY, "")
    if key:
        # It stays among the variables that the kernel shows of this process, and user code has the same user.
        hide_memory()
    return PingAddress(url, key) if url else None


class StepPings:
    """The pings of one step; nothing is sent without an address, and by runs that no schedule started."""

    def __init__(self, context: RunContext, address: PingAddress | None) -> None:
        self._context = context
        self._pings: Pings | None = None
        self._problem = ""
        if address is None or context.env.get(c.ENV_KIND, RunKind.SCHEDULED) != RunKind.SCHEDULED:
            return
        self._problem = key_problem(address.key)
        if not self._problem:
            run = context.run
            # Proxies are named in the task's `env`, for the steps' programs.
            env = {**context.env, **context.task.get("env", {})}
            self._pings = Pings(address.url, address.key, check_slug(run.experiment, run.task), run, self._say, env)

    def began(self, step: str) -> None:
        """Say that the run has begun, by its first step."""
        if step == FIRST_STEP:
            self._guard(self._began)

    def succeeded(self, step: str) -> None:
        """Say that the run has its result, by its last step."""
        if step in LAST_STEPS:
            self._guard(self._succeeded)

    def failed(self, step: str, error: StepError) -> None:
        """Say that a try has failed: as the run's failure, unless another try follows."""
        if error.status != c.SUPERSEDED:
            self._guard(partial(self._failed, step, error))

    def _guard(self, send: Callable[[], None]) -> None:
        # A bug in it fails no run.
        try:
            send()
        except Exception as error:
            print(f"cronsemble: heartbeat: {type(error).__name__} (a bug in cronsemble)", flush=True)

    def _began(self) -> None:
        if self._problem:
            self._say(f"heartbeat: no pings are sent: {self._problem}")
        if self._pings is not None:
            self._pings.send(Signal.START)

    def _succeeded(self) -> None:
        if self._pings is None:
            return
        run = self._read()
        text = f"{self._context.run} {Status.SUCCEEDED}"
        if run is not None:
            text = f"{run.id} {Status.REFUSED if run.refused else run.outcome}"
            text += "" if run.accuracy is None else f", accuracy {run.accuracy:.4f}"
            text += "".join(f": {reason}" for reason in (run.refused, run.degraded) if reason)
        self._pings.send(Signal.SUCCESS, body_of(one_line(text), self._log(run)))

    def _failed(self, step: str, error: StepError) -> None:
        if self._pings is None:
            return
        run = self._read()
        end = {"end": {"code": error.code, "status": error.status}}
        is_last = is_permanent(end) or run is None or not run.has_tries_left(self._retries())
        text = f"{self._context.run} {error.status}: {step}: {error}"
        self._pings.send(Signal.FAIL if is_last else Signal.LOG, body_of(one_line(text), self._log(None)))

    def finish(self) -> None:
        """Wait for the pings for a while, and say which did not arrive."""
        if self._pings is not None:
            self._guard(self._pings.finish)

    def _retries(self) -> int:
        retries = self._context.env.get(c.ENV_RETRIES, "")
        return int(retries) if retries.isdigit() else 0

    def _read(self) -> Run | None:
        try:
            return self._context.store.read(self._context.run)
        except OSError:
            return None

    def _log(self, run: Run | None) -> list[str]:
        folder = self._context.folder if run is None or not run.record else run.folder / c.RESULT
        try:
            lines = last_lines(folder, _LINES, _WIDTH)
        except OSError:
            return []
        return [one_line(line) for line in lines]

    def _say(self, text: str) -> None:
        """Print a line, and write it to the try's log where that can be: the run goes on, or has ended, whatever it says."""
        try:
            if self._context.folder.is_dir():
                notice(self._context, text)
                return
        except OSError:
            pass
        print(f"cronsemble: {text}", flush=True)
