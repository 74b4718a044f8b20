"""Messages and names: whatever comes, it is read as it was sent, or refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.remote.messages import MAX_BODY, MalformedMessage, encode_message, read_message
from jobs.store.safe_paths import UnsafePath, split_path

HEADS = st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text()))


def in_pieces(data: bytes, size: int) -> Callable[[int], bytes]:
    """Reads at most ``size`` bytes at a time."""
    file = io.BytesIO(data)
    return lambda limit: file.read(min(size, limit))


@given(st.lists(st.tuples(HEADS, st.binary(max_size=200))), st.integers(1, 50))
def test_messages_come_as_they_were_sent(messages: list[tuple[dict[str, object], bytes]], size: int) -> None:
    read = in_pieces(b"".join(encode_message(head, body) for head, body in messages), size)
    received = []
    while (message := read_message(read)) is not None:
        received.append(message)
    assert received == messages


@given(HEADS, st.binary(max_size=50), st.data())
def test_a_message_that_breaks_off_is_no_message(head: dict[str, object], body: bytes, data: st.DataObject) -> None:
    whole = encode_message(head, body)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(EOFError):
        read_message(in_pieces(whole[:cut], 7))


@given(st.binary(min_size=8, max_size=100))
def test_what_is_no_message_is_said_to_be_none(data: bytes) -> None:
    try:
        message = read_message(in_pieces(data, 100))
    except (MalformedMessage, EOFError):
        return
    assert message is not None
    assert read_message(io.BytesIO(encode_message(*message)).read) == message


def test_a_message_too_large_is_not_sent() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_message({}, bytes(MAX_BODY + 1))


@given(st.one_of(st.text(), st.lists(st.sampled_from(["..", ".", "", "a", "b c", "…", "~"])).map("/".join)))
def test_a_name_that_is_taken_stays_inside(name: str) -> None:
    root = Path("/store/of/ours")
    try:
        parts = split_path(name)
    except UnsafePath:
        return
    path = root.joinpath(*parts)
    assert "/".join(parts) == name
    assert path.parts[:4] == root.parts and ".." not in path.parts and len(path.parts) == 4 + len(parts)
