"""The job program as one file: a byte-reproducible zipapp of the ``jobs`` package."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import jobs

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = b"import sys\nfrom jobs.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


_BESIDE = [f"cronjobs/{name}.py" for name in ("__init__", "labels", "revisions")]
_BESIDE += [f"scheduler/{name}.py" for name in ("__init__", "damage", "damage_beside")]
"""What works beside a store that is elsewhere, besides the jobs themselves."""


def build_program() -> bytes:
    """The zipapp's bytes: the same for the same sources, whatever the machine, clock or zlib."""
    return deterministic_zip(_jobs())


def build_beside() -> bytes:
    """The same program with what the commands need beside a store that is elsewhere."""
    root = Path(str(jobs.__file__)).parent.parent
    return deterministic_zip([*_jobs(), *((name, (root / name).read_bytes()) for name in _BESIDE)])


def _jobs() -> list[tuple[str, bytes]]:
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
