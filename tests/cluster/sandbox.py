"""Runs a command as root in network, mount and process namespaces of its own: `python -m cluster.sandbox COMMAND...`.

What a node starts, mounts and configures exists in there only: when the command ends, however it ends, the kernel ends
every process, unmounts every mount and takes the interfaces away. Three things are not the namespaces': the cgroups
below one of ours, which are removed; the folder, removed; and the kernel settings of ``SETTINGS``, put back as they were.

The command finds the folder in ``CRONSEMBLE_TEST_NODE`` and the cgroup in ``CRONSEMBLE_TEST_CGROUP``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Set by the kubelet (kubernetes/pkg/kubelet/cm: setupKernelTunables) for the whole machine.
SETTINGS = ("vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops", "kernel.keys.root_maxkeys",
            "kernel.keys.root_maxbytes")  # fmt: skip
# Paths that containerd, the CNI plugins and the kubelet have built in.
SCRATCH = ("/run/netns", "/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods")
TOOLS = ("unshare", "setpriv", "mount", "ip", "containerd", "ctr", "runc")
CGROUPS = Path("/sys/fs/cgroup")
# Ten times the default: all pods together would else get as much of the processors as any one process beside them.
WEIGHTS = {"cpu.weight": "1000", "cpu.shares": "10240"}
LOCK = Path("/run/cronsemble-node.lock")
# What to clear up, for the next start should this one be killed.
NOTE = Path("/run/cronsemble-node.json")


def absent() -> str:
    """What this machine lacks to run a node, in words; empty if nothing."""
    if os.getuid() != 0:
        return "a node needs root"
    tools = [name for name in TOOLS if not shutil.which(name)]
    tools += [f"/usr/lib/cni/{name}" for name in ("bridge", "host-local", "loopback") if not Path("/usr/lib/cni", name).exists()]
    tools += [] if busybox() else ["a static busybox"]
    packages = "containerd runc containernetworking-plugins busybox-static iproute2"
    return f"a node needs {', '.join(tools)}: apt-get install {packages}" if tools else ""


def busybox() -> Path | None:
    """A static one: in an image it finds no libraries."""
    found = shutil.which("busybox")
    dynamic = found and subprocess.run(["ldd", found], capture_output=True, check=False).returncode == 0
    return Path(found) if found and not dynamic else None


def outside(command: list[str]) -> int:
    """Makes what the namespaces cannot, runs ``inside`` in them, and clears up after it."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two nodes would put back each other's settings
        if NOTE.exists():
            clear_up()  # after one that was killed
        folder = tempfile.mkdtemp(prefix="cronsemble-node-")
        cgroup = f"cronsemble-test-{os.getpid()}"
        note = {"settings": settings(), "paths": _missing_mount_points(), "folder": folder, "cgroup": cgroup}
        NOTE.write_text(json.dumps(note))
        # Ctrl-C reaches the command itself; here it must not interrupt the clearing up
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            for path in SCRATCH:
                Path(path).mkdir(parents=True, exist_ok=True)
            _make_cgroup(cgroup)
            namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
            again = [sys.executable, "-m", "cluster.sandbox", "--inside", *command]
            env = {**os.environ, "CRONSEMBLE_TEST_NODE": folder, "CRONSEMBLE_TEST_CGROUP": f"/{cgroup}"}
            guard = ["setpriv", "--pdeathsig", "KILL", "--"]
            return subprocess.run([*guard, "unshare", *namespaces, *again], env=env, check=False).returncode
        finally:
            clear_up()


def inside(command: list[str]) -> int:
    """The first process in there: adopts and buries what daemons leave behind."""
    # containers ask for propagation within this namespace
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    for path in SCRATCH:
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def clear_up() -> None:
    """What the note names: settings put back; cgroups, folder and mount points removed."""
    note = json.loads(NOTE.read_text())
    for name, value in note["settings"].items():
        file = _setting(name)
        if file.read_text() != value:
            file.write_text(value)
    for root in _hierarchies():
        for path, _, _ in os.walk(root / note["cgroup"], topdown=False):
            _remove_cgroup(path)
    shutil.rmtree(note["folder"], ignore_errors=True)
    for path in reversed(note["paths"]):
        with contextlib.suppress(OSError):  # somebody else uses it now
            os.rmdir(path)
    NOTE.unlink()


def settings() -> dict[str, str]:
    return {name: _setting(name).read_text() for name in SETTINGS if _setting(name).exists()}


def _setting(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def _missing_mount_points() -> list[str]:
    """Outermost first."""
    wanted = (folder for path in map(Path, SCRATCH) for folder in (*reversed(path.parents), path))
    return list(dict.fromkeys(str(folder) for folder in wanted if not folder.exists()))


def _hierarchies() -> list[Path]:
    """The one of cgroup v2, or every one of v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_cgroup(name: str) -> None:
    if (CGROUPS / "cgroup.controllers").exists():
        for controller in (CGROUPS / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):  # those that cannot be handed down
                (CGROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
    for root in _hierarchies():
        (root / name).mkdir()
        for file, weight in WEIGHTS.items():
            if (root / name / file).exists():
                (root / name / file).write_text(weight)


def _remove_cgroup(path: str) -> None:
    """A killed process takes a moment to leave its cgroup."""
    deadline = time.monotonic() + 20
    while True:
        try:
            os.rmdir(path)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--inside"]:
        return inside(arguments[1:])
    lacking = absent()
    if lacking:
        print(f"sandbox: {lacking}", file=sys.stderr)
        return 1
    return outside(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
