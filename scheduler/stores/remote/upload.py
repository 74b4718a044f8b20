"""Files on their way into a store that only the cluster can mount: sent ahead, and over a new connection when one breaks."""

from __future__ import annotations

from collections import deque
from typing import Any

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError
from scheduler.kube.exec import StreamBroken
from scheduler.kube.target import ClusterTarget
from scheduler.stores.remote.client import ConnectionLost, StoreClient
from scheduler.stores.remote.connect import connect_to_files
from scheduler.stores.remote.files import RemoteFiles
from scheduler.stores.upload import Read, ReportProgress, Upload, upload_all

AHEAD = 4
"""Pieces that are on their way before the first one's answer is waited for."""
TRIES = 3
"""Connections that may break one after another without a byte more arriving."""


class RemoteUpload:
    """The data folder of a store that only a cluster mounts."""

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self._arrived = 0

    def inspect(self, name: str, sha256: str, size: int) -> dict[str, Any]:
        return self._files.call(lambda client: client.ask("put-look", path=name, sha256=sha256, size=size))

    def finish(self, name: str, sha256: str, size: int, replace: bool) -> dict[str, Any]:
        return self._files.call(
            lambda client: client.ask("put-end", path=name, sha256=sha256, size=size, replace=replace), retry=False
        )

    def write_pieces(self, name: str, sha256: str, start: int, read: Read, progress: ReportProgress) -> None:
        self._arrived, left = start, TRIES
        while True:
            before = self._arrived
            try:
                self._files.call(lambda client: self._send(client, name, sha256, read, progress), retry=False)
                return
            except (StreamBroken, ConnectionLost) as error:
                left = TRIES if self._arrived > before else left - 1
                if not left:
                    raise CronsembleError(f"{error}: put it again, it goes on from there") from error

    def _send(self, client: StoreClient, name: str, sha256: str, read: Read, progress: ReportProgress) -> None:
        """All from what has arrived on."""
        at, sent = self._arrived, deque[int]()

        def arrived() -> None:
            client.finish()
            self._arrived = sent.popleft()
            progress(self._arrived)

        for piece in read(at):
            client.send("put-part", piece, path=name, sha256=sha256, start=at)
            at += len(piece)
            sent.append(at)
            if len(sent) == AHEAD:
                arrived()
        while sent:
            arrived()


def upload_remotely(experiment: Experiment, target: ClusterTarget, chosen: list[Upload], replace: bool) -> None:
    """Copy files into the store that an experiment's pods mount."""
    with connect_to_files(experiment, target) as files:
        upload_all(chosen, RemoteUpload(files), replace)
