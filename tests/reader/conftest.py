from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reader.pipes import Far


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A store in ``tmp_path/far``, reached over pipes."""
    root = tmp_path / "far"
    root.mkdir()
    far = Far(tmp_path, root)
    yield far
    far.close()
