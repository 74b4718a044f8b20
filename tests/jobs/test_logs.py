"""The log of a try: what is kept of much output and of long lines, and what is read of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.store.log_files import BLOCK, last_lines, log_files, position_of_last_lines, read_log
from jobs.supervisor.log_writer import LINE_LIMIT, LineCutter, LogWriter


def write(folder: Path, output: bytes, limit: int) -> None:
    """Write output as two steps of a try do, the second of them going on in the log of the first."""
    for part in (output[: len(output) // 2], output[len(output) // 2 :]):
        with LogWriter(folder, limit) as log:
            for start in range(0, len(part), 100):
                log.write(part[start : start + 100])


def content(folder: Path, position: int = 0) -> bytes:
    return b"".join(data for _, data in read_log(folder, position))


def test_a_short_log_is_one_file_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, b"one\ntwo\n", 1000)
    assert [file.path.name for file in log_files(tmp_path)] == ["log.txt"]
    assert content(tmp_path) == b"one\ntwo\n"


def test_of_a_long_log_the_middle_is_left_out(tmp_path: Path) -> None:
    output = b"".join(b"line %6d\n" % number for number in range(1000))
    write(tmp_path, output, 800)
    assert sum(file.size for file in log_files(tmp_path)) <= 800
    first, _, rest = content(tmp_path).partition(b"\n\xe2\x80\xa6 ")
    omitted, _, last = rest.partition("\u2026\n".encode())
    assert first == output[:400]
    assert output.endswith(last) and len(last) > 300
    assert int(omitted.split()[0].replace(b",", b"")) == len(output) - len(first) - len(last)


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=60),
    ends=st.booleans(),
    number=st.integers(1, 70),
    limit=st.sampled_from([10**6, 400]),
)
def test_the_last_lines_are_those_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ends: bool, number: int, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    write(folder, b"\n".join(lines) + (b"\n" if ends and lines else b""), limit)
    whole = content(folder)
    tail = content(folder, position_of_last_lines(folder, number))
    if limit == 10**6:
        assert tail == b"".join(_lines(whole)[-number:])
    assert whole.endswith(tail)


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def test_the_last_lines_are_found_across_blocks(tmp_path: Path) -> None:
    output = b"".join(b"%d\n" % number for number in range(100_000))
    (tmp_path / "log.txt").write_bytes(output)
    for lines in (1, 2, 9999, 50_000, 100_000, 200_000):
        assert content(tmp_path, position_of_last_lines(tmp_path, lines)) == b"".join(_lines(output)[-lines:])


def test_a_line_without_an_end_is_cut_with_a_word(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.write(b"before\n")
        for _ in range(10):
            log.write(b"x" * BLOCK)
        log.write(b"y\nafter\n")
    lines = content(tmp_path).split(b"\n")
    note = f" … [{9 * BLOCK + 1:,} bytes of this line left out]".encode()
    assert lines == [b"before", b"x" * LINE_LIMIT + note, b"after", b""]
    recorded = last_lines(tmp_path, 2, 20)
    assert recorded[-1] == "after" and all(len(line) <= 20 for line in recorded)


def test_a_progress_bar_that_never_ends_its_line_is_kept(tmp_path: Path) -> None:
    cutter = LineCutter()
    bar = b"\repoch 1: 50%" * 4000
    assert b"".join(cutter.cut(bar) for _ in range(10)) + cutter.finish() == bar * 10


MEASURE = """
import json, os, resource, sys
from pathlib import Path
from jobs.supervisor.child_process import ChildProcess, start_program
from jobs.supervisor.log_writer import LogWriter
from jobs.store.log_files import last_lines
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.stdout = open(os.devnull, "w")
program = "import sys\\nfor _ in range(%d): sys.stdout.write(%s)"
with LogWriter(Path(sys.argv[1]), 2_000_000) as log:
    command = [sys.executable, "-c", program % (int(sys.argv[2]), sys.argv[3])]
    end = ChildProcess(start_program(command, dict(os.environ)), log).wait(None)
tail = last_lines(Path(sys.argv[1]), 40, 1000)
used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
print(json.dumps([end.code, len(tail), max(map(len, tail)), used]), file=sys.stderr)
"""


@pytest.mark.parametrize("text", ["('x' * 99 + '\\n') * 10_000", "'x' * 1_000_000"], ids=["lines", "one line"])
def test_output_takes_no_memory(tmp_path: Path, text: str) -> None:
    """40 MB of output, and 40 lines of it recorded: a supervisor's memory grows by less than 8 MB."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path), "40", text]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    code, lines, longest, used = json.loads(done.stderr)
    assert (code, longest <= 1000) == (0, True) and lines in (1, 40)
    assert used < 8e6
    assert sum(file.size for file in log_files(tmp_path)) <= 2_000_000
