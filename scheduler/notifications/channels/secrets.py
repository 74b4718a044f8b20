"""The secrets of channels: taken from the environment when they are needed, and from no text that is printed or written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from cronjobs.notify import Channel, SecretValue, Value
from scheduler.notifications.channels.errors import DeliveryError

HIDDEN = "***"
_SHORTEST = 6
"""Characters of a part of an address that is looked for: shorter ones are words."""


def resolve(value: Value, environment: Mapping[str, str]) -> str:
    """The value itself, or what the environment has of it; raises DeliveryError."""
    if isinstance(value, str):
        return value
    text = environment.get(value.key, "").strip()
    if not text:
        raise DeliveryError(
            f"the environment has no {value.key}: set that variable, or the key {value.key} of the Secret {value.secret}"
        )
    return text


def missing(channel: Channel, environment: Mapping[str, str]) -> str:
    """Which secret of a channel the environment lacks, and what to do; empty if it has them all."""
    for secret in channel.secrets():
        try:
            resolve(secret, environment)
        except DeliveryError as error:
            return str(error)
    return ""


def hide(text: str, secrets: Iterable[SecretValue], environment: Mapping[str, str]) -> str:
    """A text without the secrets, and without the parts of an address that is one."""
    parts: set[str] = set()
    for secret in secrets:
        value = environment.get(secret.key, "").strip()
        if value:
            parts |= {value, *_parts(value)}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text


def _parts(value: str) -> set[str]:
    """What of an address may be secret: all but its scheme and host, whole and in pieces."""
    try:
        split = urlsplit(value)
        host = split.hostname or ""
    except ValueError:
        return set()
    if not split.scheme or not host:
        return set()
    pieces = {split.username or "", split.password or "", split.path, split.query, split.fragment}
    pieces |= set(re.split(r"[/?&=#@:]", value[len(split.scheme) + 3 :]))
    pieces |= {unquote(piece) for piece in pieces}
    return {piece for piece in pieces if len(piece) >= _SHORTEST and piece not in (host, split.netloc)}
