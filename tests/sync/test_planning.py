"""Plans, as values: what should be and what is in, the exact text out. No server is asked."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cronjobs.objects import labels
from cronjobs.objects.config_maps import program_name
from cronjobs.revisions import revisions
from scheduler.kube import revision_configmap
from scheduler.kube.objects import NamespaceObjects, NamespaceState
from scheduler.sync import context, describe
from scheduler.sync.context import ContextNeeds, NamespaceContext
from scheduler.sync.delete import deleted_state
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.lost_snapshots import lost_snapshots, restored_map
from scheduler.sync.namespace_diff import diff_namespace
from scheduler.sync.plan import SyncPlan
from scheduler.sync.planner import make_plan

NOW = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)
SHA = "0123456789ab" + "0" * 52
PROGRAM = "cronsemble-program-0123456789ab"
Object = dict[str, Any]
SAVED = Path(__file__).parent / "golden" / "saved-plan.json"


def cronjob(task: str = "train-a", schedule: str = "0 1 * * *", image: str = "i:1", **spec: Any) -> Object:
    named = labels.of_task("digits", labels.TRAIN, task)
    sources = [{"configMap": {"name": PROGRAM}}]
    pod = {
        "containers": [{"name": "train", "image": image}],
        "volumes": [{"name": "snapshot", "projected": {"sources": sources}}],
    }
    template = {"metadata": {"annotations": {labels.CONFIGURATION: "{}"}}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"digits-{task}", "namespace": "lab", "labels": named},
        "spec": {"schedule": schedule, "timeZone": "UTC", **spec, "jobTemplate": {"spec": {"template": template}}},
    }


def program() -> Object:
    metadata = {"name": PROGRAM, "namespace": "lab", "labels": labels.shared(labels.PROGRAM), "annotations": {labels.SHA256: SHA}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "binaryData": {"program.pyz": "eA=="},
    }


def tree(value: Any) -> Any:
    """All fields of an object, as its manager owns them."""
    if isinstance(value, dict):
        return {f"f:{key}": tree(item) for key, item in value.items() if key not in ("apiVersion", "kind", "name", "namespace")}
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return {f'k:{{"name":"{item["name"]}"}}': {".": {}, "f:name": {}, **tree(item)} for item in value}
    return {}


def there(body: Object, manager: str = "cronsemble", **more: Any) -> Object:
    """An object as the server has it."""
    entry = {"manager": manager, "operation": "Apply", "subresource": "", "fieldsV1": tree(body)}
    metadata = {
        "annotations": {},
        **body["metadata"],
        "uid": f"uid-{body['metadata']['name']}",
        "creationTimestamp": "2026-11-20T00:00:00Z",
        "ownerReferences": [],
        "managedFields": [entry],
    }
    return {"metadata": metadata, "spec": body.get("spec", {}), "status": more}


def recorded(*cronjobs: Object) -> Object:
    tasks, snapshot = revisions.tasks(cronjobs), {"program": SHA, "code": ""}
    annotations = {
        revision_configmap.DIGEST: revisions.digest(tasks, snapshot),
        revision_configmap.NUMBER: "4",
        revision_configmap.VERSION: "0.1.0",
    }
    metadata = {"name": "digits-revisions", "namespace": "lab", "labels": labels.of_experiment("digits", labels.REVISIONS)}
    return there({"metadata": {**metadata, "annotations": annotations}})


def in_namespace(*live: Object, elsewhere: dict[str, tuple[str, ...]] | None = None) -> NamespaceObjects:
    by_name = {body["metadata"]["name"]: body for body in live}
    cronjobs = {name: body for name, body in by_name.items() if "schedule" in body["spec"]}
    configmaps = {name: body for name, body in by_name.items() if name not in cronjobs}
    return NamespaceObjects("lab", cronjobs, configmaps, elsewhere or {})


def needs(desired: list[Object], *live: Object) -> ContextNeeds:
    state = DesiredState("digits", "lab", tuple(desired))
    there = in_namespace(*live)
    return context.needed_context([state], diff_namespace([state], there), there)


def plan_of(state: DesiredState, live: NamespaceObjects, known: NamespaceContext, force: bool = False) -> SyncPlan:
    diff = diff_namespace([state], live, force)
    return make_plan(
        [state], {"lab": live}, {"lab": diff}, {"lab": known}, tool="0.1.0", server="https://s", context="c", now=NOW, force=force
    )


def plan(desired: list[Object], *live: Object, force: bool = False, jobs: tuple[Object, ...] = (), **around: Any) -> SyncPlan:
    known = NamespaceContext(
        namespace=around.get("namespace", NamespaceState()),
        unfinished_jobs=jobs,
        foreign_names={"CronJob": around.get("strangers", {}), "ConfigMap": around.get("strangers", {})},
        configmaps={PROGRAM: around.get("whole", {})},
    )
    state = DesiredState("digits", "lab", tuple(desired), around.get("level", "restricted"), "store.nfs needs it")
    return plan_of(state, in_namespace(*live, elsewhere=around.get("elsewhere")), known, force)


def text(*arguments: Any, **more: Any) -> str:
    return "\n".join(describe.lines(plan(*arguments, **more)))


def test_nothing_there() -> None:
    assert text([program(), cronjob()]) == (
        "+ ConfigMap cronsemble-program-0123456789ab\n"
        '+ CronJob digits-train-a: "0 1 * * *" UTC; next 2026-11-25T01:00Z\n'
        "* ConfigMap digits-revisions: revision 1\n"
        "2 to create, 0 to change, 0 to remove, 0 unchanged"
    )


def test_all_there() -> None:
    desired = [program(), cronjob()]
    assert text(desired, *map(there, desired), recorded(cronjob())) == "nothing to do: 2 objects are as the configuration says"


def test_a_revision_that_an_interrupted_sync_did_not_write() -> None:
    desired = [program(), cronjob()]
    output = "* ConfigMap digits-revisions: revision 1\na revision to record, 2 unchanged"
    assert text(desired, *map(there, desired)) == output
    assert text(desired, *(there(body, "kubectl") for body in desired), whole=program()).startswith("nothing to do")


def test_a_changed_schedule_says_when_it_fires_and_what_is_latent() -> None:
    new = cronjob(schedule="0 21 * * *", startingDeadlineSeconds=7200)
    old = there(
        cronjob(startingDeadlineSeconds=7200), lastScheduleTime="2026-11-24T01:00:00Z", active=[{"name": "digits-train-a-1"}]
    )
    assert text([program(), new], there(program()), old, recorded(cronjob())) == (
        "~ CronJob digits-train-a\n"
        '    schedule: "0 1 * * *" → "0 21 * * *"\n'
        "    next fire: 2026-11-25T01:00Z → 2026-11-25T21:00Z\n"
        "    latent: the slot 2026-11-24T21:00Z has passed, and the controller may still run it late\n"
        "    running: digits-train-a-1 keeps running as it was started\n"
        "* ConfigMap digits-revisions: revision 5\n"
        "0 to create, 1 to change, 0 to remove, 1 unchanged"
    )


def released(old: dict[str, Any], new: dict[str, Any], **status: Any) -> list[str]:
    """What a plan says of the slot 2026-11-24T21:00Z, which has passed since the CronJob's last one, when its spec changes."""
    schedule = {"schedule": "0 21 * * *", "startingDeadlineSeconds": 7200}
    live = there(cronjob(**{**schedule, **old}), **{"lastScheduleTime": "2026-11-23T21:00:00Z", **status})
    desired = [program(), cronjob(**{**schedule, **new})]
    lines = text(desired, there(program()), live, recorded(cronjob())).splitlines()
    return [line.strip() for line in lines if "the slot" in line]


