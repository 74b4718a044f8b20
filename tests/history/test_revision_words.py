"""Revisions in words: each edit once with the tasks that it reaches, and the configuration of a revision as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cronjobs.objects.cronjob import cron_jobs
from cronjobs.revisions import revisions
from cronjobs.tasks import ExperimentContext, resolve_tasks
from jobs.schedule_periods import periods
from jobs.store import LocalStore
from jobs.store.files import to_json
from scheduler.config import load
from scheduler.console.yaml_output import to_yaml
from scheduler.engines.local_revisions import record_revision
from scheduler.errors import CronsembleError
from scheduler.history.find_revision import find_revision
from scheduler.history.query import ExperimentHistory
from scheduler.history.revision_changes import NoSnapshots, revision_changes
from scheduler.history.revision_configuration import revision_configuration
from scheduler.snapshots.program import deterministic_zip
from scheduler.snapshots.user_code import build_user_code
from scheduler.stores.revision_snapshots import RevisionSnapshots
from stores import Builder, at

FUNCTIONS = """
def data(hyperparameters):
    return {"x_train": 1, "y_train": 2}


def model(input_shape, classes, hyperparameters):
    hyperparameters.get("units"), hyperparameters.get("note"), hyperparameters.get("when")
    return 1


other = model
"""
FIRST = """
experiment: e
timezone: Europe/Berlin
data: {dataset: digits}
model: models.py:model
hyperparameters: {epochs: 4, batch_size: 16}
backends:
  jax: {schedule: "0 1 * * *"}
  theano: {schedule: "0 1 * * *", hyperparameters: {units: 32}}
  wide: {backend: jax, schedule: "*/20 * * * *", model: "models.py:model", hyperparameters: {seed: 3, units: [8, 16]}}
