"""A function's working directory, and the hint at `code:` where a file is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.portable.inputs import WrongInput
from jobs.portable.user_code import user_function


def call(code: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Any:
    monkeypatch.syspath_prepend(code)  # what is added is taken away again, as is the working directory
    monkeypatch.chdir(code)
    name = f"module_{abs(hash((str(code), body)))}"
    (code / "deep").mkdir(exist_ok=True)
    (code / "deep" / f"{name}.py").write_text(f"def function(*arguments):\n    {body}\n")
    return user_function(f"deep/{name}.py:function", str(code))(1, 2)


def test_relative_paths_begin_beside_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "t.csv").write_text("1,2")
    assert call(tmp_path, monkeypatch, "from pathlib import Path; return Path('t.csv').read_text()") == "1,2"


@pytest.mark.parametrize(
    "body", ["open('t.csv')", "import numpy; numpy.loadtxt('t.csv')", "open(__file__.rpartition('/')[0] + '/t.csv')"]
)
def test_a_file_that_the_snapshot_might_have_had_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    with pytest.raises(WrongInput, match=r"^deep/module_\d+.py:2: FileNotFoundError: .*t.csv.* list the file, .* under `code:`"):
        call(tmp_path, monkeypatch, body)


@pytest.mark.parametrize("body", ["open('/nowhere/t.csv')", "import numpy; numpy.loadtxt('/nowhere/t.csv')"])
def test_a_file_that_is_elsewhere_is_the_functions_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    with pytest.raises(FileNotFoundError):
        call(tmp_path, monkeypatch, body)
