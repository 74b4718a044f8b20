"""The pages and metrics that a watch keeps in the store: where they are, which are dated, and how they are put there.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jobs.store.files import list_names, replace_file

REPORTS, METRICS = "reports", "metrics"
"""Folders of a store."""
LATEST = "latest.html"
LARGEST_PAGE = 1 << 28
"""Bytes; of ten thousand runs a page has one million."""
_DATED = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\.html")
_END = b"</html>"


def reports_folder(root: Path, experiment: str) -> Path:
    """The folder of an experiment's report pages: one of each day that a watch has looked on, and the latest."""
    return root / REPORTS / experiment


def metrics_file(root: Path, experiment: str) -> Path:
    """The file of an experiment's metrics, in Prometheus' text format."""
    return root / METRICS / f"{experiment}.prom"


def dated_pages(root: Path, experiment: str) -> list[Path]:
    """The pages of an experiment that have a date, oldest first; raises Unreadable, OSError."""
    folder = reports_folder(root, experiment)
    return [folder / name for name in list_names(folder) if is_dated(name)]


def is_dated(name: str) -> bool:
    """Whether a file's name is that of a dated page: ``2026-11-27.html``."""
    return bool(_DATED.fullmatch(name))


def put_page(root: Path, experiment: str, date: str, page: bytes) -> Iterator[Path]:
    """Put a page in the place of the date's and of the latest: readers see the old or the new. The paths; raises OSError.

    ``date``: ``2026-11-27``, in the experiment's zone. The page of a day is that of the last look on it.
    """
    folder = reports_folder(root, experiment)
    for name in (f"{date}.html", LATEST):
        replace_file(folder / name, page)
        yield folder / name


def is_whole(page: bytes) -> bool:
    """Whether a page has its end."""
    return page.rstrip().endswith(_END)
