"""Folders of a mirror: they appear and go whole, without waiting for the disk, for what a crash takes is sent again."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from jobs.store.files import replace_file


def remove_at_once(path: Path) -> None:
    """Remove a file or a folder, which no reader sees from then on."""
    hidden = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        os.rename(path, hidden)
    except FileNotFoundError:
        return
    if hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        hidden.unlink()


def make_folder_with(folder: Path, folders: tuple[str, ...], files: Mapping[str, bytes]) -> None:
    """Make a folder appear with just these in it."""
    hidden = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    for name in ("", *folders):
        (hidden / name).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (hidden / name).write_bytes(content)
    os.rename(hidden, folder)


def change_folder(folder: Path, folders: tuple[str, ...], files: Mapping[str, bytes]) -> None:
    """Make a folder hold just these, each of them whole at every moment."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            if name not in folders and not any(file.startswith(f"{name}/") for file in files):
                remove_at_once(path)
        elif name not in files:
            path.unlink(missing_ok=True)
    for name in folders:
        (folder / name).mkdir(exist_ok=True)
    for name, content in files.items():
        replace_file(folder / name, content, durable=False)