AT_ONCE = (
    "the slot 2026-11-24T21:00Z starts at once: it is within its starting deadline of 2h, which ends at 2026-11-24T23:00:00Z"
)


@pytest.mark.parametrize(
    ("old", "new", "status", "expected"),
    [
        ({"suspend": True}, {"suspend": False}, {}, [AT_ONCE]),
        ({"suspend": True}, {}, {}, [AT_ONCE]),  # the key is dropped, and nobody else owns it
        ({"suspend": False}, {"suspend": True}, {}, []),
        ({"startingDeadlineSeconds": 60}, {}, {}, [AT_ONCE]),
        ({}, {"startingDeadlineSeconds": 60}, {}, []),
        # Any other change has the controller look again: a slot that was left latent by an edit is released.
        ({"successfulJobsHistoryLimit": 9}, {"successfulJobsHistoryLimit": 3}, {}, [AT_ONCE]),
        ({"successfulJobsHistoryLimit": 9}, {"successfulJobsHistoryLimit": 3}, {"lastScheduleTime": "2026-11-24T21:00:00Z"}, []),
        ({"successfulJobsHistoryLimit": 9}, {"concurrencyPolicy": "Forbid"}, {"active": [{"name": "j"}]}, []),
        ({"concurrencyPolicy": "Forbid"}, {"concurrencyPolicy": "Allow"}, {"active": [{"name": "j"}]}, [AT_ONCE]),
        ({"suspend": True, "startingDeadlineSeconds": 60}, {"suspend": False, "startingDeadlineSeconds": 3600}, {}, []),
        (
            {"timeZone": "Asia/Tokyo"},
            {"timeZone": "UTC"},
            {},
            ["latent: the slot 2026-11-24T21:00Z has passed, and the controller may still run it late"],
        ),
        # An edited schedule only asks for the next time, whatever else is edited with it.
        (
            {"schedule": "0 1 * * *", "suspend": True},
            {"suspend": False},
            {},
            ["latent: the slot 2026-11-24T21:00Z has passed, and the controller may still run it late"],
        ),
    ],
)
def test_whatever_releases_a_past_slot_says_so(
    old: dict[str, Any], new: dict[str, Any], status: dict[str, Any], expected: list[str]
) -> None:
    assert released(old, new, **status) == expected


