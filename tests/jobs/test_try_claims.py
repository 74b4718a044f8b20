"""Of those who go on with a run, or take an experiment over, in the same instant, one gets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import ExitCode, RunId, Status
from jobs.store import LocalStore
from jobs.store.files import publish_bytes, to_json
from jobs.store.process_identity import process_identity
from jobs.store.tries import failed_tries, has_tries_left
from jobs.store.try_claims import last_number, unused_claim

RUN = RunId(29_924_640, 1, "e", "train-a")
RACERS = 8


def race(act: Callable[[int], bool]) -> list[int]:
    """Who of several threads that do the same in one instant was told that it was the one."""
    barrier, winners = threading.Barrier(RACERS), []

    def run(number: int) -> None:
        barrier.wait()
        if act(number):
            winners.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners


def test_one_of_many_gets_the_next_try(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.claim_attempt(RUN, {"process": {**process_identity(), "start": 1}})
    for number in range(2, 20):
        seen = store.read(RUN)
        assert (seen.status, seen.last_claim) == (Status.DIED, number - 1)
        (winner,) = race(lambda me, number=number: store.claim_try(RUN, number, {"process": {"pid": me}}))  # type: ignore[misc]
        claim = store.read(RUN).next_claim
        assert claim["process"] == {"pid": winner}
        # Whoever made that claim has died too.
        (store.run_folder(RUN) / f"claim-{number}.json").write_bytes(to_json({"process": {**process_identity(), "start": 1}}))


def test_one_of_many_takes_an_experiment_over(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for number in range(20):
        if number:
            assert store.ledger.owner_number("e") == number
        took = race(lambda me, number=number: store.ledger.take_ownership("e", owner(me), number) is None)  # type: ignore[misc]
        assert len(took) == 1 and (store.ledger.owner("e") or {})["process"] == {"pid": took[0]}
        for path in store.ledger.past_owner_files("e"):
            path.unlink()
    assert sorted(path.name for path in store.ledger.folder("e").iterdir()) == ["owner-19.json", "owner-20.json"]
    # One that looked long ago finds a number free that was cleared away.
    assert (store.ledger.take_ownership("e", owner(99), 4) or {})["process"] == {"pid": took[0]}
    assert (store.ledger.owner("e") or {})["process"] == {"pid": took[0]}


def owner(me: int) -> dict[str, Any]:
    """Of the same machine: its engine has the same name."""
    return {"engine": "host:here", "process": {"pid": me}}


@pytest.mark.parametrize(
    ("names", "claims", "last", "unused"),
    [
        ([], [], 1, "claim.json"),
        (["claim.json"], [1], 1, ""),
        # As earlier versions leave it: several tries by one claim.
        (["claim.json"], [1, 1, 1], 1, ""),
        (["claim.json", "claim-2.json"], [1], 2, "claim-2.json"),
        (["claim.json", "claim-2.json", "claim-10.json", "claim-x.json", "claim-01.json"], [1, 2], 10, "claim-10.json"),
        (["claim-3.json"], [3], 3, ""),
    ],
)
def test_a_claim_is_used_by_the_try_that_names_it(names: list[str], claims: list[int], last: int, unused: str) -> None:
    tries = [{"start": {} if claim == 1 else {"claim": claim}} for claim in claims]
    assert (last_number(names), unused_claim(names, tries)) == (last, unused)


def test_a_run_waits_for_the_try_that_a_living_process_has_claimed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.begin_try(RUN, "a", {"time": "2026-11-24T00:00:00Z", "retries": 1})
    publish_bytes(store.try_folder(RUN, "a") / "end.json", to_json({"status": "failed", "reason": "r"}))
    assert store.read(RUN).status == Status.FAILED and store.read(RUN).has_tries_left()
    assert store.claim_try(RUN, 2, {"process": process_identity()})
    assert (store.read(RUN).status, store.read(RUN).reason) == (Status.RUNNING, "waits for free CPUs")
    store.begin_try(RUN, "b", {"time": "2026-11-24T00:00:01Z", "retries": 1, "claim": 2, "process": process_identity()})
    assert (store.read(RUN).status, store.read(RUN).next_claim) == (Status.RUNNING, {})


ENDS = st.sampled_from([{"status": "failed"}, {"status": "interrupted"}, None])


@given(retries=st.integers(0, 5), ends=st.lists(ENDS, max_size=30))
def test_stops_and_kills_cost_a_run_none_of_its_tries(retries: int, ends: list[dict[str, Any] | None]) -> None:
    """However often its engine is stopped (interrupted) or killed (no end): it is over after the last failure, no sooner."""
    tries: list[dict[str, Any]] = []
    for end in ends:
        if not has_tries_left(tries, retries):
            break
        tries.append({"name": "", "start": {}, "end": end})
    failed = failed_tries(tries)
    assert failed <= retries + 1
    assert has_tries_left(tries, retries) == (failed <= retries)
    if failed > retries:
        assert tries[-1]["end"] == {"status": "failed"}


@given(
    retries=st.integers(0, 5), final=st.sampled_from([{"code": ExitCode.WRONG_INPUT}, {"status": "no quorum"}, {"final": True}])
)
def test_what_is_final_has_no_other_try(retries: int, final: dict[str, Any]) -> None:
    assert not has_tries_left([{"name": "", "start": {}, "end": {"status": "failed", **final}}], retries)
