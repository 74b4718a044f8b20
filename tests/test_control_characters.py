"""Whatever a store or a configuration says, no command prints it as a command for the terminal, nor as further lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from commands import CLI, run_command, run_on_terminal
from jobs import contract as c
from scheduler.console.run_display import LiveDisplay, PlainDisplay
from stores import Builder

EVIL = (
    "evil \x1b[2J\x1b]0;title\x07\x1b[31mred\x9b31m\r\nnew line\u2028and\x85more \u202eright to left\u2066 [bold]x[/bold]\x00\x7f"
)
EVIL_NAME = EVIL.replace("/", "").replace("\0", "")
"""The same where a name of a file is expected."""
_SPINNER = re.compile(r"\x1b\[(?:2K|1A|\?25[lh])|\r")
"""What rich draws a spinner with."""
OUR_COLOURS = re.compile(r"\x1b\[(?:0|2|31|32|33|36)m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration whose store was written by somebody who means harm, wherever it takes free text."""
    (tmp_path / "config.yaml").write_text(
        "experiment: e\nstore: ./store\nbackends: {jax: {schedule: '0 1 * * *'}}\nensemble: {schedule: '0 6 * * *'}\n"
    )
    builder = Builder(tmp_path / "store")
    builder.revise("2026-11-01T00:00", {"train-jax": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}}, what=EVIL)
    process = {"host": EVIL, "boot": EVIL, "pid": 1, "start": 1}
    builder.run("train-jax", "2026-11-20T01:00", "failed", reason=EVIL, process=process, files={c.LOG: EVIL.encode()})
    builder.run("train-jax", "2026-11-21T01:00", "running", process=process)
    builder.run(
        "train-jax", "2026-11-22T01:00", host=EVIL, processor=EVIL, snapshot={"task": EVIL_NAME}, image={"reference": EVIL}
    )
    builder.run("train-jax", "2026-11-23T01:00", EVIL, reason=EVIL)
    cancelled = builder.run("train-jax", "2026-11-23T02:00", "failed", reason="x")
    builder.store.cancel(cancelled, {"schema": 1, "reason": EVIL, "by": EVIL, "time": "2026-11-23T02:00:00Z", "kind": EVIL})
    builder.run("train-jax", "2026-11-25T01:00", kind=EVIL, degraded=EVIL, data={"note": EVIL}, environment={EVIL: EVIL})
    observed = builder.run("train-jax", "2026-11-24T01:00", "interrupted", reason="x")
    builder.store.record_observation(observed, {"status": "failed", "what": EVIL, "reason": EVIL, "by": EVIL, "time": EVIL})
    members = [{"member": EVIL_NAME, "left_out": EVIL}, {"member": "jax", "run": EVIL, "accuracy": 0.5}]
    ensemble = builder.run("ensemble", "2026-11-22T06:00", members=members, ensemble={"accuracy": 0.5})
    builder.store.record_verdict(
        ensemble, {"repeats": EVIL, "status": EVIL, "members": {EVIL: {"repeats": EVIL, "status": EVIL}}}
    )
    builder.note("2026-11-23T03:00", "missed", task="train-jax", minute=29_923_380, reason=EVIL)
    (tmp_path / "store/runs/e" / EVIL_NAME).mkdir()
    return tmp_path


