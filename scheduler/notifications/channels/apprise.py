"""Everything that Apprise knows, by its address; it is an extra of the package (``pip install cronsemble[apprise]``)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cronjobs.notify import Channel
from scheduler.notifications.channels.errors import DeliveryError
from scheduler.notifications.channels.secrets import resolve
from scheduler.notifications.messages import Message

_TYPES = {"error": "failure", "warning": "warning"}


def send_by_apprise(channel: Channel, message: Message, environment: Mapping[str, str]) -> str:
    """Notify all of the addresses, which blanks or commas separate; raises DeliveryError."""
    assert channel.address is not None
    addresses = resolve(channel.address, environment)
    try:
        import apprise
    except ImportError:
        raise DeliveryError("Apprise is not installed: pip install 'cronsemble[apprise]'") from None
    # What it logs has addresses, and those their secrets.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.handlers[:] = [logging.NullHandler()]
    services: Any = apprise.Apprise()
    if not services.add(addresses):
        raise DeliveryError("Apprise does not know an address like that")
    body = message.text.split("\n", 1)[1].strip() or message.subject
    kind = _TYPES.get(message.severity, "success" if message.type == "well" else "info")
    taken: list[bool] = []

    def deliver() -> None:
        with suppress(Exception):  # a service's bug: it is not delivered
            taken.append(bool(services.notify(title=message.subject, body=body, notify_type=kind, body_format="text")))

    # Its services have time limits of their own, or none.
    thread = threading.Thread(target=deliver, name="apprise", daemon=True)
    thread.start()
    thread.join(channel.timeout)
    if thread.is_alive():
        raise DeliveryError(f"Apprise has not delivered it within {channel.timeout}s")
    if taken != [True]:
        raise DeliveryError("Apprise could not deliver it")
    return f"delivered by Apprise to {len(services)} service{'' if len(services) == 1 else 's'}"
