"""Arrays that somebody else wrote: what is damaged or declares more than there is costs an error and no memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jobs.keras3.array_files import BadArrays, PickledArrays, read_headers, read_npy, read_npz
from jobs.keras3.prepare import read_npz as read_dataset
from jobs.portable.inputs import WrongInput
from jobs.store.regular_files import Unreadable


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    """An .npy whose header is this text."""
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + data


def declared(shape: str, descr: str = "'<f4'", data: bytes = b"1234") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data)


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in members:
            out.writestr(name, data)
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(archive(("x_train.npy", npy(np.zeros(3)))))
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def broken_zlib() -> bytes:
    data = bytearray(archive(("x_train.npy", npy(np.arange(1000)))))
    data[60:200] = os.urandom(140)
    return bytes(data)


def bomb() -> bytes:
    """What says that a few bytes become three gigabytes."""
    data = bytearray(archive(("x_train.npy", npy(np.zeros(100_000)))))
    struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 24, 3 << 30)
    return bytes(data)


def duplicated() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return archive(("x_train.npy", npy(np.zeros(3))), ("x_train.npy", npy(np.ones(3))))


def one(data: bytes) -> Callable[[], bytes]:
    return lambda: archive(("x_train.npy", data))


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (bytes, "empty"),
    "an .npy": (lambda: npy(np.zeros(3)), "an .npy of one array"),
    "no zip": (lambda: b"hello" * 100, "no zip archive"),
    "cut off": (lambda: archive(("x_train.npy", npy(np.zeros(100))))[:-30], "no zip archive"),
    "broken zlib": (broken_zlib, ""),
    "encrypted": (encrypted, "encrypted"),
    "twice": (duplicated, "twice"),
    "many": (lambda: archive(*((f"a{n}", b"") for n in range(1001))), "more than 1000 arrays"),
    "lzma": (lambda: archive(("x_train.npy", npy(np.zeros(3))), compression=zipfile.ZIP_LZMA), "does not write"),
    "a bomb": (bomb, "would expand"),
    "pickles": (one(npy(np.array([{}, {}], dtype=object))), "pickled"),
    "pickles in a record": (one(declared("(1,)", "[('a', '|O')]", b"12345678")), "pickled"),
    "no array": (one(b"hello"), "no array"),
    "a petabyte": (one(declared("(1125899906842624,)")), "are there"),
    "more than 64 bits": (one(declared(f"({10**30},)")), "more bytes than there are anywhere"),
    "too little": (one(declared("(2,)")), "are there"),
    "too much": (one(declared("(1,)", data=b"12345678")), "are there"),
    "a negative shape": (one(declared("(-1,)")), "its shape"),
    "two negative ones": (one(declared("(-1, -1)")), "its shape"),
    "a shape of truth": (one(declared("(True,)")), "its shape"),
    "a shape of text": (one(declared("('1',)")), "its shape"),
    "many dimensions": (one(declared("(" + "1," * 64 + ")")), "its shape"),
    "empty and endless": (one(declared("(1152921504606846976, 0)", data=b"")), "no bytes"),
    "items without bytes": (one(declared("(1152921504606846976,)", "'<U0'", b"")), "no bytes"),
    "no type": (one(declared("(1,)", "'<q99'")), "damaged header"),
    "deep header": (one(header("(" * 5000)), "damaged header"),
    "a call": (one(header("__import__('os').abort()")), "damaged header"),
    "no dictionary": (one(header("[1]")), "damaged header"),
    "a long header": (one(header(" " * 70_000, version=2)), "header of"),
    "another version": (one(header("{}", version=9)), "no array that numpy writes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_refused(name: str, tmp_path: Path) -> None:
    make, why = BAD[name]
    path = tmp_path / "data.npz"
    path.write_bytes(make())
    with pytest.raises(BadArrays) as caught:
        read_npz(path)
    assert why in str(caught.value) and len(str(caught.value)) < 200
    assert isinstance(caught.value, PickledArrays) == ("pickled" in why)
    with pytest.raises(WrongInput, match=r"^data\.dataset: .*(is not an \.npz of arrays|has pickled objects)"):
        read_dataset(path, "data.dataset")


def test_no_memory_is_taken_for_what_is_not_there(tmp_path: Path) -> None:
    for n, name in enumerate(("a petabyte", "more than 64 bits", "a bomb", "items without bytes", "deep header")):
        (tmp_path / f"{n}.npz").write_bytes(BAD[name][0]())
    program = """
import re, sys
from pathlib import Path
from jobs.keras3.array_files import BadArrays, read_npz
for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    try:
        read_npz(path)
    except BadArrays:
        continue
    sys.exit(f"{path} was read")
# Not getrusage: that remembers the memory of the process that started this one.
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500_000  # KiB; numpy itself takes 50,000


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    for name in ("pipe.npz", "folder.npz"):
        with pytest.raises(Unreadable):
            read_npz(tmp_path / name)
        with pytest.raises(WrongInput, match="not a file"):
            read_dataset(tmp_path / name, "data.dataset")


ARRAYS = {
    "a": np.arange(12, dtype="float32").reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "scalar": np.array(1.5),
    "empty": np.zeros((0, 8, 8)),
    "texts": np.array(["one", "zwei"]),
    "record": np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_all_that_numpy_saves_without_pickles_is_read(save: Callable[..., None], tmp_path: Path) -> None:
    save(tmp_path / "data.npz", **ARRAYS)
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as out:
        out.writestr("README", "mine")
    read = read_npz(tmp_path / "data.npz")
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)
    assert {name: found.shape for name, found in read_headers(tmp_path / "data.npz").items()} == {
        name: array.shape for name, array in ARRAYS.items()
    }
    for name, array in ARRAYS.items():
        np.save(tmp_path / "one.npy", array)
        assert np.array_equal(read_npy(tmp_path / "one.npy"), array), name


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_changed_bytes_are_an_archive_or_refused(changes: list[tuple[int, int]], cut: int, compressed: bool) -> None:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, x_train=np.arange(60.0).reshape(3, 4, 5), y_train=np.array([0, 1, 2]))
    data = bytearray(file.getvalue())
    for position, value in changes:
        data[position % len(data)] = value
    handle = os.memfd_create("data.npz")
    try:
        os.write(handle, data[: len(data) - cut % 40 if cut % 3 == 0 else len(data)])
        path = Path(f"/proc/self/fd/{handle}")
        for read in (read_npz, read_headers, read_npy):
            try:
                read(path)
            except BadArrays:
                continue
    finally:
        os.close(handle)
