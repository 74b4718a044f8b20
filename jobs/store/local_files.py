"""The files of a store that is a folder of this machine: a local disk, NFS, any volume. Standard library alone, Python 3.9."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from jobs.contract import CLAIM_PREFIX
from jobs.store import files
from jobs.store.files import MISSING_ERRNOS, make_folder


class LocalFiles:
    """``StoreFiles`` of the folder ``root``, and what only such a store can do: publish a file by a link."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def is_offline(self) -> bool:
        return False

    # -- reading

    def list_names(self, folder: Path) -> list[str]:
        return files.list_names(folder)

    def read_json(self, path: Path) -> dict[str, Any] | None:
        return files.read_json(path)

    def read_lines(self, path: Path) -> list[dict[str, Any]]:
        return files.read_lines(path)

    def folder_state(self, folder: Path) -> tuple[int, int] | None:
        return files.folder_state(folder)

    def local_folder(self, folder: Path) -> Path:
        return folder

    def list_files(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def sha256(self, path: Path) -> str:
        return files.sha256_of(path)

    def display_path(self, path: Path) -> str:
        return str(path)

    # -- copying to this machine: all is here

    def update(self, experiment: str) -> None:
        return

    def download(self, folder: Path, *patterns: str) -> None:
        return

    def download_files(self, *paths: Path) -> None:
        return

    # -- writing

    def publish(self, path: Path, data: bytes) -> bool:
        make_folder(path.parent, self.root)
        return files.publish_bytes(path, data)

    def ensure(self, path: Path, data: bytes) -> None:
        if not files.exists(path):
            self.publish(path, data)

    def replace(self, path: Path, data: bytes) -> None:
        make_folder(path.parent, self.root)
        files.replace_file(path, data)

    def append_line(self, path: Path, value: dict[str, Any]) -> None:
        make_folder(path.parent, self.root)
        files.append_line(path, value)

    def claim_folder(self, folder: Path, name: str, data: bytes) -> bool:
        # A folder that is not empty takes the name: of two, one is refused, and it knows its own by the inode.
        if files.exists(folder):
            return False
        hidden = folder.with_name(f"{CLAIM_PREFIX}{folder.name}.{uuid.uuid4().hex}")
        make_folder(hidden, self.root)
        try:
            files.write_file(hidden / name, data)
            own = os.stat(hidden)
            try:
                os.rename(hidden, folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, *MISSING_ERRNOS):
                    raise
                taken = files.read_fresh_or_none(folder, os.stat)
                if taken is None:
                    raise
                return os.path.samestat(own, taken)
            files.fsync(folder.parent)
            return True
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    # -- what a store that is elsewhere cannot do

    def publish_file(self, path: Path, source: Path) -> bool:
        """Make ``source``'s bytes visible as ``path`` by a link or a copy, unless that name is taken; whether it was free."""
        make_folder(path.parent, self.root)
        return files.publish_file(path, source)
