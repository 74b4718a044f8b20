"""Whatever is synced, a plan after it is empty, from whatever was there before."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.access import Cluster
from scheduler.config import load
from scheduler.kube.client import KubeClient
from scheduler.kube.kubeconfig import find_access
from scheduler.sync import reconcile
from scheduler.sync.apply import execute
from scheduler.sync.reconcile import reconciler_of
from sync.experiments import Experiment

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
        with reconcile.leases(api, [experiment.namespace], 30, print) as held:
            outcome = execute(api, plan, held, Silent())
        assert not outcome.failed, [str(error) for _, error in outcome.failed]
        again = reconciler.plan()
        assert again.actions == () and again.refusals == (), again.actions
        seen = {each["metadata"]["name"] for each in cluster.objects("cronjob", experiment.namespace)}
        assert seen == {each["metadata"]["name"] for each in reconciler.desired[0].cronjobs}
