"""Some cases of every kind of chaos, the same at each run (`make chaos` tries others)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.commands import Commands
from chaos.every_kind import KINDS
from chaos.kinds import Tally, reduce_parts, try_cases

SEED = "make test"


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    server = Commands()
    yield server
    server.close()


@pytest.mark.parametrize("name", KINDS)
def test_every_case_holds(name: str, commands: Commands) -> None:
    tally, count = Tally(name), KINDS[name].counted_in_tests
    try_cases(KINDS[name](commands), SEED, tally, lambda: tally.tried >= count)
    print(tally)
    assert not tally.failures, "\n\n".join(f"{failure.folder}\n{failure.problem}" for failure in tally.failures)


def test_a_case_is_reduced_to_the_parts_that_fail() -> None:
    assert reduce_parts(list(range(100)), lambda parts: {17, 70} <= set(parts)) == [17, 70]
    assert reduce_parts([3], lambda parts: True) == [3]