def test_one_edit_of_what_members_share_is_one_line() -> None:
    def task(name: str, epochs: int, image: str = "i:1") -> Object:
        body = cronjob(name, image=image)
        template = body["spec"]["jobTemplate"]["spec"]["template"]
        data = {"key": f"k{epochs}", "hyperparameters": {"epochs": epochs}}
        configuration: Object = {"task": name, "data": data}
        configuration |= {} if name == "ensemble" else {"hyperparameters": {"epochs": epochs}}
        template["metadata"]["annotations"][labels.CONFIGURATION] = msgspec.json.encode(configuration).decode()
        return body

    names = ("train-a", "train-b", "ensemble")
    before, after = [task(name, 50) for name in names], [task(name, 7, "i:2" if name == "train-b" else "i:1") for name in names]
    live = [there(body, lastScheduleTime="2026-11-24T01:00:00Z") for body in before]
    assert text([program(), *after], there(program()), *live, recorded(*before)) == (
        "~ CronJob digits-train-a\n"
        "    configuration.hyperparameters.epochs: 50 → 7 (train-a, train-b)\n"
        "    configuration: the data is read anew (train-a, train-b, ensemble)\n"
        "~ CronJob digits-train-b\n"
        '    containers[train].image: "i:1" → "i:2"\n'
        "~ CronJob digits-ensemble\n"
        "* ConfigMap digits-revisions: revision 5\n"
        "0 to create, 3 to change, 0 to remove, 1 unchanged"
    )


def test_a_removed_task_and_its_running_job() -> None:
    gone = there(cronjob("train-b"))
    job = {"metadata": {"name": "digits-train-b-7", "ownerReferences": [{"uid": "uid-digits-train-b"}]}, "spec": {}, "status": {}}
    job["spec"] = cronjob()["spec"]["jobTemplate"]["spec"]
    live = [there(program()), there(cronjob()), gone, recorded(cronjob(), cronjob("train-b"))]
    assert text([program(), cronjob()], *live, jobs=(job,)) == (
        "- CronJob digits-train-b\n"
        "    kills: digits-train-b-7\n"
        "* ConfigMap digits-revisions: revision 5\n"
        "refused: removing CronJob digits-train-b kills its running digits-train-b-7 (--kill-running allows it)\n"
        "0 to create, 0 to change, 1 to remove, 2 unchanged"
    )


