"""Boots the virtual machine for one job: hands in our program and the checks, and reads back their results."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfs import disks
from scheduler.snapshots.program import build_program

MEMORY = "1536"
# A modern processor in software: what numpy and polars were compiled for. KVM would be quicker, but is rarely there.
PROCESSOR = ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max")
BOOT = 120
"""Seconds for boot and end beside the job's own, on a busy machine."""


@dataclass(frozen=True)
class Report:
    """The results of the checks of one boot, by name, and what else the machine printed."""

    results: dict[str, dict[str, Any]]
    output: str
    out: Path = field(default_factory=Path)

    def of(self, name: str) -> dict[str, Any]:
        """The facts of a check that held; fails with its traceback if it did not, or never came to its turn."""
        result = self.results.get(name)
        assert result is not None, f"{name} did not come to its end; the machine's last lines:\n{self.output[-4000:]}"
        assert result["ok"], result["error"]
        return dict(result["facts"])


def boot(checks: Iterable[str], folder: Path, limit: int, images: Path | None = None, files: Iterable[Path] = ()) -> Report:
    """Run these checks (names of functions in ``guest``) one after the other in a fresh machine; ``limit`` in seconds."""
    disk = disks.find()
    job, input_tar, output_tar = folder / "job", folder / "job.tar", folder / "out.tar"
    shutil.copytree(disks.GUEST, job / "nfs" / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    (job / "nfs" / "guest" / "init").rename(job / "init")
    (job / "program.pyz").write_bytes(build_program())
    for path in files:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, job / path.name)
    (job / "settings").write_text(f"LIMIT={limit}\nCHECKS=({' '.join(map(shlex.quote, checks))})\n")
    with tarfile.open(input_tar, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(job, arcname=".")
    with open(output_tar, "wb") as file:
        file.truncate(64 << 20)
    drives = [(disk / "root.img", "snapshot=on"), (input_tar, "readonly=on"), (output_tar, "snapshot=off")]
    drives += [(images, "readonly=on")] if images else []
    command = ["qemu-system-x86_64", *PROCESSOR, "-machine", "pc", "-smp", "2", "-m", MEMORY, "-nodefaults", "-no-user-config"]
    command += ["-display", "none", "-nic", "none", "-no-reboot"]
    command += ["-kernel", str(disk / "vmlinuz"), "-initrd", str(disk / "initrd"), "-append"]
    command += ["console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_bootloader=on"]
    for path, option in drives:
        command += ["-drive", f"file={path},format=raw,if=virtio,cache=unsafe,{option}"]
    command += ["-serial", f"file:{folder / 'console'}", "-chardev", "stdio,id=said,signal=off", "-serial", "chardev:said"]
    # Where setpriv is (util-linux), the kernel ends the machine with us, even when we are killed.
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    env = {**os.environ, "TMPDIR": str(folder)}
    # Late, the checks that came to their end have printed their results.
    with open(folder / "said", "wb") as output, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*guard, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=limit + BOOT, env=env, check=False
        )
    return _report(folder, output_tar)


def _report(folder: Path, output_tar: Path) -> Report:
    out = folder / "out"
    try:
        with tarfile.open(output_tar) as tar:
            tar.extractall(out, filter="data")
    except tarfile.TarError:
        out.mkdir(exist_ok=True)
    text = (folder / "said").read_text(errors="replace")
    results = {}
    for line in text.splitlines():
        if line.startswith('{"check":'):
            result = json.loads(line)
            results[result["check"]] = result
    console = (folder / "console").read_text(errors="replace")[-2000:] if (folder / "console").exists() else ""
    return Report(results, f"{text}\n{console}", out)
