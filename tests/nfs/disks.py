"""The disks of the virtual machine, made once into the cache: `python3 tests/nfs/disks.py`.

One holds a minimal Debian with an NFS server; its kernel and a hand-made initrd lie beside it. The other holds the file systems
of our images, for a run in their own interpreters. Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SUITE = "bookworm"
PACKAGES = ("python3", "nfs-kernel-server", "nfs-common", "rpcbind", "iproute2", "kmod", "procps", "busybox-static")
KERNEL = "linux-image-cloud-amd64"
SIZE = "3G"  # sparse
TOOLS = {"debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs", "qemu-system-x86_64": "qemu-system-x86"}
GUEST = Path(__file__).resolve().parent / "guest"
# ext4 is built into this kernel, the disk's bus is not.
MODULES = ("virtio_pci", "virtio_blk")
# Of a runtime of three gigabytes, what neither prepares nor combines.
FRAMEWORKS = ("tensorflow", "jax", "jaxlib", "clang", "scipy", "scipy.libs", "sklearn", "keras", "h5py", "tensorboard", "grpc")


class NoMachine(Exception):
    """It cannot be made here; says what to type."""


def absent() -> str:
    """What this machine lacks to make and to run the other, in words; empty if nothing."""
    if platform.machine() != "x86_64":
        return f"the NFS tests' virtual machine is an x86-64 one, this is {platform.machine()}"
    lacking = [name for name in TOOLS if not shutil.which(name, path=_path())]
    if lacking:
        return f"the NFS tests need {', '.join(lacking)}: apt-get install {' '.join(TOOLS[name] for name in lacking)}"
    return ""


def cached() -> Path:
    """The folder of vmlinuz, initrd and root.img, whether they are made yet or not. Its name tells what they are made from."""
    digest = hashlib.sha256(repr((SUITE, PACKAGES, KERNEL, SIZE, MODULES)).encode() + (GUEST / "initrd").read_bytes())
    return _cache() / digest.hexdigest()[:16]


def find() -> Path:
    """The folder of a machine that is made; raises NoMachine."""
    lacking = absent()
    if lacking:
        raise NoMachine(lacking)
    if not (cached() / "root.img").exists():
        raise NoMachine("the NFS tests' virtual machine is not made: run `make test-nfs` as root (a minute, once)")
    return cached()


def make() -> Path:
    """Makes what is not there yet; two makers at once wait for each other."""
    lacking = absent() or ("" if os.getuid() == 0 else "making the NFS tests' virtual machine needs root")
    if lacking:
        raise NoMachine(lacking)
    with _locked():
        folder = cached()
        if not (folder / "root.img").exists():
            with tempfile.TemporaryDirectory(dir=_cache(), prefix=".making-") as scrap:
                _make(Path(scrap))
                made = Path(scrap, "made")
                made.rename(folder)
    return folder


def images_disk(engine: Sequence[str], images: dict[str, str]) -> Path:
    """A disk with a folder for each image, ``{name: id}``: its file system, less the frameworks of keras3. Made once."""
    key = hashlib.sha256(repr((sorted(images.items()), FRAMEWORKS)).encode()).hexdigest()[:16]
    disk = _cache() / f"images-{key}.img"
    with _locked():
        if disk.exists():
            return disk
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=_cache(), prefix=".making-") as scrap:
            root = Path(scrap, "root")
            for name, image in images.items():
                (root / name).mkdir(parents=True)
                _unpack_image(engine, image, root / name)
            for old in _cache().glob("images-*.img"):
                old.unlink()
            _file_system(root, Path(scrap, "disk"), "4G")
            Path(scrap, "disk").rename(disk)
        say(f"a disk of {', '.join(images)} made in {time.monotonic() - began:.0f} s")
    return disk


def _unpack_image(engine: Sequence[str], image: str, root: Path) -> None:
    container = _output(*engine, "create", image)
    try:
        excluded = [f"--exclude=*/site-packages/{each}" for each in FRAMEWORKS]
        with subprocess.Popen([*engine, "export", container], stdout=subprocess.PIPE) as exported:
            unpacked = subprocess.run(["tar", "-x", "-C", str(root), *excluded], stdin=exported.stdout, check=False)
        if exported.returncode or unpacked.returncode:
            raise NoMachine(f"the file system of {image} could not be exported; messages are above")
    finally:
        _run(*engine, "rm", container)
    for name in ("store", "cronsemble/program"):
        (root / name).mkdir(parents=True, exist_ok=True)


def _make(scrap: Path) -> None:
    began = time.monotonic()
    say("making the virtual machine of the NFS tests: about a minute, once")
    root, made = scrap / "root", scrap / "made"
    made.mkdir()
    _debootstrap(root, scrap / "debootstrap.log")
    kernel = _unpack_kernel(root)
    shutil.copy(root / "boot" / f"vmlinuz-{kernel}", made / "vmlinuz")
    _initrd(root, kernel, scrap / "initrd", made / "initrd")
    (made / "packages.txt").write_text(_output("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W") + f"\nkernel {kernel}\n")
    for name in ("boot", "var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "job").mkdir()
    with open(root / "etc" / "passwd", "a") as file:
        file.write("pod:x:1000:1000::/tmp:/bin/sh\n")
    _file_system(root, made / "root.img", SIZE)
    say(f"made in {time.monotonic() - began:.0f} s: {made.parent.parent}")


def _debootstrap(root: Path, log: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    for mirror in [*_mirrors(), ""]:
        shutil.rmtree(root, ignore_errors=True)
        with open(log, "w") as file:
            done = subprocess.run([*command, *([mirror] if mirror else [])], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        if done.returncode == 0:
            return
    raise NoMachine("debootstrap failed:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-10:]))


def _mirrors() -> list[str]:
    """The Debian mirrors that this machine's apt uses."""
    paths = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(path.read_text(errors="replace") for path in paths if path.is_file())
    return list(dict.fromkeys(re.findall(r"(?m)^(?!\s*#).*?(https?://\S+/debian)/?(?=\s|$)", text)))


