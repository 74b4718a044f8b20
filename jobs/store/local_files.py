"""The files of a store that is a folder of this machine: a local disk, NFS, any volume. Standard library alone, Python 3.9."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.contract import CLAIM_PREFIX
from jobs.store import files
from jobs.store.document_files import read_document
from jobs.store.files import MISSING_ERRNOS, make_folder
from jobs.store.regular_files import is_regular
from jobs.store.states import number_of, record_state, run_state, states_of


class LocalFiles:
    """``StoreFiles`` of the folder ``root``, and what only such a store can do: publish a file by a link."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def is_offline(self) -> bool:
        """Never: all of it is on this machine."""
        return False

    def updated(self, experiment: str) -> datetime | None:
        """None: others write into the same folder."""
        return None

    # -- reading

    def list_names(self, folder: Path) -> list[str]:
        """The visible names in a folder, by the server's word on NFS."""
        names = files.list_names(folder)
        if not names:
            self._require_root()
        return names

    def _require_root(self) -> None:
        """Raise OSError for a store that is out of reach: it must not look as if it held nothing."""
        try:
            os.statvfs(self.root)
        except (FileNotFoundError, NotADirectoryError):
            return

    def read_document(self, path: Path) -> dict[str, Any] | None:
        """The document in a file; a file that is replaced meanwhile is read again."""
        return read_document(path)

    def read_lines(self, path: Path) -> list[dict[str, Any]]:
        """The objects in a file of lines; one that holds none is left out."""
        return files.read_lines(path)

    def month_state(self, folder: Path) -> tuple[int, int] | None:
        """The folder's mtime and its change time in ns since 1970."""
        return files.folder_state(folder)

    def run_states(self, folders: Sequence[Path], only_record: bool) -> list[int]:
        """By the size and the times of the files (``jobs.store.states``)."""
        return [number_of(state) for state in states_of(folders, record_state if only_record else run_state)]

    def local_folder(self, folder: Path) -> Path:
        """The folder itself."""
        return folder

    def list_files(self, folder: Path) -> list[Path]:
        """Every regular file under the folder, also hidden ones."""
        return sorted(path for path in folder.rglob("*") if is_regular(path))

    def sha256(self, path: Path) -> str:
        """The file's SHA-256, taken here; raises OSError."""
        return files.sha256_of(path)

    def display_path(self, path: Path) -> str:
        """The path itself."""
        return str(path)

    # -- copying to this machine: all is here

    def update(self, experiment: str) -> None:
        """Nothing: others write into the same folder."""
        return

    def download(self, folder: Path, *patterns: str) -> None:
        """Nothing: all of it is here."""
        return

    def download_files(self, *paths: Path) -> None:
        """Nothing: all of it is here."""
        return

    # -- writing

    def publish(self, path: Path, data: bytes) -> bool:
        """By an exclusive link to a file that is whole; raises OSError."""
        make_folder(path.parent, self.root)
        return files.publish_bytes(path, data)

    def ensure(self, path: Path, data: bytes) -> None:
        """Published, or put in the place of other bytes; raises OSError."""
        if not files.holds(path, data) and not self.publish(path, data) and not files.holds(path, data):
            self.replace(path, data)

    def replace(self, path: Path, data: bytes) -> None:
        """By a rename of a file that is whole; raises OSError."""
        make_folder(path.parent, self.root)
        files.replace_file(path, data)

    def append_line(self, path: Path, value: dict[str, Any]) -> None:
        """Written and synced at once; raises OSError."""
        make_folder(path.parent, self.root)
        files.append_line(path, value)

    def claim_folder(self, folder: Path, name: str, data: bytes) -> bool:
        """By renaming a folder with the file in it; raises OSError."""
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
                if taken is not None:
                    return os.path.samestat(own, taken)
                if error.errno in MISSING_ERRNOS:
                    raise
                # The server has refused the name, which this client cannot see yet. It looks for ours first: it is another's.
                return False
            files.fsync(folder.parent)
            return True
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    # -- what a store that is elsewhere cannot do

    def publish_file(self, path: Path, source: Path, read_only: bool = False) -> bool:
        """Make ``source``'s bytes visible as ``path`` by a link or a copy, unless that name is taken; whether it was free."""
        make_folder(path.parent, self.root)
        return files.publish_file(path, source, read_only)
