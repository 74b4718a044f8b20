"""Several processes on two clients do the same at once: one wins, and everybody knows who."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any

from jobs.store import LocalStore
from jobs.store.accepted_runs import last_accepted
from jobs.store.files import list_names, publish_bytes, read_fresh_or_none, read_json, to_json
from jobs.store.latest_predictions import LATEST_CSV, LATEST_JSON, LatestFiles, update_latest
from jobs.store.latest_protocol import replacement_steps
from nfs.guest.clients import SERVER, VERSIONS, Worker, fork, fresh, mount
from nfs.guest.runs import EXPERIMENT, MINUTE, TIME, csv_of, faults_of, run_of, write

RACERS = 4
ROUNDS = 5

Racer = Callable[[LocalStore, int, Barrier], Any]


def race(
    name: str, version: str, racer: Racer, prepare: Callable[[LocalStore], None] | None = None
) -> tuple[LocalStore, list[Any]]:
    """Run four racers on two clients; the store as the server has it, and what each returned."""
    folder = fresh(f"{name}-{version}")
    if prepare:
        Worker(1, prepare, LocalStore(mount(1, version) / folder)).answer()
    barrier = fork.Barrier(RACERS, timeout=60)

    def run(me: int, root: Path) -> Any:
        try:
            return racer(LocalStore(root), me, barrier)
        except BaseException:
            barrier.abort()
            raise

    workers = [Worker(1 + me % 2, run, me, mount(1 + me % 2, version) / folder) for me in range(RACERS)]
    answers, errors = [], []
    for worker in workers:
        try:
            answers.append(worker.answer())
        except RuntimeError as error:
            errors.append(str(error))
    # The others' only complaint is that they wait for one who failed.
    errors.sort(key=lambda text: threading.BrokenBarrierError.__name__ in text)
    assert not errors, f"vers={version}: {errors[0]}"
    return LocalStore(SERVER / folder), answers


def publishing() -> dict[str, Any]:
    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[tuple[bool, str, str]]:
        answers = []
        for number in range(ROUNDS):
            run, name = run_of(number), f"t{me}"
            # As the supervisor does first: this client now believes that there is none.
            assert store.result(run) is None
            write(store, run, name)
            barrier.wait()
            won = store.publish(run, name)
            record = store.result(run)
            answers.append((won, record["try"] if record else "nobody", store.read(run).status))
            barrier.wait()
        return answers

    wins = {}
    for version in VERSIONS:
        store, answers = race("publish", version, racer)
        for number in range(ROUNDS):
            run = run_of(number)
            winners = [f"t{me}" for me in range(RACERS) if answers[me][number][0]]
            record = store.result(run)
            assert record is not None and winners == [record["try"]], f"vers={version} {run}: {winners} won, {record}"
            assert {answer[number][1:] for answer in answers} == {(winners[0], "succeeded")}, f"vers={version}: {answers}"
            assert not faults_of(store.run_folder(run) / "result", run, record)
            assert len(list_names(store.run_folder(run))) == RACERS
        wins[version] = [sum(outcome[0] for outcome in mine) for mine in answers]
    return {"rounds": ROUNDS, "wins of each": wins}


def claiming() -> dict[str, Any]:
    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[tuple[int, int]]:
        mine = []
        for number in range(ROUNDS):
            barrier.wait()
            run = store.claim(EXPERIMENT, "train-a", MINUTE + number, {"process": {"host": f"racer {me}"}})
            mine.append((number, run.attempt))
        return mine

    for version in VERSIONS:
        store, answers = race("claim", version, racer)
        taken = sorted(claim for mine in answers for claim in mine)
        attempts = range(1, RACERS + 1)
        assert taken == [(number, attempt) for number in range(ROUNDS) for attempt in attempts], f"vers={version}: {taken}"
        for me, mine in enumerate(answers):
            for number, attempt in mine:
                mark = store.claim_of(run_of(number, "train-a", attempt))
                assert mark is not None and mark["process"]["host"] == f"racer {me}"
    return {"claims": ROUNDS * RACERS}


def claiming_one_attempt() -> dict[str, Any]:
    """As two engines that serve the same slot do."""

    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[bool]:
        won = []
        for number in range(ROUNDS):
            barrier.wait()
            won.append(store.claim_attempt(run_of(number), {"process": {"host": f"racer {me}"}}))
        return won

    for version in VERSIONS:
        _, answers = race("attempt", version, racer)
        assert all(sum(answer[number] for answer in answers) == 1 for number in range(ROUNDS)), f"vers={version}: {answers}"
    return {"rounds": ROUNDS}


def claiming_the_next_try() -> dict[str, Any]:
    """As two machines do that go on with the same run of a third."""

    def prepare(store: LocalStore) -> None:
        for number in range(ROUNDS):
            assert store.claim_attempt(run_of(number), {"process": {"host": "dead"}})

    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[bool]:
        won = []
        for number in range(ROUNDS):
            following = store.read(run_of(number)).last_claim + 1
            barrier.wait()
            won.append(store.claim_try(run_of(number), following, {"process": {"host": f"racer {me}"}}))
            barrier.wait()
            assert store.read(run_of(number)).last_claim == 2
        return won

    for version in VERSIONS:
        store, answers = race("next", version, racer, prepare)
        for number in range(ROUNDS):
            (winner,) = [me for me in range(RACERS) if answers[me][number]]
            assert store.read(run_of(number)).next_claim["process"]["host"] == f"racer {winner}", f"vers={version}: {answers}"
    return {"rounds": ROUNDS}


def taking_over() -> dict[str, Any]:
    """As two machines do that find the owner of an experiment dead, again and again."""

    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[bool]:
        took = []
        for number in range(ROUNDS):
            replaced = store.ledger.owner_number("taken") if number else 0
            assert replaced == number
            barrier.wait()
            claim = {"engine": "host:one", "process": {"pid": me}}
            took.append(store.ledger.take_ownership("taken", claim, replaced) is None)
            barrier.wait()
        return took

    for version in VERSIONS:
        store, answers = race("taken", version, racer)
        for number in range(ROUNDS):
            (winner,) = [me for me in range(RACERS) if answers[me][number]]
            assert (store.ledger.owner("taken", number + 1) or {})["process"] == {"pid": winner}, f"vers={version}: {answers}"
    return {"rounds": ROUNDS}


def pinning() -> dict[str, Any]:
    """The first prepare of a date fixes its data; the others find what it fixed, though they have looked before in vain."""

    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[tuple[bool, Any]]:
        answers = []
        for number in range(ROUNDS):
            pin = store.pin_path(EXPERIMENT, "2026-11-23", f"k{number}")
            assert read_json(pin) is None
            barrier.wait()
            won = publish_bytes(pin, to_json({"by": me}))
            answers.append((won, (read_json(pin) or {}).get("by")))
        return answers

    for version in VERSIONS:
        _, answers = race("pin", version, racer)
        for number in range(ROUNDS):
            winners = [me for me in range(RACERS) if answers[me][number][0]]
            assert len(winners) == 1 and {answer[number][1] for answer in answers} == set(winners), f"vers={version}: {answers}"
    return {"rounds": ROUNDS}


def archiving() -> dict[str, Any]:
    """The combining pod, and commands that heal, link the same CSV at once."""

    def prepare(store: LocalStore) -> None:
        for number in range(ROUNDS):
            write(store, run_of(number), "t")
            assert store.publish(run_of(number), "t")

    def racer(store: LocalStore, me: int, barrier: Barrier) -> int:
        for number in range(ROUNDS):
            barrier.wait()
            path = store.publish_archive(run_of(number))
            assert path is not None and path.read_bytes() == csv_of(run_of(number), "t"), f"racer {me}: {path}"
        barrier.wait()
        return len(store.repair_archives(EXPERIMENT))

    for version in VERSIONS:
        store, healed = race("archive", version, racer, prepare)
        dated = [f"{run_of(number).dated_name}.{kind}" for number in range(ROUNDS) for kind in ("csv", "members")]
        assert list_names(store.archive_folder(EXPERIMENT)) == sorted(dated)
        assert not any(name.endswith(".part") for name in os.listdir(store.archive_folder(EXPERIMENT)))
        assert healed == [0] * RACERS, f"vers={version}: {healed} were healed though nothing was amiss"
    return {"rounds": ROUNDS}


def owning() -> dict[str, Any]:
    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[str | None]:
        answers = []
        for number in range(ROUNDS):
            assert store.ledger.owner(f"e{number}") is None
            barrier.wait()
            other = store.ledger.take_ownership(f"e{number}", {"engine": f"host:{me}"})
            answers.append(None if other is None else str(other["engine"]))
        return answers

    for version in VERSIONS:
        store, answers = race("owner", version, racer)
        for number in range(ROUNDS):
            owner = store.ledger.owner(f"e{number}")
            assert owner is not None
            for me in range(RACERS):
                expected = None if owner["engine"] == f"host:{me}" else owner["engine"]
                assert answers[me][number] == expected, (
                    f"vers={version}: racer {me} was given {answers[me][number]}, it is {owner}"
                )
    return {"rounds": ROUNDS}


def revising() -> dict[str, Any]:
    """Every pod adds the revisions that the store lacks: each is there once."""

    def revision(number: int, engine: str) -> dict[str, Any]:
        return {"revision": number, "time": TIME, "engine": engine, "tasks": {}}

    def racer(store: LocalStore, me: int, barrier: Barrier) -> int:
        for number in range(ROUNDS):
            barrier.wait()
            store.ledger.add_revisions(EXPERIMENT, [revision(number, "cluster:x"), revision(number, f"host:{me}")])
            assert {(answer["revision"], answer["engine"]) for answer in store.ledger.revisions(EXPERIMENT)} >= {
                (number, "cluster:x"),
                (number, f"host:{me}"),
            }
        barrier.wait()
        return len(store.ledger.revisions(EXPERIMENT))

    for version in VERSIONS:
        _, answers = race("revisions", version, racer)
        assert answers == [ROUNDS * (1 + RACERS)] * RACERS, f"vers={version}: {answers}"
    return {"revisions": ROUNDS * (1 + RACERS)}


def observing() -> dict[str, Any]:
    """Commands on both clients tell what they saw of a run: the first one's word stays, and every reader has it whole."""

    def racer(store: LocalStore, me: int, barrier: Barrier) -> list[tuple[bool, Any]]:
        answers = []
        for number in range(ROUNDS):
            assert not store.read(run_of(number)).observed
            barrier.wait()
            first = store.record_observation(run_of(number), {"by": str(me), "reason": "x" * 3000, "status": "failed"})
            seen = store.read(run_of(number)).observed
            assert seen.get("reason") == "x" * 3000, f"racer {me} read {seen}"
            answers.append((first, int(seen["by"])))
        return answers

    for version in VERSIONS:
        _, answers = race("observed", version, racer)
        for number in range(ROUNDS):
            first = [me for me in range(RACERS) if answers[me][number][0]]
            assert len(first) == 1 and {answer[number][1] for answer in answers} == set(first), f"vers={version}: {answers}"
    return {"rounds": ROUNDS}


