"""The command `notify`: tells what is new now, sends a sample or a digest, or prints what would be sent."""

import os
import shlex
import sys
import time

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from cronjobs.experiment import Experiment
from cronjobs.notify import Notify
from jobs.store import Store
from scheduler.commands.completion import complete_dates
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    DryRun,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    StoreFolder,
)
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation, locate
from scheduler.stores.workspace import open_workspace


def chosen_channels(experiment: Experiment, names: Sequence[str]) -> Notify:
    """The channels of an experiment, or those of these names; raises CronsembleError."""
    notify = experiment.notify
    if notify is None:
        raise CronsembleError(
            f"{experiment.path}: notify: nobody is to be told: name a channel there, e.g. notify: {{channels: {{desk: "
            "{command: [notify-send, Cronsemble]}}}"
        )
    known = [channel.name for channel in notify.channels]
    for name in names:
        if name not in known:
            raise CronsembleError(f"--channel {name}: there are {', '.join(known)}")
    return replace(notify, channels=tuple(channel for channel in notify.channels if not names or channel.name in names))


def print_text(text: str) -> None:
    """Print a text of several lines."""
    for line in text.rstrip().split("\n"):
        print_line(line)


def _place(location: StoreLocation, experiment: Experiment) -> str:
    """What names the experiment in a command of another folder."""
    place = ("-f", experiment.path) if location.folder is None else ("--store", location.folder)
    return f"{place[0]} {shlex.quote(str(place[1].resolve()))}"


def send_samples(experiment: Experiment, notify: Notify, is_dry: bool) -> ExitStatus:
    """Send a sample to each channel and print what came back; an error if one was not taken."""
    from scheduler.history.slots import LocalClock
    from scheduler.notifications.channels.errors import DeliveryError
    from scheduler.notifications.channels.send import send
    from scheduler.notifications.messages import Sender, sample

    now, code = time.time(), ExitStatus.DONE
    sender = Sender(experiment.name, experiment.timezone, notify.link)
    for channel in notify.channels:
        message = sample(sender, channel.name, now, LocalClock(experiment.timezone))
        if is_dry:
            print_line(f"{channel.name} ({channel.kind}):")
            print_text(message.text)
            continue
        try:
            answer = send(channel, message, os.environ, experiment.folder, notify.withheld)
        except DeliveryError as error:
            code = ExitStatus.ERROR
            print_line(f"{channel.name} ({channel.kind}): not taken: {error}")
        else:
            print_line(f"{channel.name} ({channel.kind}): {answer}")
    return code


def _whose_secrets(experiment: Experiment, notify: Notify) -> str:
    """What a sample from this machine does not show of a cluster that tells."""
    if experiment.watch is None:
        return "these were sent from this machine; nobody tells on the cluster: add watch: {} to the configuration"
    names = sorted({secret.secret for secret in notify.secrets()})
    what = f", with what the Secret{'s' if len(names) > 1 else ''} {', '.join(names)} there say{'' if len(names) > 1 else 's'}"
    return (
        "these were sent from this machine, with its own variables; on the cluster the watch sends"
        f"{what if names else ''}: its log names what it lacks"
    )


