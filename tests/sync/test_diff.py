"""The diff, as values: YAML in, the exact lines out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from scheduler.config.configuration_changes import differences
from scheduler.sync.container_changes import summarized
from scheduler.sync.describe import field_lines
from scheduler.sync.diff import Change, compare

DESIRED = """
metadata: {labels: {a: "1"}}
spec:
  schedule: 0 1 * * *
  jobTemplate:
    spec:
      template:
        spec:
          nodeSelector: {disk: ssd}
          containers:
          - name: train
            image: i:1
            command: [python3, x]
            env:
            - {name: A, value: "1"}
            - {name: RUN, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
            resources: {limits: {cpu: 1500m, memory: 1Gi}}
            volumeMounts: [{name: store, mountPath: /store, readOnly: false}]
          volumes:
          - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
"""
LIVE = """
metadata: {labels: {a: "1", theirs: x}, annotations: {seen: "yes"}}
spec:
  schedule: 0 1 * * *
  suspend: false
  jobTemplate:
    metadata: {}
    spec:
      template:
        metadata: {}
        spec:
          restartPolicy: Never
          nodeSelector: {disk: ssd}
          containers:
          - name: train
            image: i:1
            imagePullPolicy: IfNotPresent
            command: [python3, x]
            env:
            - {name: A, value: "1"}
            - {name: RUN, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}}
            resources: {limits: {cpu: "1.5", memory: 1024Mi}}
            volumeMounts: [{name: store, mountPath: /store}]
            terminationMessagePath: /dev/termination-log
          - {name: sidecar, image: s:1}
          volumes:
          - {name: tmp, emptyDir: {sizeLimit: 1024Mi}}
