"""Sends a message to a channel of any kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from cronjobs.notify import Channel
from jobs.text import one_line
from scheduler.notifications.channels.errors import DeliveryError
from scheduler.notifications.channels.secrets import hide
from scheduler.notifications.messages import Message

_LONGEST = 400


def send(
    channel: Channel,
    message: Message,
    environment: Mapping[str, str],
    folder: Path | None = None,
    withheld: Collection[str] = (),
) -> str:
    """What the receiver said, on a line; raises DeliveryError with why it has not taken it. No secret is in either.

    ``environment`` has the secrets; ``folder`` is where commands run, ``withheld`` the variables that they do not get.
    """
    try:
        answer = _send(channel, message, environment, folder, withheld)
    except DeliveryError as error:
        raise DeliveryError(_clean(str(error), channel, environment), error.retry_after) from None
    except Exception as error:  # a library's bug must not end whoever tells
        text = f"{type(error).__name__} (a bug in cronsemble, or in what it sends with)"
        raise DeliveryError(_clean(text, channel, environment)) from None
    return _clean(answer, channel, environment)


def _send(
    channel: Channel, message: Message, environment: Mapping[str, str], folder: Path | None, withheld: Collection[str]
) -> str:
    match channel.kind:
        case "webhook":
            from scheduler.notifications.channels.webhook import send_document

            return send_document(channel, message, environment)
        case "slack":
            from scheduler.notifications.channels.webhook import send_slack

            return send_slack(channel, message, environment)
        case "mail":
            from scheduler.notifications.channels.mail import send_mail

            return send_mail(channel, message, environment)
        case "command":
            from scheduler.notifications.channels.command import send_to_command

            return send_to_command(channel, message, environment, folder, withheld)
        case "apprise":
            from scheduler.notifications.channels.apprise import send_by_apprise

            return send_by_apprise(channel, message, environment)
        case "alertmanager":
            from scheduler.notifications.channels.alertmanager import send_sample

            return send_sample(channel, message, environment)
    raise DeliveryError(f"there is no channel of the kind {channel.kind}")


def _clean(text: str, channel: Channel, environment: Mapping[str, str]) -> str:
    return one_line(hide(text, channel.secrets(), environment), _LONGEST)
