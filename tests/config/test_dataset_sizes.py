"""The warning of `check` about a small validation set: where the sizes are known before the data is prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.keras3.split_sizes import validation_warnings
from scheduler.config import load
from scheduler.config.dataset_sizes import warnings


@pytest.mark.parametrize(
    ("data", "ensemble", "warned"),
    [
        ("{dataset: digits}", "{}", ""),
        ("{dataset: digits, holdout: 340}", "{}", "19 items"),
        ("{dataset: digits, holdout: 340}", "{method: uniform}", ""),
        ("{dataset: digits, holdout: 340}", "{method: calibrated}", ""),
        ("{dataset: digits, holdout: 359}", "{}", "none is left for validation"),
        ("{dataset: digits, holdout: 359}", "{method: calibrated}", "none is left for validation"),
        ("{dataset: wine.npz}", "{}", "18 items"),
        ("{dataset: wine.npz, predict: wine.npz}", "{}", "35 items"),
        ("{dataset: tested.npz}", "{}", ""),
        ("{dataset: tested.npz, holdout: 99}", "{}", "1 item:"),
        ("{dataset: broken.npz}", "{}", ""),
        ("{dataset: 'wine-{date}.npz'}", "{}", ""),
    ],
)
def test_few_validation_items(tmp_path: Path, data: str, ensemble: str, warned: str) -> None:
    np.savez(tmp_path / "wine.npz", x_train=np.zeros((178, 13)), y_train=np.zeros(178))
    np.savez(tmp_path / "tested.npz", x_train=np.zeros((178, 13)), y_train=np.zeros(178), x_test=np.zeros((100, 13)))
    (tmp_path / "broken.npz").write_bytes(b"PK")
    path = tmp_path / "config.yaml"
    path.write_text(f"experiment: e\nmodel: mlp\ndata: {data}\nbackends: {{jax: }}\nensemble: {ensemble}\n")
    assert [warned in warning for warning in warnings(load(path))] == [True] * bool(warned)


@pytest.mark.parametrize(("has_holdout", "ways"), [(True, "(more data, or a smaller data.holdout)"), (False, "(more data)")])
def test_what_to_do_about_few_validation_items(has_holdout: bool, ways: str) -> None:
    (warning,) = validation_warnings(49, has_holdout)
    assert f"give more validation items {ways}, or `method: uniform`" in warning
    assert warning.endswith("`calibrated` needs such items as well")
    assert not validation_warnings(50, has_holdout)
