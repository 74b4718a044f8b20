"""Webhooks: the message's JSON document, or the text that Slack and what is compatible with it take."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cronjobs.notify import Channel
from scheduler.notifications.channels.http import post
from scheduler.notifications.channels.secrets import resolve
from scheduler.notifications.messages import PROBLEM, Message

_LONGEST_SLACK = 3500
"""Characters of a text: Slack cuts a longer one into pieces."""


def send_document(channel: Channel, message: Message, environment: Mapping[str, str]) -> str:
    """POST the document, with the message's id as the key by which the receiver knows a second copy; raises DeliveryError."""
    assert channel.address is not None
    headers = {name: resolve(value, environment) for name, value in channel.headers.items()}
    headers = {"Content-Type": "application/json", "Idempotency-Key": message.id, **headers}
    body = json.dumps(message.document, ensure_ascii=False).encode("utf-8", "replace")
    return str(post(resolve(channel.address, environment), body, headers, channel.timeout, channel.ca))


def send_slack(channel: Channel, message: Message, environment: Mapping[str, str]) -> str:
    """POST ``{"text": …}``, as Slack, Mattermost, Rocket.Chat and others take it; raises DeliveryError."""
    assert channel.address is not None
    headers = {name: resolve(value, environment) for name, value in channel.headers.items()}
    body = json.dumps({"text": slack_text(message)}, ensure_ascii=False).encode("utf-8", "replace")
    return str(
        post(
            resolve(channel.address, environment),
            body,
            {"Content-Type": "application/json", **headers},
            channel.timeout,
            channel.ca,
        )
    )


def slack_text(message: Message) -> str:
    """The message as Slack's mrkdwn: the subject in bold, the rest as it is."""
    sign = {"error": ":red_circle: ", "warning": ":warning: "}.get(message.severity, "") if message.type == PROBLEM else ""
    rest = message.text.split("\n", 1)[1].strip()
    if len(rest) > _LONGEST_SLACK:
        rest = rest[: _LONGEST_SLACK - 1] + "…"
    subject = _escaped(message.subject).replace("*", "∗")
    return f"{sign}*{subject}*" + (f"\n```\n{_escaped(rest).replace('```', '´´´')}\n```" if rest else "")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
