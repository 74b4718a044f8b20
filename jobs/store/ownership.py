"""Whose a store's files are: what is made in a folder gets the folder's owner, group and openness, whoever makes it.

Only root can give a file away. Where a file system refuses that, as NFS does where it makes root nobody, what was made stays its
maker's, and whoever made it says so. Links are never followed: root must not give away what another user's link points to.
Standard library alone, Python 3.9.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

REFUSED_ERRNOS = (errno.EACCES, errno.EPERM)
"""Errors of a file system that refuses something to a user."""


def share(path: Path, folder: Path | None = None, read_only: bool = False) -> None:
    """Give what was made in ``folder``, by default its own, that folder's owner, group and openness, as far as that is allowed.

    ``read_only``: a file that nobody is to write any more. A user who is not root gives nothing away: only group and mode of its
    own files are changed. Raises OSError for what is gone.
    """
    _share(path, None, os.stat(folder or path.parent), read_only)


def share_tree(folder: Path) -> None:
    """Share a folder and all that lies in it.

    A file with several names is passed over: ours are shared before they are linked, and another link may be anybody's.
    """
    share(folder)
    for root, folders, names, handle in os.fwalk(folder):
        above = os.fstat(handle)
        for name in (*folders, *names):
            # What has gone meanwhile needs no owner.
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
                    _share(Path(root, name), handle, above)


def _share(path: Path, folder: int | None, above: os.stat_result, read_only: bool = False) -> None:
    """``folder``: a descriptor of the one that the path lies in."""
    name = path if folder is None else path.name
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    is_root = os.geteuid() == 0
    owner = above.st_uid if is_root else status.st_uid
    mode = stat.S_IMODE(above.st_mode) & (0o7777 if stat.S_ISDIR(status.st_mode) else 0o444 if read_only else 0o666)
    is_done = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (owner, above.st_gid, mode)
    if is_done or not (is_root or status.st_uid == os.geteuid()):
        return
    with suppress(OSError):
        # What is changed is what was opened, whatever takes its name meanwhile.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            # The mode before it is given away, and after it has its group: else a bit that lends the group is lost.
            with suppress(OSError):
                os.fchown(handle, -1, above.st_gid)
            with suppress(OSError):
                os.fchmod(handle, mode)
            os.fchown(handle, owner, -1)
        finally:
            os.close(handle)


def unshared_owner(folder: Path, root: Path) -> int | None:
    """The user to whom the store ``root`` belongs, if it may not write a folder that this user made there; else None."""
    status, store = folder.stat(), root.stat()
    is_open = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid == store.st_gid)
    return None if status.st_uid == store.st_uid or is_open else store.st_uid


def access_problem(folder: Path, root: Path) -> str:
    """Why this user cannot make files in a folder of the store ``root``, and what helps; empty if it can.

    A folder that is not there yet is made in the first one above it that is.
    """
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        return ""
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        return f"{existing} is on a file system that is mounted read-only"
    owner, user, group = _user(existing.stat().st_uid), os.geteuid(), os.getegid()
    problem = f"{existing} belongs to {owner}, and {_user(user)} may not write in it"
    if user == 0:
        return f"{problem} (on NFS root is usually nobody): run as {owner}"
    if existing in root.parents:
        return f"{problem}: make the store once by sudo install -d -o {user} -g {group} {root}"
    return f"{problem}: run as {owner}, or change the owner by sudo chown -R {user}:{group} {root}"


def _user(uid: int) -> str:
    """A user by name and number; by number alone where it has no name here, as in a container."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"
