"""Tables: their schemas are a contract, they have the commands' values, and pandas, polars and pyarrow take them as they are."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas
import polars
import pyarrow
import pytest

import cronsemble
import year_store
from commands import run_command
from cronsemble import schemas
from cronsemble.tables import Table
from stores import Builder

CATEGORY, TEXT, UTC_TIME = "dictionary<int32, utf8>", "utf8", "timestamp[us, UTC]"
FIGURES = dict.fromkeys(("accuracy", "loss", "items_accuracy", "items_loss", "change"), "float64")
HISTORY = {
    "slot": UTC_TIME, "local": UTC_TIME, "task": CATEGORY, "status": CATEGORY, "degraded": TEXT, **FIGURES,
    "duration": "float64", "attempt": "int32", "kind": CATEGORY, "run": TEXT, "why": TEXT, "reason": TEXT, "evidence": CATEGORY,
    "try_number": "int32", "max_tries": "int32",
}  # fmt: skip
SLOTS = {
    "slot": UTC_TIME, "local": UTC_TIME, "task": CATEGORY, "status": CATEGORY, "attempts": "int32", "degraded": TEXT, **FIGURES,
    "duration": "float64", "run": TEXT, "why": TEXT, "reason": TEXT, "evidence": CATEGORY,
}  # fmt: skip
MEMBERS = {
    "member": CATEGORY, "run": TEXT, "slot": UTC_TIME, "age": "float64", "weight": "float64", "accuracy": "float64",
    "loss": "float64", "validation_accuracy": "float64", "accuracy_contribution": "float64", "loss_contribution": "float64",
    "labels_changed": "int32", "left_out": TEXT, "degraded": TEXT,
}  # fmt: skip
PREDICTIONS = {"item": TEXT, "label": CATEGORY, "prediction": CATEGORY, "probability": "float32"}
EPOCHS = {"epoch": "int32", **dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "seconds"), "float64")}
METRICS = {
    "task": CATEGORY, "accuracy_before": "float64", "accuracy_after": "float64", "accuracy_change": "float64",
    "loss_before": "float64", "loss_after": "float64", "loss_change": "float64", "flips": "int32",
}  # fmt: skip
FLIPS = {
    "task": CATEGORY, "item": TEXT, "label": CATEGORY, "before": CATEGORY, "after": CATEGORY, "before_probability": "float64",
    "after_probability": "float64", "effect": CATEGORY,
}  # fmt: skip
DIFFERENCES = {"kind": CATEGORY, "name": TEXT, "tasks": TEXT, "text": TEXT}
COMPARED = (schemas.METRICS, schemas.FLIPS, schemas.DIFFERENCES)
ARROW = {
    "float64": "double", "float32": "float", "int32": "int32", TEXT: "string", UTC_TIME: "timestamp[us, tz=UTC]",
    CATEGORY: "dictionary<values=string, indices=int32, ordered=0>",
}  # fmt: skip
"""By our name of a type pyarrow's."""


def command(folder: Path, *arguments: str) -> str:
    return run_command(*arguments, folder=folder, check=True).stdout


def test_the_schemas_are_these(experiment: cronsemble.Experiment) -> None:
    predictions = PREDICTIONS | {f"p_{name}": "float32" for name in year_store.CLASSES}
    run = experiment.run("2025-11-20", task="train-a")
    compared = experiment.compare("2025-11-20", "2025-11-22")
    for table, schema in [
        (experiment.history(), HISTORY),
        (experiment.history(limit=0), HISTORY),
        (experiment.slots(), SLOTS),
        (experiment.members("2025-11-20"), MEMBERS),
        (experiment.predictions("2025-11-20"), predictions),
        (experiment.predictions("2025-11-20", member="c"), predictions),
        (run.epochs(), EPOCHS),
        (compared.metrics(), METRICS),
        (compared.flips(), FLIPS),
        (compared.differences(), DIFFERENCES),
    ]:
        assert table.schema == schema
        arrow = pyarrow.table(table)
        assert {field.name: str(field.type) for field in arrow.schema} == {name: ARROW[kind] for name, kind in schema.items()}
        assert arrow.num_rows == len(table)
        arrow.validate(full=True)


def test_the_documentation_has_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    for columns in (schemas.HISTORY, schemas.SLOTS, schemas.MEMBERS, schemas.PREDICTIONS, schemas.EPOCHS, *COMPARED):
        for column in columns:
            assert f"| `{column.name}` | {column.kind.value} | {column.meaning} |" in text


def test_the_history_has_the_rows_of_the_command(folder: Path, experiment: cronsemble.Experiment) -> None:
    printed = json.loads(command(folder, "history", "--limit", "0", "--json"))
    rows = experiment.history().rows()
    assert len(rows) == len(printed) > 90
    for row, own in zip(rows, printed, strict=True):
        assert row["slot"] == datetime.fromtimestamp(own["minute"] * 60, UTC) == row["local"]
        assert {name: row[name] for name in HISTORY if name not in ("slot", "local")} == {
            name: own[name] for name in HISTORY if name not in ("slot", "local")
        }


def test_predictions_are_those_of_the_archive(folder: Path, experiment: cronsemble.Experiment) -> None:
    text = (folder / "store" / "predictions" / "e" / "2025-11-21T0600Z.csv").read_text()
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    table = polars.DataFrame(experiment.predictions("2025-11-21"))
    assert table.columns == ["item", "label", "prediction", "probability", *(f"p_{name}" for name in header[3:])]
    assert table.drop("label").rows() == [
        (item, prediction, *(pytest.approx(float(value), abs=1e-7) for value in values)) for item, prediction, *values in lines
    ]
    members = experiment.members("2025-11-21").rows()
    for name in ("a", "d"):
        own = polars.DataFrame(experiment.predictions("2025-11-21", member=name))
        right = own.select((polars.col("label").cast(str) == polars.col("prediction").cast(str)).mean()).item()
        assert right == next(row["accuracy"] for row in members if row["member"] == name)


