"""/metrics of `serve`: what the stores say beside what it counts, in the format that is asked for, and never waited for long."""

from __future__ import annotations

import gzip
import http.client
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from scheduler.server import http_endpoint, store_metrics
from scheduler.server.background_command import BackgroundCommand
from scheduler.server.metrics import Metrics
from scheduler.server.store_metrics import StoreMetrics
from stores import Builder

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WSGIServer]:
    folder = tmp_path_factory.mktemp("e")
    builder = Builder(folder / "store")
    builder.revise("2026-11-18T12:00", {"train-a": {"schedule": "0 1 * * *"}})
    builder.run("train-a", "2026-11-20T01:00", accuracy=0.75)
    builder.run("train-a", "2026-11-21T01:00", "failed", reason="a reason with a password")
    path = folder / "e.yaml"
    path.write_text("experiment: e\nstore: ./store\nbackends: {a: {backend: jax, schedule: '0 1 * * *'}}\n")
    metrics = Metrics()
    metrics.active.labels("e").set(2)
    metrics.runs.labels("e", "train-a", "succeeded").inc()
    problems: list[str] = []
    stores = StoreMetrics([path], problems.append)
    patience, store_metrics.PATIENCE = store_metrics.PATIENCE, 60.0
    stores.text()
    store_metrics.PATIENCE = patience
    server = http_endpoint.listen("127.0.0.1", 0, metrics.registry, lambda: (True, {}), store_text=stores.text)
    yield server
    stores.close()
    server.shutdown()
    server.server_close()
    assert problems == []


def ask(server: WSGIServer, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, "/metrics", headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, dict(answer.getheaders())


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
def test_the_format_that_is_asked_for(server: WSGIServer, accept: str) -> None:
    status, body, headers = ask(server, Accept=accept)
    parse = parse_openmetrics if accept == OPENMETRICS else parse_text
    families = list(parse(body.decode()))
    samples = [sample for family in families for sample in family.samples]
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text" if accept == OPENMETRICS else "text/plain")
    assert [sample.value for sample in samples if sample.name == "cronsemble_validation_accuracy_ratio"] == [0.75]
    assert [sample.value for sample in samples if sample.name == "cronsemble_active_runs"] == [2]
    assert len({family.name for family in families}) == len(families)
    assert body.endswith(b"# EOF\n") == (accept == OPENMETRICS)


def test_compressed_and_head(server: WSGIServer) -> None:
    whole = ask(server)
    status, body, headers = ask(server, Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip") and gzip.decompress(body).count(b"\n") == whole[1].count(b"\n")
    status, body, headers = ask(server, "HEAD")
    assert (status, body, headers["Content-Type"]) == (200, b"", whole[2]["Content-Type"])
    assert int(headers["Content-Length"]) > 1000


@pytest.mark.holds("network-answers")
def test_who_may_not_ask(server: WSGIServer) -> None:
    assert ask(server, "POST")[0] == 405
    assert ask(server, Host="evil.example")[0] == 403


@pytest.mark.holds("network-answers")
def test_what_is_told_of_a_task(server: WSGIServer) -> None:
    body = ask(server)[1].decode()
    labels = set(re.findall(r'[{,]([a-z_]+)="', body))
    assert labels == {"experiment", "task", "state", "schedule", "timezone", "status"}
    assert "password" not in body


class Computed:
    """Texts that are computed when the test says so."""

    def __init__(self) -> None:
        self.results: list[tuple[bytes, str]] = []
        self.go_on = threading.Event()
        self.problems: list[str] = []
        self.stores = StoreMetrics([], self.problems.append, self.compute)

    def compute(self) -> tuple[bytes, str]:
        assert self.go_on.wait(60)
        return self.results.pop(0)


def test_who_asks_waits_a_little_and_gets_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_metrics, "PATIENCE", 0.05)
    computed = Computed()
    computed.results = [(b"1\n", "")]
    stores = computed.stores
    assert stores.text() == b"" and stores.text() == b""
    computed.go_on.set()
    monkeypatch.setattr(store_metrics, "PATIENCE", 60.0)
    assert stores.text() == b"1\n"
    # One that is fresh counts for all.
    assert stores.text() == b"1\n" and computed.results == []
    monkeypatch.setattr(store_metrics, "FRESH", 0.0)
    monkeypatch.setattr(store_metrics, "PATIENCE", 0.05)
    computed.go_on.clear()
    computed.results = [(b"2\n", "")]
    assert stores.text() == b"1\n"
    stores.close()
    computed.go_on.set()


def test_a_problem_is_reported_once_and_the_old_text_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_metrics, "FRESH", 0.0)
    computed = Computed()
    computed.go_on.set()
    computed.results = [(b"1\n", ""), (b"", "x"), (b"", "x"), (b"2\n", "y"), (b"3\n", "")]
    seen = []
    while computed.results:
        left = len(computed.results)
        monkeypatch.setattr(store_metrics, "PATIENCE", 0.0)
        computed.stores.text()
        until = time.monotonic() + 60
        while computed.stores._is_making or len(computed.results) == left:
            assert time.monotonic() < until
        seen.append(computed.stores._text)
    assert seen == [b"1\n", b"1\n", b"1\n", b"2\n", b"3\n"]
    assert computed.problems == ["x", "y"]


def test_a_configuration_whose_store_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_metrics, "PATIENCE", 60.0)
    problems: list[str] = []
    stores = StoreMetrics([tmp_path / "absent.yaml"], problems.append)
    assert stores.text() == b""
    until = time.monotonic() + 60
    while not problems:
        assert time.monotonic() < until
    assert "absent.yaml" in problems[0]
    stores.close()
    assert stores.text() == b""


def test_where_no_process_can_be_started_that_is_the_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    command = BackgroundCommand(60)
    assert command.run(["metrics"]) == "no process could be started: No such file or directory"
    command.close()
    assert command.run(["metrics"]) == "serve is stopping"


def test_one_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert BackgroundCommand(0.2).run(["metrics"]) == "it was not made within 0 s"
