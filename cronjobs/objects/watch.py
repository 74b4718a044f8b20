"""The watch of an experiment: a CronJob whose pod looks after it from the store alone. No task of it: it has no runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cronjobs.experiment import Experiment, Watch
from cronjobs.objects import labels, quantities
from cronjobs.objects.config_maps import revisions_name
from cronjobs.objects.confinement import confined_pod, container_security
from cronjobs.objects.placement import placement
from cronjobs.objects.pods import PULL, STORE, heartbeat_variables
from cronjobs.objects.size import check_annotations
from cronjobs.objects.volumes import store_volume
from jobs import contract as c
from jobs.revisions import annotation_text

IMAGE = "localhost/cronsemble-tool"
"""The image that `images build` makes of the tool, unless the configuration names another."""
SETTINGS = "/cronsemble/watch"
"""Where the pod finds its settings, as a file."""
SETTINGS_FILE = "settings.json"
REQUESTS = {"cpu": "20m", "memory": "128Mi"}
"""What a look asks the scheduler for: it computes for seconds, and there are few."""
STARTING_DEADLINE = 3600
"""Seconds for which a look that could not start is made up for: a late one tells what an early one would have."""
KEPT = {"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 3}
"""How many finished Jobs stay: there are many, and all but the newest say nothing."""


def watch_name(experiment: str) -> str:
    """The name of an experiment's watch on the cluster: of its CronJob."""
    return f"{experiment}-{labels.WATCH}"


def tool_image(experiment: Experiment) -> str:
    """The reference of the tool's image on the cluster."""
    return experiment.cluster.images.get("tool") or IMAGE


def watch_settings(experiment: Experiment, version: str) -> dict[str, Any]:
    """What the pod must know of the configuration, as JSON values; ``version`` is the tool's that synchronised it. No secrets."""
    settings = {
        "schema": 1,
        "version": version,
        "experiment": experiment.name,
        "timezone": experiment.timezone,
        "file": experiment.path.name,
    }
    if (watch := experiment.watch) is not None and not watch.suspend:
        settings |= {"schedule": watch.schedule, "schedule_timezone": watch.timezone}
    if experiment.notify is None:
        return settings
    notify = asdict(experiment.notify)
    # Only where there are commands, which no cluster has.
    return {**settings, "notify": notify if notify["withheld"] else {key: notify[key] for key in notify if key != "withheld"}}


def watch_cron_job(experiment: Experiment, watch: Watch, version: str) -> dict[str, Any]:
    """The CronJob; raises ObjectsError for a store that no cluster can mount, or settings that are too large."""
    own = {**watch.labels, **labels.of_experiment(experiment.name, labels.WATCH)}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": watch_name(experiment.name), "namespace": experiment.cluster.namespace, "labels": own},
        "spec": {
            "schedule": watch.schedule,
            "timeZone": watch.timezone,
            # Left out unless the configuration says it: else `suspend` and `resume` own it.
            **({} if watch.suspend is None else {"suspend": watch.suspend}),
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": STARTING_DEADLINE,
            **KEPT,
            "jobTemplate": {
                "metadata": {"labels": own},
                # The next look is the next try.
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": int(watch.deadline),
                    "template": _pod(experiment, watch, own, version),
                },
            },
        },
    }


def _pod(experiment: Experiment, watch: Watch, own: Mapping[str, str], version: str) -> dict[str, Any]:
    cluster = experiment.cluster
    text = annotation_text(watch_settings(experiment, version))
    annotations = {**watch.annotations, labels.CONFIGURATION: text}
    check_annotations(annotations, labels.WATCH)
    # With the version that the server would fill in: sources are compared whole.
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{labels.CONFIGURATION}']"}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        **confined_pod(experiment),
        "containers": [_container(experiment, watch)],
        "volumes": [
            {"name": "store", **store_volume(experiment)},
            {"name": "revisions", "configMap": {"name": revisions_name(experiment.name), "optional": True}},
            {"name": "settings", "downwardAPI": {"items": [{"path": SETTINGS_FILE, "fieldRef": field}]}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }
    spec |= placement(cluster, watch)
    if watch.priority_class:
        spec["priorityClassName"] = watch.priority_class
    return {"metadata": {"labels": dict(own), "annotations": annotations}, "spec": spec}


def _container(experiment: Experiment, watch: Watch) -> dict[str, Any]:
    policy = experiment.cluster.pull_policy
    variables = {
        c.ENV_REVISIONS: c.REVISIONS,
        # The root is read-only, and the user has no home of its own.
        "HOME": "/tmp",
        # One look takes seconds: threads for arrays would only take memory.
        "OPENBLAS_NUM_THREADS": "1",
    }
    return {
        "name": labels.WATCH,
        "image": tool_image(experiment),
        **({"imagePullPolicy": PULL[policy]} if policy else {}),
        "command": ["cronsemble", "watch", "--store", STORE, "--settings", f"{SETTINGS}/{SETTINGS_FILE}"],
        "env": [
            *({"name": name, "value": value} for name, value in variables.items()),
            *heartbeat_variables(experiment),
            *_secrets(experiment),
        ],
        "resources": {
            "requests": dict(REQUESTS),
            "limits": {"cpu": quantities.cpu(watch.cpu), "memory": quantities.size(watch.memory)},
        },
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "store", "mountPath": STORE},
            {"name": "revisions", "mountPath": c.REVISIONS, "readOnly": True},
            {"name": "settings", "mountPath": SETTINGS, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _secrets(experiment: Experiment) -> list[dict[str, Any]]:
    """The variables with what the channels of `notify:` take from Secrets."""
    secrets = experiment.notify.secrets() if experiment.notify is not None else []
    return [
        # Without it the pod starts all the same: the channel says that it has no address, and the rest is done.
        {"name": each.key, "valueFrom": {"secretKeyRef": {"name": each.secret, "key": each.key, "optional": True}}}
        for each in secrets
    ]
