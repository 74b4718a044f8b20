"""Metrics and health of `serve`: Prometheus' text format and /healthz, on a loopback address."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from scheduler.errors import CronsembleError

Health = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether the server is well, and the facts that /healthz answers with."""


class Metrics:
    """What `serve` counts. Names and labels are documented in docs/serve.md."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.runs = Counter("cronsemble_runs", "Runs that ended.", ["experiment", "task", "status"], registry=registry)
        self.lost = Counter(
            "cronsemble_lost_slots", "Slots that will never run.", ["experiment", "task", "event"], registry=registry
        )
        self.active = Gauge(
            "cronsemble_active_runs", "Runs that are running or wait for CPUs.", ["experiment"], registry=registry
        )
        self.next_fire = Gauge(
            "cronsemble_next_fire_timestamp_seconds", "The next slot.", ["experiment", "task"], registry=registry
        )
        self.succeeded = Gauge(
            "cronsemble_last_success_timestamp_seconds", "When a run last succeeded.", ["experiment", "task"], registry=registry
        )
        self.configuration = Gauge(
            "cronsemble_configuration_ok",
            "0 while an edited configuration is refused and the old one stays in use.",
            ["experiment"],
            registry=registry,
        )
        self.claim_lag = Histogram(
            "cronsemble_claim_lag_seconds",
            "From a slot's minute until its run was claimed.",
            ["experiment"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
            registry=registry,
        )
        self.last_look = Gauge("cronsemble_loop_timestamp_seconds", "When the loop last looked at the clock.", registry=registry)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests do not belong in the journal."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9000``, ``[::1]:9000`` or ``:9000``; raises CronsembleError if it is not a loopback one."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    host = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
        if not 0 <= int(port) < 65536:
            raise ValueError(port)
    except ValueError as error:
        raise CronsembleError(f"--listen {text}: type an address and a port, e.g. 127.0.0.1:9000") from error
    if not loopback:
        raise CronsembleError(f"--listen {text}: there is no login, so only this machine may connect: type 127.0.0.1:{port}")
    return host, int(port)


def listen(host: str, port: int, metrics: Metrics, health: Health) -> WSGIServer:
    """Answer /metrics and /healthz in a thread of its own; raises CronsembleError if the port is taken."""
    metrics_app: Callable[..., Iterable[bytes]] = make_wsgi_app(metrics.registry)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics_app(environ, start)
        if path != "/healthz":
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics or /healthz\n"]
        is_healthy, facts = health()
        start("200 OK" if is_healthy else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps({"ok": is_healthy, **facts}).encode() + b"\n"]

    class Server(WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = make_server(host, port, app, Server, _Quiet)
    except OSError as error:
        raise CronsembleError(f"--listen {host}:{port}: {error.strerror}: type another port") from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
