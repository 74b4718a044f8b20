"""Sync on a real API server, seen by another client."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections import Counter

import pytest
import yaml

from cluster.access import Cluster, KubectlFailed
from commands import CLI
from sync.experiments import Experiment

NIGHTLY = {"schedule": "0 1 * * *"}


def names(cluster: Cluster, kind: str, namespace: str) -> list[str]:
    return [
        item["metadata"]["name"] for item in cluster.objects(kind, namespace) if item["metadata"]["name"] != "kube-root-ca.crt"
    ]


def test_a_first_sync_makes_everything_and_a_second_has_nothing_to_do(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY}, ensemble={"schedule": "0 6 * * *"})
    planned = experiment.run("plan", "--detailed-exitcode")
    assert planned.returncode == 2
    assert names(cluster, "cronjob", experiment.namespace) == []
    assert experiment.good("sync").startswith(planned.stdout)
    assert names(cluster, "cronjob", experiment.namespace) == [
        f"{experiment.name}-ensemble",
        f"{experiment.name}-train-a",
        f"{experiment.name}-train-b",
    ]
    for cronjob in cluster.objects("cronjob", experiment.namespace):
        (entry,) = cronjob["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"]) == ("cronsemble", "Apply")
    with cluster.counted("cronsemble") as asked:
        assert experiment.good("sync") == "nothing to do: 4 objects are as the configuration says\n"
        assert experiment.run("plan", "--detailed-exitcode").returncode == 0
    assert {verb for verb, _ in asked} == {"list"}


def test_a_task_too_long_for_a_variable_is_taken_and_is_no_drift(cluster: Cluster, experiment: Experiment) -> None:
    """The API server admits the file of its pods, and fills in nothing that another sync would change."""
    experiment.write({"a": {**NIGHTLY, "env": {"LONG": "x" * 125_000}}, "b": NIGHTLY}, ensemble={"schedule": "0 6 * * *"})
    experiment.good("sync")
    assert experiment.good("plan") == "nothing to do: 4 objects are as the configuration says\n"


def test_nothing_to_do_costs_a_page_for_500_objects_and_at_most_three_requests(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write(510)
    experiment.good("sync")
    with cluster.counted("cronsemble") as asked:
        experiment.good("sync")
    # Two pages of CronJobs, one of ConfigMaps, and one look at other namespaces.
    assert asked == Counter({("list", "cronjobs"): 3, ("list", "configmaps"): 1})


def test_an_edit_changes_one_object_and_says_which_field(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": {"schedule": "30 2 * * *", "hyperparameters": {"epochs": 7}}, "b": NIGHTLY})
    with cluster.counted("cronsemble") as asked:
        output = experiment.good("sync")
    assert 'schedule: "0 1 * * *" → "30 2 * * *"' in output
    assert "configuration.hyperparameters.epochs: 50 → 7" in output
    assert "0 to create, 1 to change, 0 to remove, 2 unchanged" in output
    # A dry run, for admission may change it, and the apply.
    assert asked["patch", "cronjobs"] == 2
    assert cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)["spec"]["schedule"] == "30 2 * * *"


def test_what_is_dropped_from_the_configuration_goes_from_the_cluster(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": {**NIGHTLY, "node_selector": {"disk": "ssd"}, "labels": {"team": "x"}}})
    experiment.good("sync")
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    cronjob = cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)
    assert "nodeSelector" not in cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "team" not in cronjob["metadata"]["labels"]
    assert experiment.good("plan").startswith("nothing to do")


def test_removing_asks_and_needs_yes_without_a_terminal(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": NIGHTLY})
    assert f"This removes 1 CronJob ({experiment.name}-train-b). There is no terminal to ask on: --yes goes on" in experiment.bad(
        "sync"
    )
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a", f"{experiment.name}-train-b"]
    experiment.good("sync", "--yes")
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a"]


def test_an_empty_configuration_needs_a_flag(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": {}})
    assert "--allow-empty allows it" in experiment.bad("sync", "--yes")
    experiment.good("sync", "--yes", "--allow-empty")
    assert names(cluster, "cronjob", experiment.namespace) == []
    assert names(cluster, "configmap", experiment.namespace) == [f"{experiment.name}-revisions"]


def test_a_stranger_of_the_same_name_is_refused_and_untouched(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"{experiment.name}-train-a"},
        "spec": {
            "schedule": "5 5 * * *",
            "jobTemplate": {
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "y"}]}}}
            },
        },
    }
    cluster.apply(foreign, experiment.namespace)
    before = cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)
    for flags in ([], ["--force-conflicts", "--yes"]):
        assert (
            f"CronJob {experiment.name}-train-a" in (output := experiment.bad("sync", *flags))
            and "is not managed by cronsemble (created by kubectl" in output
        )
    assert cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace) == before
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a"]


def test_a_field_of_anothers_is_a_conflict_until_forced(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    patch = json.dumps({"spec": {"schedule": "7 7 * * *"}})
    cluster.kubectl("patch", "cronjob", f"{experiment.name}-train-a", "-n", experiment.namespace, "--type=merge", "-p", patch)
    output = experiment.bad("sync")
    assert 'schedule is owned by kubectl-patch: it is "7 7 * * *", the configuration says "0 1 * * *"' in output
    assert "--force-conflicts allows it" in output
    assert cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)["spec"]["schedule"] == "7 7 * * *"
    experiment.good("sync", "--force-conflicts")
    assert cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)["spec"]["schedule"] == "0 1 * * *"
    assert experiment.good("plan").startswith("nothing to do")


def test_what_kubectl_applied_is_as_good_and_is_taken_over_by_force(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": {**NIGHTLY, "node_selector": {"disk": "ssd"}}, "b": NIGHTLY})
    rendered = experiment.good("render")
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=rendered)
    assert experiment.good("plan") == "nothing to do: 3 objects are as the configuration says\n"
    experiment.write({"a": NIGHTLY, "b": {"schedule": "0 2 * * *"}})
    assert "nodeSelector is left as it is (kubectl's)" in experiment.good("plan")
    assert "schedule is owned by kubectl" in experiment.bad("sync")
    experiment.good("sync", "--force-conflicts")
    cronjob = cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)
    assert "nodeSelector" not in cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert [entry["manager"] for entry in cronjob["metadata"]["managedFields"]] == ["cronsemble"]
    assert experiment.good("plan").startswith("nothing to do")


def test_a_client_side_apply_leaves_no_notes_on_defaults_and_is_taken_over_whole(
    cluster: Cluster, experiment: Experiment
) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    cronjobs = [body for body in yaml.safe_load_all(experiment.good("render")) if body["kind"] == "CronJob"]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(cronjobs))
    assert experiment.good("plan").splitlines()[1:] == ["1 to create, 0 to change, 0 to remove, 2 unchanged"]
    # That the server's default is kubectl's does not stand in the way of our own suspension.
    assert experiment.good("suspend") and experiment.good("resume")
    name = f"{experiment.name}-train-a"
    cluster.kubectl("set", "env", f"cronjob/{name}", "-n", experiment.namespace, "OMP_NUM_THREADS=4", "EXTRA=1")
    output = experiment.good("plan")
    assert "containers[train].env[EXTRA] is left as it is (kubectl's)" in output and output.count("note:") == 2
    output = experiment.good("sync", "--force-conflicts")
    assert "left to" not in output and "terminationMessagePath" not in output and "last-applied" not in output
    for each in ("a", "b"):
        cronjob = cluster.get("cronjob", f"{experiment.name}-train-{each}", experiment.namespace)
        assert {entry["manager"] for entry in cronjob["metadata"]["managedFields"]} == {"cronsemble", "cronsemble-suspend"}
        assert "annotations" not in cronjob["metadata"]
    env = cluster.get("cronjob", name, experiment.namespace)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert {each["name"]: each.get("value") for each in env["env"]}.get("EXTRA") is None
    assert experiment.good("plan", "--force-conflicts").startswith("nothing to do")


def test_ours_deleted_by_hand_comes_back(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    program = next(name for name in names(cluster, "configmap", experiment.namespace) if "program" in name)
    cluster.kubectl("delete", f"cronjob/{experiment.name}-train-a", f"configmap/{program}", "-n", experiment.namespace)
    assert "2 to create, 0 to change, 0 to remove" in experiment.good("sync")
    assert program in names(cluster, "configmap", experiment.namespace)
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a", f"{experiment.name}-train-b"]


def test_a_saved_plan_is_executed_exactly_or_refused_when_stale(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": {"schedule": "1 1 * * *"}, "b": NIGHTLY})
    saved = str(experiment.folder / "saved.json")
    experiment.good("plan", "--out", saved)
    experiment.write({"a": {"schedule": "2 2 * * *"}, "b": {"schedule": "3 3 * * *"}})
    # An annotation of somebody else's is none of our fields.
    cluster.kubectl("annotate", "cronjob", f"{experiment.name}-train-a", "note=x", "-n", experiment.namespace)
    experiment.good("sync", "--plan", saved, file=False)
    assert cluster.get("cronjob", f"{experiment.name}-train-a", experiment.namespace)["spec"]["schedule"] == "1 1 * * *"
    assert cluster.get("cronjob", f"{experiment.name}-train-b", experiment.namespace)["spec"]["schedule"] == "0 1 * * *"
    assert (
        f"CronJob {experiment.name}-train-a" in (output := experiment.bad("sync", "--plan", saved, file=False))
        and "the plan is stale" in output
    )


def test_a_renamed_experiment_is_named(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    old, experiment.name = experiment.name, f"{experiment.name}-renamed"
    experiment.write({"a": NIGHTLY})
    for _ in range(2):
        output = experiment.good("sync")
        assert f"experiment {old} has 1 CronJob in namespace {experiment.namespace}, and no given file declares it" in output
        assert f"cronsemble delete {old} --namespace {experiment.namespace}" in output
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a", f"{old}-train-a"]


def test_a_moved_experiment_is_named(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    old, experiment.namespace = experiment.namespace, cluster.new_namespace()
    experiment.write({"a": NIGHTLY})
    for _ in range(2):
        assert f"experiment {experiment.name} also has CronJobs in namespace {old}, which go on firing" in experiment.good("sync")
    assert names(cluster, "cronjob", old) == [f"{experiment.name}-train-a"]
    cluster.forget(experiment.namespace)


def test_a_missing_namespace(cluster: Cluster, experiment: Experiment) -> None:
    experiment.namespace += "-new"
    experiment.write({"a": NIGHTLY})
    assert f"kubectl create namespace {experiment.namespace}: --create-namespace allows it" in experiment.bad("sync")
    with pytest.raises(KubectlFailed):
        cluster.kubectl("get", "namespace", experiment.namespace)
    experiment.good("sync", "--create-namespace")
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a"]
    cluster.forget(experiment.namespace)


def test_several_files_and_namespaces_at_once(cluster: Cluster, experiment: Experiment) -> None:
    other = Experiment(experiment.folder, cluster.new_namespace(), experiment.kubeconfig, f"{experiment.name}-o")
    third = Experiment(experiment.folder, experiment.namespace, experiment.kubeconfig, f"{experiment.name}-p")
    for declared in (experiment, other, third):
        declared.write({"a": NIGHTLY})
    folder = ("-f", str(experiment.folder))
    assert "5 to create" in experiment.good("sync", *folder, file=False)
    assert experiment.good("plan", *folder, file=False) == "nothing to do: 5 objects are as the configuration says\n"
    assert names(cluster, "cronjob", other.namespace) == [f"{other.name}-train-a"]
    assert names(cluster, "cronjob", experiment.namespace) == [f"{third.name}-train-a", f"{experiment.name}-train-a"]
    cluster.forget(other.namespace)


def test_a_terminal_is_asked_and_shown_progress(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write(30)
    shown = on_terminal(experiment, "sync", answer="")
    assert "30/32" in shown or "32/32" in shown or "━" in shown
    experiment.write(29)
    assert "nothing was changed" in on_terminal(experiment, "sync", answer="n\n")
    assert len(names(cluster, "cronjob", experiment.namespace)) == 30
    assert "This removes 1 CronJob (" in on_terminal(experiment, "sync", answer="y\n")
    assert len(names(cluster, "cronjob", experiment.namespace)) == 29


def on_terminal(experiment: Experiment, *arguments: str, answer: str) -> str:
    """What a command shows on a terminal where somebody types the answer."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb+", buffering=0) as terminal:
        process = subprocess.Popen(
            [*CLI, *arguments, "-f", str(experiment.file)], stdin=theirs, stdout=theirs, stderr=theirs, env=experiment.env()
        )
        os.close(theirs)
        terminal.write(answer.encode())
        shown = b""
        while True:
            try:
                more = terminal.read(65536)
            except OSError:
                break
            if not more:
                break
            shown += more
        process.wait(60)
    return shown.decode()
