"""A command of this machine: gets the message's document on its standard input, and what it is about in variables. No shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from cronjobs.notify import Channel
from jobs.text import one_line
from scheduler.notifications.channels.errors import DeliveryError
from scheduler.notifications.messages import Message


def send_to_command(
    channel: Channel, message: Message, environment: Mapping[str, str], folder: Path | None, withheld: Collection[str]
) -> str:
    """Run the command in the configuration's folder; raises DeliveryError unless it ends with 0 in time.

    ``withheld``: variables of ``environment`` that it does not get: the secrets of channels.
    """
    incident = (message.document.get("incidents") or [{}])[0]
    variables = {
        "CRONSEMBLE_MESSAGE": message.id,
        "CRONSEMBLE_TYPE": message.type,
        "CRONSEMBLE_SEVERITY": message.severity,
        "CRONSEMBLE_EXPERIMENT": str(message.document["experiment"]),
        "CRONSEMBLE_SUBJECT": message.subject,
        "CRONSEMBLE_NOTIFY_TASK": str(incident.get("task") or ""),
    }
    own = {name: value for name, value in environment.items() if name not in withheld}
    body = json.dumps(message.document, ensure_ascii=False).encode("utf-8", "replace")
    name = channel.command[0]
    try:
        process = subprocess.Popen(
            channel.command,
            cwd=folder,
            env={**own, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{name} cannot be started: {getattr(error, 'strerror', None) or error}") from None
    try:
        output, _ = process.communicate(body, timeout=channel.timeout)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise DeliveryError(f"{name} has not ended within {channel.timeout}s, and was killed") from None
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode != 0:
        last = [line for line in output.decode(errors="replace").splitlines() if line.strip()][-1:]
        how = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise DeliveryError(f"{name} ended with {how}" + (f": {one_line(last[0], 160)}" if last else ""))
    return "ended with status 0"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it has started; what has left its session is not waited for."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
