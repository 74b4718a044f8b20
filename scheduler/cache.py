"""The user's cache folder: virtual environments of runtimes, mirrors of remote stores."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """CRONSEMBLE_CACHE if it is set, else `cronsemble` in XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    base = os.environ.get("CRONSEMBLE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cronsemble"
    )
    return Path(base)
