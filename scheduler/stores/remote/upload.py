"""Uploads into a store that only a cluster mounts: pieces are sent ahead, and over a new connection when one breaks."""

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
"""Pieces that are sent before the first one's answer is waited for."""
TRIES = 3
"""Connections that may break one after another before the upload fails, if no byte more arrives."""


class RemoteUpload:
    """:class:`UploadTarget` in a store that only a cluster mounts."""

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self._arrived = 0

    def inspect(self, name: str, sha256: str, size: int) -> dict[str, Any]:
        """See :meth:`jobs.store.uploads.Uploads.inspect`."""
        return self._files.call(lambda client: client.request("upload-inspect", path=name, sha256=sha256, size=size))

    def finish(self, name: str, sha256: str, size: int, replace: bool) -> dict[str, Any]:
        """See :meth:`jobs.store.uploads.Uploads.finish`."""
        return self._files.call(
            lambda client: client.request("upload-finish", path=name, sha256=sha256, size=size, replace=replace), retry=False
        )

    def write_pieces(self, name: str, sha256: str, start: int, read: Read, progress: ReportProgress) -> None:
        """Send them ahead, and again over a new connection from the first that has not arrived; raises CronsembleError."""
        self._arrived, retries = start, TRIES
        while True:
            before = self._arrived
            try:
                self._files.call(lambda client: self._send(client, name, sha256, read, progress), retry=False)
                return
            except (StreamBroken, ConnectionLost) as error:
                retries = TRIES if self._arrived > before else retries - 1
                if not retries:
                    raise CronsembleError(f"{error}: put it again, it resumes where it stopped") from error

    def _send(self, client: StoreClient, name: str, sha256: str, read: Read, progress: ReportProgress) -> None:
        """Send all from what has arrived on."""
        position, sent = self._arrived, deque[int]()

        def receive() -> None:
            client.finish()
            self._arrived = sent.popleft()
            progress(self._arrived)

        for piece in read(position):
            client.send("upload-piece", piece, path=name, sha256=sha256, start=position)
            position += len(piece)
            sent.append(position)
            if len(sent) == AHEAD:
                receive()
        while sent:
            receive()


def upload_remotely(experiment: Experiment, target: ClusterTarget, uploads: list[Upload], replace: bool) -> None:
    """Copy files into the store that an experiment's pods mount; raises CronsembleError."""
    with connect_to_files(experiment, target) as files:
        upload_all(RemoteUpload(files), uploads, replace)
