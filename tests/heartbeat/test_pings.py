"""Pings: they arrive with the run's id and the end of its log, hold nobody, and no word about them has the key in it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.server import PING_KEY, Check, stand_in
from jobs import pings
from jobs.pings import LARGEST_BODY, Pings, Signal, body_of, key_problem, ping_id

RUN = "e-train-a-29924640"


def test_a_runs_pings_arrive_in_order_and_belong_together() -> None:
    with stand_in() as server:
        server.checks = [Check(slug="e-train-a")]
        said: list[str] = []
        sent = Pings(f"{server.url}/ping", PING_KEY, "e-train-a", RUN, said.append, {})
        for signal in (Signal.START, Signal.LOG, Signal.START, Signal.SUCCESS):
            sent.send(signal, b"text" if signal == Signal.SUCCESS else b"")
        sent.finish()
        check = server.of("e-train-a")
        assert [ping.kind for ping in check.pings] == ["start", "log", "start", "success"] and said == []
        assert {ping.rid for ping in check.pings} == {ping_id(RUN)} and check.pings[-1].body == "text"
        assert check.status == "up" and check.last_start is None


@pytest.mark.parametrize(
    ("answer", "tries", "words"),
    [
        ((404, {}, "not found"), 1, "knows no such check"),
        ((409, {}, "ambiguous"), 1, "several checks"),
        ((500, {}, "oh"), 2, "it answers 500"),
        ((429, {}, ""), 2, "too many requests"),
        ((302, {"Location": "http://other.example/"}, ""), 1, "refers to another address (302)"),
    ],
)
def test_a_refused_ping_is_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, dict[str, str], str], tries: int, words: str
) -> None:
    monkeypatch.setattr(pings, "_PAUSE", 0.0)
    with stand_in() as server:
        server.checks = [Check(slug="e-train-a")]
        server.answers = [answer] * tries
        said: list[str] = []
        sent = Pings(f"{server.url}/ping", PING_KEY, "e-train-a", RUN, said.append, {})
        sent.send(Signal.START)
        sent.finish()
        assert len(said) == 1 and words in said[0] and said[0].startswith("heartbeat: 127.0.0.1:") and PING_KEY not in said[0]
        assert len(server.requests) == tries
        # The next one has its own chance.
        sent.send(Signal.SUCCESS)
        sent.finish()
        assert len(said) == 1 and server.of("e-train-a").status == "up"


def test_a_server_that_is_silent_or_gone_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "_PAUSE", 0.0)
    with stand_in() as server:
        server.is_slow = True
        said: list[str] = []
        sent = Pings(f"{server.url}/ping", PING_KEY, "e-train-a", RUN, said.append, {})
        began = time.monotonic()
        sent.send(Signal.START)
        sent.send(Signal.SUCCESS)
        assert time.monotonic() - began < 0.5
        sent.finish(0.2)
        assert time.monotonic() - began < 2
        assert [line.split("of the ")[1] for line in said] == ["start: no answer within 0.2 s", "success: no answer within 0.2 s"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said.clear()
        gone = Pings(f"http://127.0.0.1:{unused.getsockname()[1]}", PING_KEY, "e-train-a", RUN, said.append, {})
        gone.send(Signal.START)
        gone.finish()
    assert len(said) == 1 and "start: Connection refused" in said[0] and PING_KEY not in said[0]


def test_a_proxy_is_used_unless_the_host_is_excepted() -> None:
    with stand_in() as server:
        server.checks = [Check(slug="e-train-a")]
        env = {"http_proxy": server.url}
        assert (
            pings.post(f"http://hc.invalid/ping/{PING_KEY}/e-train-a", b"", env) is None
        )  # the stand-in looks at the path alone
        assert server.requests == [("POST", f"/ping/{PING_KEY}/e-train-a")]
        assert (
            pings.post(
                f"{server.url}/ping/{PING_KEY}/e-train-a", b"", {"http_proxy": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
            )
            is None
        )


@given(st.text(max_size=50), st.integers(1, 60), st.lists(st.text(max_size=50), max_size=8), st.integers(1, 50))
def test_a_body_is_the_line_and_the_end_of_the_log(head: str, longer: int, lines: list[str], more: int) -> None:
    head, lines = head * longer, [line * more for line in lines] * more
    body = body_of(head, lines)
    assert len(body) <= LARGEST_BODY
    body.decode()
    if head.isascii() and len(head) < 2000:
        assert body.startswith(head.encode())


def test_of_a_long_log_the_end_is_sent() -> None:
    lines = [f"line {number}" for number in range(5000)]
    body = body_of("failed", lines).decode().splitlines()
    assert body[0] == "failed" and body[-1] == "line 4999" and body[1] in lines and len(body) > 800


def test_what_is_no_key_is_said_without_it(tmp_path: Path) -> None:
    assert key_problem(PING_KEY) == ""
    assert key_problem("") == key_problem(None) == "there is no ping key"
    for wrong in ("https://hc-ping.com/abc", "abc\n", "a b", "é"):
        assert wrong.strip() not in key_problem(wrong) and key_problem(wrong)
