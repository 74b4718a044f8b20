"""What is written for other programs to read: strict JSON, CSV, and names of files made of any text."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import strict_json
from jobs.csv_text import csv_text
from jobs.portable import inputs
from jobs.store import LocalStore
from jobs.store.files import append_line, parse_object, to_json
from jobs.store.names import name_part

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=4), values, max_size=4),
    max_leaves=8,
)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
@pytest.mark.holds("printed-json")
def test_every_json_is_strict(value: dict[str, Any]) -> None:
    """A number that is none is null, in whatever is written and by whichever Python; all else comes back."""
    for data in (strict_json.dumps(value).encode(), to_json(value), inputs.to_json(value)):
        assert json.loads(data, parse_constant=_refuse) is not None
        assert parse_object(data) == json.loads(data)
    if "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value):
        assert json.loads(to_json(value)) == value


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_what_is_no_number_is_read_as_absent(text: str) -> None:
    assert parse_object(f'{{"accuracy": {text}}}'.encode()) == {"accuracy": None}


def test_a_name_with_other_bytes_than_utf_8_can_be_written_and_read(tmp_path: Path) -> None:
    append_line(tmp_path / "notes", {"by": "a\udcffb"})
    assert to_json({"by": "a\udcffb"}) == b'{\n "by": "a?b"\n}\n'
    assert re.fullmatch(rb'{"by": "a\?b", "checksum": "[0-9a-f]+"}\n', (tmp_path / "notes").read_bytes())


@pytest.mark.holds("volume-links")
def test_a_line_is_not_added_to_what_a_link_names(tmp_path: Path) -> None:
    (tmp_path / "profile").write_text("export A=1\n")
    (tmp_path / "notes").symlink_to(tmp_path / "profile")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(tmp_path / "notes", {"reason": "$(id)"})
    assert (tmp_path / "profile").read_text() == "export A=1\n"


@given(st.lists(st.lists(st.text() | st.sampled_from(["\r", "a\rb", "\r\n", '"', ","]), min_size=2, max_size=4), min_size=1))
@pytest.mark.holds("printed-csv")
def test_every_row_of_csv_reads_back(rows: list[list[str]]) -> None:
    text = csv_text(rows)
    assert text.endswith("\n") and list(csv.reader(io.StringIO(text, newline=""))) == rows


ODD_NAMES = ["", ".", "..", "/", "../../x", "a/b", "\0", "a%2Fb", "x" * 300, "é" * 90, "\udcff", "a\nb"]
ANY_NAME = st.text() | st.sampled_from(ODD_NAMES)


@given(ANY_NAME, ANY_NAME)
@pytest.mark.holds("volume-names")
def test_no_two_texts_have_one_name_and_none_leads_elsewhere(left: str, right: str) -> None:
    for text in (left, right):
        name = f"alive-{name_part(text)}.json"
        assert len(os.fsencode(name)) < 160 and "/" not in name and name.isascii() and name.isprintable()
    assert (name_part(left) == name_part(right)) == (left == right)


def test_a_plain_name_stays_as_it_is() -> None:
    assert name_part("node-1.example.org") == "node-1.example.org" and name_part("a/b") == "a%2Fb"


@pytest.mark.parametrize("host", ["a/b", "../../../escape", "/etc/x", "..", "", "\0", "h" * 300, "höst", "\udcff", "a\nb", "%2F"])
@pytest.mark.holds("volume-names")
def test_any_host_writes_inside_the_store_alone(tmp_path: Path, host: str) -> None:
    root = tmp_path / "a" / "store"
    ledger = LocalStore(root).ledger
    (ledger.folder("e") / "notes").mkdir(parents=True)
    ledger.record_heartbeat("e", host, "2026-11-20T06:00:00Z")
    ledger.add_note("e", host, {"time": "2026-11-20T06:00:00Z", "event": "missed", "host": host})
    assert ledger.last_heartbeat("e", host) == "2026-11-20T06:00:00Z" and len(list(ledger.notes("e"))) == 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {ledger.folder("e"), ledger.folder("e") / "notes"} and len(files) == 2
