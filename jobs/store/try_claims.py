"""Who makes a run's next try: claims by number, each of one process. Standard library alone, Python 3.9.

The first is the run's own (`claim.json`); each further try, whether the same engine makes it or another that goes on with the
run, has its own (`claim-2.json`, `claim-3.json`, …), which is made by an exclusive link: of those who saw the same claim as the
last one, one gets the next. Pods claim no tries: Kubernetes' Job controller makes them one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.contract import CLAIM

_NUMBERED = re.compile(r"claim-([1-9][0-9]{0,8})\.json")


def claim_name(number: int) -> str:
    """The name of the n-th claim in a run's folder."""
    return CLAIM if number == 1 else f"claim-{number}.json"


def is_claim(name: str) -> bool:
    """Whether a name in a run's folder is that of a further try's claim."""
    return _NUMBERED.fullmatch(name) is not None


def last_number(names: Iterable[str]) -> int:
    """The number of the last claim among the names in a run's folder; 1 where there is none, for the folder itself is a claim."""
    matches = map(_NUMBERED.fullmatch, names)
    return max((int(match[1]) for match in matches if match is not None), default=1)


def unused_claim(names: Iterable[str], tries: Iterable[Mapping[str, Any]]) -> str:
    """The name of a run's last claim if no try of it has begun, else empty; ``tries`` are as a ``Run`` has them."""
    number = last_number(names)
    numbers = [one_try["start"].get("claim", 1) for one_try in tries]
    return "" if number in numbers else claim_name(number)
