"""The JSON Schema of a configuration file, generated from the keys."""

from __future__ import annotations

import json

import msgspec

from scheduler.config.keys import Duration, FileKeys, OutputSize
from scheduler.times import DURATION_PATTERN

SCHEMA_FILE = "cronsemble.schema.json"
"""The name under which `init` writes it beside the starter."""


def schema() -> dict[str, object]:
    """The configuration's JSON Schema."""

    def hook(kind: type) -> dict[str, object]:
        patterns = {Duration: DURATION_PATTERN, OutputSize: OutputSize.PATTERN}
        if kind not in patterns:
            raise NotImplementedError
        return {"type": "string", "pattern": f"^{patterns[kind]}$"}

    (_,), definitions = msgspec.json.schema_components([FileKeys], schema_hook=hook, ref_template="#/$defs/{name}")
    top = definitions.pop(FileKeys.__name__)
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **top, "title": "A configuration of cronsemble", "$defs": definitions}


def schema_text() -> str:
    """The schema as `cronsemble schema` prints it."""
    return json.dumps(schema(), indent=2) + "\n"
