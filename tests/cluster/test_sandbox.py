"""The sandbox of a node takes everything away again, and puts the machine's settings back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import sandbox
from needs import missing

TESTS = Path(__file__).resolve().parents[1]
# Everything that a node does to a machine, in one line of shell each.
DEEDS = """
echo 77 > /proc/sys/kernel/panic; echo 1 > /proc/sys/vm/overcommit_memory
ip link add made0 type bridge
mount -t tmpfs none /var/lib/kubelet && mkdir "$CRONSEMBLE_TEST_NODE/data" && mount --bind /etc "$CRONSEMBLE_TEST_NODE/data"
for c in /sys/fs/cgroup/*/; do [ ! -d "$c$CRONSEMBLE_TEST_CGROUP" ] || mkdir -p "$c$CRONSEMBLE_TEST_CGROUP/pods/a"; done
setsid sleep 98765 &
echo "$CRONSEMBLE_TEST_NODE"
"""


def machine() -> dict[str, object]:
    """What a sandbox could leave."""
    traces = ("cronsemble-node-", *sandbox.SCRATCH)
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return {
        "settings": sandbox.settings(),
        "interface": Path("/sys/class/net/made0").exists(),
        "mounts": [line for line in mounts if any(trace in line for trace in traces)],
        "cgroups": sorted(path.name for path in sandbox.CGROUPS.glob("**/cronsemble-test-*")),
        "folders": [path for path in sandbox.SCRATCH if Path(path).exists()],
        "sleepers": sleepers(),
        "note": sandbox.NOTE.exists(),
    }


def sleepers() -> list[str]:
    """The processes that the script left, by id."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if path.read_bytes() == b"sleep\x0098765\x00":
                found.append(path.parent.name)
    return found


@pytest.fixture
def before() -> dict[str, object]:
    lacking = sandbox.absent()
    if lacking:
        missing(lacking)
    return machine()


def start(script: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cluster.sandbox", "sh", "-euc", script]
    return subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)


def test_nothing_is_left_and_the_exit_status_is_the_command_s(before: dict[str, object]) -> None:
    with start(DEEDS + "exit 7") as run:
        folder = run.communicate()[0].strip()
    assert run.returncode == 7
    assert not Path(folder).exists()
    assert machine() == before
    assert Path("/etc/passwd").exists()


def test_a_sandbox_that_is_ended_clears_up_too(before: dict[str, object]) -> None:
    with start(DEEDS + "sleep 98765") as run:
        assert run.stdout is not None
        folder = run.stdout.readline().strip()
        assert machine() != before
        run.send_signal(signal.SIGTERM)
        run.wait(20)
    assert not Path(folder).exists()
    assert machine() == before


def test_the_next_sandbox_clears_up_after_a_killed_one(before: dict[str, object]) -> None:
    with start(DEEDS + "sleep 98765") as run:
        assert run.stdout is not None
        folder = run.stdout.readline().strip()
        run.kill()
    deadline = time.monotonic() + 20
    while machine()["sleepers"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert machine()["sleepers"] == []
    with start("true") as run:
        run.wait(20)
    assert not Path(folder).exists()
    assert machine() == before
