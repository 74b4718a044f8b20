"""Why a step's program did not do its work, as one sentence: from its own report, its exit status and the kernel. Python 3.9."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.contract import ExitCode
from jobs.supervisor.child_process import ChildEnd
from jobs.supervisor.permanent_failures import is_permanent
from jobs.supervisor.run_context import StepError
from jobs.text import one_line

MESSAGE_LENGTH = 300
"""Characters of an exception's message in a reason; the log has all of it."""
LAST_LINE_LENGTH = 200
"""Characters of what a program printed last, where it has reported nothing."""
_CRASHES = {
    "SIGSEGV": "a segmentation fault",
    "SIGBUS": "a bus error",
    "SIGFPE": "an arithmetic error",
    "SIGABRT": "an abort",
    "SIGILL": "an instruction that this processor does not have",
}
_CRASH_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (.+)')
_CGROUPS, _PROC = Path("/sys/fs/cgroup"), Path("/proc")


def step_error(program: str, end: ChildEnd, code_folder: str, last_line: str, kills: int, machine_kills: int) -> StepError | None:
    """The error of a program that ended by itself; None if its work was done.

    ``kills`` and ``machine_kills``: processes of this container and of this machine that were killed for memory meanwhile.
    """
    events, dump = read_report(end.report)
    by_name = {str(event.get("event")): event for event in events}
    facts: dict[str, Any] = {"exit_code": end.code}
    # An interpreter behind a program that closes files has no report, and user code may close it.
    if end.is_done or (end.code == 0 and not events) or end.code == ExitCode.REPORT_LOST:
        return None
    if "wrong input" in by_name:
        return StepError(str(by_name["wrong input"].get("message")), ExitCode.WRONG_INPUT, **facts)
    if "exception" in by_name:
        exception = by_name["exception"]
        name, message = one_line(str(exception.get("type"))), one_line(_message(exception, code_folder), MESSAGE_LENGTH)
        text = ": ".join(filter(None, (name, message)))
        killed = f"; a process of it was killed for memory{memory_limit()}" if kills else ""
        code = ExitCode.WRONG_INPUT if not kills and is_permanent(program, exception) else ExitCode.FAILED
        return StepError(f"{program}: {text}{_place(exception)}{killed}", code, exception=name, **facts)
    if "exit" in by_name:
        exited = by_name["exit"]
        # Code that checks its own input says so by the status for it: then what it printed last is its reason.
        is_wrong_input = exited.get("status") == ExitCode.WRONG_INPUT
        code = ExitCode.WRONG_INPUT if is_wrong_input or is_permanent(program, exited) else ExitCode.FAILED
        text = one_line(_message(exited, code_folder), MESSAGE_LENGTH)
        if text:
            return StepError(f"{program}: {text} (sys.exit{_place(exited, ' at {}')})", code, **facts)
        call = f"sys.exit({exited.get('status')}){_place(exited)}"
        if is_wrong_input and last_line:
            return StepError(f"{program}: {one_line(last_line, LAST_LINE_LENGTH)} ({call})", code, **facts)
        return StepError(f"{program}: {call} ended it before its work was done", code, **facts)
    last = f"; it printed last: {one_line(last_line, LAST_LINE_LENGTH)}" if last_line else ""
    if end.code < 0:
        return StepError(f"{program} {_signal(-end.code, end, dump, code_folder, kills, machine_kills)}{last}", **facts)
    if not events and end.code == ExitCode.WRONG_INPUT and last_line:
        return StepError(last_line, ExitCode.WRONG_INPUT, **facts)
    if not events:
        return StepError(f"{program} ended with exit status {end.code} and has reported nothing{last}", **facts)
    memory = f"; a process of it was killed for memory{memory_limit()}" if kills else ""
    how = f"ended with exit status {end.code} before its work was done, without an exception (os._exit, or a library's exit)"
    return StepError(f"{program} {how}{memory}{last}", **facts)


