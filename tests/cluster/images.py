"""Small container images for tests, made from a folder without any engine: the pause image and a busybox."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PAUSE = "localhost/pause:1"
BUSYBOX = "localhost/busybox:1"


def make_pause(archive: Path, program: Path) -> None:
    with tempfile.TemporaryDirectory() as root:
        shutil.copy(program, Path(root, "pause"))
        write_archive(archive, PAUSE, Path(root), ["/pause"])


def make_busybox(archive: Path, program: Path) -> None:
    """``program`` is a static busybox."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("bin", "etc", "tmp"):
            (root / folder).mkdir()
        (root / "tmp").chmod(0o1777)
        shutil.copy(program, root / "bin" / "busybox")
        for applet in subprocess.run([str(program), "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
        write_archive(archive, BUSYBOX, root, ["/bin/sh"])


def write_archive(archive: Path, name: str, root: Path, command: list[str]) -> None:
    """A docker-archive of one layer: what `docker load`, `podman load` and `ctr images import` read."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, arcname=path.name, filter=_anonymous)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]},
            "history": [{"created": "1970-01-01T00:00:00Z"}],
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in (("layer.tar", layer.getvalue()), (config_name, config), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
