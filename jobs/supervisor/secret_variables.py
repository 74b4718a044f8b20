"""The variables from secrets, as a container's supervisor gets them: on its stdin. Standard library alone, Python 3.9."""

from __future__ import annotations

import json
from typing import IO

MAX_BYTES = 1 << 24
"""Bytes of the line that holds them."""


def read_secret_variables(file: IO[bytes]) -> dict[str, str]:
    """The variables that the next line of a file spells as a JSON object of texts; raises ValueError if it does not."""
    values = json.loads(file.readline(MAX_BYTES))
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError("not a JSON object of texts")
    return values
