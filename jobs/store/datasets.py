"""Prepared data by its name: the fingerprint of an .npz's arrays, found without NumPy. Standard library alone, Python 3.9."""

from __future__ import annotations

import ast
import hashlib
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from jobs.store.files import BLOCK

_LONGEST_HEADER = 1 << 16
"""Bytes; an array's header has some hundred."""


class UnreadableArrays(ValueError):
    """A file is not an .npz of arrays as the prepare step writes it."""


def fingerprint_of(path: Path) -> str:
    """The SHA-256 over names, dtypes, shapes and bytes of the arrays in an .npz, in name order, as `jobs.keras3.prepare` has it.

    Raises OSError, UnreadableArrays.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                with archive.open(name) as file:
                    dtype, shape = _read_header(file)
                    digest.update(f"{name[: -len('.npy')]}\0{dtype}\0{shape}\0".encode())
                    for block in iter(lambda file=file: file.read(BLOCK), b""):  # type: ignore[misc]
                        digest.update(block)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, TypeError, KeyError) as error:
        raise UnreadableArrays(str(error) or type(error).__name__) from error
    except (SyntaxError, RecursionError, MemoryError, NotImplementedError, RuntimeError) as error:
        raise UnreadableArrays(str(error) or type(error).__name__) from error
    return digest.hexdigest()


def _read_header(file: IO[bytes]) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of the array that a .npy file begins with; raises ValueError, KeyError, TypeError or struct.error."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY":
        raise ValueError("it holds something that is no array")
    size_format = "<H" if start[6] == 1 else "<I"
    (size,) = struct.unpack(size_format, file.read(struct.calcsize(size_format)))
    if size > _LONGEST_HEADER:
        raise ValueError("an array's header is too long")
    header = ast.literal_eval(file.read(size).decode("latin-1").strip())
    if header["fortran_order"]:
        raise ValueError("an array is not in the order of C")
    return str(header["descr"]), tuple(map(int, header["shape"]))