ensemble: {schedule: "0 6 * * *", quorum: 2, max_age: 36h}
"""


@dataclass
class Served:
    """What was served one after the other, in a store of its own."""

    folder: Path
    store: LocalStore = field(init=False)
    hours: int = 0

    def __post_init__(self) -> None:
        self.store = LocalStore(self.folder / "store")

    def serve(self, text: str, functions: str = FUNCTIONS) -> dict[str, dict[str, Any]]:
        """Record the revision of a file; the resolved tasks by name."""
        (self.folder / "models.py").write_text(functions)
        path = self.folder / "config.yaml"
        path.write_text(text)
        experiment = load(path)
        code = build_user_code(experiment)
        digest = self.store.put_snapshot("code", code) if code else ""
        self.hours += 1
        context = ExperimentContext(experiment, "p" * 64, digest, published=True)
        assert record_revision(self.store, context, "serve", datetime(2026, 11, 20, self.hours, tzinfo=UTC)) is not None
        return dict(periods(self.store.ledger.revisions("e"))[-1].tasks)

    def changes(self) -> list[str]:
        """What the last revision changed."""
        last = periods(self.store.ledger.revisions("e"))[-1]
        return revision_changes(last.before, last.tasks, RevisionSnapshots(self.store))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    served = Served(tmp_path)
    served.serve(FIRST)
    return served


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{units: 32}", "{units: 32, epochs: 2}", ["train-theano: epochs 4 → 2"]),
        ("epochs: 4,", "epochs: 8,", ["all trainings: epochs 4 → 8"]),
        ("seed: 3, ", "", ["train-wide: seed no longer set (it was 3)"]),
        ("[8, 16]", "[8, 32]", ["train-wide: units[1] 16 → 32"]),
        ("model: models.py:model", "model: models.py:other",
         ["train-jax, train-theano: model models.py:model → models.py:other"]),
        ('jax: {schedule: "0 1 * * *"', 'jax: {threads: 2, schedule: "0 2 * * *"',
         ["train-jax: schedule 0 1 * * * → 0 2 * * *", "train-jax: threads 1 → 2"]),
        ('theano: {schedule: "0 1 * * *"', 'theano: {suspend: true, starting_deadline: 90m, schedule: "0 1 * * *"',
         ["train-theano: starting_deadline 1h → 90m", "train-theano: suspended"]),
        ("quorum: 2, max_age: 36h", "quorum: 1", ["ensemble: max_age no longer set (it was 36h)", "ensemble: quorum 2 → 1"]),
        ("  jax: {schedule", "  flax: {backend: jax, schedule",
         ["train-jax: removed", "train-flax: added, 0 1 * * * Europe/Berlin, configured as train-jax was",
          "ensemble: members jax, theano, wide → flax, theano, wide"]),
        ("max_age: 36h", "max_age: 36h, wait: 2h", ["ensemble: wait 2h, which was not set before"]),
        ("dataset: digits", "dataset: mnist", ["all tasks: data.dataset digits → mnist"]),
        ("wide: {", "wide: {env: {A: b}, ", ["train-wide: env.A b, which was not set before"]),
    ],
)  # fmt: skip
def test_an_edit_in_words(served: Served, old: str, new: str, expected: list[str]) -> None:
    assert FIRST.count(old) == 1
    served.serve(FIRST.replace(old, new))
    assert served.changes() == expected


def test_an_ensemble_that_waits_is_not_said_to_be_edited_with_its_members(served: Served) -> None:
    waits = FIRST.replace("max_age: 36h", "max_age: 36h, wait: 2h")
    served.serve(waits)
    served.serve(waits.replace('jax: {schedule: "0 1', 'jax: {starting_deadline: 2h, schedule: "0 2'))
    assert served.changes() == ["train-jax: schedule 0 1 * * * → 0 2 * * *", "train-jax: starting_deadline 1h → 2h"]
    served.serve(waits.replace("wait: 2h", "wait: 90m"))
    assert sorted(served.changes()) == [
        "ensemble: wait 2h → 90m",
        "train-jax: schedule 0 2 * * * → 0 1 * * *",
        "train-jax: starting_deadline 2h → 1h",
    ]


def test_code_by_files_and_lines(served: Served) -> None:
    served.serve(FIRST, FUNCTIONS.replace("return 1", "units = 2\n    return units"))
    assert served.changes() == ["code: models.py: 2 lines added, 1 removed"]


def test_what_the_store_has_no_longer_is_named(served: Served) -> None:
    before = served.serve(FIRST.replace("epochs: 4", "epochs: 5"))
    digest = before["train-jax"]["task"]
    after = served.serve(FIRST.replace("epochs: 4", "epochs: 6"))
    served.store.snapshot_path("task", digest).unlink()
    new = after["train-jax"]["task"][:12]
    assert served.changes() == [
        f"train-jax: its configuration ({digest[:12]} → {new}; the store has no copy of {digest[:12]})",
        "train-theano, train-wide: epochs 5 → 6",
    ]


def test_the_programs_version_alone() -> None:
    before, after = ({"train-a": {"schedule": "0 1 * * *", "program": letter * 64, "code": ""}} for letter in "pq")
    expected = f"program: another version of cronsemble's own ({'p' * 12} → {'q' * 12})"
    assert revision_changes(before, after, NoSnapshots()) == [expected]


EDITS: list[tuple[str, str]] = [
    ("", ""),
    (
        "model: models.py:model",
        "model: models.py:other\ndefaults: {threads: 3, deadline: 2d, log_limit: 1Mi, concurrency: replace}",
    ),
    ("dataset: digits", 'dataset: "models.py:data", refresh: each_run'),
    (
        "hyperparameters: {epochs: 4, batch_size: 16}",
        "hyperparameters: {epochs: 4, learning_rate: 1.0e-5, note: 'no', when: '1:30:0'}",
    ),
    ('jax: {schedule: "0 1 * * *"}', 'jax: {env: {A: "0x10", B: "é\\e[31m"}, data_format: channels_first, resources: {gpu: 1}}'),
    ("ensemble: {schedule", "ensemble: {timezone: UTC, timeout: 90s, suspend: false, method: uniform, schedule"),
    ('ensemble: {schedule: "0 6 * * *", quorum: 2, max_age: 36h}', ""),
]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_the_printed_configuration_resolves_to_the_same_tasks(tmp_path: Path, old: str, new: str) -> None:
    """What a revision printed, taken as a file, is the same revision."""
    served = Served(tmp_path)
    tasks = served.serve(FIRST.replace(old, new, 1) if old else FIRST)
    configuration, missing = revision_configuration("e", tasks, RevisionSnapshots(served.store))
    again = Served(tmp_path / "again")
    again.folder.mkdir()
    assert missing == [] and again.serve(to_yaml([configuration], is_stream=False)) == tasks


def test_a_configuration_whose_snapshots_are_gone_has_its_schedules(tmp_path: Path) -> None:
    served = Served(tmp_path)
    tasks = served.serve(FIRST)
    configuration, missing = revision_configuration("e", tasks, NoSnapshots())
    assert configuration["backends"]["jax"] == {"schedule": "0 1 * * *"} and len(missing) == 4


def history(builder: Builder) -> ExperimentHistory:
    revisions = builder.store.ledger.revisions("e")
    return ExperimentHistory("e", "Europe/Berlin", at("2026-11-24T12:00").timestamp(), revisions)


def test_names_of_revisions(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    with pytest.raises(CronsembleError, match="no revisions of e"):
        find_revision(history(builder), "latest")
    task: Mapping[str, Any] = {"schedule": "0 1 * * *"}
    builder.revise("2026-11-20T00:00", {"train-a": task})
    builder.revise("2026-11-22T00:00", {"train-a": {"schedule": "0 2 * * *"}})
    builder.revise("2026-11-23T00:00", {"train-a": task}, engine="host:there")
    found = {name: find_revision(history(builder), name).start for name in ("2", "latest", "2026-11-21", "host:there/1", "today")}
    days = {name: datetime.fromtimestamp(start, UTC).day for name, start in found.items()}
    assert days == {"2": 22, "latest": 23, "2026-11-21": 20, "host:there/1": 23, "today": 23}
    for name, message in [
        ("1", r"2 revisions have this number \(host:here/1, host:there/1\): type one of these"),
        ("7", "no such revision"),
        ("2026-11-01", "no revision held then; the first is of 2026-11-20T01:00"),
    ]:
        with pytest.raises(CronsembleError, match=message):
            find_revision(history(builder), name)


def test_an_archive_that_is_damaged_is_said_to_be_so(served: Served) -> None:
    class Damaged(NoSnapshots):
        def code(self, digest: str) -> bytes | None:
            return b"damaged"

    before, after = ({"train-a": {"code": deterministic_zip([("a.py", text)]).hex()[:64]}} for text in (b"1", b"2"))
    after["train-a"]["code"] = "f" * 64
    assert revision_changes(before, after, Damaged())[0].endswith("(the store has no whole copy of it)")


def test_a_cluster_names_configurations_by_the_hash_of_their_annotation(tmp_path: Path) -> None:
    store, named = LocalStore(tmp_path / "store"), []
    (tmp_path / "models.py").write_text(FUNCTIONS)
    on_cluster = FIRST + "store: {claim: c}\nruntimes: {keras3: {image: k}, legacy: {image: l}}\n"
    for text in (on_cluster, on_cluster.replace("epochs: 4", "epochs: 8").replace("quorum: 2", "quorum: 1")):
        (tmp_path / "config.yaml").write_text(text)
        context = ExperimentContext(load(tmp_path / "config.yaml"), "p" * 64, "c" * 64)
        for _, resolved in resolve_tasks(context).values():
            store.put_snapshot("task", to_json(resolved))
        named.append(revisions.tasks(cron_jobs(context)))
    (store.snapshot_path("task", "0" * 64)).write_text("{")
    changes = ["all trainings: epochs 4 → 8", "ensemble: quorum 2 → 1"]
    assert sorted(revision_changes(*named, RevisionSnapshots(store))) == changes
