"""The user's code beside modules of the same names: loaded as theirs, or refused; a library's imports never find it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION = "def data(hyperparameters):\n    return {}\n"
LOAD = """
import sys
sys.path.insert(0, sys.argv[3])
from jobs.portable.inputs import exit_status
from jobs.portable.user_code import user_function
def program(arguments):
    function = user_function(*arguments)
    import statistics, wsgiref.headers  # modules that nothing has imported yet
    print(function.__module__, statistics.mean([1, 2]), function({}))
sys.exit(exit_status(program, sys.argv[1:3]))
"""


def load(folder: Path, reference: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LOAD, reference, str(folder), str(ROOT)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    "files",
    [
        {"d.py": FUNCTION},
        {"jobs.py": FUNCTION},
        {"types.py": FUNCTION},
        {"json.py": FUNCTION},
        {"statistics.py": FUNCTION},
        {"numpy.py": FUNCTION},
        {"pytest.py": FUNCTION, "iniconfig.py": "raise Exception"},
        {"my-data.v2.py": FUNCTION},
        {"d.py": FUNCTION, "statistics.py": "raise Exception", "wsgiref/__init__.py": "raise Exception"},
        {"d.py": FUNCTION, "test.py": "import json", "json.py": "import random", "random.py": "raise Exception"},
        {"src/d.py": "import helper\nfrom common import y\n" + FUNCTION, "src/helper.py": "", "common.py": "y = 1"},
        {"pkg/d.py": "from . import a\nfrom .b import c\n" + FUNCTION, "pkg/a.py": "", "pkg/b.py": "c = 1"},
        {"d.py": "from utils import helpers\n" + FUNCTION, "utils/helpers.py": "from . import more", "utils/more.py": ""},
        {"d.py": "import json, os.path\n" + FUNCTION, "data/json.py": "", "json/data.csv": ""},
    ],
    ids=lambda files: " ".join(files),
)
def test_a_function_is_loaded_whatever_its_file_and_the_files_beside_it_are_called(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    done = load(tmp_path, f"{next(iter(files))}:data")
    assert done.returncode == 0 and done.stdout.endswith(" 1.5 {}\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            {"d.py": "import jobs\n", "jobs.py": ""},
            "d.py:1 imports jobs, which is a module of the program that runs the step and",
        ),
        ({"d.py": "\nfrom types import x\n", "types.py": "x = 1"}, "d.py:2 imports types, which is a module of the runtime ("),
        ({"d.py": "import sys\n", "sys.py": ""}, "d.py:1 imports sys, which is a module of the runtime (built in) and"),
        ({"random.py": "import random\n" + FUNCTION}, "random.py:1 imports random, which is a module of the runtime ("),
        (
            {"d.py": "import helper\n", "helper.py": "def f():\n    import pytest", "pytest/__init__.py": ""},
            "helper.py:2 imports pytest, which is a module of the runtime (",
        ),
        ({"d.py": "import re\nfrom . import a\n", "a.py": ""}, "d.py:2 imports relative to a package (from .), and is in none"),
        ({"json/d.py": "from . import a\n", "json/a.py": ""}, "json/ has the name of a module of the runtime ("),
        ({"src/d.py": "import json\n", "json.py": ""}, "src/d.py:1 imports json, which is a module of the runtime ("),
    ],
)
def test_an_import_that_would_find_another_module_is_refused(tmp_path: Path, files: dict[str, str], line: str) -> None:
    write(tmp_path, files)
    done = load(tmp_path, f"{next(iter(files))}:data")
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        done.stderr.startswith(line) and done.stderr.count("\n") == 1 and done.stderr.endswith((": rename yours\n", "the dot\n"))
    ), done.stderr
