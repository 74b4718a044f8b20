"""Which exceptions end a run at once, and which are tried again: by what user code really raises."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from jobs.contract import ExitCode
from jobs.portable.end_report import describe
from jobs.supervisor.child_process import ChildEnd
from jobs.supervisor.end_reason import step_error

PERMANENT = [
    "import no_such_package",
    "from json import no_such_function",
    "x = (1,",
    "modle",
    "def build(shape): pass\nbuild((8, 8), 10, {})",
    "'a' + 1",
    "None.fit()",
    "raise NotImplementedError",
]
"""What only an edit cures."""
OF_VALUES = [
    "raise ValueError('Unknown activation function: sofmax')",
    "{}['units']",
    "[][0]",
    "1 / 0",
    "assert False",
    "'ä'.encode('ascii')",
    "try:\n {}['a']\nexcept KeyError:\n int('x')",
    "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])",
    "import sys; sys.exit('the model gave up')",
]
"""What the same values cause again; but a data function may be given others."""
TRANSIENT = [
    "open('/none/such')",
    "raise ConnectionResetError",
    "raise TimeoutError",
    "import urllib.error\nraise urllib.error.URLError('refused')",
    "raise MemoryError",
    "raise RuntimeError('CUDA error: out of memory')",
    "class ResourceExhaustedError(Exception): pass\nraise ResourceExhaustedError",
    # The cause is outside, whatever the code makes of it, and whichever of them is shown.
    "try:\n open('/none/such')\nexcept OSError as error:\n raise ValueError('no prices') from error",
    "raise ExceptionGroup('two', [ValueError('a'), OSError('b')])",
    "raise ImportError('libx.so: failed to map segment: Cannot allocate memory')",
    "raise KeyboardInterrupt",
]


@pytest.mark.parametrize("program", ["prepare", "train"])
@pytest.mark.parametrize("source", [*PERMANENT, *OF_VALUES, *TRANSIENT])
def test_what_the_same_code_would_raise_again_is_not_tried_again(tmp_path: Path, source: str, program: str) -> None:
    path = tmp_path / "m.py"
    path.write_text(source)
    with pytest.raises(BaseException) as raised:
        runpy.run_path(str(path))
    event = "exit" if isinstance(raised.value, SystemExit) else "exception"
    report = json.dumps({**describe(raised.value, str(tmp_path)), "event": event}).encode()
    error = step_error(program, ChildEnd(1, False, False, 0, report), str(tmp_path), "", 0, 0)
    assert error is not None
    is_permanent = source in PERMANENT or (source in OF_VALUES and program == "train")
    assert error.code == (ExitCode.WRONG_INPUT if is_permanent else ExitCode.FAILED), error


def test_an_exception_after_a_kill_for_memory_is_tried_again() -> None:
    report = json.dumps({"event": "exception", "type": "ValueError", "kinds": ["ValueError"]}).encode()
    error = step_error("train", ChildEnd(1, False, False, 0, report), "", "", 1, 1)
    assert error is not None and error.code == ExitCode.FAILED
