"""cifar10 and mnist through Keras's own loaders, on files in the exact original formats.

The real files cannot be had without a network, and Keras compares their hash: that comparison alone is a stub.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from keras.src.utils import file_utils
file_utils.validate_file = lambda *args, **kwargs: True
from jobs.keras3.prepare import main
sys.exit(main(sys.argv[1:]))
"""


def prepare(tmp_path: Path, keras3: Path, dataset: str) -> subprocess.CompletedProcess[str]:
    task = {"data": {"dataset": dataset, "predict": "holdout"}, "hyperparameters": {}, "data_seed": 1, "model": "cnn"}
    (tmp_path / "task.json").write_text(json.dumps(task))
    arguments = ["--task", str(tmp_path / "task.json"), "--date", "2026-11-24", "--out", str(tmp_path)]
    # An address that refuses at once stands for the absent network.
    env = {
        **os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "numpy", "PYTHONPATH": str(ROOT),
        "https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9",
    }  # fmt: skip
    command = [str(keras3), "-c", PROGRAM, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes bytes as Python 2 wrote its strings; the original batches were made there."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        head = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        self.write(head + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2_pickle(value: object) -> bytes:
    out = io.BytesIO()
    Python2Pickler(out, protocol=2).dump(value)
    return out.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_cifar10(path: Path) -> None:
    """A tar.gz of five batches of 10,000 pickled images and a small test batch, rows of 3072 bytes, channels first."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, items in [*((f"data_batch_{n}", 10_000) for n in range(1, 6)), ("test_batch", 300)]:
            labels = [n % 10 for n in range(items)]
            rows = np.zeros((items, 3072), dtype="uint8")
            rows[:, :1024] = np.array(labels, dtype="uint8")[:, None]  # the red plane holds the label
            rows[:, 2048:] = 255
            batch = {b"batch_label": name.encode(), b"labels": labels, b"data": rows, b"filenames": [b"x.png"] * items}
            data = python2_pickle(batch)
            entry = tarfile.TarInfo("cifar-10-batches-py/" + name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def test_cifar10(tmp_path: Path, keras3: Path) -> None:
    (tmp_path / "datasets").mkdir()
    write_cifar10(tmp_path / "datasets" / "cifar-10-batches-py-target_archive")
    done = prepare(tmp_path, keras3, "cifar10")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "data.npz") as data:
        assert data["x_train"].shape == (50_000, 32, 32, 3) and data["x_train"].dtype == np.uint8
        assert data["x_predict"].shape == (100, 32, 32, 3) and data["x_val"].shape == (200, 32, 32, 3)
        for x, y in (("x_train", "y_train"), ("x_val", "y_val"), ("x_predict", "y_predict")):
            assert (data[x][:, 5, 5, 0] == data[y]).all()
            assert (data[x][:, 5, 5, 2] == 255).all()


def test_mnist(tmp_path: Path, keras3: Path) -> None:
    (tmp_path / "datasets").mkdir()
    y = np.arange(600) % 10
    x = np.broadcast_to(y[:, None, None], (600, 28, 28)).astype("uint8")
    arrays = {"x_train": x[:400], "y_train": y[:400].astype("uint8"), "x_test": x[400:], "y_test": y[400:].astype("uint8")}
    np.savez(tmp_path / "datasets" / "mnist.npz", **arrays)
    done = prepare(tmp_path, keras3, "mnist")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "data.npz") as data:
        assert data["x_train"].shape == (400, 28, 28, 1)
        assert data["x_predict"].shape == (100, 28, 28, 1)
        assert (data["x_val"][:, 3, 3, 0] == data["y_val"]).all()


@pytest.mark.parametrize("dataset", ["cifar10", "mnist"])
def test_without_file_or_network_one_line_says_what_to_do(tmp_path: Path, keras3: Path, dataset: str) -> None:
    done = prepare(tmp_path, keras3, dataset)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"data.dataset: {dataset} cannot be loaded: ")
    assert "download it to ~/.keras/datasets/" in done.stderr
