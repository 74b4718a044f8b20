"""Mutating admission: what a webhook changes of an applied object is said once, and is no change at the next plan."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from cluster.access import Cluster
from cronjobs.objects import labels
from scheduler.sync import admission
from scheduler.sync.diff import ABSENT, as_answered, compare
from sync.experiments import Experiment
from sync.webhooks import Denied, NoAnswer, Object, webhook

NIGHTLY = {"schedule": "0 1 * * *", "tolerations": [{"key": "a", "operator": "Exists"}]}


def pod(cronjob: Object) -> Object:
    return dict(cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"])


def mutate(cronjob: Object) -> None:
    """What policies do, all at once: values changed, removed, added and reordered; one of them another one each time."""
    for container in [*pod(cronjob)["initContainers"], *pod(cronjob)["containers"]]:
        if not container["image"].startswith("mirror.example/"):
            container["image"] = f"mirror.example/{container['image']}"
        container.get("resources", {}).get("limits", {})["memory"] = "4Gi"
        container.get("securityContext", {}).pop("readOnlyRootFilesystem", None)
        container["volumeMounts"].reverse()
        next(each for each in container["env"] if each["name"] == "HOME")["value"] = f"/tmp/{random.random()}"  # noqa: S311
        container["env"].append({"name": "HTTP_PROXY", "value": "http://proxy"})
    pod(cronjob)["tolerations"].append({"key": "b", "operator": "Exists"})
    cronjob["metadata"]["labels"]["cost-center"] = "42"
    cronjob["spec"]["startingDeadlineSeconds"] = 300


def test_what_admission_changes_is_said_once_and_is_no_drift(cluster: Cluster, experiment: Experiment) -> None:
    is_active = True

    def mutate_while_active(cronjob: Object) -> None:
        if is_active:
            mutate(cronjob)

    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    with webhook(cluster, experiment.namespace, experiment.folder, mutate_while_active):
        output = experiment.good("sync")
        assert output.count('from "registry.example/keras3:1" to "mirror.example/registry.example/keras3:1"') == 1, output
        revisions = cluster.get("configmap", f"{experiment.name}-revisions", experiment.namespace)["data"]
        # The history expects what the cluster was left with.
        assert json.loads(revisions["000001.json"])["tasks"]["train-a"]["starting_deadline"] == 300
        with cluster.counted() as counts:
            assert experiment.good("sync") == "nothing to do: 3 objects are as the configuration says\n"
        assert sum(counts.values()) <= 3, counts
        experiment.write({"a": {**NIGHTLY, "schedule": "0 2 * * *"}, "b": NIGHTLY})
        output = experiment.good("plan")
        assert '    schedule: "0 1 * * *" → "0 2 * * *"\n' in output and "image" not in output and "1 to change" in output
        experiment.good("sync")
        assert experiment.good("plan") == "nothing to do: 3 objects are as the configuration says\n"
        # What somebody changes of such a field is a change, to what the server would answer.
        is_active = False
        patch = json.dumps({"spec": {"startingDeadlineSeconds": 60}})
        cluster.kubectl("patch", "cronjob", f"{experiment.name}-train-a", "-n", experiment.namespace, "--type=merge", "-p", patch)
        is_active = True
        assert "startingDeadlineSeconds is owned by kubectl-patch: it is 60," in experiment.good("plan")
        assert "startingDeadlineSeconds: 60 → 300\n" in experiment.good("sync", "--force-conflicts")
        assert experiment.good("plan") == "nothing to do: 3 objects are as the configuration says\n"


def test_what_an_earlier_version_applied_is_recorded_by_a_sync_without_changes(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    with webhook(cluster, experiment.namespace, experiment.folder, image_of_a_mirror):
        experiment.good("sync")
        revisions = f"configmap/{experiment.name}-revisions"
        cluster.kubectl("annotate", revisions, "-n", experiment.namespace, "cronsemble.io/admission-")
        said = "note: admission changes initContainers[prepare].image, containers[train].image of CronJob"
        assert said in experiment.good("plan")
        for _ in range(2):
            output = experiment.good("sync")
        assert output == "nothing to do: 2 objects are as the configuration says\n"


def image_of_a_mirror(cronjob: Object) -> None:
    for container in [*pod(cronjob)["initContainers"], *pod(cronjob)["containers"]]:
        container["image"] = "mirror.example/keras3:1"


def test_a_suspension_by_admission_is_named_and_not_undone_in_words_alone(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    with webhook(cluster, experiment.namespace, experiment.folder, lambda cronjob: cronjob["spec"].update(suspend=True)):
        assert f"note: admission suspends CronJob {experiment.name}-train-a: no run starts" in experiment.good("sync")
        assert "stays suspended (by the cluster's admission)" in experiment.good("plan")
        assert "it stays suspended: the cluster's admission changes `suspend` back" in experiment.bad("resume")


def test_a_denial_and_a_webhook_that_does_not_answer_are_one_line(cluster: Cluster, experiment: Experiment) -> None:
    error: Exception = Denied("not on fridays", 500)

    def fail(cronjob: Object) -> None:
        raise error

    experiment.write({"a": NIGHTLY})
    with webhook(cluster, experiment.namespace, experiment.folder, fail):
        denied = 'refused by admission: admission webhook "mutate.example.com" denied the request: not on fridays'
        assert denied in experiment.bad("sync")
        error = NoAnswer()
        output = experiment.bad("sync")
        assert "a webhook of the cluster does not work: failed calling webhook" in output and "mend or remove it" in output
    experiment.good("sync")
    experiment.write({"a": {**NIGHTLY, "schedule": "0 2 * * *"}})
    error = Denied("not on fridays", 409)
    with webhook(cluster, experiment.namespace, experiment.folder, fail):
        assert f"refused: CronJob {experiment.name}-train-a" in (output := experiment.good("plan")) and denied in output


def test_a_label_that_finds_our_objects_must_stay(cluster: Cluster, experiment: Experiment) -> None:
    def claim(cronjob: Object) -> None:
        cronjob["metadata"]["labels"][labels.MANAGED_BY] = "policy"

    experiment.write({"a": NIGHTLY})
    with webhook(cluster, experiment.namespace, experiment.folder, claim):
        assert f"admission changes its label {labels.MANAGED_BY} to policy" in experiment.bad("sync")


DESIRED: Object = {
    "kind": "CronJob",
    "metadata": {"name": "a", "labels": {"x": "1"}},
    "spec": {
        "schedule": "0 1 * * *",
        "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "train", "env": [], "resources": {}}]}}}},
    },
}
ENV = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def cronjob(env: list[Any], **container: Any) -> Object:
    copy: Object = json.loads(json.dumps(DESIRED))
    copy["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0] |= {"env": env, **container}
    return copy


@pytest.mark.parametrize(
    "answer",
    [
        cronjob(ENV, image="mirror/i"),
        cronjob([ENV[1], ENV[0]], image="i", terminationMessagePath="/dev/termination-log"),
        cronjob([{"name": "C", "value": "3"}, ENV[0]], image="i"),
        cronjob(ENV),
        cronjob([], image="i", command=["b", "c"]),
        {**cronjob(ENV, image="i"), "metadata": {"name": "a", "labels": {}}},
    ],
)
def test_the_desired_object_as_answered_has_no_difference_to_the_answer(answer: Object) -> None:
    desired = cronjob(ENV, image="i", command=["a", "b"])
    answered = as_answered(desired, answer)
    assert compare(answered, answer, {}) == []
    assert {change.field for change in compare(desired, answer, {})} == {
        change.field for change in compare(desired, answered, {})
    }


def test_notes_are_a_line_for_each_value_however_many_objects() -> None:
    changes = []
    for name in "abcde":
        desired = {**cronjob(ENV, image="i"), "metadata": {"name": name, "labels": {}}}
        answer = cronjob(ENV, image="mirror/i")
        changes.append(admission.admission_changes(desired, {**answer, "metadata": {"name": name}}))
    assert list(admission.notes(filter(None, changes))) == [
        "admission changes containers[train].image of CronJob a, CronJob b, CronJob c and 2 more "
        'from "i" to "mirror/i": it is left so'
    ]


def test_a_digest_holds_what_was_applied_and_what_was_kept() -> None:
    one = admission.admission_changes(cronjob(ENV, image="i"), cronjob(ENV, image="m/i"))
    digests = {one.digest} if one else set()
    for desired, answer in ((cronjob(ENV, image="j"), "m/i"), (cronjob(ENV, image="i"), "m/j")):
        another = admission.admission_changes(desired, cronjob(ENV, image=answer))
        assert another and another.digest not in digests
    assert admission.admission_changes(cronjob(ENV, image="i"), cronjob(ENV, image="i")) is None
    assert ABSENT is None
