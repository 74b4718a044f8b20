"""Connects to the store that an experiment's pods mount: by a reader pod while it is used, or to its mirror alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cronjobs.experiment import Experiment, StoreVolume
from cronjobs.objects.config_maps import revisions_name
from scheduler.console.progress import Progress
from scheduler.kube import kinds, permissions, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import READ_TIMEOUT, KubeError, NotFound, Unreachable
from scheduler.kube.exec import StreamBroken
from scheduler.kube.target import ClusterTarget
from scheduler.notices import notify
from scheduler.stores.remote.client import ConnectionLost, StoreClient
from scheduler.stores.remote.files import RemoteFiles
from scheduler.stores.remote.mirror import mirror_path
from scheduler.stores.remote.reader_pod import PodUnavailable, ReaderPod

if TYPE_CHECKING:
    from scheduler.kube.kubeconfig import Access


def store_label(experiment: Experiment) -> str:
    """What a store is called in messages: ``claim/experiments``, ``nfs/server/path`` or ``host_path/path``."""
    store = experiment.store
    if isinstance(store, str):
        return f"folder/{store.lstrip('/')}"
    if store.nfs is not None:
        return f"nfs/{store.nfs.server}{store.nfs.path}"
    return f"claim/{store.claim}" if store.claim is not None else f"host_path/{str(store.host_path).lstrip('/')}"


@contextmanager
def open_remote_files(experiment: Experiment, target: ClusterTarget) -> Iterator[tuple[RemoteFiles, list[dict[str, Any]]]]:
    """The files of an experiment's store, their mirror up to date, and the revisions that the cluster itself holds.

    The experiment is in its namespace (``scheduler.config.namespace``). Where no cluster answers, or the store's node, or
    ``target.offline``, what was read last, with a notice that says when. The reader pod is removed afterwards.
    Raises KubeError.
    """
    if target.offline:
        files = _mirror_only(experiment, target, "--offline was given")
        _print_age(files, experiment.name, "")
        yield files, files.mirror.revisions(experiment.name)
        return
    with ExitStack() as connection:
        try:
            files, api, progress = connection.enter_context(_connected(experiment, target))
            revisions = _update(api, files, experiment, progress)
            progress.clear()
        except (Unreachable, PodUnavailable, StreamBroken, ConnectionLost) as error:
            connection.close()
            files = _mirror_only(experiment, target, str(error))
            # The node may be gone, and the server there.
            files.is_cluster_down = isinstance(error, Unreachable)
            _print_age(files, experiment.name, str(error))
            revisions = files.mirror.revisions(experiment.name)
        yield files, revisions


@contextmanager
def connect_to_files(experiment: Experiment, target: ClusterTarget) -> Iterator[RemoteFiles]:
    """The files of an experiment's store, their mirror as it was last; the reader pod is removed afterwards. Raises KubeError."""
    with _connected(experiment, target) as (files, _, _):
        yield files


@contextmanager
def _connected(experiment: Experiment, target: ClusterTarget) -> Iterator[tuple[RemoteFiles, KubeClient, Progress]]:
    progress, access = Progress(), target.access()
    with (
        KubeClient(access, READ_TIMEOUT, READ_TIMEOUT) as api,
        permissions.explain_denials(api, [experiment.cluster.namespace], needed=permissions.READER),
    ):
        reader = ReaderPod(api, experiment, progress.say)

        def connect() -> StoreClient:
            client = reader.open()
            progress.clear()
            return client

        files = RemoteFiles(mirror_folder(experiment, access), store_label(experiment), connect, reader.idle_timeout / 2)
        try:
            yield files, api, progress
        finally:
            progress.clear()
            files.close()
            reader.close()


def _mirror_only(experiment: Experiment, target: ClusterTarget, reason: str) -> RemoteFiles:
    return RemoteFiles(mirror_folder(experiment, target.access()), store_label(experiment), reason)


def mirror_folder(experiment: Experiment, access: Access) -> Path:
    """Where the mirror of an experiment's store is on this machine."""
    assert isinstance(experiment.store, StoreVolume)
    return mirror_path(access.server, experiment.cluster.namespace, experiment.store)


def _update(api: KubeClient, files: RemoteFiles, experiment: Experiment, progress: Progress) -> list[dict[str, Any]]:
    """Bring the mirror up to date; the cluster's own revisions, which it then remembers."""
    try:
        name = revisions_name(experiment.name)
        data = api.get(kinds.CONFIGMAP, experiment.cluster.namespace, name).get("data") or {}
    except NotFound:
        data = {}
    revisions = revision_configmap.read(data)

    def report(received: int, total: int) -> None:
        if received % 500 == 0 or received == total:
            progress.say(f"reading the store: {received:,} of {total:,} runs")

    files.update(experiment.name, report)
    files.mirror.keep_revisions(experiment.name, revisions)
    return revisions


def _print_age(files: RemoteFiles, experiment: str, reason: str) -> None:
    updated = files.mirror.updated(experiment)
    if updated is None:
        prefix = f"{reason}; and" if reason else "--offline:"
        raise KubeError(f"{prefix} nothing of {experiment} was ever read from {files.name} on this machine")
    time = updated.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    notify(f"{reason + ': ' if reason else ''}this is {files.name} as of {time}")
