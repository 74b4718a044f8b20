"""JSON that every parser reads: RFC 8259 has no NaN and no infinity, which Python's own module writes.

Such a number is written as null: some of an experiment's numbers may be none, and count as absent.
Standard library alone, Python 3.9.
"""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """A value as JSON; ``options`` are those of :func:`json.dumps`."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_finite(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):  # noqa: UP038 (Python 3.9)
        return [_finite(item) for item in value]
    return value
