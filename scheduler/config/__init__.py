"""The configuration: one file that declares an experiment, read, checked and resolved."""

from __future__ import annotations

from scheduler.config.errors import ConfigErrors, Problem
from scheduler.config.load import load
from scheduler.config.resolved import Data, Ensemble, Experiment, Member
from scheduler.config.starter import starter

__all__ = ["ConfigErrors", "Data", "Ensemble", "Experiment", "Member", "Problem", "load", "schema", "starter"]


def schema() -> dict[str, object]:
    """The configuration's JSON Schema."""
    from scheduler.config.keys import File

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **File.model_json_schema()}
