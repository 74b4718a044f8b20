"""Runs the named checks one after the other and tells of each in a line of JSON; ends with 0 if all held."""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from typing import Any

sys.path.insert(0, "/job/program.pyz")

from nfs.guest import clients  # noqa: E402


def main(names: list[str]) -> int:
    clients.start()
    failed = 0
    for name in names:
        module, _, function = name.partition(".")
        began, error = time.monotonic(), ""
        facts: dict[str, Any] = {}
        try:
            facts = getattr(importlib.import_module(f"nfs.guest.{module}"), function)() or {}
        except Exception:
            failed += 1
            error = traceback.format_exc()
        facts["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps({"check": name, "ok": not error, "error": error, "facts": facts}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
