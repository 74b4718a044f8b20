"""Two NFS clients in one machine: a network and a host name each, real mounts, and processes of the pods' user on them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

VERSIONS = ("4.1", "3")
POD = 1000
SERVER = Path("/export")
"""The exported folder as the server itself has it."""
SECONDS = 240
"""What a process gets to answer: all is emulated, and the machine below may be busy."""

fork = multiprocessing.get_context("fork")
_mounts: dict[tuple[int, str, str, str], Path] = {}


def shell(command: str, check: bool = True) -> str:
    done = subprocess.run(["bash", "-c", command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}: {done.stdout}")
    return done.stdout


def start() -> None:
    """Make the namespaces of clients 1 and 2, each with a wire to the server."""
    for number in (1, 2):
        shell(f"""set -e
            ip netns add c{number}
            ip link add v{number} type veth peer name eth0 netns c{number}
            ip addr add 10.9.{number}.1/24 dev v{number}
            ip link set v{number} up
            ip -n c{number} addr add 10.9.{number}.2/24 dev eth0
            ip -n c{number} link set eth0 up
            ip -n c{number} link set lo up
            ip netns exec c{number} sh -c 'echo client{number} > /sys/fs/nfs/net/nfs_client/identifier'
            touch /run/uts{number}
            unshare --uts=/run/uts{number} sh -c 'echo client{number} > /proc/sys/kernel/hostname'""")


def mount(number: int, version: str, options: str = "", export: str = "/export") -> Path:
    """Where client ``number`` has the export: with the default options, and what a second mount and our missing lockd need."""
    key = (number, version, options, export)
    if key not in _mounts:
        path = Path(f"/mnt/{len(_mounts)}")
        path.mkdir()
        told = [f"vers={version}", "nosharecache", *(["nolock"] if version == "3" else []), *([options] if options else [])]
        shell(f"nsenter --net=/run/netns/c{number} mount -t nfs -o {','.join(told)} 10.9.{number}.1:{export} {path}")
        _mounts[key] = path
    return _mounts[key]


def fresh(name: str) -> str:
    """An empty folder of the pods' user in the export; its name, below every mount."""
    path = SERVER / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    os.chown(path, POD, POD)
    return name


class Worker:
    """A function in a process of its own on a client, as the pods' user unless told otherwise."""

    def __init__(self, client: int, function: Callable[..., Any], *args: Any, user: int = POD) -> None:
        self._here, there = fork.Pipe(duplex=False)
        self.process = fork.Process(target=_work, args=(client, user, there, function, args), daemon=True)
        self.process.start()
        there.close()

    def answer(self, seconds: float = SECONDS) -> Any:
        """What the function returned; raises what it raised, as text."""
        if not self._here.poll(seconds):
            self.process.kill()
            raise TimeoutError(f"a process on a client did not answer within {seconds:.0f} s")
        try:
            kind, value = self._here.recv()
        except EOFError:
            raise RuntimeError("a process on a client ended without an answer") from None
        self.process.join()
        if kind == "raised":
            raise RuntimeError(value)
        return value


def on(client: int, function: Callable[..., Any], *args: Any, user: int = POD) -> Any:
    return Worker(client, function, *args, user=user).answer()


def become(client: int, user: int) -> None:
    """Have this process live on a client: its network, its host's name, and an unprivileged user."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path in (f"/run/netns/c{client}", f"/run/uts{client}"):
        handle = os.open(path, os.O_RDONLY)
        if libc.setns(handle, 0):
            raise OSError(ctypes.get_errno(), "setns", path)
        os.close(handle)
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


def _work(client: int, user: int, there: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        become(client, user)
        there.send(("returned", function(*args)))
    except BaseException:
        there.send(("raised", traceback.format_exc()))


def restart_server(down: float = 0.0) -> None:
    shell(f"rpc.nfsd 0; sleep {down}; rpc.nfsd -G 10 -L 10 8", check=False)
