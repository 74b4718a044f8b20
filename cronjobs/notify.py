"""Whom an experiment tells what: the resolved `notify:` of a configuration, as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SecretValue:
    """A value that stands in no file: on one machine the environment variable ``key``, on a cluster that key of ``secret``."""

    secret: str
    key: str


Value = str | SecretValue
"""What a configuration says of an address: itself, or where it stands."""


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """How mail is sent; ``security`` is ``starttls``, ``tls`` or ``none``."""

    host: str
    port: int
    security: str
    sender: str
    to: tuple[str, ...]
    user: str | None = None
    password: SecretValue | None = None


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Where to: one of the kinds. ``events`` are the kinds of events that it is told of; none stand for its kind's own.

    ``kind`` is ``webhook``, ``slack``, ``mail``, ``alertmanager``, ``command`` or ``apprise``; ``address`` is that of all but
    mail and command; ``headers`` are additional ones of a request; ``timeout`` is for one delivery, in seconds. ``ca`` are
    certificates (PEM) of the authorities that are trusted in the place of the system's.
    """

    name: str
    kind: str
    address: Value | None = None
    mail: MailSettings | None = None
    command: tuple[str, ...] = ()
    headers: dict[str, Value] = field(default_factory=dict)
    ca: str = ""
    events: tuple[str, ...] = ()
    timeout: int = 30

    def secrets(self) -> Iterator[SecretValue]:
        """What it takes from the environment or a Secret."""
        values: list[Any] = [self.address, *self.headers.values()]
        if self.mail is not None:
            values.append(self.mail.password)
        for value in values:
            if isinstance(value, SecretValue):
                yield value


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Whom an experiment tells. ``link``: an address with {experiment}, {task}, {run}, {slot} and {date} to be filled in.

    ``withheld``: the variables with secrets of the whole configuration, which no command gets.
    """

    channels: tuple[Channel, ...]
    link: str = ""
    withheld: tuple[str, ...] = ()

    def secrets(self) -> list[SecretValue]:
        """What the channels take from the environment or a Secret, each once."""
        return list(dict.fromkeys(secret for channel in self.channels for secret in channel.secrets()))
