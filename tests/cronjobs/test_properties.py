"""Properties of objects and quantities: names that fit, edits that touch what they mean, values that keep."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from cronjobs.experiment import Experiment, HistoryLimits
from cronjobs.objects import cronjob, quantities
from cronjobs.tasks import ExperimentContext
from jobs.contract import RunId, member_task, parse_run_id
from scheduler.config import ConfigErrors, load
from scheduler.config.checks import LONGEST
from scheduler.config.document import Loader
from scheduler.console.yaml_output import to_yaml

CLAIM = load(Path(__file__).parent / "configurations" / "claim.yaml")
names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


def built(experiment: Experiment) -> dict[str, Any]:
    context = ExperimentContext(experiment, "0" * 64, "")
    return {each["metadata"]["name"]: each for each in cronjob.desired(context, b"program", None)}


@given(names, names, st.integers(0, 2**31), st.integers(1, 999))
def test_every_name_that_check_takes_fits_everywhere(
    tmp_path_factory: pytest.TempPathFactory, experiment: str, member: str, minute: int, attempt: int
) -> None:
    """A Job's name and a label's value have at most 63 characters, a CronJob's name at most 52."""
    path = tmp_path_factory.getbasetemp() / "names.yaml"
    path.write_text(
        f'experiment: "{experiment}"\nstore: {{claim: c}}\nbackends: {{"{member}": {{backend: jax, schedule: "@daily"}}}}\n'
        'ensemble: {schedule: "@daily"}\ncluster: {images: {keras3: k}}\n'
    )
    task = member_task(member)
    try:
        found = load(path)
    except ConfigErrors:
        assert len(f"{experiment}-{task}") > LONGEST or len(f"{experiment}-ensemble") > LONGEST
        return
    run = RunId(minute % 100_000_000, attempt, experiment, task)
    assert len(str(run)) <= 63
    assert parse_run_id(str(run), experiment, task) == run
    for name, each in built(found).items():
        if each["kind"] == "CronJob":
            pod = each["spec"]["jobTemplate"]["spec"]["template"]
            steps = pod["spec"]["initContainers"] + pod["spec"]["containers"]
            assert len(name) <= 52
            assert all(len(value) <= 63 for value in pod["metadata"]["labels"].values())
            assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", step["name"]) for step in steps)


EDITS: list[dict[str, Any]] = [
    {"schedule": "5 4 * * *"},
    {"timezone": "Asia/Tokyo"},
    {"suspend": True},
    {"concurrency": "allow"},
    {"starting_deadline": 1},
    {"retries": 9},
    {"deadline": 1},
    {"model": "mlp"},
    {"hyperparameters": {"epochs": 1}},
    {"seed": 7},
    {"data_format": "channels_last"},
    {"node_selector": {"a": "b"}},
    {"tolerations": [{"operator": "Exists"}]},
    {"affinity": {"podAffinity": {}}},
    {"priority_class": "low"},
    {"queue": "q"},
    {"labels": {"a": "b"}},
    {"annotations": {"a": "b"}},
    {"history_limits": HistoryLimits(0, 0)},
    {"ttl": 1},
]


@given(st.sampled_from(["jax", "theano"]), st.lists(st.sampled_from(EDITS), min_size=1, max_size=3))
def test_an_edit_of_a_members_training_changes_its_object_alone(member: str, edits: list[dict[str, Any]]) -> None:
    before = CLAIM.members[member]
    after = before
    for edit in edits:
        after = replace(after, **edit)
    edited = replace(CLAIM, members={**CLAIM.members, member: after})
    old, new = built(CLAIM), built(edited)
    assert old.keys() == new.keys()
    assert {name for name in old if old[name] != new[name]} == ({f"digits-train-{member}"} if after != before else set())


@pytest.mark.parametrize("edit", [{"method": "uniform"}, {"quorum": 2}, {"max_age": 60}, {"timeout": 1}, {"schedule": "@daily"}])
def test_an_edit_of_the_ensemble_changes_its_object_alone(edit: dict[str, Any]) -> None:
    assert CLAIM.ensemble is not None
    old, new = built(CLAIM), built(replace(CLAIM, ensemble=replace(CLAIM.ensemble, **edit)))
    assert {name for name in old if old[name] != new[name]} == {"digits-ensemble"}


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), max_size=30)


@given(st.dictionaries(texts, texts, max_size=3), st.dictionaries(texts, texts, max_size=3))
def test_unchanged_configurations_give_unchanged_objects_and_yaml_keeps_them(env: dict[str, str], notes: dict[str, str]) -> None:
    jax = replace(CLAIM.members["jax"], env=dict(env), annotations=dict(notes))
    made = built(replace(CLAIM, members={"jax": jax}, ensemble=None))
    assert built(replace(CLAIM, members={"jax": jax}, ensemble=None)) == made
    assert list(yaml.load_all(to_yaml(list(made.values())), Loader)) == list(made.values())


numbers = st.decimals(0, 10**6, allow_nan=False, places=3)
suffixes = st.sampled_from(["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])


@given(numbers, suffixes)
def test_quantities_have_the_value_that_kubernetes_client_reads(number: Decimal, suffix: str) -> None:
    assert quantities.parse(f"{number}{suffix}") == parse_quantity(f"{number}{suffix}")


@given(numbers, suffixes)
def test_quantities_are_written_without_loss_and_once(number: Decimal, suffix: str) -> None:
    text = f"{number}{suffix}"
    for write, step in ((quantities.cpu, Decimal("0.001")), (quantities.size, Decimal(1))):
        written = write(text)
        assert 0 <= quantities.parse(written) - quantities.parse(text) < step
        assert write(written) == written


@given(st.text(max_size=8))
def test_any_text_is_a_quantity_or_says_so(text: str) -> None:
    try:
        quantities.parse(text)
    except quantities.QuantityError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("4GB", "did you mean 4G or 4Gi?"),
        ("4 gib", "did you mean 4Gi?"),
        ("512kb", "did you mean 512k or 512Ki?"),
        ("four", "it is not a quantity: type a number and perhaps a unit, e.g. 2, 500m, 512Mi or 4Gi"),
        ("1e9999", "the exponent is too large: type e.g. 4Gi"),
        (True, "it is not a quantity: type a number and perhaps a unit, e.g. 2, 500m, 512Mi or 4Gi"),
    ],
)
def test_what_to_type(given: object, said: str) -> None:
    with pytest.raises(quantities.QuantityError) as caught:
        quantities.parse(given)
    assert str(caught.value) == said