def _unpack_kernel(root: Path) -> str:
    """Put the kernel and its modules there without installing it, which would make an initrd of another kind; its release."""
    commands = [
        "apt-get -qq update",
        f"kernel=$(apt-cache depends {KERNEL} | sed -n 's/.*Depends: \\(linux-image-[^ ]*\\).*/\\1/p' | head -1)",
        "cd /var/cache/apt/archives && apt-get -qq -o APT::Sandbox::User=root download $kernel",
        # Beside, for dpkg -x would put a folder in the place of the link /lib.
        "dpkg -x $kernel*.deb unpacked && cp -a unpacked/boot/. /boot",
        "mkdir -p /lib/modules && mv unpacked/lib/modules/* /lib/modules",
        "depmod $(ls /lib/modules)",
        "ls /lib/modules",
    ]
    done = subprocess.run(
        ["chroot", str(root), "sh", "-ec", "\n".join(commands)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": _path()},
    )
    if done.returncode:
        raise NoMachine(f"{KERNEL} could not be had: {done.stderr.strip()[-500:]}")
    return done.stdout.split()[-1]


def _initrd(root: Path, kernel: str, folder: Path, target: Path) -> None:
    """busybox, the modules of the disks, and a script."""
    for name in ("bin", "modules", "proc", "dev", "new"):
        (folder / name).mkdir(parents=True)
    shutil.copy(next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists()), folder / "bin/busybox")
    needed: list[str] = []
    for module in MODULES:
        told = _output("chroot", str(root), "modprobe", "-S", kernel, "--show-depends", module)
        needed += [line.split()[1] for line in told.splitlines() if line.startswith("insmod")]
    for number, path in enumerate(dict.fromkeys(needed)):
        shutil.copy(root / path.lstrip("/"), folder / "modules" / f"{number:02}-{Path(path).name}")
    shutil.copy(GUEST / "initrd", folder / "init")
    (folder / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    command = [str(folder / "bin/busybox"), "cpio", "-o", "-H", "newc"]
    packed = subprocess.run(command, input=names.encode(), cwd=folder, capture_output=True, check=True)
    target.write_bytes(gzip.compress(packed.stdout, 1, mtime=0))


def _file_system(folder: Path, disk: Path, size: str) -> None:
    with open(disk, "wb") as file:
        file.truncate(int(size[:-1]) << 30)
    _output("mkfs.ext4", "-q", "-F", "-d", str(folder), str(disk))


def _cache() -> Path:
    base = os.environ.get("CRONSEMBLE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cronsemble"
    )
    return Path(base) / "nfs-vm"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    _cache().mkdir(parents=True, exist_ok=True)
    with open(_cache() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _path() -> str:
    """Root's tools are not on everybody's path."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _output(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env={**os.environ, "PATH": _path()}
    )
    if done.returncode:
        raise NoMachine(f"`{' '.join(command[:4])} …` failed: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def _run(*command: str) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(make())
    except NoMachine as error:
        # What needs it says so again; the other tests need not fail for it.
        sys.exit(f"nfs-vm: {error}")
