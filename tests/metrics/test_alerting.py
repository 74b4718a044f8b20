"""Each alert fires in a real Prometheus and reaches a real Alertmanager when its cause is made in a store, and ends with it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.control_plane import free_ports
from cluster.processes import NotReady, Process, wait_until
from jobs.contract import RunId
from jobs.store.files import to_json
from scheduler.metrics.exposition import metrics_text
from scheduler.metrics.values import ExperimentMetrics, read_metrics
from scheduler.server import http_endpoint
from scheduler.server.metrics import Metrics
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, iso

LONG = 60.0
"""Seconds in which something must have happened on a machine that does much else."""
HOUR = 3600.0
Alerts = set[tuple[str, ...]]


def dashboard_expressions() -> list[str]:
    """What the dashboard asks when everything is chosen."""
    dashboard = json.loads((files("scheduler.metrics") / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [each["expr"] for each in dashboard["annotations"]["list"] if "expr" in each]
    return [expression.replace("$experiment", ".*").replace("$task", ".*") for expression in asked]


class Monitoring:
    """Prometheus, which scrapes an endpoint of ours every second, and its Alertmanager."""

    def __init__(self, programs: Path, folder: Path, target: int) -> None:
        ports = free_ports("127.0.0.1", 2)
        self._prometheus, self._alertmanager = (f"http://127.0.0.1:{port}" for port in ports)
        rules = yaml.safe_load((files("scheduler.metrics") / "alerts.yaml").read_text())
        for rule in rules["groups"][0]["rules"]:
            rule.pop("for", None)  # what waits for five minutes is in test_rules
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        addresses = {"targets": [f"127.0.0.1:{target}"]}, {"targets": [f"127.0.0.1:{ports[1]}"]}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "cronsemble", "static_configs": [addresses[0]]}],
            "alerting": {"alertmanagers": [{"static_configs": [addresses[1]]}]},
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        route = {"receiver": "people", "group_by": ["experiment"]}
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump({"route": route, "receivers": [{"name": "people"}]}))
        own = [f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}/alertmanager", "--cluster.listen-address="]
        others = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/prometheus"]
        self.processes = [
            self._process(programs, folder, "alertmanager", ports[1], own),
            self._process(programs, folder, "prometheus", ports[0], others),
        ]

    def _process(self, programs: Path, folder: Path, name: str, port: int, arguments: list[str]) -> Process:
        command = [str(programs / name), f"--web.listen-address=127.0.0.1:{port}", *arguments]
        return Process(name, command, folder / f"{name}.log")

    def start(self) -> None:
        for process, address in zip(self.processes, (self._alertmanager, self._prometheus), strict=True):
            process.start()
            process.wait_until(lambda address=address: _get(f"{address}/-/ready") is not None, LONG)  # type: ignore[misc]

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        wait_until(happened, LONG, what, *self.processes)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = _get(f"{self._prometheus}/api/v1/query?query={urllib.request.quote(expression)}") or b"{}"
        result: list[dict[str, Any]] = json.loads(answer).get("data", {}).get("result", [])
        return result

    def evaluations(self) -> float:
        """How often the rules have been evaluated."""
        metrics = _get(f"{self._prometheus}/metrics") or b""
        lines = [line for line in metrics.decode().splitlines() if line.startswith("prometheus_rule_group_iterations_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def alerts(self) -> list[dict[str, Any]]:
        """What Alertmanager lists."""
        result: list[dict[str, Any]] = json.loads(_get(f"{self._alertmanager}/api/v2/alerts") or b"[]")
        return result

    def wait_for(self, expected: Alerts) -> None:
        """Until Alertmanager lists exactly these."""
        try:
            self.wait(lambda: self.names() == expected, "other alerts")
        except NotReady as error:
            raise AssertionError(f"{sorted(self.names())} and not {sorted(expected)}") from error

    def names(self) -> Alerts:
        return {_name(alert["labels"]) for alert in self.alerts()}


def _name(labels: dict[str, str]) -> tuple[str, ...]:
    return tuple(labels[key] for key in ("alertname", "experiment", "task", "state") if key in labels)


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None


class Stores:
    """Stores of several experiments, whose metrics the endpoint of `serve` answers; ``looked_at`` an hour ago for some."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slot = int((time.time() - 2 * HOUR) // 60)
        self.known_until: dict[str, float] = {}
        self._builders: dict[str, Builder] = {}

    def add(self, name: str) -> Builder:
        """An experiment whose members and ensemble fired two hours ago, for the eleventh time."""
        builder = Builder(self.folder / name, name)
        minute, hour = self.slot % 60, self.slot // 60 % 24
        schedule = {"schedule": f"{minute} {hour} * * *"}
        digest = builder.store.put_snapshot("task", to_json({"task": "ensemble", "quorum": 1, "max_age": 8 * 86400}))
        tasks = {"train-a": schedule, "ensemble": {**schedule, "task": digest}}
        builder.revise(iso((self.slot - 10 * 1440 - 1) * 60)[:-1], tasks)
        self._builders[name] = builder
        return builder

    def text(self) -> bytes:
        return metrics_text([self._read(name) for name in list(self._builders)])

    def _read(self, name: str) -> ExperimentMetrics:
        now = self.known_until.get(name, time.time())
        return read_metrics(HistoryReader(self._builders[name].store, name, "UTC", now))

    def train(self, builder: Builder, status: str = "succeeded", slot: int | None = None, attempt: int = 1) -> RunId:
        return builder.run("train-a", slot or self.slot, status, attempt=attempt, reason="out of memory")

    def combine(self, builder: Builder, model: RunId, **more: Any) -> None:
        members = [{"member": "a", "run": str(model)}]
        summary = {"members": {"a": {"weight": 1.0, "accuracy_here": 0.8}}}
        builder.run("ensemble", self.slot, late=120, members=members, ensemble=summary, **more)


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path / "stores")


