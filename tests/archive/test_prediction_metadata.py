"""What `<slot>.json` says of a dated CSV: values from the record, whatever version wrote it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from jobs.contract import RunId
from jobs.documents import DocumentKind, document_problem
from jobs.store.document_files import document_kind
from jobs.store.files import to_document
from jobs.store.prediction_metadata import archive_name, prediction_metadata

RUN = RunId(29_924_640, 2, "e", "ensemble")
MODEL = RunId(29_924_340, 1, "e", "train-jax")
CSV = 'item,prediction,probability,"a\nb",c\n1,c,0.75,0.25,0.75\n'


def record(**more: object) -> dict[str, object]:
    members = [
        {"member": "jax", "run": str(MODEL), "accuracy": 0.9, "class_names": ["a\nb", "c"], "degraded": "the loss was\nNaN"},
        {"member": "cntk", "run": str(MODEL).replace("jax", "cntk"), "left_out": "its predict step did not end"},
        {"member": "torch", "left_out": "it had no training at or before this slot"},
    ]
    ensemble = {
        "method": "calibrated",
        "calibration": {"temperature": 1.25, "validation_items": 60},
        "items": 1,
        "classes": ["a\nb", "c"],
        "accuracy": 1.0,
        "loss": 0.29,
        "members": {"jax": {"weight": 1.0, "accuracy": 0.9, "accuracy_here": 0.5, "loss": 0.3}},
    }
    data = {"fingerprint": "f" * 64, "sha256": "0" * 64}
    fields = {"kind": "scheduled", "finished": "2026-11-24T00:10:00.000Z", "data": data, "ensemble": ensemble, "members": members}
    return {"run": str(RUN), "other_configuration": False, "repeats": None, **fields, **more}


def test_it_says_how_the_csv_was_made_and_what_of_it_is_lacking(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(CSV)
    metadata = prediction_metadata(RUN, record(gate={"refused": "accuracy 0.5 is below\n0.9", "min_accuracy": 0.9}), path)
    assert metadata == {
        "schema": 1,
        "experiment": "e",
        "run": str(RUN),
        "slot": "2026-11-24T00:00Z",
        "attempt": 2,
        "kind": "scheduled",
        "repeats": None,
        "other_configuration": False,
        "finished": "2026-11-24T00:10:00.000Z",
        "csv": {
            "file": "2026-11-24T0000Z-r2.csv",
            "schema": 2,
            "columns": ["item", "prediction", "probability"],
            "size": len(CSV),
            "sha256": hashlib.sha256(CSV.encode()).hexdigest(),
        },
        "classes": ["a\nb", "c"],
        "items": 1,
        "method": "calibrated",
        "temperature": 1.25,
        "accuracy": 1.0,
        "loss": 0.29,
        "members": [
            {
                "member": "jax",
                "run": str(MODEL),
                "slot": "2026-11-23T19:00Z",
                "weight": 1.0,
                "accuracy": 0.5,
                "loss": 0.3,
                "validation_accuracy": 0.9,
                "degraded": "the loss was NaN",
                "file": "2026-11-24T0000Z-r2.members/jax.csv",
            }
        ],
        "left_out": [
            {
                "member": "cntk",
                "run": "e-train-cntk-29924340",
                "slot": "2026-11-23T19:00Z",
                "reason": "its predict step did not end",
            },
            {"member": "torch", "run": None, "slot": None, "reason": "it had no training at or before this slot"},
        ],
        "degraded": "the model of jax is degraded: the loss was NaN; cntk left out: its predict step did not end; "
        "torch left out: it had no training at or before this slot",
        "refused": "accuracy 0.5 is below 0.9",
        "data": {"fingerprint": "f" * 64},
    }
    assert document_problem(DocumentKind.METADATA, metadata) == ""
    assert document_problem(DocumentKind.METADATA, metadata | {"csv": {"size": "1"}}) == "csv.size is not an integer"
    # The same record and CSV are the same bytes, whoever writes them.
    assert to_document(metadata) == to_document(json.loads(json.dumps(metadata)))


@pytest.mark.parametrize(
    ("text", "schema", "columns"),
    [
        ("item,prediction,rate,a\n", 1, ["item", "prediction", "rate"]),
        ("item,prediction,probability,rate\n", 2, ["item", "prediction", "probability"]),
        ("", 2, []),
    ],
)
def test_the_schema_is_that_of_the_csv_itself(tmp_path: Path, text: str, schema: int, columns: list[str]) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    described = prediction_metadata(RUN, {}, path)
    assert (described["csv"]["schema"], described["csv"]["columns"]) == (schema, columns)
    # Of a record of an earlier version what it does not say is null, and nothing is made up.
    assert {described[key] for key in ("kind", "method", "accuracy", "loss", "items", "classes", "degraded", "refused")} == {None}
    assert described["members"] == described["left_out"] == [] and "temperature" not in described


def test_its_kind_of_document_and_its_name() -> None:
    for name in (
        "runs/e/ensemble/2026-11/x/result/predictions.json",
        "predictions/e/2026-11-24T0000Z.json",
        "predictions/e/latest.json",
    ):
        assert document_kind(Path("/store") / name) == DocumentKind.METADATA
    assert archive_name(RUN, {"other_configuration": True}) == "2026-11-24T0000Z-r2-other-configuration"
