"""What is told of a store elsewhere: noted there before it is sent, so that nobody, here or there, tells it again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cronjobs.notify import Channel, Notify
from jobs.store import Store
from notifications.receivers import Receiver, receiving
from reader.pipes import Far, example_store
from scheduler.kube.errors import KubeError
from scheduler.notifications.tell import Teller
from scheduler.stores.remote.client import ConnectionLost, StoreClient
from scheduler.stores.remote.files import RemoteFiles
from stores import at

NOW = at("2024-11-03T03:00").timestamp()
FAILED = "[e] train-a failed: 2024-11-03 01:00 +00:00"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def teller(store: Store, receiver: Receiver) -> Teller:
    channel = Channel(name="hook", kind="webhook", address=receiver.url("/hook"))
    return Teller(store, "e", "UTC", Notify(channels=(channel,)), {})


def mirrored(far: Far, mirror: Path) -> Store:
    """A store elsewhere as a command opens it: with its mirror up to date."""
    files = far.files(mirror)
    files.update("e")
    return Store(files)


def test_two_laptops_and_a_watch_tell_each_event_once(far: Far, receiver: Receiver, tmp_path: Path) -> None:
    builder = example_store(far.root)
    first = mirrored(far, tmp_path / "first")
    second = mirrored(far, tmp_path / "second")
    told = teller(first, receiver).tell(NOW)
    assert told.failed == [] and receiver.subjects == [FAILED]
    # The other has read the store before that.
    teller(second, receiver).tell(NOW + 1)
    teller(mirrored(far, tmp_path / "first"), receiver).tell(NOW + 2)
    teller(builder.store, receiver).tell(NOW + 3)
    assert receiver.subjects == [FAILED]
    assert teller(builder.store, receiver).open_events() == teller(mirrored(far, tmp_path / "third"), receiver).open_events()


def test_a_connection_that_breaks_is_the_trouble_of_this_machine_and_told_to_nobody(
    far: Far, receiver: Receiver, tmp_path: Path
) -> None:
    example_store(far.root)
    files = RemoteFiles(tmp_path / "mirror", "claim/store", far.connect)
    files.update("e")
    files.close()

    def gone() -> StoreClient:
        raise ConnectionLost("pod x: it ended")

    with pytest.raises(KubeError, match="pod x: it ended"):
        teller(Store(RemoteFiles(tmp_path / "mirror", "claim/store", gone)), receiver).tell(NOW)
    assert receiver.requests == []


def test_a_store_elsewhere_that_is_read_only_is_told(small_disk: Path, far: Far, receiver: Receiver, tmp_path: Path) -> None:
    far.root = small_disk / "store"
    example_store(far.root)
    store = mirrored(far, tmp_path / "mirror")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    told = teller(store, receiver).tell(NOW)
    assert told.trouble == "Read-only file system" and receiver.subjects == ["[e] store out of reach: 2024-11-03 03:00 +00:00"]
    assert "Read-only file system" in receiver.taken[0].document["text"]
