"""Why a step failed, as it is recorded: the exception with its place in the user's code, an exit, a signal, a crash."""

from __future__ import annotations

import json
import runpy
import signal
from pathlib import Path

import pytest

from jobs.contract import ExitCode
from jobs.keras3.prepare import write_npz
from jobs.portable.end_report import describe
from jobs.store import LocalStore
from jobs.store.log_files import read_log
from jobs.supervisor.child_process import ChildEnd
from jobs.supervisor.end_reason import step_error
from jobs.text import one_line
from scheduler.snapshots.program import build_program, deterministic_zip
from supervised import supervise

RAISES = [
    ("raise ValueError('the sensor file is empty')", "ValueError: the sensor file is empty (m.py:1)"),
    ("{'a': 1}['price']", "KeyError: 'price' (m.py:1)"),
    ("assert 1 == 2", "AssertionError: assert 1 == 2 (m.py:1)"),
    ("raise MemoryError", "MemoryError (m.py:1)"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt (m.py:1)"),
    ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package' (m.py:1)"),
    ("x = (1,", "SyntaxError: '(' was never closed (m.py:1)"),
    ("import json\njson.loads('1 2')", "JSONDecodeError: Extra data: line 1 column 3 (char 2) (m.py:2)"),
    (
        "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])",
        "ExceptionGroup: two (2 sub-exceptions): ValueError: a; KeyError: 'b' (m.py:1)",
    ),
    (
        "class Odd(Exception):\n def __str__(self): raise OSError\nraise Odd",
        "Odd: (its text cannot be had: its __str__ fails) (m.py:3)",
    ),
    ("raise ValueError('first\\n\\n  second\\r\\nthird')", "ValueError: first second third (m.py:1)"),
    ("raise ValueError('Größe über 100 €: 数据')", "ValueError: Größe über 100 €: 数据 (m.py:1)"),
    ("raise ValueError('a\\udc80b')", "ValueError: a b (m.py:1)"),
    ("raise type('Bad\\x1b[31m\\nError', (Exception,), {})('x')", "Bad Error: x (m.py:1)"),
    # What the user's code says of an error counts, and what it raised beneath a library's.
    ("try:\n {}['a']\nexcept KeyError as e:\n raise RuntimeError('no a') from e", "RuntimeError: no a (m.py:4)"),
    ("try:\n {}['a']\nexcept KeyError:\n int('x y')", "ValueError: invalid literal for int() with base 10: 'x y' (m.py:4)"),
    (
        "import concurrent.futures as f\ndef work(_): raise ValueError('bad row')\nlist(f.ThreadPoolExecutor(1).map(work, [1]))",
        "ValueError: bad row (m.py:2, in work)",
    ),
    # As Keras wraps what a layer raises, and TensorFlow what a function raises that it has rewritten.
    (
        "raise ValueError('Exception in B.call().\\n\\n\\x1b[1m[5,7]\\x1b[0m\\n\\nArguments received by Bad.call():\\n  • x=1')",
        "ValueError: Exception in B.call(). [5,7] (m.py:1)",
    ),
    (
        "raise ValueError('Graph error:\\n\\nAt (most recent call last):\\n  File \"k.py\", line 6, in f\\n\\nno\\n\\t[[N]]')",
        "ValueError: Graph error: no [[N]] (m.py:1)",
    ),
    (
        "raise OSError('W.\\nTraceback (most recent call last):\\n  File \"k.py\", line 6, in f\\n    x()\\nKeyError: 1')",
        "OSError: W. KeyError: 1 (m.py:1)",
    ),
    (
        "raise ValueError('in user code:\\n\\n    File \"x.py\", line 6, in f\\n        pass\\n\\n    ValueError: no axis\\n')",
        "ValueError: no axis (m.py:1)",
    ),
]


@pytest.mark.parametrize(("source", "reason"), RAISES)
def test_an_exception_is_the_reason_with_its_place_in_the_users_code(tmp_path: Path, source: str, reason: str) -> None:
    path = tmp_path / "m.py"
    path.write_text(source)
    with pytest.raises(BaseException) as raised:
        runpy.run_path(str(path))
    report = json.dumps({**describe(raised.value, str(tmp_path)), "event": "exception"}).encode()
    error = step_error("train", ChildEnd(1, False, False, 0, report), str(tmp_path), "a line that was printed last", 0, 0)
    assert str(error) == f"train: {reason}"


def test_a_full_disk_needs_no_place_in_this_program(tmp_path: Path) -> None:
    (tmp_path / "data.npz").mkdir()
    with pytest.raises(OSError) as raised:
        write_npz(tmp_path / "data.npz", {})
    report = json.dumps({**describe(raised.value, str(tmp_path / "code")), "event": "exception"}).encode()
    error = step_error("prepare", ChildEnd(1, False, False, 0, report), "", "", 0, 0)
    assert str(error) == f"prepare: IsADirectoryError: [Errno 21] Is a directory: '{tmp_path}/data.npz'"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


GOOD = "return {'x_train': np.zeros((600, 4, 4)), 'y_train': np.arange(600) % 3}"
ENDS = {
    "os.environ['NOT_SET']": "prepare: KeyError: 'NOT_SET' (d.py:3, in data)",
    "import atexit; atexit.register(print, 'closing the connection'); raise ValueError('empty')": (
        "prepare: ValueError: empty (d.py:3, in data)"
    ),
    "import atexit; atexit.register(print, 'closing the connection'); return {'y_train': 1}": (
        "data: x_train is missing; there are y_train"
    ),
    "sys.exit(0)": "prepare: sys.exit(0) (d.py:3, in data) ended it before its work was done",
    "sys.exit(3)": "prepare: sys.exit(3) (d.py:3, in data) ended it before its work was done",
    "print('no data of Sunday'); sys.exit(3)": "prepare: no data of Sunday (sys.exit(3) (d.py:3, in data))",
    "sys.exit('the model gave up')": "prepare: the model gave up (sys.exit at d.py:3, in data)",
    "print('so long', flush=True); os._exit(0)": (
        "prepare ended with exit status 0 before its work was done, without an exception (os._exit, or a library's exit); "
        "it printed last: so long"
    ),
    "import ctypes; ctypes.string_at(0)": "prepare crashed in compiled code (SIGSEGV, a segmentation fault) (d.py:3, in data)",
    "os.kill(os.getpid(), 15); time.sleep(60)": "prepare was killed by SIGTERM, which another process sent",
    # Its work is done, whatever else the user's code does to its process.
    "sys.stdout.close(); os.close(1); " + GOOD: "",
    "os.closerange(3, 100); " + GOOD: "",
    "import atexit, ctypes; atexit.register(ctypes.string_at, 0); " + GOOD: "",
}


@pytest.mark.parametrize("body", ENDS)
@pytest.mark.holds("code-success")
def test_each_end_of_a_program_has_its_sentence(tmp_path: Path, program: Path, body: str) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-m", 29_924_640)
    source = f"import os, sys, time, numpy as np\ndef data(hyperparameters):\n  {body}\n"
    code = store.put_snapshot("code", deterministic_zip([("d.py", source.encode())]))
    data = {"dataset": "d.py:data", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"data": data, "data_seed": 1, "env": {}, "threads": 1, "snapshot": {"program": "", "code": code}}
    process = supervise(program, store, run, "prepare", task)
    output, _ = process.communicate(timeout=60)
    reason = ENDS[body]
    # A status of 3 is how code says that its input is wrong.
    is_wrong_input = reason.startswith("data:") or "sys.exit(3)" in body
    wrong_input = ExitCode.WRONG_INPUT if is_wrong_input else ExitCode.FAILED
    assert process.returncode == (wrong_input if reason else ExitCode.DONE), output
    assert store.read(run).reason == (reason or "its process ended without recording why")
    log = b"".join(data for _, data in read_log(store.try_folder(run, "a"))).decode()
    if "ValueError" in reason:
        assert "Traceback" in log
    if "crashed" in reason:
        assert "Fatal Python error: Segmentation fault" in log
    if "string_at, 0" in body:
        assert "cronsemble: its process ended with SIGSEGV after its work was done" in log


@pytest.mark.parametrize(
    ("number", "kills", "machine_kills", "reason"),
    [
        (signal.SIGKILL, 1, 1, "train was killed by SIGKILL for memory"),
        (signal.SIGTERM, 1, 1, "train was killed by SIGTERM, a process of it killed for memory"),
        (
            signal.SIGKILL,
            0,
            1,
            "train was killed by SIGKILL, while this machine ran out of memory and the kernel killed processes",
        ),
        (signal.SIGKILL, 0, 0, "train was killed by SIGKILL, by another process or by the kernel for memory"),
        (signal.SIGILL, 0, 0, "train crashed in compiled code (SIGILL, an instruction that this processor does not have)"),
    ],
)
def test_a_signal_is_told_with_what_the_kernel_knows(number: int, kills: int, machine_kills: int, reason: str) -> None:
    error = step_error("train", ChildEnd(-number, False, False, 0), "", "", kills, machine_kills)
    assert str(error).split(" (the limit")[0] == reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b]0;title\x07a\x1b[31mb\x1b[0m", "ab"),
        ("\x9b31mred \x9d8;;http://x\x9clink", "red link"),
        ("\x1bPq#0\x1b\\x\x1b(Bdone\x1bc", "xdone"),
        ("one\r\ntwo\x0b\x0cthree\x85four\u2028five\x00", "one two three four five"),
        ("pay \u202e001\u202c and \u2066x\u2069\u200f\u061c", "pay 001 and x"),
        ("é 数据 [bold]x[/bold]", "é 数据 [bold]x[/bold]"),
        ("\x1b]0;never ended", "]0;never ended"),
    ],
)
@pytest.mark.holds("code-reason")
def test_what_is_shown_is_one_line_without_commands_for_a_terminal(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert one_line(one_line(text)) == shown


def test_a_long_text_is_cut() -> None:
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