READING = [
    ["history"],
    ["history", "--csv"],
    ["history", "--calendar"],
    ["history", "--revisions"],
    ["history", "e-train-jax-29918940"],
    ["history", "e-train-jax-29926140"],
    ["show", "e-train-jax-29926140"],
    ["show", "e-train-jax-29918940"],
    ["show", "e-train-jax-29921820"],
    ["show", "e-train-jax-29923320"],
    ["show", "e-ensemble"],
    ["logs", "e-train-jax-29918940"],
    ["fsck"],
    ["gc", "--dry-run"],
    ["cancel", "train-jax"],
    ["rerun", "2026-11-22", "--dry-run"],
    ["backfill", "2026-11-19..2026-11-24", "--dry-run"],
    ["compare", "e-train-jax-29918940", "e-train-jax-29926140"],
    ["compare", "e-train-jax-29926140", "e-train-jax-29918940"],
    ["next"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
@pytest.mark.holds("volume-text", "printed-lines")
def test_no_command_prints_control_characters_of_a_store(folder: Path, arguments: list[str]) -> None:
    printed = run_on_terminal(*arguments, folder=folder, TERM="xterm")
    assert "Traceback" not in printed
    if arguments[0] == "logs":
        # The colours of the user's own output pass on a terminal, and what moves in its line.
        printed = printed.replace("\r", "").replace("\x1b[31m", "")
    printed = _SPINNER.sub("", printed)
    bad = [character for character in OUR_COLOURS.sub("", printed) if not character.isprintable() and character != "\n"]
    assert not bad, printed
    # As JSON, and in the name of a file, it is escaped.
    assert "title" not in printed.replace("%3Btitle%07", "") or "\\u001b" in printed


@pytest.mark.parametrize("arguments", [["history", "--json"], ["show", "e-train-jax-29918940", "--json"]], ids=" ".join)
@pytest.mark.holds("printed-json")
def test_json_has_every_character_escaped(folder: Path, arguments: list[str]) -> None:
    done = run_command(*arguments, folder=folder, check=True)
    assert done.stdout.isascii() and json.loads(done.stdout)


@pytest.mark.parametrize(
    "text",
    [
        f"experiment: {json.dumps(EVIL)}\n",
        f"experiment: e\n{json.dumps(EVIL)}: 1\n",
        f"experiment: e\nbackends: {{jax: {{schedule: {json.dumps(EVIL)}}}}}\n",
        f"experiment: e\nbackends: {{{json.dumps(EVIL)}: {{}}}}\nmodel: {json.dumps(EVIL)}\n",
        f"experiment: e\ndata: {{dataset: {json.dumps(EVIL)}}}\nbackends: {{jax: }}\n",
    ],
)
@pytest.mark.holds("printed-lines")
def test_an_error_of_a_configuration_is_one_line_each(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    printed = run_on_terminal("check", folder=tmp_path, TERM="xterm")
    assert printed.count("config.yaml") == printed.count("\n") > 0
    assert all(character.isprintable() or character == "\n" for character in printed)


@pytest.mark.holds("volume-text", "printed-markup")
def test_the_display_of_a_run_reads_no_markup(tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    run = Builder(tmp_path).run("train-jax", "2026-11-20T01:00", "failed", reason="[red]x[/blink] [/] \\")
    result = Builder(tmp_path).store.read(run)
    out = StringIO()
    with LiveDisplay(Console(file=out, force_terminal=True, width=120)) as display:
        display.stage("train-jax", "[link=http://x]prepare")
        display.done("train-jax", result)
    assert "failed: [red]x[/blink] [/] \\" in out.getvalue()
    plain = StringIO()
    with PlainDisplay(plain) as display:
        display.say(EVIL)
    assert plain.getvalue().count("\n") == 1 and plain.getvalue().strip().isprintable()


@pytest.mark.holds("printed-lines")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_text_that_the_locale_cannot_write_is_escaped(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "config.yaml").write_text("experiment: e\nstore: ./store\nbackends: {jax: {}}\n")
    Builder(tmp_path / "store").run(
        "train-jax", "2026-11-20T01:00", "failed", reason="Gr\u00f6\u00dfe \u65e5\u672c", files={c.LOG: b""}
    )
    for arguments in (["history"], ["show", "e-train-jax"], ["logs", "e-train-jax"]):
        done = subprocess.run(
            [*CLI, *arguments], cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
        )
        assert done.returncode == 0 and "Gr\u00f6\u00dfe \u65e5\u672c".encode(encoding, "backslashreplace") in done.stdout


@pytest.mark.holds("printed-lines")
def test_a_folder_by_any_name_makes_no_line_of_the_output(tmp_path: Path) -> None:
    folder = tmp_path / EVIL.replace("/", "").replace("\0", "")
    folder.mkdir()
    (folder / "config.yaml").write_text("experiment: e\nbackends: {jax: {schedule: '0 1 * * *'}}\n")
    for arguments in (["check", "-f", str(folder / "config.yaml")], ["check", "-f", str(folder / "absent.yaml")]):
        printed = run_on_terminal(*arguments, folder=tmp_path, TERM="xterm")
        assert printed.count("\n") == 1 and printed.strip().isprintable()
