"""The metrics of `serve` itself: what it counts since its start, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """What `serve` counts; what a store says of its tasks is in ``scheduler.metrics``. Documented in docs/serve.md."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.runs = Counter("cronsemble_runs", "Runs that ended.", ["experiment", "task", "status"], registry=registry)
        self.lost = Counter(
            "cronsemble_lost_slots", "Slots that will never run.", ["experiment", "task", "event"], registry=registry
        )
        self.active = Gauge(
            "cronsemble_active_runs", "Runs that are running or wait for CPUs.", ["experiment"], registry=registry
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
