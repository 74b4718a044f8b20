"""What is left of a text on a terminal: nothing commands it, and nothing is lost."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.text import one_line, printable_lines, single_line, terminal_output, whole_sequences
from scheduler.errors import CronsembleError

SEQUENCES = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x9b31m",
    "\x9d0;x\x9c",
    "\x1bP1$r\x1b\\",
    "\x1bc",
    "\x1b(B",
    "\x1b[38;5;1m",
]
TEXTS = st.lists(st.sampled_from([*SEQUENCES, "a", "é", "\n", "\r", "\u202e", "\u2066", "\x1b", "\x1b]0;", "\x9d", "\x07"])).map(
    "".join
)


@given(st.text() | TEXTS)
@pytest.mark.holds("printed-lines")
def test_no_text_commands_a_terminal(text: str) -> None:
    for shown in (one_line(text), single_line(text), printable_lines(text).replace("\x1b[31m", "").replace("\n", "")):
        assert all(character.isprintable() or character == "\t" for character in shown)


@pytest.mark.parametrize("start", ["\x1b]0;", "\x9d", "\x90", "\x1b[", "\x1b", "\x1b]0;x\x1b", "\x9b3"])
@pytest.mark.holds("printed-lines")
def test_a_sequence_without_an_end_hides_nothing(start: str) -> None:
    for clean in (one_line, single_line, printable_lines, terminal_output):
        assert "the reason" in clean(f"failed {start}é the reason") and "below" in clean(f"failed {start}\nbelow\x07")


@given(st.lists(st.sampled_from(SEQUENCES)), st.integers(0, 40))
def test_a_sequence_that_is_cut_in_two_is_one(sequences: list[str], at: int) -> None:
    text = "a".join(sequences)
    end = whole_sequences(text[:at])
    assert terminal_output(text[:end]) + terminal_output(text[end:]) == terminal_output(text)


def test_long_output_without_ends_takes_no_long_time() -> None:
    for text in ("\x90" * 65536, "\x1b]" * 32768, "\x1b[" * 32768, "\x9b" + "0" * 65535, "\x1b]" + "a" * 65534):
        assert len(terminal_output(text[: whole_sequences(text)])) <= len(text)


@pytest.mark.holds("printed-lines")
def test_what_others_say_makes_no_line_of_an_error() -> None:
    assert str(CronsembleError("e: the server says: x\nfsck: nothing is wrong\x1b[2J", "second")) == (
        "e: the server says: x fsck: nothing is wrong\nsecond"
    )


LOG = """
import sys
from scheduler.console.log_output import LogOutput
out = LogOutput()
for piece in eval(sys.argv[1]):
    out.write(piece)
out.end_line()
out.write_line("failed: \\x1b[2Jwhy\\nnot")
"""


def _on_terminal(pieces: list[bytes]) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", LOG, repr(pieces)], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = io.BytesIO()
    try:
        while data := os.read(ours, 1 << 16):
            output.write(data)
    except OSError:  # EIO: the other side has been closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return output.getvalue().decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"loss 0.25"], "loss 0.25\n"),
        ([b"a\x1b]0;ti", b"tle\x07b\n"], "ab\n"),
        ([b"accuracy 0.9\x1b]0;rest"], "accuracy 0.9 ]0;rest\n"),
        ([b"accuracy \xe2\x82"], "accuracy \ufffd\n"),
        (["accuracy 0.9\x9b".encode()], "accuracy 0.9 \n"),
        ([b"\x1b[31mred"], "\x1b[31mred\n\x1b[0m"),
        ([b"1/2\r2/2\r"], "1/2\r2/2\r\n"),
        ([], ""),
    ],
)
@pytest.mark.holds("printed-logs")
def test_the_last_line_of_a_log_is_whole_and_what_follows_begins_a_line(pieces: list[bytes], shown: str) -> None:
    assert _on_terminal(pieces) == f"{shown}failed: why not\n"
    if pieces:
        done = subprocess.run([sys.executable, "-c", LOG, repr(pieces)], capture_output=True, check=True)
        assert done.stdout == b"".join(pieces) + (b"" if pieces[-1].endswith(b"\n") else b"\n") + b"failed: why not\n"