"""


def lines(desired: str = DESIRED, live: str = LIVE, owned: dict[str, Any] | None = None) -> list[str]:
    changes = compare(yaml.safe_load(desired), yaml.safe_load(live), owned or {})
    return [line for change in changes for line in field_lines(change)]


def test_what_the_server_fills_in_and_equal_quantities_are_no_drift() -> None:
    assert lines() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schedule: 0 1 * * *", "schedule: 0 2 * * *", ['schedule: "0 1 * * *" → "0 2 * * *"']),
        ("image: i:1", "image: i:2", ['containers[train].image: "i:1" → "i:2"']),
        ("cpu: 1500m", "cpu: 2", ['containers[train].resources.limits.cpu: "1.5" → 2']),
        ('{name: A, value: "1"}', '{name: A, value: "2"}', ['containers[train].env[A].value: "1" → "2"']),
        ('{name: A, value: "1"}', '{name: B, value: "1"}', ['containers[train].env[B]: (none) → {"name":"B","value":"1"}']),
        ("[python3, x]", "[python3, y]", ['containers[train].command: ["python3","x"] → ["python3","y"]']),
        ("[python3, x]", "[python3]", ['containers[train].command: ["python3","x"] → ["python3"]']),
        ("{disk: ssd}", "{disk: ssd, zone: b}", ['nodeSelector: {"disk":"ssd"} → {"disk":"ssd","zone":"b"}']),
        ('a: "1"', 'a: "2"', ['metadata.labels.a: "1" → "2"']),
        ('labels: {a: "1"}', 'labels: {a: "1", x.y/z: "2"}', ['metadata.labels[x.y/z]: (none) → "2"']),
        (
            "metadata.uid",
            "metadata.name",
            ['containers[train].env[RUN].valueFrom.fieldRef.fieldPath: "metadata.uid" → "metadata.name"'],
        ),
        ("readOnly: false", "readOnly: true", ["containers[train].volumeMounts[/store].readOnly: (none) → true"]),
    ],
)
@pytest.mark.holds("cluster-all")
def test_a_changed_field(old: str, new: str, said: list[str]) -> None:
    assert old in DESIRED
    assert lines(DESIRED.replace(old, new)) == said


def test_a_changed_order_of_items() -> None:
    first, second = '- {name: A, value: "1"}', "- {name: RUN, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}"
    swapped = DESIRED.replace(first, "HERE").replace(second, first).replace("HERE", second)
    assert lines(swapped) == ['containers[train].env: ["A","RUN"] → ["RUN","A"]']


def owned(path: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for step in reversed(path):
        tree = {step: tree}
    return tree


POD = ["f:spec", "f:jobTemplate", "f:spec", "f:template", "f:spec"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (["f:spec", "f:suspend"], ["suspend: false → (none)"]),
        (["f:metadata", "f:annotations", "f:seen"], ['metadata.annotations.seen: "yes" → (none)']),
        ([*POD, "f:restartPolicy"], ['restartPolicy: "Never" → (none)']),
        ([*POD, "f:containers", 'k:{"name":"sidecar"}', "."], ['containers[sidecar]: {"name":"sidecar","image":"s:1"} → (none)']),
        ([*POD, "f:containers", 'k:{"name":"sidecar"}', "f:image"], ['containers[sidecar].image: "s:1" → (none)']),
        (
            [*POD, "f:containers", 'k:{"name":"train"}', "f:imagePullPolicy"],
            ['containers[train].imagePullPolicy: "IfNotPresent" → (none)'],
        ),
        ([*POD, "f:hostname"], []),
        (["f:spec", "f:schedule"], []),
        (["f:status", "f:active"], []),
    ],
)
def test_what_we_own_and_do_not_want_any_more_goes(path: list[str], said: list[str]) -> None:
    assert lines(owned=owned(path)) == said


def test_a_tasks_configuration_is_shown_by_its_keys() -> None:
    def template(text: str) -> str:
        template_metadata = {"metadata": {"annotations": {"cronsemble.io/configuration": text}}}
        return yaml.safe_dump({"metadata": {}, "spec": {"jobTemplate": {"spec": {"template": template_metadata}}}})

    old, new = '{"hyperparameters":{"epochs":1},"members":[{"a":1}]}', '{"hyperparameters":{"epochs":2},"members":[{"a":2}]}'
    assert lines(template(new), template(old)) == [
        "configuration.hyperparameters.epochs: 1 → 2",
        "configuration.members[0].a: 1 → 2",
    ]


CONFIGURATION: dict[str, Any] = {
    "schema": 1,
    "experiment": "e",
    "data": {"dataset": "d.py:f", "key": "1", "hyperparameters": {"epochs": 1}},
    "data_seed": 3,
    "hyperparameters": {"epochs": 1},
    "gpus": 0,
    "snapshot": {"program": "p", "code": "c"},
    "members": [
        {"member": "a", "threads": 1, "timeout": 60, "env": {"X": "1"}},
        {"member": "b", "threads": 1, "timeout": 60, "env": {}},
    ],
    "max_age": 3600,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # One edit of a shared hyperparameter, which the data's function gets as well.
        (
            {"hyperparameters": {"epochs": 2}, "data": {"dataset": "d.py:f", "key": "2", "hyperparameters": {"epochs": 2}}},
            [("hyperparameters.epochs", 1, 2), ("the data is read anew", None, None)],
        ),
        ({"data": {"dataset": "d.npz", "key": "2"}, "hyperparameters": {"epochs": 1}}, [("data.dataset", "d.py:f", "d.npz")]),
        ({"data": {**CONFIGURATION["data"], "key": "2"}}, [("the data is read anew", None, None)]),
        ({"schema": 2, "data_seed": 4}, [("resolved otherwise by this version", None, None)]),
        ({"snapshot": {"program": "q", "code": "d"}, "schema": 2}, [("program", "p", "q"), ("code", "c", "d")]),
        ({"gpus": 1, "max_age": 129600}, [("resources.gpu", 0, 1), ("max_age", "1h", "36h")]),
        ({"members": [{**each, "timeout": 7200} for each in CONFIGURATION["members"]]}, [("timeout", "1m", "2h")]),
        (
            {"members": [{"member": "b", "threads": 2, "timeout": 60, "env": {}}, {"member": "x"}]},
            [("backends", ["a", "b"], ["b", "x"]), ("backends.b.threads", 1, 2)],
        ),
        ({"secrets": ["TOKEN"]}, [("env", None, ["TOKEN"])]),
    ],
)
def test_a_configuration_differs_in_its_own_words(changes: dict[str, Any], expected: list[Any]) -> None:
    assert sorted(differences(CONFIGURATION, {**CONFIGURATION, **changes}), key=str) == sorted(expected, key=str)


def change(field: str, old: Any, new: Any, *owners: str) -> Change:
    return Change(field, old, new, (field,), owners)


def test_what_changes_alike_in_several_containers_is_one_change() -> None:
    both = ("initContainers[prepare]", "containers[train]")
    changes = [change(f"{each}.image", "i:1", "i:2") for each in both]
    changes += [change(f"{each}.env[CRONSEMBLE_IMAGE].value", "i:1", "i:2") for each in both]
    for amount in ("requests", "limits"):
        changes += [change(f"{each}.resources.{amount}.memory", "1Gi", "2Gi") for each in both]
    changes += [change("backoffLimit", 1, 2), change("containers[train].env[CRONSEMBLE_RETRIES].value", "1", "2")]
    assert [(each.field, each.new) for each in summarized(changes)] == [
        ("image", "i:2"),
        ("resources.memory", "2Gi"),
        ("backoffLimit", 2),
    ]


def test_what_a_hand_changed_in_a_container_keeps_its_name() -> None:
    drift = [
        change("containers[train].resources.limits.memory", "4Gi", "2Gi"),
        change("containers[train].env[CRONSEMBLE_IMAGE].value", "x", "y"),
        change("initContainers[prepare].image", "x", "i:1", "kubectl-set"),
        change("containers[train].image", "x", "i:1", "kubectl-set"),
    ]
    assert summarized(drift) == drift
