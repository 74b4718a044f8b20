"""Hostile arrays: odd .npz files as the dataset of a training; `prepare` takes each or says in one line what is wrong with it."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from chaos.commands import control_characters, strict_json
from chaos.kinds import Kind, Part

MEMORY, LARGE = 1000, 500_000_000
"""MiB of address space that reading a dataset may take, and the bytes of an array that needs more than that to be prepared."""
WRONG_INPUT = 3
"""The exit status for a fault in the data: ``jobs.contract.ExitCode.WRONG_INPUT``."""
NAMES = ("x_train", "y_train", "x_test", "y_test", "ids", "class_names", "x", "y", "x_predict")
DTYPES = (
    "?",
    "i1",
    "u1",
    "<i2",
    ">i4",
    "<i8",
    "<u8",
    "<f2",
    ">f4",
    "<f8",
    "<f16",
    "<c8",
    "<U3",
    "S3",
    "V4",
    "M8[D]",
    "m8[s]",
    "O",
)
DESCRIPTIONS = (
    "'<f4'", "'|O'", "'<f9'", "'>U99999999'", "''", "None", "7", "[('a', '<f4')]", "[('a', '<f4', (2, 2)), ('b', '|O')]",
    "'<M8[Y]'", "'|V0'", "'<U0'",
    "'f'", "__import__('os').system('true')", "'" + "a" * 9999 + "'", "[" * 200 + "]" * 200, "'<f4', 'x': 1",
)  # fmt: skip
SHAPES = (
    "()", "(0,)", "(0, 4)", "(40,)", "(-1, 4)", "(40, -4)", "(10**18,)", "(2**62, 4)", "(2**64,)", "(1,) * 40", "(40, 0)",
    "(True, 4)", "(4.0, 4)", "'x'", "None",
    "(9999999999, 9999999999)", "(40, 4, 1, 1, 1)", "(1000000000,)", "[40, 4]", "(40" + "0" * 5000 + ",)",
)  # fmt: skip
ODD_BYTES = ("", "50", "504b0304", "504b0506" + "00" * 18, "1f8b08", "93", "80049558", "ff" * 64, "00" * 4096)


def odd_array(name: str, dtype: str, size: str, random: Random) -> Any:
    """An array of a type and size that a dataset hardly has, filled with what that type allows."""
    shape: Any = {"usual": (40, 4) if name.startswith("x") else (40,), "none": (0,), "scalar": (), "image": (40, 3, 3),
    "colour": (40, 3, 3, 2),
                  "one": (1, 4), "deep": (2,) * 12, "empty items": (40, 0), "long": (5000,)}[size]  # fmt: skip
    count = int(np.prod(shape))
    if dtype in ("O", "<U3", "S3", "V4"):
        texts = [random.choice(("a", "b", "\0", "é", "\r\n", "\x1b[2J", ",", '"', "", "=1+1", "\u202e")) for _ in range(count)]
        values: Any = [text.encode() if dtype != "<U3" and dtype != "O" else text for text in texts]
        return np.array(values, dtype=dtype).reshape(shape)
    numbers = [random.choice((0, 1, 2, 1, 0, 255, -1, 3)) for _ in range(count)]
    array = np.array(numbers).astype(np.dtype(dtype) if dtype[0] not in "Mm" else "i8").astype(dtype).reshape(shape)
    if array.dtype.kind in "fc" and count and random.random() < 0.5:
        array.flat[0] = random.choice((float("nan"), float("inf"), -float("inf"), 6e4, 1e-40, -0.0))
    return array


def array_bytes(array: Any) -> bytes:
    """An array as an .npy file; objects are pickled, which nobody may read."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header_bytes(description: str, shape: str, order: str, data: bytes, version: int = 1) -> bytes:
    """An .npy file with a header of one's own."""
    text = f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}".encode("latin1", "replace")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = len(text).to_bytes(2 if version == 1 and len(text) < 65536 else 4, "little")
    return b"\x93NUMPY" + bytes([1 if len(length) == 2 else 2, 0]) + length + text + data


@cache
def large_array() -> bytes:
    """Zeros in the form of an .npy."""
    return header_bytes("'<f8'", f"(40, {LARGE // 320})", "False", bytes(LARGE))


def whole_arrays() -> dict[str, bytes]:
    """A small dataset that can be used: the files of its .npz."""
    x = np.arange(160, dtype="float32").reshape(40, 4)
    return {"x_train.npy": array_bytes(x), "y_train.npy": array_bytes(np.arange(40) % 3)}


