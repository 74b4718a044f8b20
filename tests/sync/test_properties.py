"""Whatever is synced, a plan after it is empty: as values, and on a real API server from whatever was there before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.access import Cluster
from scheduler.config import load
from scheduler.kube.client import KubeClient
from scheduler.kube.kubeconfig import find_access
from scheduler.kube.objects import NamespaceObjects
from scheduler.sync import reconcile
from scheduler.sync.apply import execute
from scheduler.sync.context import ContextNeeds, NamespaceContext, needed_context
from scheduler.sync.desired import desired_states
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.namespace_diff import Difference, diff_namespace
from scheduler.sync.plan import SyncPlan, Verb
from scheduler.sync.planner import make_plan
from scheduler.sync.reconcile import reconciler_of
from sync.experiments import Experiment
from sync.test_planning import there

NOW = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)

WORD = st.sampled_from(["a", "b", "x1"])
PAIRS = st.dictionaries(WORD, WORD, max_size=2)
TASK = st.fixed_dictionaries(
    {"schedule": st.sampled_from(["0 1 * * *", "*/5 * * * *", "@daily", "@every 90m", "1,2 3-5 ? jan mon"])},
    optional={
        "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
        "suspend": st.booleans(),
        "concurrency": st.sampled_from(["allow", "forbid", "replace"]),
        "starting_deadline": st.sampled_from(["1h", "90s"]),
        "retries": st.integers(0, 3),
        "deadline": st.sampled_from(["6h", "10m"]),
        "ttl": st.sampled_from(["1h", "7d"]),
        "threads": st.integers(1, 4),
        "resources": st.fixed_dictionaries(
            {},
            optional={
                "cpu": st.sampled_from([1, 2.5, "1500m", "0.1", "2000m"]),
                "memory": st.sampled_from(["1Gi", "1024Mi", "1536Mi", "2G", "1.5Gi"]),
                "tmp": st.sampled_from(["1Gi", "2048Mi"]),
                "gpu": st.integers(0, 2),
            },
        ),
        "node_selector": PAIRS,
        "tolerations": st.lists(
            st.sampled_from([{"key": "gpu", "operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]),
            max_size=2,
        ),
        "affinity": st.sampled_from(
            [
                {},
                {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}]
                        }
                    }
                },
            ]
        ),
        "labels": PAIRS,
        "annotations": st.dictionaries(WORD, st.sampled_from(["", "text"]), max_size=2),
        "env": st.dictionaries(
            st.sampled_from(["A", "B"]), st.sampled_from(["", "1", "x y", {"secret": "s", "key": "k"}]), max_size=2
        ),
        "history_limits": st.fixed_dictionaries({"successful": st.integers(0, 2), "failed": st.integers(0, 2)}),
    },
)
CONFIGURATION = st.tuples(
    st.dictionaries(WORD, TASK, min_size=1),
    st.none() | TASK,
    st.sampled_from([{"claim": "c"}, {"nfs": {"server": "nas", "path": "/x"}}, {"host_path": "/srv"}]),
)


def states(folder: Path, configuration: Any) -> list[DesiredState]:
    """The desired state of a configuration."""
    tasks, ensemble, store = configuration
    experiment = Experiment(folder, "lab", folder / "kubeconfig", "digits")
    experiment.write(tasks, ensemble, store=store)
    return desired_states([load(experiment.file)])


def make(desired: list[DesiredState], live: NamespaceObjects, needs: ContextNeeds, names: Any = ()) -> SyncPlan:
    """A plan from values alone; ``names`` are those of other clients' objects."""
    context = NamespaceContext(foreign_names={kind: dict.fromkeys(names, "helm") for kind in needs.foreign_names})
    return make_plan(
        desired,
        {"lab": live},
        {"lab": diff_namespace(desired, live)},
        {"lab": context},
        tool="0.1.0",
        server="https://s",
        context="c",
        now=NOW,
    )


def applied(plan: SyncPlan) -> NamespaceObjects:
    """What a namespace holds after a plan that creates everything, if the server fills in nothing."""
    live: dict[str, dict[str, Any]] = {"CronJob": {}, "ConfigMap": {}}
    for action in plan.actions:
        if action.verb == Verb.CREATE:
            live[action.kind][action.name] = there(action.body)
    return NamespaceObjects("lab", live["CronJob"], live["ConfigMap"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configuration=CONFIGURATION, other=CONFIGURATION)
def test_plans_are_values_of_values(tmp_path: Path, configuration: Any, other: Any) -> None:
    desired = states(tmp_path, configuration)
    nothing = NamespaceObjects("lab")
    needs = needed_context(desired, diff_namespace(desired, nothing), nothing)
    before = msgspec.json.encode([state.objects for state in desired])
    first = make(desired, nothing, needs)
    assert first == make(desired, nothing, needs)
    assert [action.stage for action in first.actions] == sorted(action.stage for action in first.actions)
    assert len(first.actions) == len(desired[0].objects) + 1 and first.refusals == ()
    live = applied(first)
    # Nothing differs then, and only a revision is missing, which is no object that is compared.
    diff = diff_namespace(desired, live)
    assert (diff.objects, diff.removed_cronjobs, diff.unreferenced_snapshots) == ((), (), ())
    assert diff.unchanged == len(desired[0].objects)
    # Another configuration changes, creates and removes exactly what differs.
    following = diff_namespace(states(tmp_path, other), live)
    names = {cronjob["metadata"]["name"] for cronjob in desired[0].cronjobs}
    kept = {body["metadata"]["name"] for state in states(tmp_path, other) for body in state.cronjobs}
    assert {cronjob["metadata"]["name"] for cronjob in following.removed_cronjobs} == names - kept
    missing = {difference.name for difference in following.objects if difference.difference == Difference.MISSING}
    assert {name for name in missing if name.startswith("digits")} == kept - names
    assert msgspec.json.encode([state.objects for state in desired]) == before


@given(configuration=CONFIGURATION)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_that_others_have_are_refused_one_by_one(tmp_path: Path, configuration: Any) -> None:
    desired = states(tmp_path, configuration)
    nothing = NamespaceObjects("lab")
    needs = needed_context(desired, diff_namespace(desired, nothing), nothing)
    names = [body["metadata"]["name"] for body in desired[0].objects]
    plan = make(desired, nothing, needs, names)
    assert len(plan.refusals) == len(names) and plan.actions == ()
    assert all(refusal.flag == "" for refusal in plan.refusals)


class Silent:
    def advance(self) -> None:
        pass


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=CONFIGURATION, after=CONFIGURATION)
def test_a_plan_after_a_sync_is_empty(cluster: Cluster, experiment: Experiment, before: Any, after: Any) -> None:
    with KubeClient(find_access(cluster.kubeconfig, None)) as api:
        check(api, cluster, experiment, before, after)


def check(api: KubeClient, cluster: Cluster, experiment: Experiment, before: Any, after: Any) -> None:
    for tasks, ensemble, store in (before, after):
        experiment.write(tasks, ensemble, store=store)
        reconciler = reconciler_of(api, [load(experiment.file)])
        plan = reconciler.plan()
        with reconcile.leases(api, [experiment.namespace], 30, print) as leases:
            outcome = execute(api, plan, leases, Silent())
        assert not outcome.failed, [str(error) for _, error in outcome.failed]
        again = reconciler.plan()
        assert again.actions == () and again.refusals == (), again.actions
        names = {cronjob["metadata"]["name"] for cronjob in cluster.objects("cronjob", experiment.namespace)}
        assert names == {cronjob["metadata"]["name"] for cronjob in reconciler.desired[0].cronjobs}
