"""A comparison as JSON values: the keys are the fields of its values, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from jobs.contract import RunId
from scheduler.comparison.difference import Difference
from scheduler.comparison.predictions import LabelFlip, MetricChange, ProbabilityChange
from scheduler.comparison.run_comparison import ComparedRun, Comparison, TrainingComparison
from scheduler.comparison.verdict import Verdict

_COMPUTED: Mapping[type, tuple[str, ...]] = {
    ComparedRun: ("task", "slot"),
    MetricChange: ("difference",),
    LabelFlip: ("effect",),
    ProbabilityChange: ("difference",),
    Difference: ("text",),
    TrainingComparison: ("is_same_run",),
}
"""What follows from a value's fields and stands beside them."""


def to_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values; a verdict has the keys that it has in `rerun --json`."""
    return dict(_values(comparison))


def _values(value: Any) -> Any:
    if isinstance(value, Verdict):
        return {key: each for key, each in value.as_json().items() if key != "differs"}
    if isinstance(value, RunId):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [*(field.name for field in fields(value)), *_COMPUTED.get(type(value), ())]
        return {name: _values(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): _values(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_values(each) for each in value]
    return value
