"""A real Alertmanager: an alert for each incident fires, is kept by one that has forgotten it, and ends with the incident."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.binaries import NoBinaries
from cluster.control_plane import free_ports
from cluster.processes import Process, wait_until
from cronjobs.notify import Channel, Notify
from monitoring import programs
from needs import missing
from notifications.receivers import Receiver, receiving
from scheduler.notifications.tell import Teller
from stores import Builder, iso

LONG = 60.0


class Alertmanager:
    """The program, which hands on to a webhook at once."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        try:
            program = programs.find() / "alertmanager"
        except NoBinaries as error:
            missing(str(error))
        (port,) = free_ports("127.0.0.1", 1)
        self.address, self._storage = f"http://127.0.0.1:{port}", folder / "alertmanager"
        route = {"receiver": "people", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
        people = {"name": "people", "webhook_configs": [{"url": receiver.url("/people")}]}
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump({"route": route, "receivers": [people]}))
        command = [str(program), f"--web.listen-address=127.0.0.1:{port}", f"--config.file={folder}/alertmanager.yaml"]
        command += [f"--storage.path={self._storage}", "--cluster.listen-address="]
        self._process = Process("alertmanager", command, folder / "alertmanager.log")

    def start(self) -> None:
        self._process.start()
        self._process.wait_until(lambda: self._get("/-/ready") is not None, LONG)

    def stop(self) -> None:
        self._process.stop()

    def forget(self) -> None:
        """Restart it without what it had stored."""
        self.stop()
        shutil.rmtree(self._storage)
        self.start()

    def alerts(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self._get("/api/v2/alerts") or b"[]")
        return [alert for alert in listed if alert["status"]["state"] == "active"]

    def wait_for(self, problems: list[str]) -> None:
        wait_until(lambda: [alert["labels"]["problem"] for alert in self.alerts()] == problems, LONG, "alerts", self._process)

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(self.address + path, timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_an_incident_is_an_alert_that_fires_until_it_is_over(tmp_path: Path, receiver: Receiver) -> None:
    alertmanager = Alertmanager(tmp_path, receiver)
    alertmanager.start()
    try:
        builder, now = Builder(tmp_path / "store"), time.time()
        first = int(now // 60) - 60
        # Nothing more is due while this runs, whatever the clock says.
        builder.revise(iso(first * 60 - 60)[:19], {"train-a": {"schedule": "0 0 29 2 *"}})
        builder.run("train-a", first, "failed", reason="ValueError: bad data")
        channel = Channel(name="am", kind="alertmanager", address=alertmanager.address)
        link = Notify(channels=(channel,), link="https://reports.example.org/{experiment}#{run}")
        teller = Teller(builder.store, "e", "Europe/Berlin", link, {})
        told = teller.tell(now)
        assert told.sent == ["am: 1 firing, 0 over: 200 OK"]
        alertmanager.wait_for(["failed"])
        (alert,) = alertmanager.alerts()
        assert alert["labels"]["task"] == "train-a" and alert["labels"]["severity"] == "error"
        assert alert["generatorURL"] == f"https://reports.example.org/e#e-train-a-{first}"
        assert "ValueError: bad data" in alert["annotations"]["description"]
        assert receiver.wait_for(1)
        alertmanager.forget()
        assert alertmanager.alerts() == []
        assert teller.tell(told.again + 1).failed == []
        alertmanager.wait_for(["failed"])
        builder.run("train-a", first + 30)
        assert teller.tell(time.time()).sent == ["am: 0 firing, 1 over: 200 OK"]
        alertmanager.wait_for([])
        wait_until(lambda: receiver.requests[-1].document["status"] == "resolved", LONG, "the resolved alert")
        states = [request.document["status"] for request in receiver.requests]
        assert states == ["firing", "firing", "resolved"]  # the second: what it had told was forgotten, too
    finally:
        alertmanager.stop()
