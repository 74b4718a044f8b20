"""Reads the arrays of .npz and .npy files that somebody else wrote: what a header declares is compared with what is there first.

A header of a hundred bytes can declare an array of a petabyte, and a zip archive of a megabyte can hold a gigabyte of zeros.
Nothing is unpickled, and no memory is taken for what the file does not hold.
"""

from __future__ import annotations

import ast
import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from jobs.store.regular_files import open_regular

MAX_ARRAYS = 1000
"""Arrays in an .npz."""
MAX_HEADER = 10_000
"""Bytes of an array's header, as numpy has it."""
MAX_DIMENSIONS = 32
MAX_EXPANSION, FREE_SIZE = 100, 1 << 30
"""How many times as large as it is in the file an array may become that has more than so many bytes."""
_MAX_EMPTY = 1 << 24
"""The largest dimension of an array without bytes: whoever counts its items must come to an end."""
_MAGIC = b"\x93NUMPY"
_END_OF_DIRECTORY = struct.Struct("<4s4H2LH")  # PKWARE's APPNOTE.TXT, 4.3.16
_MAX_DIRECTORY = 1 << 20
_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, EOFError, OverflowError, MemoryError,
    RecursionError, NotImplementedError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What zipfile, zlib, ast and numpy raise for damaged bytes, beside OSError."""


class BadArrays(ValueError):
    """A file does not hold arrays that can be read; the text says why, without the file's name."""


class PickledArrays(BadArrays):
    """A file holds pickled objects."""


@dataclass(frozen=True)
class ArrayHeader:
    """What an array's header says of it."""

    shape: tuple[int, ...]
    dtype: Any


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, Any]:
    """The arrays of an .npz by name, or those of them that are named; others are not read.

    Raises BadArrays, and OSError for what is no regular file or cannot be read.
    """
    with _opened(path) as (file, archive):
        if archive is None:
            raise BadArrays("it is an .npy of one array: give an .npz with named arrays")
        arrays = {}
        for name, member in _members(archive, os.fstat(file.fileno()).st_size):
            if names is not None and name not in names:
                continue
            with archive.open(member) as opened:
                if not _starts_with_magic(opened):
                    if member.filename.endswith(".npy"):
                        raise BadArrays(f"{name} in it is no array")
                    continue
            with archive.open(member) as opened:
                _read_header(opened, member.file_size, name)
            with archive.open(member) as opened:
                arrays[name] = np.lib.format.read_array(opened, allow_pickle=False)
        return arrays


def read_headers(path: Path) -> dict[str, ArrayHeader]:
    """The headers of an .npz's arrays, by name; raises as :func:`read_npz`."""
    with _opened(path) as (file, archive):
        headers: dict[str, ArrayHeader] = {}
        if archive is None:
            return headers
        for name, member in _members(archive, os.fstat(file.fileno()).st_size):
            with archive.open(member) as opened:
                if member.filename.endswith(".npy") and _starts_with_magic(opened):
                    with archive.open(member) as header:
                        headers[name] = _read_header(header, member.file_size, name)
        return headers


def read_checksums(path: Path) -> dict[str, tuple[int, int]]:
    """Of each of an .npz's arrays the CRC-32 and size of its bytes, by name, as its directory has them; raises as `read_npz`."""
    with _opened(path) as (file, archive):
        if archive is None:
            return {}
        return {name: (member.CRC, member.file_size) for name, member in _members(archive, os.fstat(file.fileno()).st_size)}


def read_npy(path: Path) -> Any:
    """The array of an .npy, mapped into memory; raises BadArrays, and OSError for what is no regular file or cannot be read."""
    with _opened(path) as (file, archive):
        if archive is not None:
            raise BadArrays("it is an .npz of several arrays")
        header = _read_header(file, os.fstat(file.fileno()).st_size, "it")
        if prod(header.shape) == 0 or not header.shape:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        # By the descriptor: another file may have taken the name meanwhile.
        return np.load(f"/proc/self/fd/{file.fileno()}", mmap_mode="r", allow_pickle=False)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], zipfile.ZipFile | None]]:
    """A regular file, and the archive that it is; all that damaged bytes make others raise becomes BadArrays."""
    with open(open_regular(path, follows_links=True), "rb") as file:
        try:
            is_array = file.read(len(_MAGIC)) == _MAGIC
            file.seek(0)
            if is_array:
                yield file, None
                return
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                yield file, archive
        except BadArrays:
            raise
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise BadArrays("a part of it begins before the file") from error
        except _ERRORS as error:
            raise BadArrays(str(error)[:100] or type(error).__name__) from error


