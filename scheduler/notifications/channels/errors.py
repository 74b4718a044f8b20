"""Why a channel could not be told: a line without any secret."""

from __future__ import annotations

from scheduler.errors import CronsembleError


class DeliveryError(CronsembleError):
    """A message was not taken; ``retry_after``: the receiver asks to be left alone for so many seconds."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