def time_of(number: int) -> str:
    """The number as a time: so many seconds after a midnight."""
    return f"2026-11-23T00:{number // 60:02}:{number % 60:02}Z"


def number_of(time: str) -> int:
    return int(time[14:16]) * 60 + int(time[17:19])


def replacing() -> dict[str, Any]:
    """Two machines give signs of life in the place of their last ones, while all read them: the old or the new, never none."""

    def prepare(store: LocalStore) -> None:
        for me in range(2):
            store.ledger.record_heartbeat(EXPERIMENT, f"machine{me}", time_of(0))

    def racer(store: LocalStore, me: int, barrier: Barrier) -> int:
        barrier.wait()
        last = [0, 0]
        for number in range(1, 1 + 6 * ROUNDS):
            if me < 2:
                store.ledger.record_heartbeat(EXPERIMENT, f"machine{me}", time_of(number))
            for machine in range(2):
                time = store.ledger.last_heartbeat(EXPERIMENT, f"machine{machine}")
                assert time is not None and number_of(time) >= last[machine], f"racer {me} read {time} after {last[machine]}"
                last[machine] = number_of(time)
            assert me > 1 or last[me] == number
        return max(last)

    for version in VERSIONS:
        race("replaced", version, racer, prepare)
    return {"replaced": 12 * ROUNDS}


