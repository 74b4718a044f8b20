"""The job program as one file: a byte-reproducible zipapp of the ``jobs`` package."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import jobs

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = b"import sys\nfrom jobs.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


def build_program() -> bytes:
    """The zipapp's bytes: the same for the same sources, whatever the machine, clock or zlib."""
    return deterministic_zip(_jobs())


def _jobs() -> list[tuple[str, bytes]]:
    """The zipapp's files: the package ``jobs`` and an entry point."""
    package = Path(str(jobs.__file__)).parent
    sources = ((f"jobs/{path.relative_to(package).as_posix()}", path) for path in package.rglob("*.py"))
    return [("__main__.py", _MAIN), *((name, path.read_bytes()) for name, path in sources)]


def deterministic_zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of (name, content) pairs in name order, stored, with fixed times and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, content)
    return buffer.getvalue()
