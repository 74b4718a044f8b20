"""The HTTP endpoint of `serve`: clients that are idle, slow, too many or gone keep nobody from an answer, nor a stop waiting."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from wsgiref.simple_server import WSGIServer

import pytest

from scheduler.errors import CronsembleError
from scheduler.server import http_endpoint
from scheduler.server.metrics import Metrics


@pytest.fixture
def endpoint() -> Iterator[WSGIServer]:
    server = http_endpoint.listen("127.0.0.1", 0, Metrics().registry, lambda: (True, {"experiments": []}))
    yield server
    server.shutdown()
    server.server_close()


def healthz(server: WSGIServer) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/healthz", timeout=20) as answer:
        facts: dict[str, object] = json.load(answer)
    return facts


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nX: y"])
@pytest.mark.holds("network-clients")
def test_clients_that_send_no_whole_request_keep_nobody_waiting(endpoint: WSGIServer, sent: bytes) -> None:
    with ExitStack() as stack:
        address = ("127.0.0.1", endpoint.server_port)
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(http_endpoint.CONNECTIONS + 8)]
        for client in clients:
            with suppress(ConnectionError):  # too many: it was closed
                client.sendall(sent)
        assert healthz(endpoint) == {"ok": True, "experiments": []}
        # The oldest were closed for the newest; the newest still have their connection.
        clients[0].settimeout(20)
        assert clients[0].recv(1) == b""
        clients[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            clients[-1].recv(1)
        # And a stop waits for none of them.
        endpoint.shutdown()
        endpoint.server_close()
        clients[-1].settimeout(20)
        assert clients[-1].recv(1) == b""


def test_a_silent_client_is_disconnected(endpoint: WSGIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_endpoint._RequestHandler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", endpoint.server_port), timeout=20) as client:
        assert client.recv(1) == b""


@pytest.mark.holds("network-clients")
def test_a_client_that_sends_a_little_for_ever_is_disconnected(endpoint: WSGIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_endpoint, "LONGEST_REQUEST", 0.2)
    with socket.create_connection(("127.0.0.1", endpoint.server_port), timeout=20) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        assert client.recv(1) == b""


def test_a_client_that_goes_away_writes_nothing(endpoint: WSGIServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", endpoint.server_port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert healthz(endpoint)["ok"] is True
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["0.0.0.0:9000", "[::]:1", "127.0.0.1:x", "127.0.0.1:70000", "example.org:80", ""])
@pytest.mark.holds("network-closed")
def test_an_address_that_others_reach_or_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CronsembleError, match="--listen"):
        http_endpoint.parse_address(text)


def test_loopback_addresses() -> None:
    addresses = [http_endpoint.parse_address(text) for text in ("127.0.0.1:9000", "[::1]:1", ":2", "localhost:3", "4")]
    assert addresses == [("127.0.0.1", 9000), ("::1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3), ("127.0.0.1", 4)]
