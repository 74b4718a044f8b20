"""The watch of an experiment as objects: a CronJob that is no task, and asks for little."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cronjobs.experiment import Experiment
from cronjobs.objects import cronjob, labels
from cronjobs.objects.volumes import pod_security
from cronjobs.revisions import revisions
from cronjobs.tasks import ExperimentContext, tasks_of
from jobs import contract as c
from scheduler.config import ConfigErrors, load, load_all
from scheduler.heartbeat.watched_task import WatchedTask, tasks_of_cronjobs
from scheduler.sync.desired import desired, desired_states, notes
from scheduler.watch.settings import settings_of

TEXT = """
experiment: e
store: {claim: experiments}
backends: {jax: {schedule: "0 1 * * *", env: {TOKEN: {secret: s, key: k}}}}
cluster: {images: {keras3: k}}
"""


def experiment(folder: Path, more: str = "watch: {}\n", text: str = TEXT) -> Experiment:
    path = folder / "config.yaml"
    path.write_text(text + more)
    return load(path)


def made(declared: Experiment) -> dict[str, dict[str, Any]]:
    """The CronJobs by name."""
    context = ExperimentContext(declared, hashlib.sha256(b"p").hexdigest(), "", version="1.2")
    return {body["metadata"]["name"]: body for body in cronjob.desired(context, b"p", None) if body["kind"] == "CronJob"}


def pod(cronjob: dict[str, Any]) -> dict[str, Any]:
    return dict(cronjob["spec"]["jobTemplate"]["spec"]["template"])


@pytest.mark.holds("watch-no-rights")
def test_it_has_no_token_no_program_and_no_secret_and_fits_the_strictest_pod_security(tmp_path: Path) -> None:
    declared = experiment(tmp_path)
    body = made(declared)["e-watch"]
    spec = pod(body)["spec"]
    assert spec["automountServiceAccountToken"] is False and pod_security(declared).level == "restricted"
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    mounts = {volume["name"]: next(key for key in volume if key != "name") for volume in spec["volumes"]}
    assert mounts == {"store": "persistentVolumeClaim", "revisions": "configMap", "settings": "downwardAPI", "tmp": "emptyDir"}
    assert "TOKEN" not in json.dumps(body) and "secret" not in json.dumps(body)
    assert container["resources"]["requests"] == {"cpu": "20m", "memory": "128Mi"}


def test_it_is_no_task_of_the_experiment_and_no_revision_says_anything_of_it(tmp_path: Path) -> None:
    declared = experiment(tmp_path)
    bodies = made(declared)
    assert list(bodies) == ["e-train-jax", "e-watch"]
    assert [name for name, _ in tasks_of(declared)] == ["train-jax"]
    for own in (bodies["e-watch"]["metadata"]["labels"], pod(bodies["e-watch"])["metadata"]["labels"]):
        assert labels.TASK not in own and own[labels.INSTANCE] == "e" and labels.is_watch(own)
    assert list(revisions.tasks(bodies.values())) == ["train-jax"]
    without = made(experiment(tmp_path, ""))
    assert revisions.tasks(bodies.values()) == revisions.tasks(without.values())
    assert without["e-train-jax"] == bodies["e-train-jax"]


def test_its_settings_travel_in_its_own_pod_alone(tmp_path: Path) -> None:
    body = made(experiment(tmp_path, "timezone: Europe/Berlin\nwatch: {schedule: '5 * * * *', timezone: UTC}\n"))["e-watch"]
    settings = json.loads(pod(body)["metadata"]["annotations"][labels.CONFIGURATION])
    own = {"schedule": "5 * * * *", "schedule_timezone": "UTC"}
    named = {"schema": 1, "version": "1.2", "experiment": "e", "timezone": "Europe/Berlin", "file": "config.yaml"}
    assert settings == {**named, **own}
    assert (body["spec"]["schedule"], body["spec"]["timeZone"]) == ("5 * * * *", "UTC")


@pytest.mark.holds("watch-no-rights")
def test_the_secrets_of_its_channels_are_variables_of_its_pod_alone_and_may_be_missing(tmp_path: Path) -> None:
    channels = "notify: {channels: {chat: {slack: {secret: notify, key: SLACK_URL}}}}\n"
    bodies = made(experiment(tmp_path, channels + "watch: {}\n"))
    (container,) = pod(bodies["e-watch"])["spec"]["containers"]
    reference = {"name": "notify", "key": "SLACK_URL", "optional": True}
    assert [each for each in container["env"] if "valueFrom" in each] == [
        {"name": "SLACK_URL", "valueFrom": {"secretKeyRef": reference}}
    ]
    settings = settings_of(json.loads(pod(bodies["e-watch"])["metadata"]["annotations"][labels.CONFIGURATION]))
    assert settings.notify == experiment(tmp_path, channels).notify
    assert "SLACK_URL" not in json.dumps(bodies["e-train-jax"])
    assert bodies["e-train-jax"] == made(experiment(tmp_path, ""))["e-train-jax"]


@pytest.mark.holds("watch-no-rights")
def test_it_pings_the_server_of_a_heartbeat_whose_key_its_pod_has(tmp_path: Path) -> None:
    heartbeat = "heartbeat: {server: 'https://hc.example.org', ping_key: {secret: hc, key: ping}}\n"
    body = made(experiment(tmp_path, f"{heartbeat}watch: {{deadline: 4m}}\n"))["e-watch"]
    (container,) = pod(body)["spec"]["containers"]
    assert [each["name"] for each in container["env"] if "valueFrom" in each] == [c.ENV_PING_KEY]
    (task,) = tasks_of_cronjobs([body])
    assert task == WatchedTask("watch", "*/10 * * * *", "UTC", 3600 + 240)
    # Without a server no pod pings, and nothing is expected.
    body = made(experiment(tmp_path))["e-watch"]
    assert tasks_of_cronjobs([body]) == [] and "PING" not in json.dumps(body)


def test_settings_that_no_pod_can_carry_are_named(tmp_path: Path) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\n" + "A" * 300_000
    (tmp_path / "ca.pem").write_text(certificate)
    channels = "notify: {channels: {hook: {webhook: 'https://a.example/b', ca_file: ca.pem}}}\n"
    (problem,) = cronjob.size_problems(experiment(tmp_path, channels + "watch: {}\n"))
    assert problem[0] == "watch" and "at most 262,144 fit a pod" in problem[1]


def test_without_a_scheduled_task_there_is_nothing_to_look_after(tmp_path: Path) -> None:
    assert made(experiment(tmp_path, text=TEXT.replace('schedule: "0 1 * * *"', "retries: 1"))) == {}


def test_its_pods_are_placed_as_the_ensembles_unless_it_says_otherwise(tmp_path: Path) -> None:
    text = TEXT.replace(
        "backends: {", "defaults: {node_selector: {disk: fast}, priority_class: high, labels: {team: a}}\nbackends: {"
    )
    body = made(experiment(tmp_path, "watch: {node_selector: {}, priority_class: low}\n", text))["e-watch"]
    spec = pod(body)["spec"]
    assert "nodeSelector" not in spec and spec["priorityClassName"] == "low" and body["metadata"]["labels"]["team"] == "a"
    # What an ensemble has for its runs is not for the watch.
    assert body["spec"]["jobTemplate"]["spec"].keys() == {"backoffLimit", "activeDeadlineSeconds", "template"}


def test_its_image_is_noted_and_no_snapshot_is_mounted_for_it(tmp_path: Path) -> None:
    declared = experiment(tmp_path)
    (note,) = notes([declared])
    assert note.endswith(
        "localhost/cronsemble-tool is in no registry: nodes that do not hold it cannot run it; see cluster.images.tool"
    )
    own = experiment(tmp_path, "watch: {}\n", TEXT.replace("{keras3: k}", "{keras3: k, tool: registry.example/tool:1}"))
    assert notes([own]) == []
    assert pod(made(own)["e-watch"])["spec"]["containers"][0]["image"] == "registry.example/tool:1"
    (state,) = desired_states([own])
    kinds = [body["kind"] for body in state.objects]
    assert kinds == ["ConfigMap", "CronJob", "CronJob"] and len(desired([own])) == 3


def test_channels_that_nobody_tells_are_noted(tmp_path: Path) -> None:
    channels = "notify: {channels: {chat: {slack: {secret: notify, key: SLACK_URL}}}}\n"
    note = "notify: on a cluster nobody tells the channels without a watch: type watch: {}"
    silent = experiment(tmp_path, channels)
    (state,) = desired_states([silent])
    assert notes([silent]) == list(state.notes) == [f"{silent.path}: {note}"]
    assert desired_states([experiment(tmp_path, channels + "watch: {}\n")])[0].notes == ()


def test_its_name_may_be_that_of_another_experiments_member(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT.replace("experiment: e", "experiment: e-train") + "watch: {}\n")
    (tmp_path / "b.yaml").write_text(TEXT.replace("jax: {", "watch: {backend: jax, "))
    with pytest.raises(ConfigErrors, match=r"its CronJob e-train-watch has the name of one of"):
        load_all([tmp_path])


@pytest.mark.parametrize(
    "watch, problem",
    [
        ("{schedule: hourly}", "watch.schedule: 'hourly'"),
        ("{timezone: Berlin}", "watch.timezone: 'Berlin' is not a time zone"),
        ("{limits: {cpu: 0}}", "watch.limits.cpu: 0 is given"),
        ("{limits: {memory: 1}}", "watch.limits.memory: 1 is 1 bytes"),
        ("{deadline: 5}", "watch.deadline: 5 is given"),
        ("{retries: 1}", "watch.retries: unknown key"),
        ("true", "watch: true is given: it must be keys"),
        ("{labels: {app.kubernetes.io/name: x}}", "this name is set by cronsemble"),
    ],
)
def test_what_is_wrong_with_it_is_said_at_its_place(tmp_path: Path, watch: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        experiment(tmp_path, f"watch: {watch}\n")
    assert problem in str(caught.value)
