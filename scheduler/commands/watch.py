"""The command `watch`."""

from __future__ import annotations

import os
import sys
import time

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from jobs.contract import ENV_REVISIONS
from jobs.store import LocalStore
from scheduler.commands.options import DEFAULT_FILE, File, StoreFolder
from scheduler.console.messages import print_line
from scheduler.exit_status import ExitStatus


def watch(
    file: File = DEFAULT_FILE,
    store: StoreFolder = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --store: what to know of the configuration, as a watch's pod finds it; - for the standard input.",
        ),
    ] = None,
) -> None:
    """Look after the experiment once: notices, metrics and report, from its store. Example: cronsemble watch -f config.yaml"""
    from jobs.supervisor.heartbeat import take_address
    from jobs.supervisor.snapshots import mounted_revisions
    from scheduler.watch.look import Look, look
    from scheduler.watch.pings import LookPings
    from scheduler.watch.settings import read_settings, settings_of

    commands: Path | None = None
    memory: Path | None = None
    address = take_address(os.environ)
    if settings is not None:
        if store is None:
            raise typer.BadParameter("give the store's folder too: --store DIR", param_hint="--settings")
        known, folder = read_settings(settings), LocalStore(store.resolve())
    else:
        from cronjobs.objects.watch import watch_settings
        from scheduler import VERSION
        from scheduler.notifications.unwritten import memory_file
        from scheduler.stores.location import locate
        from scheduler.stores.workspace import open_workspace

        with open_workspace(locate(file, store), through_cluster=False, may_be_new=True) as workspace:
            experiment = workspace.require_experiment("watch")
            known, commands = settings_of(watch_settings(experiment, VERSION)), experiment.folder
            folder = workspace.require_local_store()
            memory = memory_file(folder.root, known.experiment)
    mounted = os.environ.get(ENV_REVISIONS)
    revisions = mounted_revisions(Path(mounted)) if mounted else []
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print_line(line)

    def complain(line: str) -> None:
        lines.append(line)
        print_line(line, sys.stderr)

    pings = LookPings(known.experiment, address, complain)
    pings.began()
    is_done = look(Look(folder, known, time.time(), revisions, commands, memory), say, complain)
    pings.ended(is_done, lines)
    raise typer.Exit(ExitStatus.DONE if is_done else ExitStatus.ERROR)