def _check_directory(file: IO[bytes]) -> None:
    """Raise BadArrays for what is no zip archive, or one with a directory too large to be read."""
    size = file.seek(0, os.SEEK_END)
    tail_size = min(size, _END_OF_DIRECTORY.size + 0xFFFF)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    position = tail.rfind(b"PK\x05\x06")
    if position < 0 or len(tail) - position < _END_OF_DIRECTORY.size:
        raise BadArrays("it is no zip archive" if size else "it is empty")
    _, _, _, _, count, directory_size, _, _ = _END_OF_DIRECTORY.unpack_from(tail, position)
    if count > MAX_ARRAYS or directory_size > _MAX_DIRECTORY:
        raise BadArrays(f"it has more than {MAX_ARRAYS} arrays")
    file.seek(0)


def _members(archive: zipfile.ZipFile, size: int) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The members of an archive of ``size`` bytes that can be read, with the names of their arrays; raises BadArrays."""
    names = set()
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in names:
            raise BadArrays(f"{name} is in it twice")
        names.add(name)
        if member.flag_bits & 1:
            raise BadArrays(f"{name} in it is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadArrays(f"{name} in it is compressed in a way that numpy does not write (method {member.compress_type})")
        if member.compress_size > size or (member.compress_type == zipfile.ZIP_STORED and member.file_size > size):
            raise BadArrays(f"{name} in it is longer than the file")
        if member.file_size > FREE_SIZE and member.file_size > MAX_EXPANSION * member.compress_size:
            raise BadArrays(
                f"{name} in it would expand {member.file_size // max(1, member.compress_size)} times: use numpy.savez"
            )
        yield name, member


def _starts_with_magic(file: IO[bytes]) -> bool:
    return file.read(len(_MAGIC)) == _MAGIC


def _read_header(file: IO[bytes], size: int, name: str) -> ArrayHeader:
    """The header of an array whose file has ``size`` bytes in all; raises BadArrays unless these are what it declares.

    numpy's own reader makes the array first (numpy.lib.format: magic, version, the header's length, a Python literal).
    """
    start = file.read(8)
    if len(start) < 8 or start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise BadArrays(f"{name} is no array that numpy writes")
    length_size = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(length_size), "little")
    if length > MAX_HEADER:
        raise BadArrays(f"{name} has a header of {length} bytes")
    text = file.read(length)
    if len(text) < length:
        raise BadArrays(f"{name} is cut off")
    try:
        header = ast.literal_eval(text.decode("utf-8" if start[6] == 3 else "latin1").strip())
        shape, dtype = header["shape"], np.lib.format.descr_to_dtype(header["descr"])
    except _ERRORS as error:
        raise BadArrays(f"{name} has a damaged header") from error
    if dtype.hasobject:
        raise PickledArrays(f"{name} has pickled objects")
    is_shape = isinstance(shape, tuple) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    if not is_shape or len(shape) > MAX_DIMENSIONS:
        raise BadArrays(f"{name} has a damaged header: its shape is {str(shape)[:80]}")
    declared, present = prod(shape) * dtype.itemsize, size - len(start) - length_size - length
    if declared != present:
        raise BadArrays(f"{name} is declared as {_count(declared)}, and {_count(present)} are there")
    if not declared and max(shape, default=0) > _MAX_EMPTY:
        raise BadArrays(f"{name} has no bytes and the shape {shape}")
    return ArrayHeader(shape, dtype)


def _count(size: int) -> str:
    return f"{size:,} bytes" if size < 1 << 70 else "more bytes than there are anywhere"
