"""The store on real NFS when the server restarts, replies are lost, a mount is soft, root is nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfs.machine import Report

CHECKS = [f"outages.{name}" for name in ("squashed_root", "soft_mounts", "restarts", "lost_replies")]


@pytest.fixture(scope="module")
def report(boot: Callable[..., Report]) -> Report:
    return boot(CHECKS, 600)


@pytest.mark.parametrize("name", CHECKS)
def test_nothing_is_lost(report: Report, name: str) -> None:
    print(report.of(name))
