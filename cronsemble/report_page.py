"""The report of an experiment as a page of HTML."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from cronsemble.reading import reading

HEIGHT = "800px"
"""Of the frame in a notebook."""


@dataclass(frozen=True)
class ReportPage:
    """The page that `cronsemble report` writes: whole in itself, it loads nothing. Made by `Experiment.report`.

    Attributes:
        html: the page.
    """

    html: str = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the page to a file, which appears whole or not at all.

        Args:
            path: the file; one of that name is replaced.

        Returns:
            The file's path, absolute.

        Raises:
            StoreError: the file cannot be written.

        Example:
            >>> import cronsemble
            >>> page = cronsemble.open("config.yaml").report(since="2025-11-20", until="2025-11-21")
            >>> page.save("report.html").name
            'report.html'
        """
        from jobs.store.files import replace_file

        target = Path(path).resolve()
        with reading():
            replace_file(target, self.html.encode(), durable=False)
        return target

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for a notebook: its scripts reach nothing of the notebook."""
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{escape(self.html)}" style="width:100%;height:{HEIGHT};border:0"></iframe>'
        )
