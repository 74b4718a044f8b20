"""The report of `serve --listen`: made by a process of its own, shown in a real Chromium, and renewed without a reload."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import pytest

from browser import Watched, chromium
from scheduler.server import http_endpoint
from scheduler.server.live_report import LivePage, LiveReport, store_state
from scheduler.server.metrics import Metrics
from stores import Builder, at
from year_store import Nights, build, write_config

DAYS = 20


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    return build(tmp_path_factory.mktemp("nights") / "store", DAYS)


@pytest.fixture
def server(nights: Nights) -> Iterator[WSGIServer]:
    config = write_config(nights.builder.store.root.parent)
    report = LiveReport("e", config, nights.builder.store)
    server = http_endpoint.listen("127.0.0.1", 0, Metrics().registry, lambda: (True, {}), {"e": report})
    yield server
    report.close()
    server.shutdown()
    server.server_close()


def ask(server: WSGIServer, path: str, method: str = "GET", host: str = "localhost") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers={"Host": host})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, dict(answer.getheaders())


def test_the_page_is_renewed_when_a_run_has_ended(nights: Nights, server: WSGIServer) -> None:
    status, page, headers = ask(server, "/")
    assert status == 200 and b"e: cronsemble report" in page and headers["X-Frame-Options"] == "DENY"
    assert ask(server, "/e/")[1] == page
    assert {ask(server, path)[0] for path in ("/x/", "/e/x", "/e", "/../config.yaml", "//evil")} == {404}
    assert ask(server, "/", "POST")[0] == 405
    assert ask(server, "/", host="evil.example")[0] == 403
    with chromium() as context:
        watched = Watched(context)
        watched.page.goto(f"http://127.0.0.1:{server.server_port}/")
        day = "2027-01-01"
        assert watched.page.locator("h3", has_text=day[:7]).count() == 0
        nights.builder.run("train-a", f"{day}T01:00", accuracy=0.9)
        # Without a reload by hand.
        watched.page.locator("h3", has_text=day[:7]).wait_for(timeout=60_000)
        assert watched.problems == []
        assert {url.split("/")[2] for url in watched.requests} == {f"127.0.0.1:{server.server_port}"}


def test_one_page_is_made_at_a_time_and_nobody_waits_for_a_newer_one(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    builder.run("train-a", "2026-11-20T01:00")
    made: list[str] = []
    go_on = threading.Event()

    def make(state: str) -> LivePage:
        if made:
            assert go_on.wait(60)
        made.append(state)
        return LivePage(state, str(len(made)).encode())

    report = LiveReport("e", tmp_path / "config.yaml", builder.store, make)
    first = report.page()
    assert first is not None and first.html == b"1"
    builder.run("train-a", "2026-11-21T01:00")
    report._looked = -1e9
    assert report.page() == first and report.page() == first
    go_on.set()
    until = time.monotonic() + 60
    while report.state() == first.state:
        assert time.monotonic() < until
    second = report.page()
    assert second is not None and second.html == b"2" and len(made) == 2
    report.close()


def test_a_page_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    report = LiveReport("e", tmp_path / "missing.yaml", builder.store)
    status, _, body = http_endpoint.answer_report("/", "localhost", {"e": report}, ())
    assert status.startswith("503") and b"missing.yaml" in body
    report.close()


def test_the_state_differs_with_every_change_that_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: at("2026-11-22T00:00").timestamp())
    builder = Builder(tmp_path / "store")
    states = [store_state(builder.store, "e")]
    builder.revise("2026-11-20T00:00", {"train-a": {"schedule": "0 1 * * *"}})
    states.append(store_state(builder.store, "e"))
    builder.run("train-a", "2026-11-20T01:00", "failed", reason="x")
    states.append(store_state(builder.store, "e"))
    builder.note("2026-11-21T00:00", "start", since="2026-11-20T00:00:00Z")
    states.append(store_state(builder.store, "e"))
    assert len(set(states)) == 4 and store_state(builder.store, "e") == states[-1]
