"""The watch of an experiment on a real API server: synchronised as everything, and no task of it."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.access import Cluster
from stores import Builder
from sync.experiments import Experiment

NIGHTLY = {"schedule": "0 1 * * *"}
IMAGES = {"keras3": "registry.example/keras3:1", "tool": "registry.example/tool:1"}


def test_an_edit_of_the_watch_changes_its_object_alone_and_records_no_revision(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": NIGHTLY}, watch={})
    output = experiment.good("sync")
    assert f'+ CronJob {experiment.name}-watch: "*/10 * * * *" UTC; next ' in output
    assert "1 to create, 0 to change, 0 to remove" in output and "revision" not in output
    assert experiment.good("plan").startswith("nothing to do")
    experiment.write({"a": NIGHTLY}, watch={"schedule": "*/5 * * * *"}, timezone="Europe/Berlin")
    plan = experiment.good("plan")
    assert '    schedule: "*/10 * * * *" → "*/5 * * * *"' in plan
    assert 'configuration.timezone: "UTC" → "Europe/Berlin"' in plan
    experiment.good("sync")
    live = cluster.get("cronjob", f"{experiment.name}-watch", experiment.namespace)
    assert live["spec"]["schedule"] == "*/5 * * * *"
    experiment.write({"a": NIGHTLY}, timezone="Europe/Berlin")
    assert f"- CronJob {experiment.name}-watch" in experiment.good("sync", "--yes")
    recorded = json.loads(experiment.good("history", "--revisions", "--json"))
    assert all("watch" not in json.dumps(revision["tasks"]) for revision in recorded)


def test_history_and_the_rows_of_status_pass_over_it_and_a_line_says_how_it_does(
    cluster: Cluster, controllers: Cluster, experiment: Experiment, tmp_path: Path
) -> None:
    experiment.write({"a": NIGHTLY}, watch={})
    assert f'{experiment.name}-watch: "*/10 * * * *"; not on the cluster' in experiment.good("status")
    experiment.good("sync")
    watch = f"{experiment.name}-watch"
    cluster.kubectl("create", "job", f"{watch}-29000000", f"--from=cronjob/{watch}", "-n", experiment.namespace)
    cluster.kubectl("create", "job", "by-hand", f"--from=cronjob/{watch}", "-n", experiment.namespace)
    builder = Builder(tmp_path / "store", experiment.name)
    builder.run("train-a", "2026-11-20T01:00")
    for command in (["history", "--json", "--store", str(builder.store.root)], ["status", "--json"]):
        rows = json.loads(experiment.good(*command))
        assert {row["task"] for row in rows} == {"train-a"}
    lines = experiment.good("status").splitlines()
    (line,) = [line for line in lines if line.startswith(watch)]
    assert line.startswith(f'{watch}: "*/10 * * * *" UTC; last never; next ')
    # It was started by hand, and may be ended at any time: no flag is needed.
    output = experiment.good("delete", "--yes")
    assert f"- CronJob {watch}" in output and "kills" not in output
    cluster.wait_for(
        lambda: not cluster.objects("job", experiment.namespace, "app.kubernetes.io/component=watch"), 60, "the end of its Jobs"
    )


def test_only_by_its_name_it_is_suspended_and_no_revision_says_so(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY}, watch={})
    experiment.good("sync")
    assert experiment.good("suspend") == f"suspended: {experiment.name}-train-a\n"
    assert experiment.good("suspend", "watch") == f"suspended: {experiment.name}-watch\n"
    assert cluster.get("cronjob", f"{experiment.name}-watch", experiment.namespace)["spec"]["suspend"] is True
    assert "suspended by suspend" in experiment.good("status")
    recorded = json.loads(experiment.good("history", "--revisions", "--json"))
    assert recorded[-1]["tasks"] == {"train-a": {"suspend": True}} and len(recorded) == 2
    assert experiment.good("resume") == f"resumed: {experiment.name}-train-a\n"
    assert experiment.good("resume", "watch") == f"resumed: {experiment.name}-watch\n"
    experiment.write({"a": NIGHTLY}, watch={"suspend": False})
    experiment.good("sync")
    assert "watch has `suspend: false`, which takes precedence" in experiment.bad("suspend", "watch")
