"""Kubernetes' quantities: numbers with a suffix, read by value and written in one form."""

from __future__ import annotations

import functools
import math
import re
from decimal import Decimal

_SUFFIXES = {
    **{"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix + "i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"[+-]?(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")


class QuantityError(ValueError):
    """Kubernetes would refuse this quantity; the text says what to type."""


def parse(quantity: object) -> Decimal:
    """The value of a quantity, in its unit (CPUs, bytes): ``1500m`` is 1.5, ``1Ki`` is 1024.

    The grammar is that of apimachinery's resource.Quantity. Raises QuantityError.
    """
    text = str(quantity)
    match = None if isinstance(quantity, bool) else _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(_hint(text))
    suffix = match["suffix"] or ""
    sign = -1 if text.startswith("-") else 1
    if suffix in _SUFFIXES:
        return sign * Decimal(match["number"]) * _SUFFIXES[suffix]
    if len(suffix) > 3:
        raise QuantityError("the exponent is too large: type e.g. 4Gi")
    return sign * Decimal(match["number"]).scaleb(int(suffix[1:]))


def _hint(text: str) -> str:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgtpe])(i?)b?\s*", text, re.IGNORECASE)
    if match is None:
        return "it is not a quantity: type a number and perhaps a unit, e.g. 2, 500m, 512Mi or 4Gi"
    number, letter, binary = match[1], match[2].upper(), match[3]
    decimal = "k" if letter == "K" else letter
    corrected = f"{number}{letter}i" if binary else f"{number}{decimal} or {number}{letter}i"
    return f"did you mean {corrected}?"


@functools.lru_cache(maxsize=1024, typed=True)
def cpu(quantity: object) -> str:
    """A number of CPUs as the server writes it: ``2``, ``1500m``; a part of a thousandth counts whole."""
    milli = math.ceil(parse(quantity) * 1000)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


@functools.lru_cache(maxsize=1024, typed=True)
def size(quantity: object) -> str:
    """Bytes as the server writes them, in the largest unit that divides them: ``1024Mi`` is ``1Gi``, ``1.5G`` ``1500M``."""
    whole = math.ceil(parse(quantity))
    base, tail, letters = (1024, "i", "KMGTPE") if str(quantity).endswith("i") else (1000, "", "kMGTPE")
    for power in range(6, 0, -1):
        if whole and whole % base**power == 0:
            return f"{whole // base**power}{letters[power - 1]}{tail}"
    return str(whole)
