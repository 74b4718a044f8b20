"""Alert rules and dashboard, by promtool and by Grafana's schema: days of simulated time, quiet and with known faults."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.simulation import HOUR, Night, Series, Simulation, Task, parse, unit_test_series
from scheduler.cli import COMMANDS, load_command
from scheduler.metrics.exposition import METRICS
from scheduler.server.http_endpoint import answer_metrics
from scheduler.server.metrics import Metrics
from stores import iso
from test_docs import typed_in

PACKAGE = files("scheduler.metrics")
ALERTS = Path(str(PACKAGE / "alerts.yaml"))
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((PACKAGE / "dashboard.json").read_text())
STEP = 600.0
"""Seconds from one scrape to the next: as often as a watch task computes."""
DAYS = 11
TASKS = [Task("train-a", 60, 2400), Task("train-b", 90, 7200), Task("ensemble", 360, 60)]


def promtool(programs: Path, *arguments: str, text: bytes = b"") -> str:
    done = subprocess.run([str(programs / "promtool"), *arguments], input=text, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-4000:]
    return (done.stdout + done.stderr).decode()


def simulate(folder: Path, nights: dict[int, Night], days: int = DAYS) -> Simulation:
    simulation = Simulation(folder / "store", "2026-10-19", TASKS, max_age=36 * 3600, quorum=2)
    simulation.add_nights([nights.get(day, Night()) for day in range(days)])
    return simulation


def run_unit_test(programs: Path, folder: Path, simulation: Simulation, scrapes: list[dict[Series, float]], **tests: Any) -> None:
    """Let promtool evaluate the rules at every scrape; ``tests`` as in its files."""
    group = {"name": "nights", "interval": "10m", "start_timestamp": iso(simulation.first)}
    group |= {"input_series": unit_test_series(scrapes), **tests}
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "10m", "tests": [group]}, width=1e9))
    promtool(programs, "test", "rules", str(path))


def minutes(day: int, clock: str) -> str:
    hour, minute = map(int, clock.split(":"))
    return f"{day * 1440 + hour * 60 + minute}m"


def firing(day: int, clock: str, *alerts: tuple[str, ...], of: str = 'ALERTS{alertstate="firing"}') -> dict[str, Any]:
    """That exactly these fire at a time: each its name without Cronsemble, its task and its state, if it has them."""
    samples = []
    for name, *rest in alerts:
        labels = {"alertname": f"Cronsemble{name}", **dict(zip(("task", "state"), rest, strict=False))}
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        samples.append({"labels": f"{{{text}}}", "value": 1})
    expr = f"group by (alertname, task, state) ({of})"
    return {"expr": expr, "eval_time": minutes(day, clock), "exp_samples": samples}


EVER = 'last_over_time(ALERTS{alertstate="firing"}[30d])'
"""Whatever has fired up to then."""


def test_a_quiet_time(programs: Path, tmp_path: Path) -> None:
    """Runs that are late, long, or interrupted by a restart of `serve` are no cause."""
    nights = {
        1: Night(late={"train-b": 2400}),
        3: Night(lasts={"train-b": 4 * HOUR}),
        5: Night(restarted=("train-a",)),
        7: Night(late={"ensemble": 3000}),
    }
    simulation = simulate(tmp_path, nights, 8)
    scrapes = [values for _, values in simulation.scrapes(8, STEP)]
    interrupted = [values.get(STATE("train-a", "interrupted"), 0) for values in scrapes]
    assert sum(interrupted) == 1, "the restart is not seen"
    run_unit_test(programs, tmp_path, simulation, scrapes, promql_expr_test=[firing(8, "00:00", of=EVER)])


def test_a_quiet_weekend_on_which_clocks_are_set_back(programs: Path, tmp_path: Path) -> None:
    """Schedules of every kind: one that fires twice in the night, one every half an hour, one that rests at the weekend."""
    berlin = {"timezone": "Europe/Berlin"}
    tasks = [
        Task("train-a", 0, 2400, {"schedule": "30 2 * * *", **berlin}),
        Task("train-b", 0, 300, {"schedule": "*/30 * * * *"}),
        Task("train-c", 0, 7200, {"schedule": "0 1 * * 1-5", **berlin}),
        Task("train-d", 0, 600, {"schedule": "@every 7h"}),
        Task("ensemble", 0, 60, {"schedule": "0 12 * * 5,6,0,1", **berlin}),
    ]
    simulation = Simulation(tmp_path / "store", "2026-10-22", tasks, max_age=None, quorum=2)
    simulation.add_expected(5)
    scrapes = [values for _, values in simulation.scrapes(5, STEP)]
    ages = [values.get(("cronsemble_model_age_seconds", (("experiment", "e"), ("task", "train-c"))), 0) for values in scrapes]
    assert max(ages) > 3 * 24 * HOUR
    run_unit_test(programs, tmp_path, simulation, scrapes, promql_expr_test=[firing(5, "00:00", of=EVER)])


def STATE(task: str, state: str) -> Series:
    return "cronsemble_task_state", (("experiment", "e"), ("state", state), ("task", task))


def test_every_known_fault_and_nothing_else(programs: Path, tmp_path: Path) -> None:
    nights = {
        1: Night({"train-a": "failed"}),
        3: Night({"train-b": "missed"}),
        5: Night({"train-a": "failed"}),
        6: Night({"train-a": "died"}),
        8: Night({"ensemble": "failed"}),
    }
    simulation = simulate(tmp_path, nights)
    scrapes: list[dict[Series, float]] = []
    for now, values in simulation.scrapes(DAYS, STEP):
        hour = (now - simulation.first) / HOUR
        is_old = 9 * 24 + 10 < hour < 9 * 24 + 12  # the file of a textfile collector stays
        is_gone = 10 * 24 + 10 < hour < 10 * 24 + 12  # serve does not answer
        scrapes.append(scrapes[-1] if is_old else {} if is_gone else values)
    older = ("Degraded", "ensemble", "degraded")
    expected = [
        firing(1, "01:40"),
        firing(1, "02:00", ("RunFailed", "train-a", "failed")),
        firing(1, "06:10", ("RunFailed", "train-a", "failed"), older),
        firing(1, "13:00", ("RunFailed", "train-a", "failed"), older),
        firing(2, "01:40", ("RunFailed", "train-a", "failed"), older, ("ModelTooOld", "train-a")),
        firing(2, "01:50", older),
        firing(2, "06:10"),
        firing(3, "02:20"),  # it may still begin
        firing(3, "02:30", ("SlotMissed", "train-b", "missed")),
        firing(4, "03:30", ("SlotMissed", "train-b", "missed"), older, ("ModelTooOld", "train-b")),
        firing(4, "03:40", older),
        firing(5, "06:10", ("RunFailed", "train-a", "failed"), older),
        firing(5, "13:10", ("RunFailed", "train-a", "failed"), older, ("ModelTooOld", "train-a")),
        firing(6, "02:00", ("RunFailed", "train-a", "died"), older, ("ModelTooOld", "train-a")),
        firing(
            6, "06:10", ("RunFailed", "train-a", "died"), ("Degraded", "ensemble", "no quorum"), ("ModelTooOld", "train-a")
        ),
        firing(7, "01:50", ("Degraded", "ensemble", "no quorum")),
        firing(7, "06:10"),
        firing(8, "06:20", ("RunFailed", "ensemble", "failed")),
        firing(9, "06:10"),
        firing(9, "10:30"),
        firing(9, "10:40", ("MetricsStale",)),
        firing(9, "12:00"),
        firing(10, "10:30"),
        firing(10, "10:40", ("MetricsStale",)),
        firing(10, "12:00"),
        firing(
            DAYS, "00:00", ("RunFailed", "train-a", "failed"), ("RunFailed", "train-a", "died"),
            ("RunFailed", "ensemble", "failed"), ("SlotMissed", "train-b", "missed"), older,
            ("Degraded", "ensemble", "no quorum"), ("ModelTooOld", "train-a"), ("ModelTooOld", "train-b"),
            ("MetricsStale",), of=EVER,
        ),
    ]  # fmt: skip
    run_unit_test(programs, tmp_path, simulation, scrapes, promql_expr_test=expected)


def test_nothing_was_ever_scraped(programs: Path, tmp_path: Path) -> None:
    series = [{"series": "up", "values": "0x400"}]
    test = {"interval": "10m", "input_series": series, "promql_expr_test": [firing(2, "00:00", ("MetricsStale",))]}
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "10m", "tests": [test]}))
    promtool(programs, "test", "rules", str(path))


def test_a_watch_that_looks_seldom_is_stale_when_it_has_not_looked(programs: Path, tmp_path: Path) -> None:
    """One that looks every six hours, whose file is scraped until 20:00 of the second day; its look at 12:00 does not come."""
    begin, hour = 0.0, 3600.0
    scrapes: list[dict[Series, float]] = []
    of = (("experiment", "e"),)
    for step in range(48 * 6):
        now = begin + step * 600
        look = min(now // (6 * hour) * 6 * hour, 30 * hour)
        shown = {
            ("cronsemble_metrics_timestamp_seconds", of): look,
            ("cronsemble_next_look_timestamp_seconds", of): look + 6 * hour,
        }
        scrapes.append(shown if now < 44 * hour else {})
    group = {"interval": "10m", "start_timestamp": "1970-01-01T00:00:00Z", "input_series": unit_test_series(scrapes)}
    group["promql_expr_test"] = [
        firing(1, "12:10", of=EVER),
        firing(1, "12:20", ("MetricsStale",)),
        firing(1, "21:00", ("MetricsStale",)),
    ]
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "10m", "tests": [group]}, width=1e9))
    promtool(programs, "test", "rules", str(path))
    # Whose file is no longer scraped is stale after half an hour, however long it is until the next look.
    group["input_series"] = unit_test_series([*scrapes[: 8 * 6], *({} for _ in range(36))])
    group["promql_expr_test"] = [firing(0, "08:10"), firing(0, "08:20", ("MetricsStale",))]
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "10m", "tests": [group]}, width=1e9))
    promtool(programs, "test", "rules", str(path))


def test_suspended_tasks_raise_nothing(programs: Path, tmp_path: Path) -> None:
    simulation = simulate(tmp_path, {day: Night({"train-a": "missed", "ensemble": "missed"}) for day in range(1, 3)}, 3)
    schedules = {**simulation.schedules, "train-a": {**simulation.schedules["train-a"], "suspend": True}}
    schedules["ensemble"] = {**schedules["ensemble"], "suspend": True}
    simulation.at(simulation.first + 12 * HOUR, lambda: simulation.builder.revise("2026-10-19T12:00", schedules, "suspend"))
    scrapes = [values for _, values in simulation.scrapes(3, STEP)]
    assert scrapes[-1]["cronsemble_model_age_seconds", (("experiment", "e"), ("task", "train-a"))] > 36 * HOUR
    run_unit_test(programs, tmp_path, simulation, scrapes, promql_expr_test=[firing(3, "00:00", of=EVER)])


def test_promtool_finds_nothing_to_say(programs: Path, tmp_path: Path) -> None:
    promtool(programs, "check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))
    simulation = simulate(tmp_path, {0: Night({"train-b": "failed"})})
    text = simulation.text(simulation.first + 13 * HOUR)
    own = Metrics()
    own.runs.labels("e", "train-a", "succeeded").inc()
    own.claim_lag.labels("e").observe(0.1)
    own.last_look.set(1)
    shown = promtool(programs, "check", "metrics", text=answer_metrics("", own.registry, text)[2])
    assert "error" not in shown.lower() and "cronsemble" not in shown


def test_the_docs_configure_prometheus_so_that_it_starts(programs: Path, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    blocks = [block for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "scrape_configs" in block]
    assert len(blocks) == 2
    for block in blocks:
        path = tmp_path / "prometheus.yaml"
        path.write_text(f"rule_files: [{ALERTS}]\n{block}")
        promtool(programs, "check", "config", str(path))


# -- values, without programs


def test_five_alerts_say_what_to_type() -> None:
    assert [rule["alert"] for rule in RULES] == [
        "CronsembleRunFailed", "CronsembleSlotMissed", "CronsembleDegraded", "CronsembleModelTooOld", "CronsembleMetricsStale",
    ]  # fmt: skip
    for rule in RULES:
        text = rule["annotations"]["description"].replace("{{ $labels.task }}", "train-a")
        commands = list(typed_in(text.replace("{{ $labels.state }}", "failed")))
        assert commands, rule["alert"]
        for name, *words in commands:
            assert name in COMMANDS
            known = {option for each in load_command(name).params for option in each.opts}
            assert {word for word in words if word.startswith("-")} <= known, (name, words)


def expressions() -> list[str]:
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    notes = [each["expr"] for each in DASHBOARD["annotations"]["list"] if "expr" in each]
    return [*targets, *notes, *(rule["expr"] for rule in RULES)]


def test_every_expression_asks_for_metrics_that_there_are() -> None:
    known = {metric.name: {"experiment", "task", *metric.labels} for metric in METRICS}
    asked = {name for expression in expressions() for name in re.findall(r"\bcronsemble_\w+", expression)}
    assert asked <= set(known)
    for query in (each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"):
        assert re.findall(r"\bcronsemble_\w+", query)[0] in known


@pytest.mark.parametrize("n", range(len(expressions())))
def test_every_expression_is_promql(programs: Path, n: int) -> None:
    promtool(programs, "--experimental", "promql", "format", expressions()[n])


def test_the_dashboard_is_what_grafana_reads(programs: Path) -> None:
    raw = (PACKAGE / "dashboard.json").read_bytes()
    judge = [str(programs / "dashboard")]
    done = subprocess.run(judge, input=raw, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    wrong = subprocess.run(judge, input=raw.replace(b'"gridPos"', b'"gridPosition"'), capture_output=True, check=False)
    assert wrong.returncode == 1 and b"gridPosition" in wrong.stderr


def test_the_dashboard_takes_any_prometheus_and_overlaps_nowhere() -> None:
    assert DASHBOARD["uid"] == "cronsemble" and "id" not in DASHBOARD
    (source, *_) = DASHBOARD["templating"]["list"]
    assert (source["type"], source["name"], source["query"]) == ("datasource", "datasource", "prometheus")
    sources = re.findall(r'"uid": "(\$\{[^"]*|[^"]*)"', json.dumps(DASHBOARD))
    assert set(sources) == {"${datasource}", "cronsemble", "-- Grafana --"}
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) == 23
    tops = sorted({panel["gridPos"]["y"] for panel in panels})
    assert all(lower > upper for upper, lower in pairwise(tops))


def test_the_table_in_the_docs_has_every_metric() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    listed = re.findall(r"^\| `(cronsemble_\w+)(?:\{[a-z,]+\})?` \|", page, re.MULTILINE)
    assert listed == [metric.name for metric in METRICS]
    assert re.findall(r"^\| `(Cronsemble\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_the_notation_of_unit_tests() -> None:
    series = ("m", (("task", 'a"b'),))
    scrapes: list[dict[Series, float]] = [{series: 1.0}, {series: 1.0}, {}, {series: 2.5}]
    assert unit_test_series(scrapes) == [{"series": 'm{task="a\\"b"}', "values": "1.0x1 _x1 2.5x0"}]
    assert parse(b"m 1\n") == {("m", ()): 1.0}