class Arrays(Kind):
    """Datasets; a part of a case is one change of a small whole one."""

    name = "arrays"
    counted_in_tests = 200

    def case(self, random: Random) -> list[Part]:
        return [self._change(random) for _ in range(random.choice((1, 1, 2, 3, 5)))]

    def _change(self, random: Random) -> Part:
        name = random.choice(NAMES[:6] * 3 + NAMES)
        match random.randrange(9):
            case 0 | 1:
                size = random.choice(
                    ("usual", "usual", "none", "scalar", "image", "colour", "one", "deep", "empty items", "long")
                )
                return ["array", name, random.choice(DTYPES), size, random.randrange(1000)]
            case 2 | 3:
                order = random.choice(("False", "True", "1", "None"))
                return [
                    "header",
                    name,
                    random.choice(DESCRIPTIONS),
                    random.choice(SHAPES),
                    order,
                    random.choice((0, 16, 640, 4096)),
                ]
            case 4:
                return ["entry", name, random.choice(ODD_BYTES)]
            case 5:
                return [
                    "file",
                    random.choice(("truncated", "flipped", "flipped", "inserted")),
                    random.random(),
                    random.randrange(256),
                ]
            case 6:
                strange = (
                    "../x_train.npy",
                    "/x_train.npy",
                    "x_train",
                    "x_train.npy.npy",
                    "\x1b[2J.npy",
                    "x" * 300 + ".npy",
                    "é.npy",
                    ".npy",
                    "a/b.npy",
                )
                return ["name", random.choice(strange), random.choice(("copy", "empty"))]
            case 7:
                return ["zip", random.choice(("deflated", "bzip2", "lzma", "twice", "encrypted", "comment", "large", "method"))]
            case _:
                return ["whole", random.choice(("npy", "pickle", "text", "empty", "hdf5", "zip without end", "nothing"))]

    def files(self, parts: Sequence[Part]) -> dict[str, bytes]:
        return {"data.npz": build(parts)}

    def problem(self, parts: Sequence[Part], folder: Path) -> str:
        data = build(parts)
        for name in ("data.npz", "new.npz"):
            (folder / name).write_bytes(data)
        out = folder / "out"
        out.mkdir()
        # What is predicted is read from a file too, by half of the cases.
        predict = "holdout" if len(data) % 2 else "new.npz"
        task = {"data": {"dataset": "data.npz", "predict": predict}, "data_seed": 1, "model": "mlp"}
        (folder / "task.json").write_text(json.dumps(task))
        arguments = ["--task", str(folder / "task.json"), "--folder", str(folder), "--date", "2026-11-27", "--out", str(out)]
        ended = self.commands.run(folder, *arguments, program="prepare", memory=MEMORY)
        found = ended.problem(statuses=(0, WRONG_INPUT))
        if found:
            return found
        if ended.status == WRONG_INPUT:
            lines = ended.err.splitlines()
            bad = control_characters(ended.err)
            if len(lines) != 1 or not lines[0].startswith("data") or len(lines[0]) > 1000 or bad:
                return f"message: {ended.err[:1500]!r}"
            return ""
        try:
            strict_json((out / "data.json").read_text())
            with np.load(out / "data.npz", allow_pickle=False) as made:
                shapes = {name: made[name].shape for name in made.files}
        except Exception as error:
            return f"prepared: what was accepted cannot be read back: {error!r}"
        return "" if shapes["x_train"][0] and shapes["x_predict"][0] else f"prepared: nothing to train or predict: {shapes}"


def build(parts: Sequence[Part]) -> bytes:
    """The bytes of a dataset with these changes."""
    entries, compression, flags = whole_arrays(), zipfile.ZIP_STORED, set()

    def put(name: str, data: bytes) -> None:
        entries[f"{name}.npy"] = data

    for part in parts:
        match part:
            case ["array", name, dtype, size, seed]:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    put(name, array_bytes(odd_array(name, dtype, size, Random(seed))))
            case ["header", name, description, shape, order, length]:
                put(name, header_bytes(description, shape, order, b"\x01" * length))
            case ["entry", name, data]:
                put(name, bytes.fromhex(data))
            case ["name", strange, what]:
                entries[strange] = entries["x_train.npy"] if what == "copy" else b""
            case ["zip", what]:
                compression = {"deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}.get(
                    what, compression
                )
                flags.add(what)
    if "large" in flags:
        # Half a megabyte becomes half a gigabyte.
        put("x_train", large_array())
        compression = zipfile.ZIP_DEFLATED
    data = zipped(entries.items(), compression, flags)
    for part in parts:
        match part:
            case ["file", what, where, byte]:
                at = int(where * len(data))
                data = {
                    "truncated": data[:at],
                    "flipped": data[:at] + bytes([byte]) + data[at + 1 :],
                    "inserted": data[:at] + bytes([byte]) * 9 + data[at:],
                }[what]
            case ["whole", what]:
                x = whole_arrays()["x_train.npy"]
                data = {"npy": x, "pickle": b"\x80\x04cos\nsystem\n.", "text": b"x_train,y_train\n1,2\n", "empty": b"",
                "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 99,
                        "zip without end": data[: -len(data) // 9], "nothing": b"PK\x05\x06" + b"\0" * 18}[what]  # fmt: skip
    return data


def zipped(entries: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED, flags: Collection[str] = ()) -> bytes:
    """An .npz of .npy files by their names; ``flags``: what is odd about it."""
    file = io.BytesIO()
    entries = list(entries)
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compression, 1)
        if "twice" in flags:
            archive.writestr("x_train.npy", entries[0][1])
        if "comment" in flags:
            archive.comment = b"PK\x05\x06" * 9
    whole = bytearray(file.getvalue())
    # In the central directory an entry's flags are two bytes after its signature and versions, its method the next two.
    at = whole.find(b"PK\x01\x02")
    if "encrypted" in flags:
        whole[at + 8] |= 1
    if "method" in flags:
        whole[at + 10] = 99
    return bytes(whole)
