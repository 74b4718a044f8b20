"""Whose a store's files are, whoever makes them: root beside the store's owner, a group's folder, a strict umask, a refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import to_json, write_file
from jobs.store.ownership import access_problem, share_tree, unshared_owner
from jobs.store.uploads import Uploads
from needs import missing
from scheduler.snapshots.program import build_program
from supervised import supervise

OWNER, GROUP = 4711, 4712
RUN = RunId(29_924_640, 1, "e", "ensemble")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    """A store of another user, whose group writes too, used by root with a strict umask."""
    if os.geteuid() != 0:
        missing("only root can give files away")
    root = tmp_path / "store"
    root.mkdir()
    os.chown(root, OWNER, GROUP)
    root.chmod(0o2770)
    umask = os.umask(0o077)
    yield LocalStore(root)
    os.umask(umask)


def wrong_paths(root: Path) -> list[tuple[Path, int, int, str]]:
    """What does not belong to the store's owner and group, or is less or more open than the store."""
    found = []
    for path in root.rglob("*"):
        status = path.lstat()
        is_published = c.RESULT in path.parts or "predictions" in path.parts or path.name == c.RECORD_TRACE
        mode = 0o2770 if path.is_dir() else 0o440 if is_published else 0o660
        if (status.st_uid, status.st_gid, status.st_mode & 0o7777) != (OWNER, GROUP, mode):
            found.append((path, status.st_uid, status.st_gid, oct(status.st_mode)))
    return found


def test_whatever_root_makes_belongs_to_the_owner_of_the_store(store: LocalStore) -> None:
    run = store.claim("e", "ensemble", RUN.minute, {"kind": "manual"})
    store.begin_try(run, "a", {"time": "t"})
    folder = store.try_folder(run, "a")
    (folder / "members").mkdir()
    for name in (c.CSV, "members/jax.csv"):
        (folder / name).write_text("item\n")
    write_file(folder / c.RECORD, to_json({"try": "a"}))
    share_tree(folder)
    assert store.publish(run, "a") and store.publish_archive(run)
    store.put_snapshot("code", b"code")
    store.ledger.take_ownership("e", {"engine": "host:here"})
    store.ledger.record_heartbeat("e", "here", "2026-11-23T06:00:00Z")
    store.ledger.add_note("e", "here", {"time": "2026-11-23T06:00:00Z"})
    store.files.publish_file(store.dataset_path("f"), folder_with_a_file(store.root.parent))
    uploads = Uploads(store.root)
    uploads.write_piece("a/b.npz", "0" * 64, 0, b"x")
    assert wrong_paths(store.root) == []


def folder_with_a_file(folder: Path) -> Path:
    path = folder / "data.npz"
    path.write_bytes(b"npz")
    return path


def test_a_step_that_root_runs_gives_what_its_child_made_to_the_owner(store: LocalStore, tmp_path: Path) -> None:
    program = tmp_path / "program.pyz"
    program.write_bytes(build_program())
    data = {"dataset": "data.npz", "predict": "holdout", "refresh": "daily", "key": "k"}
    member = {"member": "a", "backend": "jax", "runtime": "keras3", "threads": 1}
    task: dict[str, Any] = {"data": data, "data_seed": 1, "members": [member], "quorum": 1, "method": "uniform", "env": {}}
    # Neither finds what it needs; what they leave is what matters here.
    for step in ("prepare", "predict --member a"):
        process = supervise(program, store, RUN, step, task, **{c.ENV_FOLDER: str(tmp_path), c.ENV_PYTHON: sys.executable})
        process.communicate()
    folder = store.try_folder(RUN, "a")
    assert (folder / c.LOG).exists() and (folder / "probabilities" / "a" / c.END).exists()
    assert wrong_paths(store.root) == []


def test_root_gives_back_what_its_earlier_runs_kept(store: LocalStore) -> None:
    kept = store.root / "runs" / "e" / "ensemble"
    kept.mkdir(parents=True)
    assert store.access_problem("e") == ""
    assert wrong_paths(store.root) == []


