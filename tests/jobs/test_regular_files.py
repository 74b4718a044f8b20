"""One bounded reader of regular files: whatever has a file's name, it answers at once, and says why it cannot be read."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.store import regular_files
from jobs.store.document_files import why_unreadable
from jobs.store.files import list_names, load_json, parse_json, read_json, read_lines, sha256_of
from jobs.store.regular_files import DamagedContent, Unreadable, read_regular


def reads_everything() -> bool:
    """Whether permissions keep this process from nothing: it is root's, and has kept root's capabilities."""
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        return os.access(file.name, os.R_OK)


needs_another_user = pytest.mark.skipif(reads_everything(), reason="the user root may read everything")


def bind(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            # The path of a socket has at most 107 bytes.
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def fill(path: Path, size: int) -> None:
    """A file without blocks."""
    path.touch()
    os.truncate(path, size)


ODD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda path: path.mkdir(), "a folder, not a file"),
    "a pipe": (lambda path: os.mkfifo(path), "a named pipe, not a file"),
    "a socket": (bind, "a socket or a device, not a file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "a symbolic link, which is not followed"),
    "a link to itself": (lambda path: path.symlink_to(path), "a symbolic link, which is not followed"),
    "a large file": (lambda path: fill(path, 5 << 30), "larger than 16 MiB"),
    "nothing": (lambda path: path.touch(), "empty"),
    "NUL": (lambda path: path.write_bytes(bytes(1000)), "not JSON"),
    "UTF-16": (lambda path: path.write_bytes('{"a": 1}'.encode("utf-16")), "not UTF-8"),
    "NaN": (lambda path: path.write_text("NaN"), "no JSON object"),
    "a list": (lambda path: path.write_text("[]"), "no JSON object"),
    "deep lists": (lambda path: path.write_text("[" * 25_000 + "]" * 25_000), "nested deeper than 100 levels"),
    "deep objects": (lambda path: path.write_text('{"a":' * 25_000 + "1" + "}" * 25_000), "nested deeper than 100 levels"),
    "101 levels": (lambda path: path.write_text('{"a":' * 101 + "1" + "}" * 101), "nested deeper than 100 levels"),
    "half a character": (lambda path: path.write_text(r'{"a": "\ud800"}'), "half a character in it"),
    "many digits": (lambda path: path.write_text('{"a": ' + "9" * 100_000 + "}"), "a number of 100000 digits"),
}


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_is_unreadable_and_says_why(name: str, tmp_path: Path) -> None:
    make, why = ODD_FILES[name]
    path = tmp_path / "record.json"
    make(path)
    with pytest.raises(Unreadable) as caught:
        load_json(path)
    assert (caught.value.why, caught.value.filename) == (why, str(path))
    assert (read_json(path), why_unreadable(path)) == (None, why)
    assert read_lines(path) == []


def test_a_device_is_unreadable() -> None:
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        with pytest.raises(Unreadable, match="device|permission"):
            read_regular(Path(device))


@needs_another_user
def test_what_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}")
    path.chmod(0)
    assert why_unreadable(path) == "permission denied"
    tmp_path.chmod(0)
    try:
        with pytest.raises(Unreadable):
            list_names(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_what_is_absent_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none.json", tmp_path / "file" / "record.json"):
        assert (load_json(path), why_unreadable(path), list_names(path)) == (None, "", [])
    assert list_names(tmp_path / "file") == []


def test_files_of_a_mounted_volume_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"a": 1}')
    (tmp_path / "link.json").symlink_to("data.json")
    assert load_json(tmp_path / "link.json", follows_links=True) == {"a": 1}
    (tmp_path / "pipe.json").symlink_to("pipe")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unreadable, match="pipe"):
        load_json(tmp_path / "pipe.json", follows_links=True)


def test_a_file_that_grows_is_not_read_without_end() -> None:
    # Its size is said to be 0.
    with pytest.raises(Unreadable, match="larger"):
        read_regular(Path("/proc/kallsyms"), max_size=100)


def test_one_bad_block_is_of_one_file_and_a_server_that_is_gone_of_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A fake: no disk here has a bad block.
    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "record.json").write_text("{}")
    monkeypatch.setattr(os, "open", fail)
    assert why_unreadable(tmp_path / "record.json") == "input/output error"
    monkeypatch.setattr(os, "statvfs", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        read_json(tmp_path / "record.json")
    assert not isinstance(caught.value, Unreadable)


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENFILE, errno.ENOMEM])
def test_an_outage_is_not_a_bad_file(number: int, tmp_path: Path) -> None:
    assert not isinstance(regular_files.as_unreadable(OSError(number, "outage"), tmp_path), Unreadable)


def test_a_hash_is_taken_of_regular_files_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.h5")
    with pytest.raises(Unreadable, match="pipe"):
        sha256_of(tmp_path / "model.h5")


@example(b"\0unreadable: ")
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_not(data: bytes) -> None:
    try:
        assert isinstance(parse_json(data), dict)
    except ValueError as error:
        assert str(error) and len(str(error)) < 60


def test_damaged_content_is_told_from_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(DamagedContent):
        load_json(tmp_path / "a.json")
    with pytest.raises(Unreadable) as caught:
        load_json(tmp_path / "b.json")
    assert not isinstance(caught.value, DamagedContent)