@pytest.fixture
def monitoring(programs: Path, stores: Stores, tmp_path: Path) -> Iterator[Monitoring]:
    server = http_endpoint.listen("127.0.0.1", 0, Metrics().registry, lambda: (True, {}), store_text=stores.text)
    monitoring = Monitoring(programs, tmp_path, server.server_port)
    try:
        monitoring.start()
        yield monitoring
    finally:
        monitoring.stop()
        server.shutdown()
        server.server_close()


def test_each_alert_fires_when_its_cause_is_made_and_ends_with_it(monitoring: Monitoring, stores: Stores) -> None:
    well = stores.add("well")
    stores.combine(well, stores.train(well))
    monitoring.wait(lambda: len(monitoring.query("cronsemble_task_state == 1")) == 2, "nothing is scraped")
    seen = monitoring.evaluations()
    monitoring.wait(lambda: monitoring.evaluations() >= seen + 2, "the rules are not evaluated")
    assert monitoring.names() <= {("CronsembleMetricsStale",)}, "before the first scrape there were no metrics"

    failed, missed, degraded, old, stale = (stores.add(name) for name in ("failed", "missed", "degraded", "old", "stale"))
    stores.combine(failed, stores.train(failed, "failed"))
    stores.combine(missed, stores.train(missed, slot=stores.slot - 1440))
    stores.combine(degraded, stores.train(degraded), degraded="b was left out: no model")
    stores.train(old, slot=stores.slot - 9 * 1440)
    stores.combine(old, stores.train(old, "failed"))
    stores.combine(stale, stores.train(stale))
    stores.known_until["stale"] = time.time() - HOUR
    expected: Alerts = {
        ("CronsembleRunFailed", "failed", "train-a", "failed"),
        ("CronsembleSlotMissed", "missed", "train-a", "missed"),
        ("CronsembleDegraded", "degraded", "ensemble", "degraded"),
        ("CronsembleRunFailed", "old", "train-a", "failed"),
        ("CronsembleModelTooOld", "old", "train-a"),
        ("CronsembleMetricsStale", "stale"),
    }
    monitoring.wait_for(expected)
    for alert in monitoring.alerts():
        summary, description = alert["annotations"]["summary"], alert["annotations"]["description"]
        assert summary.startswith(f"{alert['labels']['experiment']}: ") and "`cronsemble " in description
        assert not {"<", "{"} & {*summary, *description}
        assert alert["labels"]["severity"] in ("warning", "critical")

    for expression in dashboard_expressions():
        assert monitoring.query(expression), expression

    for builder in (failed, missed, old):
        stores.train(builder, attempt=2 if builder is not missed else 1)
    del stores.known_until["stale"]
    monitoring.wait_for({alert for alert in expected if alert[0] == "CronsembleDegraded"})
