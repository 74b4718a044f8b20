"""The server restarts, replies are lost, a mount gives up, root is nobody: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.store import LocalStore, removal
from jobs.store.files import list_names, publish_bytes, to_json
from nfs.guest.clients import SERVER, VERSIONS, Worker, fork, fresh, mount, on, restart_server, shell
from nfs.guest.runs import EXPERIMENT, TIME, csv_of, faults_of, run_of, write

RESTARTS = 3
CUTS = 6


def _writer(root: Path, me: int, done: Any, stop: Any) -> list[str]:
    """Claims, tries, results, archives, pins and marks, one after the other, until told to stop; the runs that it made.

    Nobody else uses its names, so nothing may fail, and no name may be taken.
    """
    store = LocalStore(root)
    made: list[str] = []
    while not stop.value:
        number = len(made) * 10 + me
        run = store.claim(EXPERIMENT, c.ENSEMBLE_TASK, run_of(number).minute, {"process": {"host": f"writer {me}"}})
        assert run == run_of(number), f"{run} was claimed, for {run_of(number)} seemed taken"
        write(store, run, "t")
        assert store.publish(run, "t"), f"{run} was told that another try was first"
        path = store.publish_archive(run)
        assert path is not None, f"{run}'s name in the archive seemed a stranger's"
        pin = store.pin_path(EXPERIMENT, f"{number}", "k")
        assert publish_bytes(pin, to_json({"by": me})), f"{pin} seemed taken"
        assert store.record_observation(run, {"by": me, "time": TIME}), f"{run} seemed observed"
        store.ledger.record_heartbeat(EXPERIMENT, f"writer{me}", f"2026-11-23T06:00:{number % 60:02}Z")
        store.ledger.add_note(EXPERIMENT, f"writer{me}", {"time": TIME, "number": number})
        if len(made) >= 3:
            old = run_of(number - 30)
            assert removal.remove(store, store.run_folder(old) / c.RESULT / c.MEMBERS), f"{old}'s members seemed removed"
        made.append(str(run))
        done.value += 1
    return made


def _under_writers(name: str, times: int, disturb: Callable[[], None]) -> dict[str, Any]:
    """Disturb the server ``times`` under a writer on each client with each version; every writer gets on between."""
    places = [(client, version) for version in VERSIONS for client in (1, 2)]
    stop = fork.Value("i", 0)
    done = [fork.Value("i", 0) for _ in places]
    folders = {version: fresh(f"{name}-{version}") for version in VERSIONS}
    workers = [
        Worker(client, _writer, mount(client, version) / folders[version], me, done[me], stop)
        for me, (client, version) in enumerate(places)
    ]
    longest = 0.0
    for _ in range(times):
        before = [each.value for each in done]
        disturb()
        began = time.monotonic()
        while any(each.value < old + 2 for each, old in zip(done, before, strict=True)):
            ended = [worker for worker in workers if not worker.process.is_alive()]
            if ended or time.monotonic() - began > 120:
                break
            time.sleep(0.05)
        longest = max(longest, time.monotonic() - began)
    stop.value = 1
    made = [worker.answer() for worker in workers]
    for me, (_, version) in enumerate(places):
        store = LocalStore(SERVER / folders[version])
        for position, text in enumerate(made[me]):
            run = c.parse_run_id(text, EXPERIMENT, c.ENSEMBLE_TASK)
            assert run is not None
            _check(store, run, removed=position < len(made[me]) - 3)
        assert [each["number"] for each in store.ledger.notes(EXPERIMENT) if each["number"] % 10 == me] == [
            position * 10 + me for position in range(len(made[me]))
        ]
    for version, folder in folders.items():
        store = LocalStore(SERVER / folder)
        known = {text for me, (_, each) in enumerate(places) if each == version for text in made[me]}
        found = {str(run) for run in store.run_ids(EXPERIMENT, c.ENSEMBLE_TASK)}
        assert found == known, f"vers={version}: {found ^ known} are not both made and there"
        assert len(list(store.archive_folder(EXPERIMENT).glob("[0-9]*.csv"))) == len(known)
    return {"disturbances": times, "runs": sum(map(len, made)), "longest wait": round(longest, 1)}


def _check(store: LocalStore, run: RunId, removed: bool) -> None:
    record = store.result(run)
    assert record is not None, f"{run} was acknowledged and is not there"
    assert (store.run_folder(run) / c.RESULT / c.CSV).read_bytes() == csv_of(run, "t")
    assert removed or not faults_of(store.run_folder(run) / c.RESULT, run, record)
    assert store.archive_path(run, record).read_bytes() == csv_of(run, "t"), f"{run}'s archive differs"
    assert list_names(store.run_folder(run)) == sorted([c.CLAIM, c.OBSERVED, c.RESULT]), list_names(store.run_folder(run))


def restarts() -> dict[str, Any]:
    return _under_writers("restart", RESTARTS, lambda: restart_server(1.0))


def lost_replies() -> dict[str, Any]:
    """Requests arrive, replies do not; then the server forgets what it answered, and is asked again."""

    def cut() -> None:
        for number in (1, 2):
            shell(f"tc qdisc add dev v{number} root netem loss 100%")
        time.sleep(0.3)  # what is under way is done meanwhile
        shell("ss -K 'sport = :2049'", check=False)
        restart_server()
        for number in (1, 2):
            shell(f"tc qdisc del dev v{number} root")

    return _under_writers("replies", CUTS, cut)


def soft_mounts() -> dict[str, Any]:
    """A mount that gives up loses what was written: the first error is final, and nothing of the try is visible."""
    facts: dict[str, Any] = {}
    down, ready, up = (fork.Event() for _ in range(3))

    def commit(root: Path, ready: Any) -> tuple[str, float]:
        store = LocalStore(root)
        store.claim(EXPERIMENT, c.ENSEMBLE_TASK, run_of(0).minute)
        write(store, run_of(0), "soft")
        (store.try_folder(run_of(0), "soft") / "probabilities.npy").write_bytes(b"p" * 100_000)
        ready.set()
        down.wait()
        began = time.monotonic()
        try:
            # Not yet on the server: the fsync that tells so comes once.
            with open(store.try_folder(run_of(0), "soft") / "late", "wb") as file:
                file.write(b"l" * 100_000)
            store.publish(run_of(0), "soft")
            said = "published"
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        seconds = time.monotonic() - began
        up.wait()
        return said, seconds

    folders = {version: fresh(f"soft-{version}") for version in VERSIONS}
    signs = {version: fork.Event() for version in VERSIONS}
    workers = {
        version: Worker(2, commit, mount(2, version, "soft,timeo=20,retrans=1") / folders[version], signs[version])
        for version in VERSIONS
    }
    for sign in signs.values():
        assert sign.wait(60)
    shell("rpc.nfsd 0")
    down.set()
    time.sleep(12)  # longer than the mounts wait
    restart_server()
    up.set()
    for version, worker in workers.items():
        said, seconds = worker.answer()
        assert said in ("EIO", "ETIMEDOUT"), f"vers={version}: {said}"
        store = LocalStore(SERVER / folders[version])
        assert c.RESULT not in list_names(store.run_folder(run_of(0))) and not list_names(store.archive_folder(EXPERIMENT))
        assert store.read(run_of(0)).status in ("running", "died")

        def again(root: Path) -> None:
            store = LocalStore(root)
            write(store, run_of(0), "hard")
            assert store.publish(run_of(0), "hard") and store.publish_archive(run_of(0))

        on(1, again, mount(1, version) / folders[version])
        assert store.read(run_of(0)).record["try"] == "hard"
        facts[version] = {"error": said, "after": round(seconds, 1)}
    return facts


def squashed_root() -> dict[str, Any]:
    """Root is nobody on an ordinary export: a pod that runs as root is told in a line; the pods' own user writes."""
    task = {"experiment": EXPERIMENT, "task": c.ENSEMBLE_TASK, "snapshot": {"program": "", "code": ""}, "timezone": "UTC"}
    said = {}

    def supervise(root: Path) -> tuple[int, str]:
        own = {c.ENV_RUN: str(run_of(0)), c.ENV_STORE: str(root), c.ENV_TASK: to_json(task).decode(), c.ENV_TRY: "t"}
        env = {**os.environ, **own}
        command = [sys.executable, "/job/program.pyz", "supervise", "prepare"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def owner_of(root: Path) -> int:
        write(LocalStore(root), run_of(1), "t")
        assert LocalStore(root).publish(run_of(1), "t")
        return (LocalStore(root).run_folder(run_of(1)) / c.RESULT / c.RECORD).stat().st_uid

    for version in VERSIONS:
        for mode in (0o755, 0o700):
            folder = fresh(f"squash-{version}-{mode:o}")
            os.chmod(SERVER / folder, mode)
            root = mount(1, version) / folder
            code, text = on(1, supervise, root, user=0)
            assert code == ExitCode.WRONG_INPUT and len(text.splitlines()) == 1, f"vers={version} {mode:o}: {code} {text}"
            assert str(root) in text and "Permission denied" in text and "user 0" in text, text
            assert on(1, owner_of, root) == 1000
            said[f"{version} {mode:o}"] = text.strip()
        open_root = mount(1, version, export="/export-nosquash")
        # Where root is root, what it makes belongs to the store's owner all the same.
        assert on(1, owner_of, open_root, user=0) == open_root.stat().st_uid
        assert stat.S_ISDIR((open_root / "runs").stat().st_mode)
    return {"said": said}
