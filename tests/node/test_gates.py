"""Gates in pods: a member that gets worse on purpose, an ensemble that takes it by hand, and decisions through a reader pod."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.access import Cluster
from cluster.node import Node
from cluster.scenes import Scene, scene
from jobs.contract import slot_text
from sync.experiments import CLI


def through_a_reader(made: Scene, *arguments: str) -> list[str]:
    """What a command prints that has no mount of the store."""
    cache = str(made.experiment.folder / "cache")
    env = {**made.experiment.env(), "CRONSEMBLE_READER_START": "60", "CRONSEMBLE_CACHE": cache}
    command = [*CLI, *arguments, "-f", str(made.experiment.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def archived(made: Scene, name: str) -> dict[str, Any]:
    """The metadata of that name in the archive, of a CSV that is there."""
    path = made.store / "predictions" / made.experiment.name / f"{name}.json"
    about: dict[str, Any] = json.loads(path.read_text())
    assert path.with_suffix(".csv").read_bytes() == (path.parent / about["csv"]["file"]).read_bytes()
    return about


def test_what_a_gate_refuses_in_a_pod_is_nobodys_latest(
    pods: Cluster, node: Node, image: Callable[[str], str], tmp_path: Path
) -> None:
    members = {"one": {"model": "harm.py:drifts", "gate": {"max_drop": 0.05}}}
    ensemble = {"max_age": "1h", "gate": {"min_accuracy": 0.6}}
    with scene(pods, node, image, tmp_path / "gates", "gates", members, ensemble) as made:
        good = made.start("train-one")
        made.end(good, "Complete")
        bad = made.run("train-one", later=1)
        made.worsen(bad)
        assert made.start("train-one", later=1) == bad
        made.end(bad, "Complete")
        status, reason, evidence = made.kept_outcome(bad)
        assert (status, evidence) == ("refused", "recorded")
        assert f"less than the 1.0000 of {good} on the same 40 items" in reason and "more than max_drop 0.05" in reason
        gate = made.record(bad)["gate"]
        assert (gate["previous"], gate["items"], gate["lost"], gate["gained"]) == (good, 40, 40, 0)

        # The ensemble takes the one before, and is less than it might be.
        first = made.start("ensemble", later=1)
        made.end(first, "Complete")
        assert [member["run"] for member in made.record(first)["members"]] == [good]
        row = made.row(first, "--offline")
        assert row["status"] == "succeeded" and f"which was refused: {reason}" in row["degraded"]
        assert archived(made, "latest")["run"] == first

        # By hand the member is accepted, and the ensemble that takes it refused by its own gate: archived, and not the latest.
        said = through_a_reader(made, "accept", bad, "--reason", "new labels")
        assert said[0].startswith(f"{bad}: accepted (it was refused: ") and "the next ensemble takes its model of one" in said
        second = made.start("ensemble", later=2)
        made.end(second, "Complete")
        assert [member["run"] for member in made.record(second)["members"]] == [bad]
        refused = "accuracy 0.0000 is less than min_accuracy 0.6"
        assert made.kept_outcome(second) == ("refused", refused, "recorded")
        slots = {name: slot_text(made.minute + later) for name, later in ((first, 1), (second, 2))}
        about = archived(made, slots[second].replace(":", ""))
        assert (about["run"], about["refused"]) == (second, refused)
        assert archived(made, "latest")["run"] == first

        # What is decided from a machine that has no mount of the store moves `latest.csv` there.
        said = through_a_reader(made, "accept", second, "--reason", "as meant")
        assert said[-1] == f"latest.csv has the predictions of {slots[second]} ({second})"
        assert archived(made, "latest")["run"] == second
        said = through_a_reader(made, "refuse", second, "--reason", "after all")
        assert said[-1] == f"latest.csv has the predictions of {slots[first]} ({first})"
        assert archived(made, "latest")["run"] == first
        row = made.row(second, "--offline")
        assert row["status"] == "refused" and row["reason"].endswith(": after all")
        names = sorted(path.name for path in made.folder(second).glob("decision-*.json"))
        assert names == ["decision-1.json", "decision-2.json"]
        assert {(made.folder(second) / name).stat().st_uid for name in names} == {os.stat(made.store).st_uid}
