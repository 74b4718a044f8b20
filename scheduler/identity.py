"""Who this process is, as revisions and Leases name it."""

from __future__ import annotations

import getpass
import os

from jobs.store.process_identity import host_name
from jobs.text import one_line


def current_user() -> str:
    """user@host of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return one_line(f"{user}@{host_name()}")
