"""A server whose clock is not this machine's: its own counts, and that the two differ is said once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from sync.experiments import Experiment
from sync.proxy import Proxy


@pytest.mark.parametrize(("ahead", "words"), [(20, "behind"), (-20, "ahead of")])
def test_slots_and_fire_times_are_counted_by_the_servers_clock(
    cluster: Cluster, experiment: Experiment, tmp_path: Path, ahead: int, words: str
) -> None:
    experiment.write({"a": {"schedule": "* * * * *", "suspend": False}})
    with Proxy(cluster.kubeconfig, tmp_path, lambda method, path: None) as proxy:
        proxy.ahead = timedelta(minutes=ahead)

        def answer(*arguments: str) -> Any:
            done = experiment.run(*arguments, "--json", kubeconfig=proxy.kubeconfig)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stderr.count(f"warning: this machine's clock is about 20m {words} the cluster's") == 1, done.stderr
            return json.loads(done.stdout)

        (planned,) = (action for action in answer("plan")["actions"] if action["kind"] == "CronJob")
        assert experiment.run("sync", kubeconfig=proxy.kubeconfig).returncode == 0
        (row,) = answer("status")
        (fire,) = answer("next", "--cluster", "-n", "1")["fires"]
        newest = answer("history", "--store", str(tmp_path / "store"))[0]
        expected = datetime.now(UTC) + proxy.ahead
        for text in (planned["fires"]["after"], row["next"], fire["fire"], newest["slot"]):
            assert abs(datetime.fromisoformat(text) - expected) < timedelta(minutes=3), text
        assert newest["status"] == "not yet due"
        slots = json.loads(
            experiment.good("backfill", "today", "--cluster", "--dry-run", "--json", "--store", str(tmp_path / "store"),
                            kubeconfig=proxy.kubeconfig)
        )["slots"]  # fmt: skip
        assert slots[-1]["slot"] <= f"{expected + timedelta(minutes=3):%Y-%m-%dT%H:%MZ}"
        if ahead > 0 and expected.hour:
            assert slots[-1]["slot"] > f"{datetime.now(UTC) + timedelta(minutes=10):%Y-%m-%dT%H:%MZ}"
