"""A store of many nights, as strangers have them: failures, gaps, edits, a renamed member, hostile names, pictures.

Its predictions are drawn at random from a seed; what derives from them is computed by the combine program.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from jobs import contract as c
from jobs.contract import RunId
from jobs.keras3 import combine, pools
from jobs.keras3.prepare import fingerprint
from jobs.store.files import to_json
from stores import Builder, at

CLASSES = ("bridge", "</script><b>", "=cmd()", "rot\x1b[31m")
"""Names as they come from users: markup, a formula of a spreadsheet, an escape sequence."""
ITEMS = 60


@dataclass(frozen=True)
class Names:
    """What the members and classes are called; ``b`` is called ``renamed`` from some night on. See `build` for what each does."""

    a: str = "a"
    b: str = "b"
    renamed: str = "b2"
    c: str = "c"
    d: str = "d"
    classes: tuple[str, ...] = CLASSES


DEFAULT_NAMES = Names()

FIRST = "2025-11-20"
"""The first night: trainings fire at 01:00, the ensemble at 06:00."""


@dataclass(frozen=True)
class Nights:
    """A store in the making. ``days`` nights from FIRST on; what happens on which night is fixed (see `build`)."""

    builder: Builder
    days: int
    renamed: int
    edited: int
    names: Names = DEFAULT_NAMES

    def members(self, day: int) -> list[str]:
        return [self.names.a, self.names.renamed if day >= self.renamed else self.names.b, self.names.c, self.names.d]

    def date(self, day: int) -> str:
        return (at(f"{FIRST}T00:00") + timedelta(days=day)).date().isoformat()


def build(root: Path, days: int = 365, experiment: str = "e", names: Names = DEFAULT_NAMES) -> Nights:
    """A store of so many nights.

    `b` fails each 9th night; `c` degrades over the last tenth of the nights (the bad one); `d`'s training is degraded each 11th
    night; `a` did not start on each 13th (no run); the ensemble has no quorum each 30th; all of nights 40 to 44 was missed while
    serve was not running; at 40 % of the nights `b` becomes `b2`, at half of them epochs go from 4 to 8 and the code changes.
    """
    builder = Builder(root, experiment)
    nights = Nights(builder, days, days * 2 // 5, days // 2, names)
    random = np.random.default_rng(7)
    labels = random.integers(0, len(names.classes), ITEMS)
    data = _prepared_data(builder, names.classes, labels, _pictures(random, labels))
    codes = [_code(builder, text) for text in ("def model():\n    return 4\n", "def model():\n    return 8\n")]
    tasks = {edited: _tasks(builder, nights, codes[edited], edited) for edited in (0, 1)}
    builder.revise(f"{FIRST}T00:00", _schedules(nights.members(0), tasks[0]))
    if nights.renamed < days:
        builder.revise(f"{nights.date(nights.renamed)}T00:00", _schedules(nights.members(nights.renamed), tasks[0]))
    if nights.edited < days:
        builder.revise(f"{nights.date(nights.edited)}T00:30", _schedules(nights.members(nights.edited), tasks[1]))
    latest: dict[str, tuple[RunId, float, str]] = {}
    for day in range(days):
        if 40 <= day < 45:
            continue
        _night(nights, day, random, labels, data, tasks[int(day >= nights.edited)], latest)
    if days > 45:
        builder.note(f"{nights.date(45)}T00:00", "start", since=f"{nights.date(40)}T00:00:00Z")
    return nights


def _night(
    nights: Nights, day: int, random: Any, labels: Any, data: Mapping[str, Any], tasks: Mapping[str, str],
    latest: dict[str, tuple[RunId, float, str]],
) -> None:  # fmt: skip
    builder, date = nights.builder, nights.date(day)
    for member in nights.members(day):
        task = f"train-{member}"
        if member == nights.names.a and day % 13 == 6:
            continue
        if member in (nights.names.b, nights.names.renamed) and day % 9 == 4:
            builder.run(task, f"{date}T01:00", "failed", reason="ran out of memory", files={c.LOG: b"Killed\n"}, try_number=4)
            continue
        accuracy = round(float(np.clip(0.9 + random.normal(0, 0.01) - _decline(nights, day, member), 0, 1)), 4)
        degraded = "the loss was NaN from epoch 3 on: epoch 2 is kept" if member == nights.names.d and day % 11 == 5 else ""
        epochs = 8 if day >= nights.edited else 4
        record = {
            "accuracy": accuracy,
            "metrics": {"accuracy": accuracy, "loss": round(1.2 - accuracy, 4)},
            "seed": 1,
            "hyperparameters": {"epochs": epochs, "learning_rate": 0.001},
            "snapshot": {"program": "", "code": tasks["code"], "task": tasks[task]},
            "data": dict(data),
            "model": {
                "backend": "jax",
                "file": "weights.h5",
                "versions": {"keras": "3.12.0" if day < nights.edited else "3.13.0"},
                "class_names": nights.names.classes,
            },
        }
        if degraded:
            record |= {"degraded": degraded}
        rows = "".join(
            f"{n},{2 / n:.4f},{1 - 1 / (n + 1):.4f},{2.2 / n:.4f},{accuracy * n / epochs:.4f},1.5\n" for n in range(1, epochs + 1)
        )
        files = {
            c.EPOCHS: f"epoch,loss,accuracy,val_loss,val_accuracy,seconds\n{rows}".encode(),
            c.LOG: b"trained\n",
            "weights.h5": b"w",
        }
        run = builder.run(task, f"{date}T01:00", files=files, lists_files=True, lasts=300 + 10 * epochs, **record)
        latest[member] = (run, accuracy, degraded)
    _ensemble(nights, day, random, labels, data, tasks, latest)


def _ensemble(
    nights: Nights, day: int, random: Any, labels: Any, data: Mapping[str, Any], tasks: Mapping[str, str],
    latest: Mapping[str, tuple[RunId, float, str]],
) -> None:  # fmt: skip
    builder, date = nights.builder, nights.date(day)
    slot = f"{date}T06:00"
    members: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for member in nights.members(day):
        if member not in latest or day % 30 == 17:
            members.append(
                {"member": member, "left_out": "no model of it" if member not in latest else "the predict step ended with 1"}
            )
            continue
        run, accuracy, degraded = latest[member]
        chosen = {"member": member, "run": str(run), "accuracy": accuracy, "class_names": list(nights.names.classes)}
        members.append(
            {
                **chosen,
                "probabilities": f"probabilities/{member}/probabilities.npy",
                **({"degraded": degraded} if degraded else {}),
            }
        )
        arrays[member] = _probabilities(random, labels, len(nights.names.classes), 2.0 - 6 * _decline(nights, day, member))
    if not arrays:
        reasons = "; ".join(f"{choice['member']}: {choice['left_out']}" for choice in members)
        reason = f"0 of the 2 members it needs ({reasons})"
        builder.run("ensemble", slot, "no quorum", reason=reason, files={c.SELECTION: to_json({"members": members})})
        return
    files, summary = combined_files(
        arrays, {m["member"]: m["accuracy"] for m in members if m["member"] in arrays}, labels, nights.names.classes
    )
    record = {
        "accuracy": summary["accuracy"],
        "ensemble": summary,
        "members": members,
        "snapshot": {"program": "", "code": tasks["code"], "task": tasks["ensemble"]},
        "data": dict(data),
    }
    run = builder.run("ensemble", slot, files=files, lists_files=True, lasts=40, **record)
    builder.store.publish_archive(run)


def combined_files(
    arrays: Mapping[str, Any], accuracies: Mapping[str, float], labels: Any, classes: tuple[str, ...] = CLASSES
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of an ensemble's result and its ensemble.json, by the combine program's own functions."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        (out / "members").mkdir()
        weights = pools.weights("accuracy", list(accuracies.values()))
        ids = np.array([f"item {n}" for n in range(ITEMS)])
        pool, others = pools.LinearPool(weights), pools.others(list(arrays), weights)
        by_member, whole = combine.write_all(out, list(arrays), list(arrays.values()), pool, others, ids, classes, labels)
        summary = {
            "method": "accuracy",
            "members": {
                member: {"weight": float(weight), "accuracy": accuracies[member], **by_member[member]}
                for member, weight in zip(arrays, weights, strict=True)
            },
            "items": ITEMS,
            "classes": list(classes),
            **whole,
        }
        files = {c.CSV: (out / "predictions.csv").read_bytes(), c.ENSEMBLE: to_json(summary)}
        files[f"{c.MEMBERS}/{c.AGREEMENT}"] = (out / c.MEMBERS / c.AGREEMENT).read_bytes()
        for member, array in arrays.items():
            files[f"members/{member}.csv"] = (out / "members" / f"{member}.csv").read_bytes()
            files[f"probabilities/{member}/probabilities.npy"] = npy(array)
        return files, summary


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _all_members(names: Names) -> tuple[str, ...]:
    return names.a, names.b, names.renamed, names.c, names.d


def _pictures(random: Any, labels: Any) -> Any:
    """Of shape (items, 8, 8, 1): a bar, a cross, a ring and a dot, by class, with noise."""
    shapes = np.zeros((4, 8, 8, 1), "float32")
    shapes[0, 1:7, 3:5] = shapes[1, 3:5, 1:7] = shapes[1, 1:7, 3:5] = shapes[2, 1:7, 1:7] = shapes[3, 3:5, 3:5] = 1
    shapes[2, 3:5, 3:5] = 0
    return 0.8 * shapes[labels % 4] + 0.2 * random.random((len(labels), 8, 8, 1), dtype="float32")


def _decline(nights: Nights, day: int, member: str) -> float:
    """How much worse a member is than it was."""
    start = nights.days * 9 // 10
    return 0.3 if member == nights.names.c and day >= start else 0.0


def _probabilities(random: Any, labels: Any, classes: int, skill: float) -> Any:
    logits = random.normal(0, 1, (len(labels), classes))
    logits[np.arange(len(labels)), labels] += max(skill, 0.2)
    exponents = np.exp(logits)
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype("float32")


def _prepared_data(builder: Builder, classes: tuple[str, ...], labels: Any, pictures: Any) -> dict[str, Any]:
    ids = np.array([f"item {n}" for n in range(ITEMS)])
    arrays = {"x_predict": pictures, "y_predict": labels.astype("int32"), "ids": ids, "class_names": np.array(classes)}
    name = fingerprint(arrays)
    path = builder.store.dataset_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    described = {"class_names": list(classes), "source": "pictures", "shapes": {"x_predict": [ITEMS, 8, 8, 1]}}
    return {"fingerprint": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **described}


def _code(builder: Builder, text: str) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("models.py"), text)
        archive.writestr(zipfile.ZipInfo("README.md"), "as it was\n")
    return builder.store.put_snapshot("code", out.getvalue())


def _tasks(builder: Builder, nights: Nights, code: str, edited: int) -> dict[str, str]:
    """By task the hash of its configuration, and that of the code under "code"."""
    common = {"experiment": builder.experiment, "timezone": "UTC", "schema": 1, "snapshot": {"program": "", "code": code}}
    digests = {"code": code}
    for member in _all_members(nights.names):
        hyperparameters = {"epochs": 8 if edited else 4, "learning_rate": 0.001}
        task = {**common, "task": f"train-{member}", "member": member, "backend": "jax", "model": "models.py:model"}
        digests[f"train-{member}"] = builder.store.put_snapshot("task", to_json({**task, "hyperparameters": hyperparameters}))
    task = {**common, "task": "ensemble", "method": "accuracy", "quorum": 2, "max_age": None}
    digests["ensemble"] = builder.store.put_snapshot(
        "task", to_json({**task, "members": [{"member": name} for name in nights.members(0)]})
    )
    return digests


def _schedules(members: list[str], tasks: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    schedules: dict[str, dict[str, Any]] = {
        f"train-{name}": {"schedule": "0 1 * * *", "task": tasks[f"train-{name}"]} for name in members
    }
    return {**schedules, "ensemble": {"schedule": "0 6 * * *", "task": tasks["ensemble"]}}


def write_config(folder: Path, store: str = "store", experiment: str = "e") -> Path:
    """A configuration for the store's last night."""
    path = folder / "config.yaml"
    backends = {name: {"backend": "jax", "schedule": "0 1 * * *"} for name in ("a", "b2", "c", "d")}
    path.write_text(
        json.dumps(
            {"experiment": experiment, "store": store, "backends": backends, "ensemble": {"schedule": "0 6 * * *", "quorum": 2}}
        )
    )
    return path