def exit_notice(end: ChildEnd) -> str:
    """What is to be said of how a program exited after its work was done; empty if as it should."""
    if not end.is_done or end.code == 0:
        return ""
    if end.is_overdue:
        return "its process did not exit after its work was done, and was ended: is there a thread that is not a daemon?"
    how = signal_name(-end.code) if end.code < 0 else f"exit status {end.code}"
    return f"its process ended with {how} after its work was done"


def read_report(report: bytes) -> tuple[list[dict[str, Any]], str]:
    """The events of a report, and what the fault handler wrote."""
    events, text = [], []
    for line in report.decode(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            events.append(event)
        else:
            text.append(line)
    return events, "\n".join(text)


def signal_name(number: int) -> str:
    """The name of a signal, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _signal(number: int, end: ChildEnd, dump: str, code_folder: str, kills: int, machine_kills: int) -> str:
    name = signal_name(number)
    if kills:
        victim = "" if number == signal.SIGKILL else ", a process of it killed"
        return f"was killed by {name}{victim} for memory{memory_limit()}"
    if number == signal.SIGKILL:
        used = f"; it had used {end.memory >> 20} MiB" if end.memory else ""
        if machine_kills:
            return f"was killed by SIGKILL, while this machine ran out of memory and the kernel killed processes{used}"
        return f"was killed by SIGKILL, by another process or by the kernel for memory{used}"
    if name in _CRASHES:
        return f"crashed in compiled code ({name}, {_CRASHES[name]}){_crash_place(dump, code_folder)}"
    return f"was killed by {name}, which another process sent"


def _crash_place(dump: str, code_folder: str) -> str:
    """Where the user's code was when it crashed, by the fault handler; else where the library was."""
    _, _, current = dump.partition("Current thread")
    frames = _CRASH_FRAME.findall(current.split("\n\n")[0] or dump)
    if not frames:
        return ""
    path, line, function = next((frame for frame in frames if code_folder and frame[0].startswith(code_folder + "/")), frames[0])
    inside = path[len(code_folder) + 1 :] if code_folder and path.startswith(code_folder + "/") else path
    return _place({"place": {"file": inside, "line": line, "function": function}})


def _message(event: Mapping[str, Any], code_folder: str) -> str:
    text = str(event.get("message") or "")
    return text.replace(code_folder + "/", "") if code_folder else text


def _place(event: Mapping[str, Any], form: str = " ({})") -> str:
    """Where in the code it was, as part of a message; empty if that is not known."""
    place = event.get("place")
    if not isinstance(place, dict) or not place.get("file"):
        return ""
    function = f", in {place['function']}" if place.get("function") else ""
    return form.format(f"{place['file']}:{place.get('line')}{function}")


# -- what the kernel knows of memory


def memory_kills(root: Path = _CGROUPS) -> int:
    """How many processes of this container were killed for memory so far: the kernel counts them (cgroup v2, else v1)."""
    own = _own_cgroup()
    for name in (f"{own}/memory.events", "memory.events", "memory/memory.oom_control"):
        count = _counter(root / name, "oom_kill")
        if count is not None:
            return count
    return 0


def machine_memory_kills() -> int:
    """How many processes of this machine were killed for memory so far."""
    return _counter(_PROC / "vmstat", "oom_kill") or 0


def memory_limit(root: Path = _CGROUPS) -> str:
    """The memory that this container may use, as part of a message; empty without a limit."""
    for name in (f"{_own_cgroup()}/memory.max", "memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = (root / name).read_text().strip()
        except OSError:
            continue
        # Version 1 says "none" with a number near 2^63.
        if limit.isdigit() and int(limit) < 1 << 50:
            return f" (the limit is {int(limit) >> 20} MiB)"
    return ""


def _own_cgroup() -> str:
    """The cgroup of this process below the root that it sees, as in cgroups(7); "." where that is the root."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return "."
    return next((line[3:].strip("/") or "." for line in lines if line.startswith("0::")), ".")


def _counter(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name and value.strip().isdigit():
                return int(value)
    except OSError:
        pass
    return None