def send_digest(experiment: Experiment, store: Store, notify: Notify, since: str, is_dry: bool) -> ExitStatus:
    """Print what became of the slots of a period, and send it to each channel unless ``is_dry``."""
    from scheduler.history.query import HistoryQuery
    from scheduler.notifications.channels.errors import DeliveryError
    from scheduler.notifications.channels.send import send
    from scheduler.notifications.messages import Sender, digest
    from scheduler.notifications.tell import Teller
    from scheduler.stores.history_reader import HistoryReader
    from scheduler.times import parse_time

    now = time.time()
    start = parse_time(since, experiment.timezone, now, "--since").timestamp()
    reader = HistoryReader(store, experiment.name, experiment.timezone, now)
    rows = reader.rows(HistoryQuery(low=int(start // 60), high=int(now // 60)))
    teller = Teller(store, experiment.name, experiment.timezone, notify, os.environ)
    sender = Sender(experiment.name, experiment.timezone, notify.link)
    message = digest(sender, rows, start, now, reader.history.clock, teller.open_events())
    print_text(message.text)
    code = ExitStatus.DONE
    for channel in notify.channels if not is_dry else ():
        if channel.kind == "alertmanager":
            continue  # it has alerts, and no texts
        try:
            print_line(f"{channel.name}: {send(channel, message, os.environ, experiment.folder, notify.withheld)}")
        except DeliveryError as error:
            code = ExitStatus.ERROR
            print_line(f"{channel.name}: not taken: {error}")
    return code


def tell_now(location: StoreLocation, experiment: Experiment, store: Store, notify: Notify, is_dry: bool) -> ExitStatus:
    """Tell what is new and print to whom; an error if something could not be told. With ``is_dry`` print it alone."""
    from scheduler.notifications.incidents import ProblemKind
    from scheduler.notifications.messages import messages
    from scheduler.notifications.tell import Teller, is_wanted
    from scheduler.notifications.unwritten import memory_file

    now = time.time()
    teller = Teller(
        store,
        experiment.name,
        experiment.timezone,
        notify,
        os.environ,
        folder=experiment.folder,
        place=_place(location, experiment),
        memory=memory_file(store.root, experiment.name),
    )
    if is_dry:
        new = teller.look(now, (), (ProblemKind.STORE,))
        wanted = [event for event in new if any(is_wanted(channel, event) for channel in notify.channels)]
        print_text("\n".join(message.text for message in messages(wanted, teller.sender)) or "nothing is new")
        return ExitStatus.DONE
    told = teller.tell(now, (), (ProblemKind.STORE,))
    for line in told.sent:
        print_line(line)
    for line in told.failed:
        print_line(f"not sent: {line}")
    if not told.sent and not told.failed and not told.trouble:
        print_line("nothing is new")
    if told.trouble:
        raise CronsembleError(f"{store.files.display_path(store.root)}: {told.trouble}")
    return ExitStatus.ERROR if told.failed else ExitStatus.DONE


def notify(
    file: File = DEFAULT_FILE,
    test: Annotated[bool, typer.Option("--test", help="Send a sample to each channel, and print what came back.")] = False,
    digest: Annotated[bool, typer.Option("--digest", help="Send what became of the slots of the last day.")] = False,
    since: Annotated[
        str | None, typer.Option(help="With --digest: from this date or time on, or how long ago.", autocompletion=complete_dates)
    ] = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Only this channel (repeat for more).")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of messages, and do nothing else.")] = False,
    dry_run: DryRun = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Tell what is new to the channels of `notify:`, each once. Example: cronsemble notify --test"""
    if schema:
        import json

        from scheduler.notifications.messages import message_schema

        print_text(json.dumps(message_schema(), indent=2))
        return
    if test and digest:
        raise CronsembleError("--test and --digest are given, and one is meant")
    if since is not None and not digest:
        raise CronsembleError("--since is for --digest")
    location = locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, False))
    configured = location.require_experiment()
    notify = chosen_channels(configured, channel or [])
    if test:
        status = send_samples(configured, notify, dry_run)
        if location.is_remote and not dry_run:
            print_line(_whose_secrets(configured, notify), sys.stderr)
        raise typer.Exit(status)
    with open_workspace(location, may_be_new=True) as workspace:
        if workspace.store.files.is_offline:
            place = workspace.store.files.display_path(workspace.store.root)
            raise CronsembleError(
                f"{place}: nobody is told: what is new there is not known, and what is told is written down there"
            )
        if location.is_remote:
            from scheduler.observe.open_history import open_history

            open_history(workspace)  # it keeps what the cluster shows of ended runs
        if digest:
            raise typer.Exit(send_digest(configured, workspace.store, notify, since or "1d", dry_run))
        raise typer.Exit(tell_now(location, configured, workspace.store, notify, dry_run))
