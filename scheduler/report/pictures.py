"""The pictures of predicted items: one PNG with a tile an item, where the data are images. Bounded in size."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.store import Store

LARGEST_SIDE = 32
"""Pixels: of a larger picture only every n-th row and column is shown."""
LARGEST_FILE = 256 << 20
"""Bytes of prepared data from which pictures are taken."""
LARGEST_SPRITE = 120_000
"""Bytes of a sprite's PNG; of more only the first half of the items has pictures, and so on."""
COLUMNS = 20


@dataclass(frozen=True)
class Sprite:
    """Tiles of ``width`` × ``height`` pixels in rows of COLUMNS: ``positions`` has the tile of each item's number."""

    data_uri: str
    width: int
    height: int
    positions: dict[int, int]

    @property
    def sheet_width(self) -> int:
        """Pixels of all columns together."""
        return COLUMNS * self.width

    def offset(self, tile: int) -> tuple[int, int]:
        """Where a tile lies: x and y in pixels."""
        return tile % COLUMNS * self.width, tile // COLUMNS * self.height


def read_sprite(store: Store, pinned: dict[str, Any], items: Sequence[int]) -> Sprite | None:
    """The pictures of these items (their numbers) of prepared data; None where it holds no images, or is not here."""
    shape: list[int] = (pinned.get("shapes") or {}).get("x_predict") or []
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or min(shape[1:3]) < 4:
        return None
    path = store.dataset_path(str(pinned.get("fingerprint") or ""))
    from jobs.keras3 import array_files

    try:
        if path.stat().st_size > LARGEST_FILE or store.data_problem(pinned):
            return None
        array = array_files.read_npz(path, ("x_predict",)).get("x_predict")
    except (OSError, ValueError):
        return None
    if array is None or array.ndim not in (3, 4) or array.dtype.kind not in "fiu" or not array.size:
        return None
    known = [item for item in items if item < len(array)]
    while known:
        sprite = _sprite(array, known)
        if len(sprite.data_uri) <= LARGEST_SPRITE:
            return sprite
        known = known[: len(known) // 2]
    return None


def _sprite(array: Any, items: Sequence[int]) -> Sprite:
    import numpy as np

    tiles = array[list(items)].astype("float64")
    tiles = tiles.reshape(tiles.shape[:3] + (tiles.shape[3] if tiles.ndim == 4 else 1,))
    step = -(-max(tiles.shape[1:3]) // LARGEST_SIDE)
    tiles = np.nan_to_num(tiles[:, ::step, ::step])
    low, high = float(tiles.min()), float(tiles.max())
    tiles = ((tiles - low) * (255 / (high - low) if high > low else 0)).round().astype("uint8")
    count, height, width, channels = tiles.shape
    rows = -(-count // COLUMNS)
    sheet = np.zeros((rows * height, COLUMNS * width, channels), "uint8")
    for n, tile in enumerate(tiles):
        y, x = n // COLUMNS * height, n % COLUMNS * width
        sheet[y : y + height, x : x + width] = tile
    uri = "data:image/png;base64," + base64.b64encode(_png(sheet)).decode()
    return Sprite(uri, width, height, {item: n for n, item in enumerate(items)})


def _png(pixels: Any) -> bytes:
    """A PNG (W3C, third edition) of uint8 (height, width, 1 or 3)."""
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + pixels[y].tobytes() for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
