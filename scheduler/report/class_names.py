"""Names of classes as they can be shown: a line of printable text each, and no two alike."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.text import one_line

LONGEST = 60
"""Characters of a name that are shown."""


def display_names(names: Sequence[str]) -> list[str]:
    """The names without control characters, cut; where two become the same or nothing is left, with the class's number."""
    shown = [one_line(name, LONGEST) for name in names]
    return [
        name if name and shown.count(name) == 1 else f"{name} (class {n})".strip()
        for n, name in enumerate(shown)
    ]  # fmt: skip