def test_a_snapshot_goes_when_nothing_names_it() -> None:
    old = there(program())
    old["metadata"]["name"] = "cronsemble-program-old"
    desired = [program(), cronjob()]
    live = [*map(there, desired), old, recorded(cronjob())]
    assert text(desired, *live).startswith("- ConfigMap cronsemble-program-old\n0 to create")
    job = {"metadata": {"name": "j", "ownerReferences": []}, "status": {}, "spec": {"template": {"spec": {}}}}
    job["spec"]["template"]["spec"] = {"volumes": [{"configMap": {"name": "cronsemble-program-old"}}]}
    assert text(desired, *live, jobs=(job,)).startswith(
        "note: ConfigMap cronsemble-program-old stays while j may need it\nnothing to do"
    )
    other = there(cronjob("train-z"))
    other["metadata"]["labels"] = {**other["metadata"]["labels"], labels.INSTANCE: "else"}
    volumes = other["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    volumes.append({"configMap": {"name": "cronsemble-program-old"}})
    assert "- ConfigMap" not in text(desired, *live, other)


OLD = b"the program of another version"


def waiting_job(data: bytes) -> Object:
    """A Job that an earlier version made, with its own program."""
    digest = hashlib.sha256(data).hexdigest()
    annotations = {labels.CONFIGURATION: json.dumps({"snapshot": {"program": digest, "code": ""}})}
    spec = {"volumes": [{"projected": {"sources": [{"configMap": {"name": program_name(digest)}}]}}]}
    return {
        "metadata": {"name": "digits-train-a-1", "labels": {labels.INSTANCE: "digits"}, "ownerReferences": []},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}},
    }


def test_a_snapshot_that_a_waiting_job_mounts_is_made_again_whatever_version_syncs() -> None:
    desired = [program(), cronjob()]
    live = [*map(there, desired), recorded(cronjob())]
    job = waiting_job(OLD)
    (lost,) = lost_snapshots([job], {PROGRAM})
    assert (lost.kind, lost.experiment, lost.job) == ("program", "digits", "digits-train-a-1")
    assert lost_snapshots([job], {PROGRAM, lost.name}) == []
    # Only the bytes that it was started with.
    assert restored_map("lab", lost, b"other bytes") is None
    body = restored_map("lab", lost, OLD)
    assert body is not None and body["metadata"]["name"] == lost.name
    state = DesiredState("digits", "lab", tuple(desired))
    planned = plan_of(state, in_namespace(*live), NamespaceContext(unfinished_jobs=[job], restored=[(lost, body)]))
    assert [(action.verb, action.name, action.body) for action in planned.actions] == [("create", lost.name, body)]
    assert planned.notes == (
        f"ConfigMap {lost.name} is gone, and Job digits-train-a-1 waits for it: it is made again from the store",
    )
    why = "the store has no copy of it, for no run of it has begun"
    planned = plan_of(state, in_namespace(*live), NamespaceContext(unfinished_jobs=[job], restored=[(lost, why)]))
    assert planned.actions == () and planned.notes == (
        f"ConfigMap {lost.name} is gone, and Job digits-train-a-1 waits for it: {why}: "
        "end it by cronsemble cancel digits-train-a-1, then cronsemble backfill its slot",
    )


def test_a_conflict_names_field_owner_and_flag() -> None:
    live = there(cronjob(image="i:2"))
    live["metadata"]["managedFields"][0]["fieldsV1"] = tree({"spec": {"schedule": ""}})
    owner = {"manager": "kubectl-edit", "operation": "Update", "subresource": "", "fieldsV1": tree(cronjob())}
    live["metadata"]["managedFields"].append(owner)
    output = text([program(), cronjob()], there(program()), live, recorded(cronjob()))
    assert (
        "refused: CronJob digits-train-a: containers[train].image is owned by kubectl-edit: "
        'it is "i:2", the configuration says "i:1" (--force-conflicts allows it)'
    ) in output
    forced = plan([program(), cronjob()], there(program()), live, recorded(cronjob()), force=True)
    assert forced.refusals == () and forced.actions[0].force and forced.actions[0].take_over


