"""Who this process is, as revisions and Leases name it."""

from __future__ import annotations

import getpass
import os
import socket


def current_user() -> str:
    """user@host of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
