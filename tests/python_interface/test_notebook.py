"""The example notebook runs in a real kernel on a store with a member that got worse, and names it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

NOTEBOOK = Path(__file__).parents[2] / "examples" / "trend.ipynb"


def test_the_example_notebook_names_the_bad_member_and_since_when(folder: Path, tmp_path: Path) -> None:
    # A folder of its own: a kernel leaves its history and caches beside it.
    for name in ("config.yaml", "store"):
        (tmp_path / name).symlink_to(folder / name)
    shutil.copy(NOTEBOOK, tmp_path)
    # A process of its own: Jupyter's packages warn of each other.
    code = "from nbclient.cli import main; main()"
    command = [sys.executable, "-c", code, "--inplace", "--timeout", "300", NOTEBOOK.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    outputs = [output for cell in run.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert printed.splitlines()[0].startswith("c: below 0.") and " since 2025-12-08, " in printed.splitlines()[0]
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    pages = "".join(output.data.get("text/html", "") for output in outputs if "data" in output)
    assert "train-b2" in pages and "e-train-c-" in pages and "val_loss" in pages


def test_the_example_notebook_is_kept_without_output() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert NOTEBOOK.name in (NOTEBOOK.parent / "README.md").read_text()