@pytest.mark.parametrize(
    ("around", "output"),
    [
        (
            {"strangers": {"digits-train-a": "helm"}},
            "refused: CronJob digits-train-a in namespace lab is not managed by cronsemble "
            "(created by helm, without our labels): rename the experiment, or remove that object yourself",
        ),
        (
            {"namespace": NamespaceState(exists=False)},
            "refused: namespace lab does not exist: kubectl create namespace lab (--create-namespace allows it)",
        ),
        (
            {"namespace": NamespaceState(enforced="restricted"), "level": "baseline"},
            "note: namespace lab enforces Pod Security restricted, which refuses the pods of digits: they need baseline, for "
            "store.nfs needs it; `cronsemble render --volume` prints a claim that needs less",
        ),
        (
            {"elsewhere": {"digits": ("prod",)}},
            "note: experiment digits also has CronJobs in namespace prod, which go on firing; "
            "if it moved: cronsemble delete digits --namespace prod",
        ),
    ],
)
def test_what_is_refused_or_said(around: Object, output: str) -> None:
    assert output in text([program(), cronjob()], **around).splitlines()


def test_another_experiments_object_is_not_taken() -> None:
    live = there(cronjob())
    live["metadata"]["labels"] = {**live["metadata"]["labels"], labels.INSTANCE: "other"}
    refused = plan([program(), cronjob()], there(program()), live)
    assert refused.refused(frozenset({"--force-conflicts"}))[0].text.endswith("belongs to the experiment other: rename one")


def test_a_snapshot_made_by_another_hand_is_refused() -> None:
    live = there(program(), "kubectl-create")
    assert text([program(), cronjob()], live, whole=program()).startswith("+ CronJob")
    assert "does not have the content that it should" in text([program(), cronjob()], live)


def test_a_plan_survives_its_file(tmp_path: Any) -> None:
    from scheduler.sync.plan import load, save

    planned = plan([program(), cronjob(schedule="0 2 * * *")], there(program()), there(cronjob()), recorded(cronjob()))
    save(planned, tmp_path / "plan")
    read = load(tmp_path / "plan")
    assert list(describe.lines(read)) == list(describe.lines(planned)) and read.same_work(planned)
    assert (tmp_path / "plan").stat().st_mode & 0o077 == 0


def test_the_format_of_a_saved_plan_stays() -> None:
    """A plan that the first version with this format saved is read, and made again byte for byte."""
    from scheduler.sync.plan import load

    old = [there(program()), there(cronjob()), there(cronjob("train-b")), recorded(cronjob())]
    planned = plan([program(), cronjob(schedule="0 2 * * *", suspend=True)], *old)
    assert load(SAVED).actions[1] == planned.actions[1]
    assert msgspec.json.format(msgspec.json.encode(planned), indent=1) + b"\n" == SAVED.read_bytes()


def job(name: str, owner: str = "", program: str = PROGRAM, **status: Any) -> Object:
    """A Job that mounts a program; ``owner`` is the UID of its CronJob, without one it was started by hand."""
    spec = {"template": {"spec": {"volumes": [{"configMap": {"name": program}}]}}}
    named = {**labels.of_task("digits", labels.TRAIN, "train-a")}
    metadata = {"name": name, "namespace": "lab", "labels": named, "uid": f"uid-{name}", "ownerReferences": []}
    return {"metadata": {**metadata, "ownerReferences": [{"uid": owner}] if owner else []}, "spec": spec, "status": status}


ENDED: Object = {"conditions": [{"type": "Complete", "status": "True"}]}


