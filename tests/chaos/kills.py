"""Kills of the processes of `run` and `serve` at any moment: nothing runs twice, is half a result, or has no end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from random import Random
from typing import IO, Any

from chaos.commands import Commands, strict_json
from chaos.damages import history_rows
from chaos.kinds import Kind, Part
from chaos.stand_in import write_experiment
from commands import CLI
from scheduler.config import load
from scheduler.engines import local_revisions
from scheduler.engines.manual_run import store_context
from scheduler.server.journal import Journal
from scheduler.server.loop import ScheduleServer, ServerClock
from scheduler.server.metrics import Metrics

SIGNALS = ("SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
TARGETS = ("command", "command", "supervisor", "framework", "any")
BESIDE = (
    ["history"], ["history", "--json"], ["history", "--calendar"], ["fsck", "--quick"], ["gc", "--dry-run"], ["gc", "--yes",
    "--older-than", "0s"], ["next"],
    ["check"], ["logs"], ["get", "--to", "got"], ["rerun", "today", "--dry-run"], ["backfill", "today", "--dry-run"], ["show",
    "ensemble"],
)  # fmt: skip
LONGEST = 180.0
"""Seconds in which everything has ended, on a busy machine."""
STOPPING = 45.0
"""Seconds in which a command that got a signal has ended."""
KERAS = 0.1
"""Of so many cases the framework is real, where CRONSEMBLE_TEST_KERAS3 names an interpreter that has it."""
SETTLED = 40.0
"""Seconds in which `serve` has begun another try of what was killed."""
ENDS = ("succeeded", "failed", "no quorum", "interrupted", "died", "missed", "skipped")


class Kills(Kind):
    """Runs that are killed; the parts of a case are what is started, the kills one after the other, and commands beside them."""

    name = "kills"
    counted_in_tests = 5

    def case(self, random: Random) -> list[Part]:
        parts: list[Part] = [["start", random.choice(("run", "serve"))]]
        for _ in range(random.choice((1, 1, 2, 3))):
            parts.append(["command", random.choice(BESIDE)])
            parts.append(
                ["kill", round(random.uniform(0.2, 6), 2), random.choice(TARGETS), random.randrange(99), random.choice(SIGNALS)]
            )
            parts.append(["again", random.choice((1, 1, 2))])
        parts[0].append("keras" if random.random() < KERAS else "stand-in")
        return parts

    def problem(self, parts: Sequence[Part], folder: Path) -> str:
        if not parts or parts[0][0] != "start":
            return ""
        python = os.environ.get("CRONSEMBLE_TEST_KERAS3", "") if parts[0][2:] == ["keras"] else ""
        experiment = KilledExperiment(self.commands, folder, parts[0][1], python)
        try:
            return experiment.go(parts[1:])
        finally:
            experiment.end()


def default_signals() -> None:
    """In a new process: the signals that a terminal sends have their default effect."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class KilledExperiment:
    """An experiment in a folder, the command that runs it, and what was killed of it."""

    commands: Commands
    folder: Path
    command: str
    python: str = ""
    """An interpreter with Keras; without one the stand-in."""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    output: list[IO[bytes]] = field(default_factory=list)
    hit_children: int = 0
    """Kills of others than the command itself."""

    def go(self, parts: Sequence[Part]) -> str:
        """Start it, kill it, start it again, and say what did not hold."""
        minutes = str((datetime.now(UTC).minute - 2) % 60)
        path = write_experiment(self.folder, minutes)
        if self.python:
            path.write_text(path.read_text().replace(str(self.folder / "python"), self.python))
        if self.command == "serve":
            served_since(path, minutes=30)
        self.start()
        for part in parts:
            found = self._step(part)
            if found:
                return found
        return self._recover()

    def _step(self, part: Part) -> str:
        match part:
            case ["command", arguments]:
                ended = self.commands.run(self.folder, *arguments)
                return ended.problem(statuses=(0, 1, 2))
            case ["kill", delay, target, number, name]:
                time.sleep(delay)
                stopped = self.kill(target, number, name)
                if stopped is not None and not self._wait(lambda: stopped.poll() is not None, STOPPING):
                    return f"no stop: {self.command} by {name}: {self._printed()}"
            case ["again", count] if self.command == "serve":
                for _ in range(count if not self.running else 0):
                    self.start()
        return ""

    @property
    def running(self) -> list[subprocess.Popen[bytes]]:
        """The commands that have not ended."""
        return [process for process in self.started if process.poll() is None]

    def start(self) -> None:
        """Start the command, in a session of its own."""
        environment = {**self.commands.environment, "TMPDIR": str(self.folder / "tmp")}
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.output.append(open(self.folder / f"output-{len(self.output)}", "w+b"))  # noqa: SIM115 (closed by `end`)
        arguments = [self.command] if self.command == "run" else [self.command, "--log-format", "json"]
        self.started.append(
            subprocess.Popen(
                [*CLI, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self.output[-1],
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What starts the tests may ignore Ctrl-C, as a shell does for what it has in the background.
                preexec_fn=default_signals,
            )
        )

    def kill(self, target: str, number: int, name: str) -> subprocess.Popen[bytes] | None:
        """Signal the command, or a process that it has started, if there is one; the command that will end by it."""
        if not self.running:
            return None
        command = self.running[-1]
        children = [pid for pid in self.processes() if pid != command.pid]
        lines = {pid: command_line(pid) for pid in children}
        chosen = {
            "command": [command.pid],
            "supervisor": [pid for pid in children if "supervise" in lines[pid]],
            "framework": [pid for pid in children if lines[pid] and "supervise" not in lines[pid]],
            "any": [command.pid, *children],
        }[target]
        if chosen:
            pid = sorted(chosen)[number % len(chosen)]
            self.hit_children += pid != command.pid
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, name))
            return command if pid == command.pid else None
        return None

    def processes(self) -> list[int]:
        """The processes that belong to this experiment: their environment or command line names its folder."""
        wanted, found = os.fsencode(str(self.folder)), []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with suppress(OSError):
                    if wanted in Path("/proc", name, "environ").read_bytes() + Path("/proc", name, "cmdline").read_bytes():
                        found.append(int(name))
        return found

    def _recover(self) -> str:
        if self.command == "run":
            return self._recover_run()
        if not self.running:
            self.start()
        if not self._wait(lambda: not self._unended()):
            return f"no end: {self._unended()}: {self._printed()}"
        # Of what was interrupted or has died the next start makes another try, unless that was the last.
        self._wait(lambda: not self._unended("interrupted", "died"), SETTLED)
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        if not self._wait(lambda: not self.processes()):
            return f"left behind: {[command_line(pid) for pid in self.processes()]}"
        expected = ("succeeded",) if not self.hit_children else ENDS
        rows = [row for row in self._rows() if row["status"] not in ("not yet due", "due")]
        lost = [row for row in rows if row["task"] != "ensemble" and row["status"] not in expected]
        if lost:
            return f"not recovered: {lost}: {self._printed()}"
        return self._check(rows)

    def _recover_run(self) -> str:
        if not self._wait(lambda: not self.processes()):
            return f"left behind: {[command_line(pid) for pid in self.processes()]}: {self._printed()}"
        rows = self._rows()
        ended = self.commands.run_process(self.folder, "run")
        if ended.problem(statuses=(0,)):
            return ended.problem(statuses=(0,))
        now = {row["run"]: row for row in self._rows()}
        changed = [row for row in rows if now.get(row["run"]) != row]
        if changed:
            return f"an end that changed: {changed}: {[now.get(row['run']) for row in changed]}"
        return self._check(list(now.values()))

    def _check(self, rows: Sequence[dict[str, Any]]) -> str:
        """What the store and the history say of what has ended."""
        if (self.folder / "doubled").exists():
            return f"doubled: {(self.folder / 'doubled').read_text()}"
        for row in rows:
            if row["status"] not in ENDS:
                return f"no true end: {row}"
            if row["run"] and row["status"] != "succeeded" and not row["reason"]:
                return f"no reason: {row}"
        slots = Counter((row["task"], row["minute"]) for row in rows if row["kind"] in ("", None, "scheduled"))
        if max(slots.values(), default=0) > 1:
            return f"a slot twice: {rows}"
        for number in range(len(self.output)):
            text = (self.folder / f"output-{number}").read_text(errors="backslashreplace")
            if "Traceback" in text or "a bug in cronsemble" in text:
                return f"traceback: {text[-1500:]}"
        ended = self.commands.run(self.folder, "fsck", "--json")
        findings: Any = strict_json(ended.out)
        # What is removed or linked only by whoever asks for it.
        wrong = [finding for finding in findings if finding["what"] not in ("leftover", "not archived")]
        return f"damage: {wrong}" if wrong else ""

    def _rows(self) -> list[dict[str, Any]]:
        ended = self.commands.run(self.folder, "history", "--limit", "0", "--json")
        return list(history_rows(ended.out).values()) if ended.status == 0 else []

    def _unended(self, *more: str) -> list[dict[str, Any]]:
        """The slots that have no end yet, or one of these statuses: of three tasks each has one."""
        ended = self.commands.run(self.folder, "history", "--limit", "0", "--json", "--since", "2h")
        rows: Any = strict_json(ended.out) if ended.status == 0 else [{"status": "due", "err": ended.err}]
        return [row for row in rows if row["status"] in ("running", "due", "unknown", *more) or is_tried_again(row)] or (
            [] if rows else [{}]
        )

    def _wait(self, is_over: Callable[[], bool], seconds: float = LONGEST) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if is_over():
                return True
            time.sleep(0.5)
        return False

    def _printed(self) -> str:
        return "".join(
            (self.folder / f"output-{number}").read_text(errors="replace")[-700:] for number in range(len(self.output))
        )

    def end(self) -> None:
        """End all that is still there."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.kill()
            process.wait()
        for file in self.output:
            file.close()


def is_tried_again(row: dict[str, Any]) -> bool:
    """Whether another try of a run follows: nothing of the stand-in's fails for good."""
    return row["status"] == "failed" and (row["try_number"] or 0) < (row["max_tries"] or 0)


def command_line(pid: int) -> str:
    """A process as it was typed; empty if it has ended."""
    with suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def served_since(path: Path, minutes: int) -> None:
    """As if the configuration had been served for so long: its latest time has passed, and is due."""
    experiment = load(path)
    server = ScheduleServer([experiment], 2, Journal(False, StringIO()), Metrics(), ServerClock())
    engine = server.experiments[0].engine
    then = datetime.now(UTC) - timedelta(minutes=minutes)
    assert local_revisions.record_revision(engine.store, store_context(engine, experiment), "serve", then)
