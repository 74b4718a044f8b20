"""What a look must know of the configuration, and how it travels to a watch's pod: as JSON, without a secret."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from cronjobs.notify import Notify
from scheduler.config.checks import is_zone
from scheduler.errors import CronsembleError
from scheduler.watch.look_times import LookTimes

SCHEMA = 1
STANDARD_INPUT = Path("-")
_LARGEST = 1 << 20


class WatchSettings(msgspec.Struct, frozen=True):
    """The settings of a look; ``version`` is that of the tool that wrote them.

    Keys of a later version are passed over.
    """

    experiment: str
    timezone: str = "UTC"
    version: str = ""
    file: str = ""
    """The name of the configuration's file, for the commands that a notice says to type."""
    notify: Notify | None = None
    schedule: str = ""
    """When it looks; empty for one that no schedule starts."""
    schedule_timezone: str = "UTC"
    schema: int = SCHEMA

    @property
    def times(self) -> LookTimes | None:
        """When it looks; None for one that no schedule starts."""
        return LookTimes(self.schedule, self.schedule_timezone) if self.schedule else None


def settings_of(values: dict[str, Any]) -> WatchSettings:
    """The settings that JSON values hold; raises msgspec.ValidationError."""
    return msgspec.convert(values, WatchSettings)


def read_settings(path: Path) -> WatchSettings:
    """The settings in a file, or those on the standard input for ``-``; raises CronsembleError."""
    try:
        data = (sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes())[: _LARGEST + 1]
    except OSError as error:
        raise CronsembleError(f"--settings {path}: {error.strerror}") from error
    try:
        settings = settings_of(msgspec.json.decode(data, type=dict[str, Any]))
    except msgspec.DecodeError as error:
        raise CronsembleError(f"--settings {path}: these are no settings of a watch: {error}") from error
    if settings.schema > SCHEMA:
        raise CronsembleError(
            f"--settings {path}: schema {settings.schema} is of a later version: build the image of cronsemble {settings.version}"
        )
    if not is_zone(settings.timezone):
        raise CronsembleError(f"--settings {path}: {settings.timezone} is no time zone that this machine knows")
    return settings