def deletion(*live: Object, purge: bool = False, jobs: tuple[Object, ...] = (), own: tuple[Object, ...] = ()) -> str:
    known = NamespaceContext(unfinished_jobs=jobs, jobs_of={"digits": own})
    return "\n".join(describe.lines(plan_of(deleted_state("digits", "lab", purge), in_namespace(*live), known)))


def test_deleting_an_experiment() -> None:
    other = there(cronjob("train-z"))
    other["metadata"]["labels"] = {**other["metadata"]["labels"], labels.INSTANCE: "else"}
    old = there({**program(), "metadata": {**program()["metadata"], "name": "cronsemble-program-old"}})
    owned, by_hand = job("digits-train-a-1", "uid-digits-train-a", "cronsemble-program-old"), job("digits-train-a-2")
    ended = job("digits-train-a-3", **ENDED)
    live = (there(program()), old, there(cronjob()), other, recorded(cronjob()))
    assert deletion(*live, jobs=(owned, by_hand), own=(owned, by_hand, ended)) == (
        "- CronJob digits-train-a\n"
        "    kills: digits-train-a-1\n"
        "- Job digits-train-a-2\n"
        "    kills: digits-train-a-2\n"
        "- Job digits-train-a-3\n"
        "- ConfigMap cronsemble-program-old\n"
        "* ConfigMap digits-revisions: revision 5\n"
        "refused: removing CronJob digits-train-a kills its running digits-train-a-1 (--kill-running allows it)\n"
        "refused: Job digits-train-a-2 is running (--kill-running allows it)\n"
        "0 to create, 0 to change, 4 to remove, 0 unchanged"
    )


def test_deleting_with_its_revisions() -> None:
    live = (there(program()), there(cronjob()), recorded(cronjob()))
    assert deletion(*live, purge=True) == (
        "- CronJob digits-train-a\n"
        "- ConfigMap cronsemble-program-0123456789ab\n"
        "- ConfigMap digits-revisions\n"
        "0 to create, 0 to change, 3 to remove, 0 unchanged"
    )
    assert deletion(recorded(), purge=True) == "- ConfigMap digits-revisions\n0 to create, 0 to change, 1 to remove, 0 unchanged"


def test_deleting_what_is_not_there_leaves_the_namespace_alone() -> None:
    assert deletion() == "nothing to do"
    assert deletion(there(program()), recorded()) == "nothing to do"


def test_a_user_confirms_what_is_lost_but_no_snapshots() -> None:
    live = (there(program()), there(cronjob()), there(cronjob("train-b")), recorded(cronjob()))
    known = NamespaceContext(jobs_of={"digits": (job("digits-train-a-3", **ENDED),)})
    planned = plan_of(deleted_state("digits", "lab", purge=True), in_namespace(*live), known)
    assert describe.removals(planned) == (
        "2 CronJobs (digits-train-a, digits-train-b), 1 Job (digits-train-a-3), 1 ConfigMap (digits-revisions)"
    )


def test_what_is_around_is_needed_only_where_something_differs() -> None:
    desired = [program(), cronjob()]
    live = [*map(there, desired), recorded(cronjob())]
    assert needs(desired, *live) == ContextNeeds()
    assert needs(desired) == ContextNeeds(namespace=True, foreign_names=("ConfigMap", "CronJob"))
    # A Job may mount what is gone: looked for where one runs, or something has changed.
    assert needs([program(), cronjob(schedule="0 2 * * *")], *live) == ContextNeeds(namespace=True, unfinished_jobs=True)
    running = there(cronjob(), active=[{"name": "digits-train-a-1"}])
    assert needs(desired, live[0], running, live[2]) == ContextNeeds(unfinished_jobs=True)
    assert needs(desired, *live, there(cronjob("train-b"))) == ContextNeeds(namespace=True, unfinished_jobs=True)
    by_hand = there(program(), "kubectl-create")
    assert needs(desired, by_hand, *live[1:]) == ContextNeeds(configmaps=(PROGRAM,))
    old = there({**program(), "metadata": {**program()["metadata"], "name": "cronsemble-program-old"}})
    assert needs(desired, *live, old) == ContextNeeds(unfinished_jobs=True)
