"""Which files are the user's code: the functions' folders, but for what is no code; limits that are said."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from scheduler.config import load
from scheduler.server.file_watch import FileWatcher
from scheduler.snapshots import code_files
from scheduler.snapshots.code_files import CodeFiles
from scheduler.snapshots.user_code import build_user_code, code_warnings

ROOT = Path(__file__).resolve().parent.parent.parent
FUNCTIONS = "def data(h):\n    return h\ndef model(s, c, h):\n    return h\n"


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FUNCTIONS if name.endswith(".py") else name)


def configure(folder: Path, data: str = "f.py:data", predict: str = "holdout", model: str = "f.py:model", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    data_section = f"{{dataset: '{data}', predict: '{predict}'}}"
    path.write_text(f"experiment: e\nstore: ./runs-here\ndata: {data_section}\nmodel: {model}\nbackends: {{jax: }}\n{more}")
    return path


def names(path: Path) -> set[str]:
    return {each.relative_to(path.parent).as_posix() for each in files(path).paths}


def files(path: Path) -> CodeFiles:
    return code_files.code_files(load(path))


@pytest.mark.holds("author-snapshot")
def test_the_functions_folder_is_taken_but_for_what_is_no_code(tmp_path: Path) -> None:
    taken = {"f.py", "t.csv", "tables/a.parquet", "package/__init__.py", "package/part.py", "params.yaml", "own.npz"}
    write(tmp_path, *taken)
    write(
        tmp_path, ".env", ".git/config", "__pycache__/f.pyc", "serve.log", "nohup.out", "notebook.ipynb", "key.pem", "README.md"
    )
    write(tmp_path, "venv/pyvenv.cfg", "venv/lib/x.py", "runs-here/runs/e/record.json", "p/2026-11-20.npz")
    write(tmp_path, "2026-11-23T0600Z.csv", "2026-11-23T0600Z.members/jax.csv")
    write(tmp_path, "older/runs/x", "older/snapshots/x", "older/experiments/x", "older/x.csv")
    (tmp_path / "other.yaml").write_text("# another experiment\nexperiment: other\nbackends: {jax: }\n")
    (tmp_path / "secret.yaml").write_text("apiVersion: v1\nkind: Secret\n")
    (tmp_path / "params.yaml").write_text("experiment: of another tool\nkind: tree\n")
    outside = tmp_path.parent / "outside"
    write(outside, "data.bin")
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "file-link").symlink_to(outside / "data.bin")
    os.mkfifo(tmp_path / "pipe")
    path = configure(tmp_path, predict="p/{date}.npz")
    assert names(path) == taken
    assert files(path).left_out == ""


def test_only_the_folders_of_the_functions_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "data/f.py", "data/t.csv", "data/models/m.py", "other/x.py", "x.csv")
    assert names(configure(tmp_path, "data/f.py:data", model="data/models/m.py:model")) == {
        "data/f.py",
        "data/t.csv",
        "data/models/m.py",
    }


def test_the_listed_code_is_taken_whatever_its_size_but_for_stores_and_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_files, "MOST_FILES", 1)
    write(tmp_path, "f.py", "t.csv", "u.csv", ".hidden", ".named", "runs-here/runs/x", "__pycache__/f.pyc")
    assert names(configure(tmp_path, more="code: [., .named]\n")) == {"f.py", "t.csv", "u.csv", ".named"}


def test_a_folder_with_too_much_gives_its_python_files_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "f.py", "a.csv", "b.csv", "package/part.py")
    path = configure(tmp_path)
    monkeypatch.setattr(code_files, "MOST_BYTES", 200)
    assert names(path) == {"f.py", "a.csv", "b.csv", "package/part.py"}
    (tmp_path / "a.csv").write_text("x" * 201)
    assert names(path) == {"f.py", "package/part.py"}
    left_out = files(path).left_out
    assert "has 2 more files of 206 bytes" in left_out and "under `code:`" in left_out
    monkeypatch.setattr(code_files, "MOST_ENTRIES", 3)
    assert names(path) == {"f.py"} and "more than 3 files" in files(path).left_out


def test_a_folder_of_functions_alone_has_the_bytes_that_it_had_before() -> None:
    """What versions that took `.py` files alone made of it: an upgrade changes no snapshot, and no data is read again."""
    example = ROOT / "examples" / "functions"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo("rings.py", (1980, 1, 1, 0, 0, 0))
        entry.external_attr, entry.create_system = 0o644 << 16, 3
        archive.writestr(entry, (example / "rings.py").read_bytes())
    code = build_user_code(load(example / "config.yaml"))
    assert code is not None and hashlib.sha256(code).digest() == hashlib.sha256(buffer.getvalue()).digest()


def test_code_that_fits_no_config_map_is_warned_of_where_pods_mount_the_store(tmp_path: Path) -> None:
    write(tmp_path, "f.py")
    (tmp_path / "weights.bin").write_bytes(b"x" * (1 << 20))
    path = configure(tmp_path)
    assert code_warnings(load(path)) == []
    path.write_text(path.read_text().replace("store: ./runs-here", "store: {claim: c}"))
    (warning,) = code_warnings(load(path))
    assert "the largest files are weights.bin (1,048,576), f.py (" in warning and "`sync` will refuse it" in warning
    (tmp_path / "weights.bin").unlink()
    assert code_warnings(load(path)) == []


def test_serve_sees_an_edit_of_a_file_beside_the_function(tmp_path: Path) -> None:
    write(tmp_path, "f.py", "t.csv", "serve.log")
    experiment, watcher = load(configure(tmp_path)), FileWatcher()
    assert [watcher.has_changed(experiment) for _ in range(2)] == [True, False]
    (tmp_path / "serve.log").write_text("what serve prints itself")
    assert not watcher.has_changed(experiment)
    (tmp_path / "t.csv").write_text("edited")
    assert watcher.has_changed(experiment)
    (tmp_path / "f.py").unlink()
    assert watcher.has_changed(experiment)
