"""The store on real NFS, versions 4.1 and 3: two clients race, look at what the other made, list what the other removes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfs.machine import Report

RACES = (
    "publishing",
    "claiming",
    "claiming_one_attempt",
    "claiming_the_next_try",
    "taking_over",
    "pinning",
    "archiving",
    "owning",
    "revising",
    "observing",
    "replacing",
    "latest",
    "deciding",
)
CHECKS = [*(f"races.{name}" for name in RACES), "sight.at_once", "sight.listing"]


@pytest.fixture(scope="module")
def report(boot: Callable[..., Report]) -> Report:
    return boot(CHECKS, 600)


@pytest.mark.parametrize("name", CHECKS)
def test_two_clients(report: Report, name: str) -> None:
    print(report.of(name))
