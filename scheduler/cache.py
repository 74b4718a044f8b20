"""The folder of what is made once and kept outside every checkout."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where runtimes are kept, outside every checkout."""
    base = os.environ.get("CRONSEMBLE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cronsemble"
    )
    return Path(base)
