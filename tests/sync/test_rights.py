"""Sync as a user with just the documented Role, and each right of it missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.access import Cluster
from scheduler.kube.permissions import NEEDED
from sync.experiments import Experiment
from sync.test_sync import NIGHTLY, names

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes-rights.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])["rules"]


def test_the_documented_role_is_what_we_ask_for() -> None:
    documented = {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in RULES}
    assert documented == {(kind.version.rpartition("/")[0], kind.plural): set(verbs) for kind, verbs in NEEDED}


def test_a_user_with_that_role_can_do_all(cluster: Cluster, experiment: Experiment) -> None:
    user = cluster.limited_user(experiment.namespace, RULES)
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync", kubeconfig=user)
    experiment.good("suspend", "train-a", kubeconfig=user)
    experiment.good("resume", kubeconfig=user)
    experiment.write({"a": {"schedule": "0 2 * * *"}})
    experiment.good("sync", "--yes", kubeconfig=user)
    experiment.good("status", kubeconfig=user)
    experiment.good("history", "--revisions", kubeconfig=user)
    assert experiment.good("plan", kubeconfig=user).startswith("nothing to do")
    experiment.good("delete", "--yes", "--purge", kubeconfig=user)
    assert names(cluster, "cronjob", experiment.namespace) == []


RIGHTS = [(kind, verb) for kind, verbs in NEEDED for verb in verbs]


@pytest.mark.parametrize(("kind", "verb"), RIGHTS, ids=[f"{verb} {kind.plural}" for kind, verb in RIGHTS])
def test_a_missing_right_is_one_line(cluster: Cluster, experiment: Experiment, kind: Any, verb: str) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    if (kind.plural, verb) not in [("cronjobs", "create"), ("configmaps", "create"), ("leases", "create")]:
        experiment.good("sync")
    if kind.plural == "configmaps" and verb == "delete":
        old = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "cronsemble-code-old",
                "labels": {"app.kubernetes.io/managed-by": "cronsemble", "app.kubernetes.io/component": "code"},
            },
        }
        cluster.apply(old, experiment.namespace)
    rules = [
        {**rule, "verbs": [name for name in rule["verbs"] if rule["resources"] != [kind.plural] or name != verb]}
        for rule in RULES
    ]
    user = cluster.limited_user(experiment.namespace, [rule for rule in rules if rule["verbs"]])
    experiment.write({"a": {"schedule": "0 2 * * *"}})
    output = experiment.bad("sync", "--yes", kubeconfig=user).splitlines()
    rule = f'{{apiGroups: ["{kind.version.rpartition("/")[0]}"], resources: ["{kind.plural}"], verbs: ["{verb}"]}}'
    line = f"no right to {verb} {kind.resource} in namespace {experiment.namespace}: add to the Role: {rule}"
    assert line in output


def test_all_missing_rights_are_named_at_once(cluster: Cluster, experiment: Experiment) -> None:
    user = cluster.limited_user(experiment.namespace, [])
    experiment.write({"a": NIGHTLY})
    assert len(experiment.bad("sync", kubeconfig=user).splitlines()) == len(RIGHTS)
    assert len(experiment.bad("plan", kubeconfig=user).splitlines()) == 3
