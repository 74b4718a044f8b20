"""Opens the store that an experiment's pods mount: with a reader pod while it is used, or as it was seen last."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cronjobs.experiment import Experiment, StoreVolume
from cronjobs.objects.config_maps import revisions_name
from scheduler.config.namespace import in_namespace
from scheduler.console.progress import Progress
from scheduler.kube import kinds, permissions, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError, NotFound, Unreachable
from scheduler.kube.target import ClusterTarget
from scheduler.signals import stopped_by_terminate
from scheduler.stores.remote.client import StoreClient
from scheduler.stores.remote.mirror import mirror_path
from scheduler.stores.remote.reader_pod import ReaderPod
from scheduler.stores.remote.store import RemoteStore

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
def open_remote_store(
    experiment: Experiment, target: ClusterTarget, offline: bool
) -> Iterator[tuple[RemoteStore, list[dict[str, Any]]]]:
    """An experiment's store as the cluster has it now, and the cluster's own revisions; the reader pod is gone afterwards.

    Where no cluster answers, or ``offline``, what was seen last, with a line that says as of when.
    """
    if offline:
        store = _mirrored(experiment, target, "--offline was given")
        _say_as_of(store, experiment.name, "")
        yield store, store.mirror.revisions(experiment.name)
        return
    with ExitStack() as held:
        try:
            store, api, progress, namespace = held.enter_context(_connected(experiment, target))
            found = _current(api, store, experiment, namespace, progress)
            progress.clear()
        except Unreachable as error:
            held.close()
            store = _mirrored(experiment, target, str(error))
            _say_as_of(store, experiment.name, str(error))
            found = store.mirror.revisions(experiment.name)
        yield store, found


@contextmanager
def connect_to_store(experiment: Experiment, target: ClusterTarget) -> Iterator[RemoteStore]:
    """An experiment's store, its mirror as it was last; the reader pod is gone afterwards."""
    with _connected(experiment, target) as (store, _, _, _):
        yield store


@contextmanager
def _connected(experiment: Experiment, target: ClusterTarget) -> Iterator[tuple[RemoteStore, KubeClient, Progress, str]]:
    experiment = in_namespace(experiment, target.namespace)
    namespace, progress = experiment.cluster.namespace, Progress()
    access = target.access()
    with (
        KubeClient(access) as api,
        permissions.explain_denials(api, [namespace], needed=permissions.READER),
        stopped_by_terminate(),
    ):
        reader = ReaderPod(api, experiment, progress.say)

        def connect() -> StoreClient:
            session = reader.open()
            progress.clear()
            return session

        store = RemoteStore(mirror_folder(experiment, access), store_label(experiment), connect, reader.idle / 2)
        try:
            yield store, api, progress, namespace
        finally:
            progress.clear()
            store.close()
            reader.close()


def _mirrored(experiment: Experiment, target: ClusterTarget, why: str) -> RemoteStore:
    experiment = in_namespace(experiment, target.namespace)
    return RemoteStore(mirror_folder(experiment, target.access()), store_label(experiment), why)


def mirror_folder(experiment: Experiment, access: Access) -> Path:
    """Where the mirror of an experiment's store lies."""
    assert isinstance(experiment.store, StoreVolume)
    return mirror_path(access.server, experiment.cluster.namespace, experiment.store)


def _current(
    api: KubeClient, store: RemoteStore, experiment: Experiment, namespace: str, progress: Progress
) -> list[dict[str, Any]]:
    try:
        data = api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment.name)).get("data") or {}
    except NotFound:
        data = {}
    found = revision_configmap.read(data)

    def report(come: int, total: int) -> None:
        if come % 500 == 0 or come == total:
            progress.say(f"reading the store: {come:,} of {total:,} runs")

    store.update(experiment.name, report)
    store.mirror.keep_revisions(experiment.name, found)
    return found


def _say_as_of(store: RemoteStore, experiment: str, why: str) -> None:
    seen = store.mirror.seen(experiment)
    if seen is None:
        said = f"{why}; and" if why else "--offline:"
        raise KubeError(f"{said} nothing of {experiment} was ever read from {store.name} on this machine")
    when = seen.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    print(f"{why + ': ' if why else ''}this is {store.name} as of {when}", file=sys.stderr, flush=True)
