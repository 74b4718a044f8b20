"""A look at an experiment: its duties, each of which may fail alone, and what is said of them, a line each."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cronjobs.revisions.revisions import Revision
from jobs.store import LocalStore
from jobs.store.ownership import access_problem
from jobs.store.report_pages import put_page
from jobs.text import one_line
from scheduler import VERSION
from scheduler.errors import CronsembleError
from scheduler.history.observed_runs import ClusterObservation
from scheduler.stores.history_reader import HistoryReader
from scheduler.times import format_bytes
from scheduler.watch.settings import WatchSettings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """A look at ``now`` (seconds since 1970) at an experiment's history, as its store and ``revisions`` of a cluster have it."""

    store: LocalStore
    settings: WatchSettings
    now: float
    revisions: Sequence[Revision] = ()

    @cached_property
    def reader(self) -> HistoryReader:
        """The history; raises OSError where the store cannot be read."""
        observation = ClusterObservation("", self.now, revisions=self.revisions)
        return HistoryReader(self.store, self.settings.experiment, self.settings.timezone, self.now, observation)


def look(looked: Look, say: Say, complain: Say) -> bool:
    """Do every duty; whether none failed. ``say`` gets a line for each that is done, ``complain`` one for each that is not."""
    if looked.settings.version not in ("", VERSION):
        complain(
            f"watch: this is cronsemble {VERSION}, and the experiment was synchronised by {looked.settings.version}: "
            "build and distribute the image of that version (cronsemble images build tool), or sync again"
        )
    duties = {"revisions": keep_revisions, "report": write_report}
    try:
        if not looked.store.root.is_dir():
            raise CronsembleError(f"{looked.store.root}: there is no store")
        looked.reader.history.tasks()
    except Exception as error:
        if os.environ.get("CRONSEMBLE_DEBUG"):
            raise
        complain(f"history: {_problem(error, looked.store)}")
        return False
    is_done = True
    for name, duty in duties.items():
        try:
            text = duty(looked)
        except Exception as error:
            if os.environ.get("CRONSEMBLE_DEBUG"):
                raise
            is_done = False
            complain(f"{name}: {_problem(error, looked.store)}")
        else:
            if text:
                say(f"{name}: {text}")
    return is_done


# -- the duties: each says in a line what it did; empty for nothing worth a line


def keep_revisions(looked: Look) -> str:
    """Put into the store the revisions that a cluster's ConfigMap has and the store lacks: it may be too small for all."""
    looked.store.ledger.add_revisions(looked.settings.experiment, looked.revisions)
    return ""


def write_report(looked: Look) -> str:
    """Write the report page into the store: today's, and the latest."""
    from scheduler.report.page import render_page
    from scheduler.report.report import read_report

    page = render_page(read_report(looked.reader)).encode()
    today = looked.reader.history.clock.local(int(looked.now // 60))[:10]
    written = [_relative(path, looked) for path in put_page(looked.store.root, looked.settings.experiment, today, page)]
    return f"{' and '.join(written)}, {format_bytes(len(page))}"


def _relative(path: Path, looked: Look) -> str:
    return path.relative_to(looked.store.root).as_posix()


def _problem(error: Exception, store: LocalStore) -> str:
    """An error in a line, with what to do about it where that is known."""
    if isinstance(error, CronsembleError):
        return str(error)
    if isinstance(error, OSError):
        path = Path(str(error.filename)) if error.filename else store.root
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            folder = path if path.is_dir() else path.parent
            return access_problem(folder, store.root) or one_line(f"{path}: {error.strerror}")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the store is full ({error.strerror}): cronsemble gc makes room"
        return one_line(f"{path}: {error.strerror or error}")
    return one_line(f"{type(error).__name__}: {error} (a bug in cronsemble: --debug shows the traceback)")
