"""The CSVs of predictions: an item a row, its label, that label's probability, and every class's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from jobs.csv_text import csv_text


class Writer:
    """Writes `item,prediction,probability,<class>…`; float32 in the shortest form that reads back to the same bits."""

    def __init__(self, file: IO[bytes], classes: Sequence[str]) -> None:
        import polars

        self._polars = polars
        self._classes = polars.Series([str(name) for name in classes], dtype=polars.String)
        self._file = file
        # The header is written apart: a class may have the name of a column.
        self._file.write(csv_text([["item", "prediction", "probability", *classes]]).encode())

    def write(self, items: Any, probabilities: Any) -> Any:
        """Write rows; returns the predicted class numbers."""
        best = probabilities.argmax(axis=1)
        columns = {
            "item": self._polars.Series(items, dtype=self._polars.String),
            "prediction": self._classes.gather(best),
            "probability": probabilities[np.arange(len(best)), best],
            **{f"class {n}": np.ascontiguousarray(probabilities[:, n]) for n in range(probabilities.shape[1])},
        }
        self._polars.DataFrame(columns).write_csv(self._file, include_header=False)
        return best
