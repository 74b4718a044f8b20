"""Warnings on stderr, beside a command's output."""

from __future__ import annotations

import sys


def print_warnings(place: str, warnings: list[str]) -> None:
    """A line on stderr for each warning, after what was printed before; ``place`` is put in front as it is."""
    sys.stdout.flush()
    for warning in warnings:
        print(f"{place}warning: {warning}", file=sys.stderr)
