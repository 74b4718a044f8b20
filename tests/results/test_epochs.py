"""The epochs of a training, from the bytes of its CSV."""

from __future__ import annotations

import pytest

from scheduler.results.epochs import Epochs, parse_epochs


def test_each_metric_is_a_column_of_numbers() -> None:
    text = b"epoch,loss,val_loss\n1,2.5,3\n2,nan,1e-3\n"
    epochs = parse_epochs(text)
    assert epochs.numbers == (1, 2) and epochs.metrics["val_loss"] == (3.0, 0.001)
    assert str(epochs.metrics["loss"]) == "(2.5, nan)"


@pytest.mark.parametrize("data", [b"", b"epoch\n"])
def test_a_table_without_rows_has_no_epochs(data: bytes) -> None:
    assert parse_epochs(data) == Epochs()


@pytest.mark.parametrize(
    "data", [b"loss\n1\n", b"epoch,loss\n1\n", b"epoch\none\n", b"epoch\ninf\n", b"\xff", b"epoch,epoch\n\n"]
)
def test_whatever_else_is_no_table_of_epochs(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_epochs(data)
