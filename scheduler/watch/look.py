"""A look at an experiment: its duties, each of which may fail alone, and what is said of them, a line each."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cronjobs.revisions.revisions import Revision
from jobs.store import LocalStore
from jobs.store.files import replace_file
from jobs.store.ownership import access_problem
from jobs.store.report_pages import metrics_file, put_page
from jobs.text import one_line
from scheduler import VERSION
from scheduler.errors import CronsembleError
from scheduler.history.observed_runs import ClusterObservation
from scheduler.stores.history_reader import HistoryReader
from scheduler.times import format_bytes
from scheduler.watch.settings import WatchSettings

DEFAULT_FILE = "config.yaml"
"""The configuration that commands read without `-f`."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """A look at ``now`` (seconds since 1970) at an experiment's history, as its store and ``revisions`` of a cluster have it."""

    store: LocalStore
    settings: WatchSettings
    now: float
    revisions: Sequence[Revision] = ()
    folder: Path | None = None
    """Where commands of `notify:` run; on a cluster there are none."""
    memory: Path | None = None
    """The file in which this machine remembers what a store that cannot be written was to hold; a pod has none."""

    @cached_property
    def reader(self) -> HistoryReader:
        """The history; raises OSError where the store cannot be read."""
        observation = ClusterObservation("", self.now, revisions=self.revisions)
        return HistoryReader(self.store, self.settings.experiment, self.settings.timezone, self.now, observation)


def look(looked: Look, say: Say, complain: Say) -> bool:
    """Do every duty; whether none failed. ``say`` gets a line for what is done, ``complain`` one for what is not."""
    version = looked.settings.version
    if version not in ("", VERSION):
        complain(
            f"watch: this is cronsemble {VERSION}, and the experiment was synchronised by {version}: "
            "build and distribute the image of that version (cronsemble images build tool), or sync again"
        )
    if not looked.store.root.is_dir():
        complain(f"watch: {looked.store.root}: there is no store")
        return False
    duties = {"revisions": keep_revisions, "notices": tell, "metrics": write_metrics, "report": write_report}
    is_done = True
    for name, duty in duties.items():
        try:
            done, undone = duty(looked)
        except Exception as error:
            if os.environ.get("CRONSEMBLE_DEBUG"):
                raise
            done, undone = [], [_problem(error, looked.store)]
        for line in done:
            say(f"{name}: {line}")
        for line in undone:
            complain(f"{name}: {line}")
        is_done &= not undone
    return is_done


# -- the duties: each gives the lines of what it did, and of what it could not do, and may raise anything

Outcome = tuple[Sequence[str], Sequence[str]]


def keep_revisions(looked: Look) -> Outcome:
    """Put into the store the revisions that a cluster's ConfigMap has and the store lacks: it may be too small for all."""
    looked.store.ledger.add_revisions(looked.settings.experiment, looked.revisions)
    return (), ()


def tell(looked: Look) -> Outcome:
    """Tell the channels of `notify:` what is new; what a receiver does not take is tried again by a later look."""
    settings = looked.settings
    if settings.notify is None:
        return (), ()
    from scheduler.notifications.channels.secrets import missing
    from scheduler.notifications.incidents import ProblemKind
    from scheduler.notifications.tell import Teller

    place = f"-f {shlex.quote(settings.file)}" if settings.file not in ("", DEFAULT_FILE) else ""
    teller = Teller(
        looked.store,
        settings.experiment,
        settings.timezone,
        settings.notify,
        os.environ,
        folder=looked.folder,
        place=place,
        memory=looked.memory,
        looks=settings.times.last_two if looked.memory is None and settings.times is not None else None,
    )
    told = teller.tell(looked.now, (), (ProblemKind.STORE,))
    # Also where nothing is to be told yet: the first message must not be the first to miss its address.
    lacking = [f"{channel.name}: {why}" for channel in settings.notify.channels if (why := missing(channel, os.environ))]
    silent = [line for line in lacking if not any(line.partition(": ")[2] in failed for failed in told.failed)]
    return told.sent, [*told.failed, *silent, *([told.trouble] if told.trouble else [])]


def write_metrics(looked: Look) -> Outcome:
    """Write how each task does into the store, for whoever gives it to Prometheus."""
    from scheduler.metrics.exposition import metrics_text
    from scheduler.metrics.values import read_metrics

    times = looked.settings.times
    metrics = replace(read_metrics(looked.reader), next_look=None if times is None else times.following(looked.now))
    text = metrics_text([metrics])
    path = metrics_file(looked.store.root, looked.settings.experiment)
    replace_file(path, text)
    return [f"{_relative(path, looked)}, {format_bytes(len(text))}"], ()


def write_report(looked: Look) -> Outcome:
    """Write the report page into the store: today's, and the latest."""
    from scheduler.report.page import render_page
    from scheduler.report.report import read_report

    page = render_page(read_report(looked.reader)).encode()
    today = looked.reader.history.clock.local(int(looked.now // 60))[:10]
    written = [_relative(path, looked) for path in put_page(looked.store.root, looked.settings.experiment, today, page)]
    return [f"{' and '.join(written)}, {format_bytes(len(page))}"], ()


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