def latest() -> dict[str, Any]:
    """Slots end in any order on both clients, some processes are killed in the middle, and one is refused by hand.

    No reader ever sees an older slot after a newer one, and in the end it is the newest accepted one's.
    """
    slots = 6

    def racer(store: LocalStore, me: int, barrier: Barrier) -> int:
        random = Random(me)
        seen, updates = -1, 0
        path = store.archive_folder(EXPERIMENT) / LATEST_CSV

        def look() -> None:
            nonlocal seen
            text = read_fresh_or_none(path, Path.read_text) if path.parent.is_dir() else None
            if text is not None:
                number = int(text.split()[0].rpartition("-")[2]) - MINUTE
                assert number >= seen, f"racer {me} read {number} after {seen}"
                seen = number

        for number in range(ROUNDS):
            # Of each round's slots each racer has some, in an order of its own.
            own = [slots * number + place for place in range(slots) if place % RACERS == me]
            random.shuffle(own)
            for place in own:
                write(store, run_of(place), f"t{me}")
            barrier.wait()
            for place in own:
                store.publish(run_of(place), f"t{me}")
                store.publish_archive(run_of(place))
                steps = replacement_steps(LatestFiles(store, EXPERIMENT))
                # Some end after a few steps, as one that is killed.
                for _ in range(random.choice((1, 4, 6, 8, 40))):
                    next(steps, None)
                look()
                updates += 1
            barrier.wait()
            update = update_latest(store, EXPERIMENT)
            assert not update.problem and update.run == run_of(slots * number + slots - 1), f"racer {me}: {update}"
            look()
            assert seen == slots * number + slots - 1
            barrier.wait()
        newest = run_of(slots * ROUNDS - 1)
        if me == 0:
            assert store.decide(newest, {"decision": "refused", "by": "me", "reason": "bad", "time": TIME})
        barrier.wait()
        # The other client looked a moment before: it knows the decision all the same.
        update = update_latest(store, EXPERIMENT)
        assert update.run == run_of(slots * ROUNDS - 2), f"racer {me}: {update}"
        barrier.wait()
        assert not [name for name in os.listdir(path.parent) if name.startswith(".latest-")]
        return updates

    for version in VERSIONS:
        store, updates = race("latest", version, racer)
        archive, expected = store.archive_folder(EXPERIMENT), run_of(slots * ROUNDS - 2)
        record = store.result(expected)
        assert record is not None
        assert (archive / LATEST_CSV).read_bytes() == csv_of(expected, record["try"])
        assert (read_json(archive / LATEST_JSON) or {})["run"] == str(expected)
    return {"updates": sum(updates)}


