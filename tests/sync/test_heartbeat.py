"""The checks of a heartbeat's server follow what a real API server has: made, changed, paused and resumed with the CronJobs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster.access import Cluster
from heartbeat.server import API_KEY, PING_KEY, READ_ONLY_KEY, Check, StandIn, stand_in
from jobs import contract as c
from sync.experiments import Experiment

NIGHTLY = {"schedule": "0 1 * * *"}
GRACE = 7 * 3600


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("HEALTHCHECKS_API_KEY", API_KEY)
    with stand_in() as started:
        yield started


def heartbeat(server: StandIn) -> dict[str, object]:
    return {"heartbeat": {"server": server.url, "ping_key": {"secret": "healthchecks", "key": "ping"}}}


def states(server: StandIn, experiment: Experiment) -> dict[str, str]:
    return {check.slug.removeprefix(f"{experiment.name}-"): check.shown_status(server.now()) for check in server.checks}


def test_checks_follow_the_cronjobs(cluster: Cluster, experiment: Experiment, server: StandIn) -> None:
    name = experiment.name
    ensemble = {"schedule": "@daily", "deadline": "1h"}
    experiment.write({"a": NIGHTLY, "b": NIGHTLY}, ensemble, timezone="Europe/Berlin", **heartbeat(server))
    assert f'heartbeat: + check {name}-train-a: "0 1 * * *" Europe/Berlin, grace 7h' in experiment.good("plan")
    assert experiment.run("plan", "--detailed-exitcode").returncode == 2 and server.checks == []
    output = experiment.good("sync")
    assert f"heartbeat: + check {name}-ensemble: " in output
    check = server.of(f"{name}-train-a")
    assert (check.schedule, check.tz, check.grace, check.status) == ("0 1 * * *", "Europe/Berlin", GRACE, "up")
    assert (check.tags, check.channels, check.manual_resume) == (f"cronsemble experiment={name}", "*", True)
    assert server.of(f"{name}-ensemble").grace == 2 * 3600
    # Nothing to do, there either.
    requests = len(server.requests)
    assert "heartbeat" not in experiment.good("sync") and len(server.requests) == requests + 1
    assert experiment.run("plan", "--detailed-exitcode").returncode == 0
    # The secret is named, and nowhere spelled.
    pod = cluster.get("cronjob", f"{name}-train-a", experiment.namespace)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for step in [*pod["initContainers"], *pod["containers"]]:
        variables = {variable["name"]: variable for variable in step["env"]}
        assert variables[c.ENV_PING_URL]["value"] == f"{server.url}/ping"
        reference = {"name": "healthchecks", "key": "ping", "optional": True}
        assert variables[c.ENV_PING_KEY]["valueFrom"] == {"secretKeyRef": reference}
    # Suspended and resumed, by the command and by the configuration.
    assert f"heartbeat: - check {name}-train-a: paused" in experiment.good("suspend", "train-a")
    assert states(server, experiment) == {"train-a": "paused", "train-b": "up", "ensemble": "up"}
    assert "heartbeat" not in experiment.good("sync")
    experiment.good("resume")
    assert set(states(server, experiment).values()) == {"up"}
    experiment.write({"a": {"schedule": "0 3 * * *"}, "b": {**NIGHTLY, "suspend": True}}, timezone="UTC", **heartbeat(server))
    output = experiment.good("sync", "--yes")
    assert f'~ check {name}-train-a: "0 1 * * *" Europe/Berlin, grace 7h → "0 3 * * *" UTC, grace 7h' in output
    assert states(server, experiment) == {"train-a": "up", "train-b": "paused", "ensemble": "paused"}
    experiment.good("delete", "--yes")
    assert set(states(server, experiment).values()) == {"paused"} and len(server.checks) == 3


def test_the_watch_has_a_check_too(cluster: Cluster, experiment: Experiment, server: StandIn) -> None:
    name = experiment.name
    watch = {"watch": {"schedule": "*/15 * * * *", "deadline": "5m"}}
    experiment.write({"a": NIGHTLY}, timezone="Europe/Berlin", **watch, **heartbeat(server))
    assert f'heartbeat: + check {name}-watch: "*/15 * * * *" Europe/Berlin, grace 1h 5m' in experiment.good("sync")
    pod = cluster.get("cronjob", f"{name}-watch", experiment.namespace)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    variables = {variable["name"]: variable for variable in pod["containers"][0]["env"]}
    assert variables[c.ENV_PING_URL]["value"] == f"{server.url}/ping"
    assert variables[c.ENV_PING_KEY]["valueFrom"] == {"secretKeyRef": {"name": "healthchecks", "key": "ping", "optional": True}}
    # A suspended experiment is looked after all the same.
    experiment.good("suspend")
    assert states(server, experiment) == {"train-a": "paused", "watch": "up"}
    experiment.good("suspend", "watch")
    assert states(server, experiment) == {"train-a": "paused", "watch": "paused"}
    experiment.good("resume", "watch")
    assert states(server, experiment) == {"train-a": "paused", "watch": "up"}
    experiment.write({"a": NIGHTLY}, timezone="Europe/Berlin", **heartbeat(server))
    assert f"heartbeat: - check {name}-watch: paused" in experiment.good("sync", "--yes")


def test_a_server_that_refuses_fails_the_command_and_not_the_cluster(
    cluster: Cluster, experiment: Experiment, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.write({"a": NIGHTLY}, **heartbeat(server))
    for key, words in ((READ_ONLY_KEY, "is the key one that may only read?"), ("another", "does not know the API key")):
        monkeypatch.setenv("HEALTHCHECKS_API_KEY", key)
        server.checks = [Check("other", "other", status="up", last_ping=0)]
        assert words in experiment.good("plan")
        error = experiment.bad("sync")
        assert words in error and "the cluster is: run this again" in error and key not in error
        assert cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)
    monkeypatch.delenv("HEALTHCHECKS_API_KEY")
    assert "HEALTHCHECKS_API_KEY is not set" in experiment.good("sync") and len(server.checks) == 1
    monkeypatch.setenv("HEALTHCHECKS_API_KEY", API_KEY)
    server.answers = [(503, {"Retry-After": "0"}, "")]
    experiment.good("sync")
    assert server.of(f"{experiment.name}-train-a").status == "up"


def test_a_saved_plan_names_the_server_and_no_key(cluster: Cluster, experiment: Experiment, server: StandIn) -> None:
    experiment.write({"a": NIGHTLY}, **heartbeat(server))
    path = experiment.folder / "plan.json"
    experiment.good("plan", "--out", str(path))
    saved = path.read_text()
    assert API_KEY not in saved and PING_KEY not in saved
    assert json.loads(saved)["heartbeats"] == {
        experiment.name: {"server": server.url, "ping_url": f"{server.url}/ping", "namespace": experiment.namespace}
    }
    assert experiment.run("sync", "--plan", str(path), file=False).returncode == 0
    assert server.of(f"{experiment.name}-train-a").status == "up"


def test_a_check_that_others_made_is_not_touched(cluster: Cluster, experiment: Experiment, server: StandIn) -> None:
    slug = f"{experiment.name}-train-a"
    server.checks = [Check(slug, slug, "team", grace=60, status="up", last_ping=0)]
    experiment.write({"a": NIGHTLY}, **heartbeat(server))
    assert f"a check {slug} is there that cronsemble did not make" in experiment.good("sync")
    assert [(check.slug, check.grace, check.pings) for check in server.checks] == [(slug, 60, [])]
