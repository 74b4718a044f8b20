"""Prometheus' Alertmanager, by its API v2: an alert for each incident, which it groups, repeats, silences and resolves itself.

An alert fires as long as it is posted again before it ends; one of the same labels is the same alert, so that nothing is doubled
however many post it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cronjobs.notify import Channel
from jobs.contract import parse_time
from scheduler.notifications.channels.http import post
from scheduler.notifications.channels.secrets import resolve
from scheduler.notifications.messages import Message, Sender, message
from scheduler.times import format_time

HOLDS = 7200.0
"""Seconds for which an alert fires that is not posted again: whoever tells may have died, and says no more that all is well."""
AGAIN = 240.0
"""Seconds after which the alerts that fire are posted again: an Alertmanager that was restarted has forgotten them."""


def alert(event: Mapping[str, Any], sender: Sender, ends: float) -> dict[str, Any]:
    """The alert of an incident, by the event that opened it; ``ends`` in seconds since 1970."""
    incident = event["incident"]
    text = message([event], sender)
    link = sender.link_to(incident)
    labels = {
        "alertname": "CronsembleIncident",
        "experiment": sender.experiment,
        "task": str(incident.get("task") or ""),
        "problem": str(incident.get("kind")),
        "severity": str(incident.get("severity") or "error"),
        "incident": str(incident["id"]),
    }
    annotations = {
        "summary": text.subject,
        "description": text.text.split("\n", 1)[1].strip(),
        "slot": str(incident.get("local") or ""),
        "since": str(incident.get("since_local") or ""),
        "reason": str(incident.get("reason") or ""),
    }
    starts = parse_time(incident.get("since")) or parse_time(event.get("time")) or 0.0
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": format_time(starts),
        "endsAt": format_time(max(ends, starts + 1)),
        **({"generatorURL": link} if link else {}),
    }


def post_alerts(channel: Channel, alerts: Iterable[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """POST them all; raises DeliveryError."""
    assert channel.address is not None
    address = resolve(channel.address, environment).rstrip("/") + "/api/v2/alerts"
    headers = {name: resolve(value, environment) for name, value in channel.headers.items()}
    body = json.dumps(list(alerts), ensure_ascii=False).encode("utf-8", "replace")
    return str(post(address, body, {"Content-Type": "application/json", **headers}, channel.timeout, channel.ca))


def send_sample(channel: Channel, message: Message, environment: Mapping[str, str]) -> str:
    """Post a sample, which ends by itself after a minute; raises DeliveryError."""
    now = parse_time(message.document["time"]) or 0.0
    labels = {"alertname": "CronsembleTest", "experiment": str(message.document["experiment"]), "severity": "info"}
    sample = {
        "labels": labels,
        "annotations": {"summary": message.subject, "description": message.text},
        "startsAt": format_time(now),
        "endsAt": format_time(now + 60),
    }
    return post_alerts(channel, [sample], environment)
