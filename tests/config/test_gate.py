"""The configuration of gates: for all members, for one, for the ensemble; what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronjobs.tasks import ExperimentContext, resolve_tasks
from scheduler.config import load
from scheduler.config.errors import ConfigErrors
from scheduler.config.gate_warnings import warnings

TEXT = """
experiment: e
defaults: {{gate: {defaults}}}
backends: {{jax: {{schedule: "0 1 * * *"}}, torch: {{schedule: "0 1 * * *", gate: {own}}}}}
ensemble: {{schedule: "0 6 * * *"{ensemble}}}
"""


def gates(folder: Path, defaults: str, own: str, ensemble: str = "") -> dict[str, dict[str, float] | None]:
    (folder / "config.yaml").write_text(TEXT.format(defaults=defaults, own=own, ensemble=ensemble))
    tasks = resolve_tasks(ExperimentContext(load(folder / "config.yaml"), "p", ""))
    return {name: task.get("gate") for name, (_, task) in tasks.items()}


def test_that_of_the_defaults_is_for_members_alone_and_a_members_own_takes_its_place(tmp_path: Path) -> None:
    assert gates(tmp_path, "{min_accuracy: 0.9, max_drop: 0.03}", "{max_loss: 1}", ", gate: {max_drop: 1}") == {
        "train-jax": {"min_accuracy": 0.9, "max_drop": 0.03},
        "train-torch": {"max_loss": 1.0},
        "ensemble": {"max_drop": 1.0},
    }
    # No key where there is none: the tasks of earlier versions keep their hashes.
    assert gates(tmp_path, "{min_accuracy: 0}", "null") == {
        "train-jax": {"min_accuracy": 0.0},
        "train-torch": None,
        "ensemble": None,
    }


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("{}", "no limit is given: type e.g. gate: {min_accuracy: 0.9}, or gate: null for no gate"),
        ("{max_drop: null}", "no limit is given: type e.g. gate: {min_accuracy: 0.9}, or gate: null for no gate"),
        ("0.9", "0.9 is given: it must be keys"),
        ("{min_accuracy: 90}", "90 is given: it must be a number of at least 0 and at most 1"),
        ("{max_drop: 0}", "0 is given: it must be a number of more than 0 and at most 1"),
        ("{max_loss: 3%}", "'3%' is given: it must be a number of more than 0"),
        ("{max_loss: .inf}", ".inf is given: a number must be finite"),
        ("{accuracy: 0.9}", "unknown key: did you mean min_accuracy?"),
    ],
)
def test_what_is_wrong_is_said_once(tmp_path: Path, gate: str, message: str) -> None:
    for defaults, own in ((gate, "null"), ("{min_accuracy: 0.5}", gate)):
        with pytest.raises(ConfigErrors) as errors:
            gates(tmp_path, defaults, own)
        (problem,) = errors.value.problems
        assert problem.message == message


@pytest.mark.parametrize(
    ("data", "member", "ensemble", "warned"),
    [
        ("{dataset: digits}", "null", "null", []),
        ("{dataset: digits}", "{max_drop: 0.03}", "{max_drop: 0.1}", []),
        ("{dataset: digits}", "{max_drop: 0.02, min_accuracy: 0.9}", "{min_accuracy: 0.9}", ["the gate of jax: 259 validation"]),
        (
            "{dataset: digits, holdout: 60}",
            "null",
            "{max_drop: 0.1}",
            ["ensemble.gate: 60 items are few for max_drop 0.1"],
        ),
        ("{dataset: 'd-{date}.npz'}", "{max_drop: 0.001}", "{max_drop: 0.001}", []),
        (
            "{dataset: digits, predict: 'x-{date}.npz'}",
            "null",
            "{max_drop: 0.1}",
            ["where x-{date}.npz has labels", "another file"],
        ),
    ],
)
def test_check_warns_of_what_cannot_be_judged(tmp_path: Path, data: str, member: str, ensemble: str, warned: list[str]) -> None:
    text = f"experiment: e\ndata: {data}\nbackends: {{jax: {{gate: {member}}}}}\nensemble: {{gate: {ensemble}}}\n"
    (tmp_path / "config.yaml").write_text(text)
    found = warnings(load(tmp_path / "config.yaml"))
    assert [part in warning for part, warning in zip(warned, found, strict=True)] == [True] * len(warned)
