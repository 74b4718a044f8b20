"""The virtual machine, for the tests of one module."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from needs import missing
from nfs import disks, machine


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., machine.Report]:
    """``nfs.machine.boot`` in a folder of its own."""
    try:
        disks.find()
    except disks.NoMachine as error:
        missing(str(error))

    def run(checks: list[str], limit: int, **more: object) -> machine.Report:
        return machine.boot(checks, tmp_path_factory.mktemp("machine"), limit, **more)  # type: ignore[arg-type]

    return run