@pytest.mark.holds("volume-links")
def test_a_link_that_another_user_left_is_not_followed(store: LocalStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    folder = store.try_folder(RUN, "a")
    store.begin_try(RUN, "a", {"time": "t"})
    (folder / "link").symlink_to(secret)
    os.link(secret, folder / "other-name")
    share_tree(folder)
    assert secret.stat().st_uid == 0 and secret.stat().st_mode & 0o777 == 0o600


def test_a_store_that_root_makes_belongs_to_the_owner_of_its_folder(store: LocalStore) -> None:
    new = LocalStore(store.root / "project" / "store")
    new.claim("e", "train-a", RUN.minute)
    assert {path.stat().st_uid for path in (store.root / "project", *new.root.rglob("*"), new.root)} == {OWNER}
    # Not as open: the folder may be one that everybody writes in.
    assert new.root.stat().st_mode & 0o777 == 0o700


AS_ROOT_WHO_OWNS_NOTHING = """
import os, sys
from pathlib import Path
from jobs.store import LocalStore
from jobs.contract import RunId
store = LocalStore(Path(sys.argv[1]))
store.begin_try(RunId(29_924_640, 1, "e", "ensemble"), "a", {"time": "t"})
"""


def test_where_root_may_give_nothing_away_it_goes_on(store: LocalStore) -> None:
    # As on NFS where root is nobody: in this user namespace the owner is no user whom root could name.
    store.root.chmod(0o777)
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", AS_ROOT_WHO_OWNS_NOTHING, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = store.try_folder(RUN, "a")
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (0, 0o777)
    # Everybody may write in it, so nothing has to be said; else it has.
    assert unshared_owner(folder, store.root) is None
    folder.chmod(0o755)
    assert unshared_owner(folder, store.root) == OWNER


def test_another_users_folder_is_named_before_anything_starts(store: LocalStore) -> None:
    (store.root / "runs" / "e").mkdir(parents=True)
    problem = f"{store.root}/runs belongs to user root (0), and user 4711 may not write in it"
    assert problem_for_owner(store, "runs") == (
        f"{problem}: run as user root (0), or change the owner by sudo chown -R 4711:4712 {store.root}"
    )
    new = LocalStore(store.root / "runs" / "new")
    assert problem_for_owner(new, ".") == f"{problem}: make the store once by sudo install -d -o 4711 -g 4712 {new.root}"
    assert problem_for_owner(store, "datasets") == ""


def problem_for_owner(store: LocalStore, folder: str) -> str:
    """What the store's owner is told of a folder."""
    # Those above it are the test's own, and closed.
    opened = [path for path in store.root.parents if path.stat().st_mode & 0o777 == 0o700]
    for path in opened:
        path.chmod(0o711)
    os.setegid(GROUP)
    os.seteuid(OWNER)
    try:
        return access_problem(store.root / folder, store.root)
    finally:
        os.seteuid(0)
        os.setegid(0)
        for path in opened:
            path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_root_who_is_nobody_to_the_store_is_told_in_a_line_and_not_tried_again(
    store: LocalStore, tmp_path: Path, mode: int
) -> None:
    # As on NFS: root without the right to pass over the modes of files.
    store.root.chmod(mode)
    program = tmp_path / "program.pyz"
    program.write_bytes(build_program())
    task = {"experiment": "e", "task": "ensemble", "snapshot": {"program": "", "code": ""}, "timezone": "UTC"}
    own = {c.ENV_RUN: str(RUN), c.ENV_STORE: str(store.root), c.ENV_TASK: json.dumps(task), c.ENV_TRY: "t"}
    without = "-dac_override,-dac_read_search"
    command = [
        "setpriv",
        f"--bounding-set={without}",
        f"--inh-caps={without}",
        sys.executable,
        str(program),
        "supervise",
        "prepare",
    ]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "Permission denied for user 0, group 0 (on NFS root is usually nobody" in line
    assert done.returncode == c.ExitCode.WRONG_INPUT
