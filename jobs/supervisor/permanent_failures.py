"""Which exceptions of a step's program another try cannot cure, by the names of their classes. Standard library, Python 3.9.

A training is seeded, so what its code does is the same at the next try: what it computes and what it looks up fails again. What
comes from outside may differ: files, the network, memory, devices. A kind that is in neither list is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OUTSIDE = {"OSError", "IOError", "EnvironmentError", "MemoryError"}
"""Kinds that the machine or the network causes; Python 2.7 has three for what is OSError in Python 3."""
_OF_THE_PROGRAM = {"ImportError", "SyntaxError", "NameError", "TypeError", "AttributeError", "NotImplementedError"}
"""Kinds that only an edit of the code, or another package, cures: a wrong signature is a TypeError."""
_OF_VALUES = {"ValueError", "LookupError", "ArithmeticError", "AssertionError", "SystemExit"}
"""Kinds that the same values cause again. The data function may have read them from outside: there they are tried again."""
_NO_MEMORY = "annot allocate memory"
"""How the loader of a library says it, in an ImportError."""


def is_permanent(program: str, exception: Mapping[str, Any]) -> bool:
    """Whether another try of ``program`` (prepare, train, …) would fail in the same way.

    ``exception``: as the program reported it, with ``kinds``, its class and those above it, and ``outer_kinds``, those of all
    exceptions that led to it or followed from it.
    """
    kinds, outer_kinds = set(_names(exception, "kinds")), set(_names(exception, "outer_kinds"))
    if (kinds | outer_kinds) & _OUTSIDE or _NO_MEMORY in str(exception.get("message")):
        return False
    return bool(kinds & (_OF_THE_PROGRAM if program == "prepare" else _OF_THE_PROGRAM | _OF_VALUES))


def _names(exception: Mapping[str, Any], key: str) -> list[str]:
    names = exception.get(key)
    return [str(name) for name in names] if isinstance(names, list) else []