def deciding() -> dict[str, Any]:
    """Both clients accept and refuse the same runs at once: every decision is kept, all see them in one order and judge alike."""
    words = ("accepted", "refused")

    def prepare(store: LocalStore) -> None:
        for number in range(ROUNDS):
            write(store, run_of(number), "t", gate={"refused": "it dropped"} if number % 2 else {})
            assert store.publish(run_of(number), "t")

    def racer(store: LocalStore, me: int, barrier: Barrier) -> tuple[list[Any], Any, Any]:
        answers = []
        for number in range(ROUNDS):
            run = run_of(number)
            record = store.result(run) or {}
            # This client now believes that nothing was decided.
            assert bool(store.refusal(run, record)) == bool(number % 2)
            barrier.wait()
            decision = {"decision": words[(me // 2 + number) % 2], "reason": "x" * 3000, "by": f"racer {me}", "time": TIME}
            for _ in range(RACERS):
                if store.decide(run, decision):
                    break
            else:
                raise AssertionError(f"racer {me} lost {RACERS} times against {RACERS - 1} others")
            barrier.wait()
            decisions = store.decisions(run)
            assert all(each["reason"] == "x" * 3000 for each in decisions), f"racer {me} read {decisions}"
            answers.append(([(each["by"], each["decision"]) for each in decisions], store.refusal(run, record)))
        barrier.wait()
        update, previous = update_latest(store, EXPERIMENT), last_accepted(store, run_of(ROUNDS), "scheduled")
        assert not update.problem
        return answers, update.run, None if previous is None else previous[0]

    for version in VERSIONS:
        store, seen = race("decided", version, racer, prepare)
        assert all(each == seen[0] for each in seen), f"vers={version}: {seen}"
        answers, latest_run, previous = seen[0]
        is_accepted = []
        for number, (decisions, refused) in enumerate(answers):
            expected = sorted((f"racer {me}", words[(me // 2 + number) % 2]) for me in range(RACERS))
            assert sorted(decisions) == expected, f"vers={version}: {decisions}"
            names = [name for name in list_names(store.run_folder(run_of(number))) if name.startswith("decision-")]
            assert names == [f"decision-{n}.json" for n in range(1, RACERS + 1)]
            assert bool(refused) == (decisions[-1][1] == "refused")
            is_accepted.append(not refused)
        newest = next((run_of(number) for number in reversed(range(ROUNDS)) if is_accepted[number]), None)
        assert latest_run == previous == newest, f"vers={version}: {latest_run}, {previous}, {answers}"
    return {"decisions": RACERS * ROUNDS}
