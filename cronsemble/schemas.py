"""The columns of every table: name, type and meaning. What is written here is what a program may rely on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arro3.core import DataType


class Kind(StrEnum):
    """What a column's values are; the value is the name of the Arrow type."""

    CATEGORY = "dictionary<int32, utf8>"
    TEXT = "utf8"
    FLOAT64 = "float64"
    FLOAT32 = "float32"
    INT32 = "int32"
    UTC = "timestamp[us, UTC]"
    LOCAL = "timestamp[us, ZONE]"
    """In the experiment's zone."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    kind: Kind
    meaning: str


HISTORY = (
    Column("slot", Kind.UTC, "the scheduled minute"),
    Column("local", Kind.LOCAL, "the same instant, by the experiment's clock"),
    Column("task", Kind.CATEGORY, "`train-<member>` or `ensemble`"),
    Column("status", Kind.CATEGORY, "see [statuses](history.md#statuses)"),
    Column("degraded", Kind.TEXT, "what a run that succeeded lacks; empty for any other"),
    Column("accuracy", Kind.FLOAT64, "of the run"),
    Column("loss", Kind.FLOAT64, "of the run"),
    Column(
        "items_accuracy", Kind.FLOAT64, "on the ensemble's items: of a training in the first ensemble run that took its model"
    ),
    Column("items_loss", Kind.FLOAT64, "the same of the loss"),
    Column("change", Kind.FLOAT64, "of `items_accuracy` (where there is none, of `accuracy`) since the slot before"),
    Column("duration", Kind.FLOAT64, "seconds"),
    Column("attempt", Kind.INT32, "1 for the first run of the slot"),
    Column("kind", Kind.CATEGORY, "`scheduled`, `manual`, `rerun` or `backfill`"),
    Column("run", Kind.TEXT, "the run's id"),
    Column("why", Kind.TEXT, "see [why a run ran](history.md#why-a-run-ran)"),
    Column("reason", Kind.TEXT, "why the status is what it is"),
    Column("evidence", Kind.CATEGORY, "see [evidence](history.md#evidence)"),
    Column("try_number", Kind.INT32, "the number of the run's last try"),
    Column("max_tries", Kind.INT32, "how many tries it may have"),
)
"""A row for each expected slot without a run, and for each run."""

SLOTS = (
    Column("slot", Kind.UTC, "the scheduled minute"),
    Column("local", Kind.LOCAL, "the same instant, by the experiment's clock"),
    Column("task", Kind.CATEGORY, "`train-<member>` or `ensemble`"),
    Column("status", Kind.CATEGORY, "of the run that counts, or of the slot without one"),
    Column("attempts", Kind.INT32, "how many runs it had"),
    Column("degraded", Kind.TEXT, "what the run that counts lacks although it succeeded; empty for any other"),
    Column("accuracy", Kind.FLOAT64, "of the run that counts"),
    Column("loss", Kind.FLOAT64, "of the run that counts"),
    Column(
        "items_accuracy", Kind.FLOAT64, "on the ensemble's items: of a training in the first ensemble run that took its model"
    ),
    Column("items_loss", Kind.FLOAT64, "the same of the loss"),
    Column("change", Kind.FLOAT64, "of `items_accuracy` (where there is none, of `accuracy`) since the slot before"),
    Column("duration", Kind.FLOAT64, "seconds"),
    Column("run", Kind.TEXT, "the run that counts: the newest that succeeded, else the newest"),
    Column("why", Kind.TEXT, "see [why a run ran](history.md#why-a-run-ran)"),
    Column("reason", Kind.TEXT, "why the status is what it is"),
    Column("evidence", Kind.CATEGORY, "see [evidence](history.md#evidence)"),
)
"""A row for each slot of each task; runs made by hand (`manual`) count for no slot and have none."""

MEMBERS = (
    Column("member", Kind.CATEGORY, "its name in the configuration"),
    Column("run", Kind.TEXT, "the training whose model was taken"),
    Column("slot", Kind.UTC, "of that training"),
    Column("age", Kind.FLOAT64, "seconds from the training's slot to the ensemble's"),
    Column("weight", Kind.FLOAT64, "in the ensemble"),
    Column("accuracy", Kind.FLOAT64, "on the ensemble's items"),
    Column("loss", Kind.FLOAT64, "log loss on the ensemble's items"),
    Column("validation_accuracy", Kind.FLOAT64, "the training's own"),
    Column("accuracy_contribution", Kind.FLOAT64, "the ensemble's accuracy minus that of the others without it"),
    Column("loss_contribution", Kind.FLOAT64, "the same of the loss: below 0 where it helps"),
    Column("labels_changed", Kind.INT32, "items that have another label because of it"),
    Column("left_out", Kind.TEXT, "why it was left out; empty if it was not"),
    Column("degraded", Kind.TEXT, "what is wrong with its training; empty if nothing is"),
)
"""A row for each member of an ensemble run, in the order of the configuration, those that were left out among them."""

PREDICTIONS = (
    Column("item", Kind.TEXT, "the item's id"),
    Column("label", Kind.CATEGORY, "its true class, where it is known"),
    Column("prediction", Kind.CATEGORY, "the class of the highest probability"),
    Column("probability", Kind.FLOAT32, "that probability"),
)
"""A row for each item, in order; after these, a column `p_<class>` for each class."""

CLASS_PREFIX = "p_"
"""What stands before a class in the name of the column of its probabilities, so that no class's name meets another column's."""

EPOCHS = (Column("epoch", Kind.INT32, "counted from 1"),)
"""A row for each epoch; after this, a column of float64 for each metric: `loss`, `accuracy`, `val_loss`, `val_accuracy` …"""


METRICS = (
    Column("task", Kind.CATEGORY, "`ensemble` or `train-<member>`"),
    Column("accuracy_before", Kind.FLOAT64, "on the items of both where these could be compared"),
    Column("accuracy_after", Kind.FLOAT64, "the same of the run after"),
    Column("accuracy_change", Kind.FLOAT64, "after minus before"),
    Column("loss_before", Kind.FLOAT64, "on the items of both where these could be compared"),
    Column("loss_after", Kind.FLOAT64, "the same of the run after"),
    Column("loss_change", Kind.FLOAT64, "after minus before"),
    Column("flips", Kind.INT32, "items with another label; null where the items could not be compared"),
)
"""A row for the ensemble and each of its members, or for each training."""

FLIPS = (
    Column("task", Kind.CATEGORY, "whose prediction: `ensemble`, or the training's"),
    Column("item", Kind.TEXT, "the item's id; of a training its position in the validation data"),
    Column("label", Kind.CATEGORY, "its true class, where it is known"),
    Column("before", Kind.CATEGORY, "the class that was predicted before"),
    Column("after", Kind.CATEGORY, "the class that was predicted after"),
    Column("before_probability", Kind.FLOAT64, "of `before`, then"),
    Column("after_probability", Kind.FLOAT64, "of `after`, now"),
    Column("effect", Kind.CATEGORY, "`now right`, `now wrong`, `wrong both times`; empty where the label is not known"),
)
"""A row for each item whose label flipped."""

DIFFERENCES = (
    Column("kind", Kind.CATEGORY, "`configuration`, `code`, `data`, `version`, `image`, `seed` …"),
    Column("name", Kind.TEXT, "the key of the configuration, the file, the package or the variable"),
    Column("tasks", Kind.TEXT, "the tasks that differ in it, with commas"),
    Column("text", Kind.TEXT, "what differs, in words"),
)
"""A row for each thing that was pinned and differs."""


def prediction_columns(classes: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a table of predictions."""
    return (*PREDICTIONS, *(Column(CLASS_PREFIX + name, Kind.FLOAT32, f"the probability of {name}") for name in classes))


def epoch_columns(metrics: Sequence[str]) -> tuple[Column, ...]:
    """The columns of a table of epochs."""
    return (*EPOCHS, *(Column(name, Kind.FLOAT64, "after the epoch") for name in metrics))


def arrow_type(kind: Kind, timezone: str) -> DataType:
    """The Arrow type of a column; ``timezone`` is the experiment's, an IANA name."""
    from arro3.core import DataType

    types: dict[Kind, Any] = {
        Kind.CATEGORY: lambda: DataType.dictionary(DataType.int32(), DataType.utf8()),
        Kind.TEXT: DataType.utf8,
        Kind.FLOAT64: DataType.float64,
        Kind.FLOAT32: DataType.float32,
        Kind.INT32: DataType.int32,
        Kind.UTC: lambda: DataType.timestamp("us", tz="UTC"),
        Kind.LOCAL: lambda: DataType.timestamp("us", tz=timezone),
    }
    made: DataType = types[kind]()
    return made
