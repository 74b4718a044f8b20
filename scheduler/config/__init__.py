"""The configuration: one file that declares an experiment, read, checked and resolved."""

from __future__ import annotations

from cronjobs.experiment import Data, Ensemble, Experiment, Member
from scheduler.config.errors import ConfigErrors, Problem
from scheduler.config.load import load, load_all
from scheduler.config.starter import SCHEMA_FILE, starter

__all__ = [
    "SCHEMA_FILE",
    "ConfigErrors",
    "Data",
    "Ensemble",
    "Experiment",
    "Member",
    "Problem",
    "load",
    "load_all",
    "schema",
    "schema_text",
    "starter",
]


def schema() -> dict[str, object]:
    """The configuration's JSON Schema."""
    import msgspec

    from scheduler.config.keys import Duration, File
    from scheduler.times import DURATION_PATTERN

    def hook(kind: type) -> dict[str, object]:
        if kind is not Duration:
            raise NotImplementedError
        return {"type": "string", "pattern": f"^{DURATION_PATTERN}$"}

    (_,), definitions = msgspec.json.schema_components([File], schema_hook=hook, ref_template="#/$defs/{name}")
    top = definitions.pop("File")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": definitions}


def schema_text() -> str:
    import json

    return json.dumps(schema(), indent=2) + "\n"
