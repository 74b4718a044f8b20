"""What differs between two snapshots of code, for people and as a unified diff."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.snapshots.code_changes import code_changes
from scheduler.snapshots.program import deterministic_zip

OLD = [("models.py", b"a\nb\nc\n"), ("gone.py", b"x\n"), ("same.py", b"s\n"), ("weights.bin", b"\xff\x00")]
NEW = [("models.py", b"a\nB\nc\nd\n"), ("new.py", b"1\n2\n"), ("same.py", b"s\n"), ("weights.bin", b"\xff\x01")]


def test_files_and_lines() -> None:
    changes = code_changes(deterministic_zip(OLD), deterministic_zip(NEW))
    assert [change.describe() for change in changes] == [
        "gone.py: removed",
        "models.py: 2 lines added, 1 removed",
        "new.py: new, 2 lines",
        "weights.bin: its bytes differ",
    ]
    assert changes[1].unified_diff() == ["--- a/models.py", "+++ b/models.py", "@@ -1,3 +1,4 @@", " a", "-b", "+B", " c", "+d"]
    assert changes[3].unified_diff() == ["--- a/weights.bin", "+++ b/weights.bin"]
    assert code_changes(b"", deterministic_zip([("a.py", b"1")]))[0].describe() == "a.py: new, 1 line"


def test_what_is_no_archive() -> None:
    with pytest.raises(ValueError, match="no archive of code"):
        code_changes(b"nothing", b"")


@given(*(st.dictionaries(st.sampled_from(["a.py", "b/c.py"]), st.text()) for _ in "ab"))
def test_what_differs_is_named_and_nothing_else(old: dict[str, str], new: dict[str, str]) -> None:
    archives = [deterministic_zip([(name, text.encode()) for name, text in files.items()]) for files in (old, new)]
    assert [change.path for change in code_changes(*archives)] == [
        name for name in sorted({*old, *new}) if old.get(name) != new.get(name)
    ]