def test_a_comparison_is_that_of_the_command_and_of_the_predictions(folder: Path, experiment: cronsemble.Experiment) -> None:
    # On both sides of the edit.
    names = ("2025-11-28", "2025-12-05")
    compared = experiment.compare(*names)
    assert compared.values == json.loads(command(folder, "compare", *names, "--json"))
    before, after = (experiment.predictions(name).rows() for name in names)
    both = [(a["item"], a["prediction"], b["prediction"]) for a, b in zip(before, after, strict=True)]
    flips = {(item, old, new) for item, old, new in both if old != new}
    assert {(row["item"], row["before"], row["after"]) for row in compared.flips().rows()} == flips and flips
    (ensemble, *members) = compared.metrics().rows()
    right = [sum(row["label"] == row["prediction"] for row in side) / len(side) for side in (before, after)]
    assert [ensemble["accuracy_before"], ensemble["accuracy_after"]] == pytest.approx(right)
    assert ensemble["accuracy_change"] == pytest.approx(right[1] - right[0]) and ensemble["flips"] == len(flips)
    assert [row["task"] for row in members] == ["train-a", "train-b2", "train-c", "train-d"]
    assert "hyperparameters.epochs 4 → 8" in compared.differences().column("text")
    assert "--- models.py\n+++ models.py\n" in compared.code and "+    return 8" in compared.code
    shown = compared._repr_html_()
    assert "now right" in shown and "</script>" not in shown


def test_pandas_and_polars_take_a_table_as_it_is(experiment: cronsemble.Experiment) -> None:
    table = experiment.history(tasks=["ensemble"])
    frame = pandas.DataFrame.from_arrow(table)
    pandas.testing.assert_frame_equal(frame, table.to_pandas())
    assert frame["status"].dtype == "category" and frame["accuracy"].dtype == "float64"
    assert str(frame["slot"].dtype) == "datetime64[us, UTC]"
    other = polars.DataFrame(table)
    assert other.equals(table.to_polars())
    assert other.schema["slot"] == polars.Datetime("us", "UTC") and other.schema["status"] == polars.Categorical
    assert frame["accuracy"].mean() == pytest.approx(other["accuracy"].mean())
    assert other.filter(polars.col("status") == "no quorum").height == (frame["status"] == "no quorum").sum() == 1


def test_times_are_by_the_experiments_clock(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    task = {"experiment": "e", "timezone": "Europe/Berlin"}
    digest = builder.store.put_snapshot("task", json.dumps(task).encode())
    builder.run("train-a", "2026-10-25T01:00", snapshot={"task": digest})
    experiment = cronsemble.open(store=tmp_path / "store")
    table = experiment.history()
    assert table.schema["local"] == "timestamp[us, Europe/Berlin]"
    (row,) = table.rows()
    assert row["local"] == datetime(2026, 10, 25, 2, 0, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert row["local"].isoformat() == "2026-10-25T02:00:00+01:00"
    assert experiment.run(datetime(2026, 10, 25, 1, 0, tzinfo=UTC)).id == row["run"]


def test_a_slot_is_a_row_and_runs_by_hand_are_none(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    builder.revise("2026-11-20T00:00", {"train-a": {"schedule": "0 1 * * *"}})
    builder.run("train-a", "2026-11-20T01:00", "failed", reason="no memory")
    second = builder.run("train-a", "2026-11-20T01:00", attempt=2, kind="rerun", accuracy=0.5)
    builder.run("train-a", "2026-11-20T01:00", "failed", attempt=3, kind="rerun")
    builder.run("train-a", "2026-11-20T02:00", kind="manual")
    last = builder.run("train-a", "2026-11-21T01:00", "failed", reason="no disk")
    slots = cronsemble.open(store=tmp_path / "store").slots(until="2026-11-21")
    assert [
        (row["slot"].day, row["status"], row["attempts"], row["run"], row["accuracy"], row["reason"]) for row in slots.rows()
    ] == [
        (21, "failed", 1, str(last), None, "no disk"),
        (20, "succeeded", 3, str(second), 0.5, ""),
    ]


def test_what_comes_from_users_is_escaped_in_a_notebook(experiment: cronsemble.Experiment) -> None:
    shown = experiment.predictions("2025-11-20")._repr_html_()
    assert "p_&lt;/script&gt;&lt;b&gt;" in shown and "</script>" not in shown and "\x1b" not in shown
    assert shown.count("<tr>") == 21 and "and 40 more rows" in shown
    assert '<th scope="col">run</th>' in experiment._repr_html_()
    assert "e-train-a-29393340" in experiment.run("2025-11-20", task="train-a")._repr_html_()
    model = experiment.model("2025-11-20", member="a")._repr_html_()
    assert "</script>" not in model and "&lt;/script&gt;" in model


def test_a_table_without_rows_and_one_with_nothing_but_gaps(experiment: cronsemble.Experiment) -> None:
    empty = experiment.history("2020-01-01", "2020-01-02")
    assert len(empty) == 0 and empty.rows() == [] and "0 rows" in empty._repr_html_()
    assert polars.DataFrame(empty).shape == (0, len(HISTORY))
    gaps = Table(schemas.MEMBERS, [[None, None]] * len(schemas.MEMBERS), "UTC")
    assert gaps.column("slot") == [None, None] and gaps.to_pandas().isna().all(axis=None)
    with pytest.raises(KeyError, match="bogus: there are member, run"):
        gaps.column("bogus")
