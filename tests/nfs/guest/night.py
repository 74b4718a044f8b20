"""A whole night of two pods on two clients: the containers of their specs, in the images' own file systems, over NFS."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode
from jobs.store import LocalStore
from jobs.store.files import list_names
from jobs.store.latest_model import choose_models
from nfs.guest.clients import POD, SERVER, Worker, become, fork, fresh, mount, on, restart_server, shell

NEWNS, PRIVATE = 0x00020000, 0x00040000 | 0x00004000
CONTAINER = 240
"""Seconds that a container gets."""


def _given() -> dict[str, Any]:
    return dict(json.loads(Path("/job/pods.json").read_text()))


def _contained(client: int, root: Path, container: dict[str, Any], store: Path) -> Callable[[], None]:
    """What makes a forked process the first of a container: its client's network and name, its image, its volumes, its user."""

    def enter() -> None:
        become(client, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(NEWNS) or libc.mount(b"none", b"/", None, PRIVATE, None):
            raise OSError(ctypes.get_errno(), "unshare")
        for kind, source, inside in (
            ("--bind", store, "store"),
            ("--bind", Path("/job/snapshot"), "cronsemble/program"),
            ("--bind", Path("/dev"), "dev"),
            ("--bind", Path("/proc"), "proc"),
            ("-ttmpfs", Path("tmp"), "tmp"),
        ):
            subprocess.run(["mount", kind, str(source), str(root / inside)], check=True, capture_output=True)
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(container["group"])
        os.setuid(container["user"])

    return enter


def _start(client: int, container: dict[str, Any], store: Path) -> subprocess.Popen[str]:
    root = Path("/images", container["image"])
    return subprocess.Popen(
        container["command"],
        env=container["env"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_contained(client, root, container, store),
    )


def _carry_out(client: int, pod: dict[str, Any], store: Path) -> dict[str, float]:
    """Run a pod's containers one after the other, as a kubelet does; the seconds of each."""
    seconds = {}
    for container in pod["containers"]:
        began = time.monotonic()
        process = _start(client, container, store)
        text, _ = process.communicate(timeout=CONTAINER)
        name = f"{pod['task']}/{container['name']}"
        print(f"{name}: {text.strip()}", flush=True)
        assert process.returncode == 0, f"{name} ended with {process.returncode}: {text}"
        seconds[name] = round(time.monotonic() - began, 1)
    return seconds


def _store(version: str) -> tuple[str, list[Path]]:
    """An export's folder with the data in it, and where the two clients have it."""
    folder = fresh(f"night-{version}")
    roots = [mount(client, version) / folder for client in (1, 2)]

    def put(root: Path) -> None:
        (root / "data").mkdir()
        shutil.copy("/job/items.npz", root / "data")

    on(1, put, roots[0])
    return folder, roots


def trains_and_archives() -> dict[str, Any]:
    """Client 1 trains over version 4.1 while client 2 looks on; client 2 predicts and combines, and both have the dated CSV."""
    given = _given()
    folder, roots = _store("4.1")
    training, ensemble = given["pods"]
    stop = fork.Value("i", 0)
    run = c.parse_run_id(ensemble["run"], given["experiment"], c.ENSEMBLE_TASK)
    assert run is not None

    def chosen(store: LocalStore) -> Any:
        (choice,) = choose_models(store, run, [given["member"]], None, "")
        return choice.run

    def looks(root: Path) -> list[str]:
        seen: list[str] = []
        while not stop.value:
            store = LocalStore(root)
            trained = c.parse_run_id(training["run"], given["experiment"], training["task"])
            assert trained is not None
            status = store.read(trained).status
            if not seen or seen[-1] != status:
                seen.append(status)
            assert (chosen(store) is not None) <= (store.read(trained).status == "succeeded")
            time.sleep(0.5)  # looking is no race here, and the training needs the processors
        return seen

    watcher = Worker(2, looks, roots[1])
    seconds = _carry_out(1, training, roots[0])
    stop.value = 1
    seen = watcher.answer()
    # Before it was begun, nothing tells that there is such a run.
    assert [each for each in seen if each != "died"][:1] == ["running"], seen
    assert str(on(2, lambda: chosen(LocalStore(roots[1])))) == training["run"]
    seconds |= _carry_out(2, ensemble, roots[1])
    store = LocalStore(SERVER / folder)
    record = store.result(run)
    assert record is not None and [each["run"] for each in record["members"]] == [training["run"]], record
    assert record["host"] == "client2"
    trained = c.parse_run_id(training["run"], given["experiment"], training["task"])
    assert trained is not None
    assert (store.result(trained) or {})["host"] == "client1"
    paths = [store.archive_path(run, record)]
    paths += [root / paths[0].relative_to(store.root) for root in roots]
    texts = {path.read_bytes() for path in paths}
    assert len(texts) == 1, f"{paths} differ"
    lines = texts.pop().decode().splitlines()
    assert lines[0].startswith("item,prediction,probability,") and len(lines) == 101, lines[:3]
    assert paths[0].stat().st_uid == POD
    shutil.copy(paths[0], os.environ["OUT"])
    return {"csv": paths[0].name, "seen": seen, "seconds of": seconds}


def ensemble_over_version_3() -> dict[str, Any]:
    """The same ensemble again, as another attempt, over version 3, from the same folder: the same bytes."""
    given = _given()
    folder = "night-4.1"
    ensemble = given["again"]
    seconds = _carry_out(2, ensemble, mount(2, "3") / folder)
    store = LocalStore(SERVER / folder)
    first, second = sorted(store.archive_folder(given["experiment"]).glob("[0-9]*.csv"), key=lambda path: len(path.name))
    assert first.read_bytes() == second.read_bytes()
    return {"csv": second.name, "seconds of": seconds}


def soft_mount_in_the_end() -> dict[str, Any]:
    """The server goes away when all is computed but not yet committed, under a mount that gives up: the run says failed."""
    given = _given()
    ensemble = given["soft"]
    folder = "night-4.1"
    soft = mount(2, "4.1", "soft,timeo=20,retrans=1") / folder
    *before, last = ensemble["containers"]
    _carry_out(2, {**ensemble, "containers": before}, soft)
    process = _start(2, last, soft)
    said: list[str] = []
    assert process.stdout is not None
    with _down_when(process, said):
        said += process.stdout.read().splitlines()
    code = process.wait(CONTAINER)
    text = "\n".join(said)
    assert code == ExitCode.FAILED and "Traceback" not in text, f"{code}: {text}"
    run = c.parse_run_id(ensemble["run"], given["experiment"], c.ENSEMBLE_TASK)
    assert run is not None
    store = LocalStore(SERVER / folder)
    told = store.read(run)
    assert c.RESULT not in list_names(store.run_folder(run)) and not store.archive_path(run, {}).exists()
    assert told.status in ("running", "died", "failed"), told
    return {"said": said[-1], "status": told.status, "reason": told.reason}


@contextmanager
def _down_when(process: subprocess.Popen[str], said: list[str]) -> Iterator[None]:
    """Stop the server when the child has combined, with the supervisor held still, until that has given up."""
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        if line.startswith("combined"):
            os.kill(process.pid, signal.SIGSTOP)
            shell("rpc.nfsd 0")
            os.kill(process.pid, signal.SIGCONT)
            break
    yield
    restart_server()
