"""Nothing is lost: a store and a cluster that an earlier version wrote are read as it read them itself.

``tests/data/store-of-0.1.0`` holds what that version wrote, and what it printed of it (its README says how it was made). Texts
for people may change (``reason``, ``why``, ``changes``); everything that a program reads may not.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cluster.access import Cluster
from commands import run_command
from jobs.store import LocalStore
from jobs.store.files import read_json

BEFORE = Path(__file__).parent / "data" / "store-of-0.1.0"
PRINTED = BEFORE / "printed"
PRINTED_IN = "/srv/shapes"
"""The folder in which the earlier version printed."""
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
FOR_PEOPLE = {"reason", "why", "changes"}
ADDED = {"try_number", "max_tries", "degraded", "items_accuracy", "items_loss", "change"}
"""Keys that the earlier version did not print."""
ADDED_VARIABLE = "CRONSEMBLE_RETRIES"
"""One that its CronJobs did not have."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the experiment's folder, to be changed at will."""
    copy = tmp_path / "shapes"
    shutil.copytree(BEFORE, copy, ignore=shutil.ignore_patterns("printed", "cluster"))
    return copy


def cronsemble(folder: Path, *arguments: str, **env: str) -> str:
    """The output of a command that must succeed."""
    done = run_command(*arguments, folder=folder, env={**os.environ, **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def for_programs(value: Any) -> Any:
    """A JSON value in which each text for people is only said to be there or not."""
    if isinstance(value, dict):
        known = {key: each for key, each in value.items() if key not in ADDED}
        return {key: bool(each) if key in FOR_PEOPLE else for_programs(each) for key, each in known.items()}
    return [for_programs(each) for each in value] if isinstance(value, list) else value


def printed(name: str) -> Any:
    """What the earlier version printed as JSON."""
    return json.loads((PRINTED / name).read_text(encoding="utf-8"))


def printed_now(folder: Path, *arguments: str) -> Any:
    """What this version prints as JSON, with the paths of the folder in which the earlier one printed."""
    return json.loads(cronsemble(folder, *arguments).replace(str(folder), PRINTED_IN))


ARGUMENTS = {
    "history.json": ["history", "--since", "2026-11-24", "--until", "2026-11-26T21:30Z", "--limit", "0", "--json"],
    "revisions.json": ["history", "--revisions", "--json"],
    "next.json": ["next", "--from", "2026-11-27", "--json"],
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_command_prints_what_the_earlier_version_printed(folder: Path, name: str) -> None:
    assert for_programs(printed_now(folder, *ARGUMENTS[name])) == for_programs(printed(name))


def test_gc_removes_what_it_removed_but_what_ensembles_take(folder: Path) -> None:
    """The earlier version kept the newest run of a task even if it was an unpublished one, and removed the model in use."""
    now = printed_now(folder, "gc", "--what", "runs", "--older-than", "1m", "--keep", "1", "--dry-run", "--json")
    items, items_before = ({item["path"]: item for item in plan["items"]} for plan in (now, printed("gc.json")))
    assert all(for_programs(item) == for_programs(items_before[path]) for path, item in items.items())
    kept = {items_before[path]["run"] for path in items_before.keys() - items.keys()}
    assert kept >= {"shapes-train-jax-29928792", "shapes-train-theano-29926110"}
    # And that of the latest predictions.
    assert [run for run in kept if "-train-" not in run] == ["shapes-ensemble-29928793"]


def test_its_runs_can_be_compared_and_the_verdict_of_its_rerun_is_shown(folder: Path) -> None:
    compared = printed_now(folder, "compare", "shapes-ensemble-29924940", "shapes-ensemble-29926380", "--json")
    rows = {row["run"]: row for row in printed("history.json") if row["run"]}
    for side in ("before", "after"):
        assert compared["ensemble"]["accuracy"][side] == rows[compared["ensemble"][side]["run"]]["accuracy"]
    assert {each["name"] for each in compared["differences"]} >= {"seed"}
    shown = cronsemble(folder, "show", "shapes-ensemble-29924940-r2")
    assert re.search("^repeats +shapes-ensemble-29924940: ", shown, re.MULTILINE)


def test_the_index_of_before_is_no_truth(folder: Path) -> None:
    shutil.rmtree(folder / "store" / ".index")
    rows = printed_now(folder, *ARGUMENTS["history.json"])
    assert for_programs(rows) == for_programs(printed("history.json"))


def test_the_store_of_before_covers_what_can_become_of_a_slot() -> None:
    """Else the comparisons say less than they seem to."""
    rows = printed("history.json")
    assert {row["status"] for row in rows} >= {
        "succeeded",
        "failed",
        "interrupted",
        "missed",
        "skipped",
        "suspended",
    }
    assert {row["kind"] for row in rows} >= {"scheduled", "manual", "rerun", "backfill", None}


def test_the_csv_has_the_same_columns_and_rows(folder: Path) -> None:
    arguments = ["--csv" if argument == "--json" else argument for argument in ARGUMENTS["history.json"]]
    rows = list(csv.DictReader(cronsemble(folder, *arguments).splitlines()))
    with open(PRINTED / "history.csv", newline="", encoding="utf-8") as file:
        rows_before = list(csv.DictReader(file))
    assert for_programs(rows) == for_programs(rows_before)


@pytest.mark.parametrize("path", sorted(PRINTED.glob("show-*.json")), ids=lambda path: path.stem)
def test_each_run_is_shown_as_before(folder: Path, path: Path) -> None:
    shown = printed_now(folder, "show", path.stem.removeprefix("show-"), "--json")
    # The table of an ensemble's members and where they disagree, which it did not have.
    shown.pop("members", None)
    shown.pop("agreement", None)
    assert for_programs(shown) == for_programs(printed(path.name))


def test_nothing_is_wrong_with_the_store_of_before(folder: Path) -> None:
    assert "nothing is wrong" in cronsemble(folder, "fsck")


def test_archived_predictions_are_copied_out_as_they_are(folder: Path, tmp_path: Path) -> None:
    cronsemble(folder, "get", "2026-11-25", "--to", str(tmp_path / "out"), "--members")
    archive = folder / "store" / "predictions" / "shapes"
    copied = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(copied) == 3
    for path in copied:
        assert path.read_bytes() == (archive / path.relative_to(tmp_path / "out")).read_bytes()


def test_a_slot_of_before_is_planned_to_be_repeated_as_before(folder: Path) -> None:
    """What is missing on this machine is this machine's matter."""
    done = run_command("rerun", "2026-11-25", "--dry-run", "--json", folder=folder)
    keys = ("repeats", "task", "in", "members")
    planned = [{key: run[key] for key in keys} for run in json.loads(done.stdout)["runs"]]
    assert planned == [{key: run[key] for key in keys} for run in printed("rerun.json")["runs"]]


def test_a_model_of_before_predicts_as_before(folder: Path, tmp_path: Path, keras3: Path) -> None:
    store, minute = folder / "store", 29_928_793
    (result,) = store.glob(f"runs/shapes/train-jax/*/shapes-train-jax-{minute}/result")
    (data,) = store.glob("datasets/*.npz")
    command = [str(keras3), "-W", "ignore", "-m", "jobs", "predict", "--model", str(result), "--data", str(data)]
    env = {**ENV, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([*command, "--out", str(tmp_path / "p.npy")], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(store / "predictions" / "shapes" / "2026-11-26T2113Z-r2.members" / "jax.csv", newline="") as file:
        rows = [[float(value) for value in list(row.values())[3:]] for row in csv.DictReader(file)]
    assert np.load(tmp_path / "p.npy") == pytest.approx(np.array(rows), abs=1e-5)


def test_a_run_of_before_is_repeated_from_its_snapshot(folder: Path, keras3: Path) -> None:
    """The program of before is started by the engine of today."""
    run = "shapes-train-jax-29926080"
    store = LocalStore(folder / "store")
    for path in (folder / "store" / "runs").rglob("record.json"):
        record = read_json(path)
        assert record is not None
        path.write_text(path.read_text().replace(record["python"], str(keras3)))
    done = run_command("rerun", run, "--json", folder=folder)
    assert done.returncode in (0, 2), done.stdout + done.stderr  # another processor may give other bits
    repeat = next(found for found in store.runs("shapes", "train-jax") if str(found.id) == f"{run}-r2")
    assert (repeat.status, repeat.record["repeats"], repeat.record["snapshot"]) == ("succeeded", run, store_snapshot(store, run))
    assert json.loads(cronsemble(folder, "show", f"{run}-r2", "--json"))["reason"]


def store_snapshot(store: LocalStore, run: str) -> Any:
    return next(found for found in store.runs("shapes", "train-jax") if str(found.id) == run).record["snapshot"]


@pytest.fixture
def synced_before(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """The folder of an experiment whose objects lie in the namespace as the earlier version put them there."""
    folder = tmp_path / "cluster"
    shutil.copytree(BEFORE / "cluster", folder)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("namespace: experiments", f"namespace: {namespace}"))
    for manifest in _manifests(folder):
        if manifest["kind"] == "ConfigMap":
            # The same bytes lie in the store already.
            program = (
                BEFORE / "store" / "snapshots" / "program" / f"{manifest['metadata']['annotations']['cronsemble.io/sha256']}.pyz"
            )
            manifest["binaryData"] = {"program.pyz": base64.b64encode(program.read_bytes()).decode()}
        _apply(cluster, manifest, "cronsemble")
    cluster.kubectl("create", "--field-manager=cronsemble", "-f", str(folder / "revisions.yaml"))
    metadata = {"name": "shapes-ensemble", "namespace": namespace}
    suspension = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": {"suspend": True}}
    _apply(cluster, suspension, "cronsemble-suspend")
    return folder


def _manifests(folder: Path) -> list[dict[str, Any]]:
    return [manifest for manifest in yaml.safe_load_all((folder / "objects.yaml").read_text()) if manifest]


def _apply(cluster: Cluster, manifest: dict[str, Any], manager: str) -> None:
    cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=json.dumps(manifest))


def test_a_cluster_synced_before_changes_by_the_program_alone(cluster: Cluster, namespace: str, synced_before: Path) -> None:
    """Each CronJob once, a new program, the old one removed, one revision; after that there is nothing to do."""
    env = {"KUBECONFIG": str(cluster.kubeconfig)}
    manifests = _manifests(synced_before)
    (old,) = [m["metadata"]["annotations"]["cronsemble.io/sha256"] for m in manifests if m["kind"] == "ConfigMap"]
    plan = json.loads(cronsemble(synced_before, "plan", "--json", **env))
    new = plan["snapshots"]["shapes"]["program"]
    expected = [("change", "CronJob", m["metadata"]["name"]) for m in manifests if m["kind"] == "CronJob"]
    expected += [
        ("create", "ConfigMap", f"cronsemble-program-{new[:12]}"),
        ("prune", "ConfigMap", f"cronsemble-program-{old[:12]}"),
        ("record", "ConfigMap", "shapes-revisions"),
    ]
    assert plan["refusals"] == []
    assert sorted((action["verb"], action["kind"], action["name"]) for action in plan["actions"]) == sorted(expected)
    changes = [change for action in plan["actions"] for change in action["changes"]]
    assert changes
    added = [change for change in changes if ADDED_VARIABLE in change["field"]]
    assert all(change["old"] is None for change in added)
    for change in [change for change in changes if change not in added]:
        texts = [json.dumps(change[key]) for key in ("old", "new")]
        assert texts[0].replace(old, new).replace(old[:12], new[:12]) == texts[1]

    cronsemble(synced_before, "sync", "--yes", **env)
    assert json.loads(cronsemble(synced_before, "plan", "--json", **env))["actions"] == []
    assert cluster.get("cronjob", "shapes-ensemble", namespace)["spec"]["suspend"] is True


def test_a_cluster_synced_before_is_looked_at_as_before(cluster: Cluster, synced_before: Path) -> None:
    env = {"KUBECONFIG": str(cluster.kubeconfig)}
    revisions = json.loads(cronsemble(synced_before, "history", "--revisions", "--json", **env))
    assert revisions == printed("cluster-revisions.json")
    rows = json.loads(cronsemble(synced_before, "status", "--json", **env))
    keys = ("experiment", "task", "schedule", "timezone", "suspended", "last", "result", "running")
    assert [{key: row[key] for key in keys} for row in rows] == [
        {key: row[key] for key in keys} for row in printed("status.json")
    ]


def test_an_edit_after_a_sync_is_planned_as_before(cluster: Cluster, synced_before: Path) -> None:
    env = {"KUBECONFIG": str(cluster.kubeconfig)}
    cronsemble(synced_before, "sync", "--yes", **env)
    plan, plan_before = json.loads(cronsemble(synced_before, "plan", "-f", "edited.yaml", "--json", **env)), printed("plan.json")
    for part, part_before in ((plan, plan_before), *zip(plan["actions"], plan_before["actions"], strict=True)):
        assert part.keys() == part_before.keys()
    keys = ("verb", "kind", "name", "experiment", "task", "changes", "force", "take_over", "running")
    actions, actions_before = ([{key: action[key] for key in keys} for action in p["actions"]] for p in (plan, plan_before))
    assert actions == actions_before
    record, record_before = (p["actions"][-1]["body"] for p in (plan, plan_before))
    assert record.keys() == record_before.keys()
    assert record["tasks"].keys() == record_before["tasks"].keys()
    assert (plan["refusals"], plan["unchanged"], plan["format"]) == ([], plan_before["unchanged"], plan_before["format"])
