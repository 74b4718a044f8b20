"""The user's functions as `check` sees them: every fault that their text shows, with its line, and nothing that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronjobs.tasks import ExperimentContext, ensemble_task
from scheduler.config import ConfigErrors, load

CONFIG = """
experiment: e
data: {{dataset: "{data}"}}
model: "{model}"
backends: {{{backend}: {{}}}}
"""
DATA = "def data(hyperparameters):\n    return load()\n"
MODEL = "def model(input_shape, classes, hyperparameters):\n    return build()\n"


COMBINE = "def combine(probabilities, validation_probabilities, validation_labels):\n    return probabilities.mean(axis=0)\n"


def of_method(folder: Path, method: str, text: str = COMBINE) -> list[str]:
    """The problems of an ensemble's method, of a configuration whose models are built in."""
    (folder / "combine.py").write_text(text)
    (folder / "config.yaml").write_text(f"experiment: e\nbackends: {{jax: {{}}}}\nensemble: {{method: '{method}'}}\n")
    try:
        load(folder / "config.yaml")
    except ConfigErrors as errors:
        return [f"{problem.key}: {problem.message}" for problem in errors.problems]
    return []


@pytest.mark.parametrize("method", ["accuracy", "uniform", "calibrated", "combine.py:combine"])
def test_a_method_has_a_name_or_is_a_function(tmp_path: Path, method: str) -> None:
    assert of_method(tmp_path, method) == []


@pytest.mark.parametrize(
    ("method", "text", "problem"),
    [
        ("best", COMBINE, "'best' is given: type accuracy, uniform, calibrated or file.py:function"),
        ("combine.py", COMBINE, "'combine.py' is given: type accuracy, uniform, calibrated or file.py:function"),
        ("combine.py:combin", COMBINE, "combine.py has no function combin: did you mean combine?"),
        ("other.py:combine", COMBINE, "other.py does not exist: there are combine.py"),
        (
            "combine.py:combine",
            "def combine(probabilities):\n    return probabilities.mean(axis=0)\n",
            "combine.py:1 combine: it takes (probabilities), and is called with "
            "(probabilities, validation_probabilities, validation_labels)",
        ),
        (
            "combine.py:combine",
            "def combine(p, v, y):\n    p.mean(axis=0)\n",
            "combine.py:1 combine: it returns nothing: return probabilities (items, classes), or a weight for each member",
        ),
    ],
)
def test_each_fault_of_a_method_is_one_line(tmp_path: Path, method: str, text: str, problem: str) -> None:
    assert of_method(tmp_path, method, text) == [f"ensemble.method: {problem}"]


def test_the_methods_file_is_code_and_its_task_says_what_it_needs(tmp_path: Path) -> None:
    """Tasks of methods that need nothing stay as they were."""
    found = {}
    for method in ("accuracy", "uniform", "calibrated", "combine.py:combine"):
        assert of_method(tmp_path, method) == []
        experiment = load(tmp_path / "config.yaml")
        assert experiment.ensemble is not None
        task = ensemble_task(ExperimentContext(experiment, "", ""), experiment.ensemble)
        found[method] = ({path.name for path in experiment.function_files()}, task.get("validation"))
    nothing: tuple[set[str], None] = (set(), None)
    own = ({"combine.py"}, True)
    assert found == {"accuracy": nothing, "uniform": nothing, "calibrated": (set(), True), "combine.py:combine": own}


def problems(
    folder: Path, files: dict[str, str], data: str = "d.py:data", model: str = "m.py:model", on: str = "jax"
) -> list[str]:
    for name, text in {"d.py": DATA, "m.py": MODEL, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "config.yaml").write_text(CONFIG.format(data=data, model=model, backend=on))
    try:
        load(folder / "config.yaml")
    except ConfigErrors as errors:
        return [f"{problem.key}: {problem.message}" for problem in errors.problems]
    return []


@pytest.mark.parametrize(
    "text",
    [
        "def model(*arguments):\n    return build(*arguments)\n",
        "def model(a, b, c=None, d=1, *, e=2, **more):\n    return build(a)\n",
        "def model(a, b, /, c):\n    if a:\n        return build()\n    return None\n",
        "model = lambda a, b, c: build()\n",
        "from helper import model\n",
        "from helper import build as model\n",
        "from helper import *\n\ndef model(a, b, c): return 1\n",
        "class model:\n    def __new__(cls, a, b, c):\n        return build()\n",
        "try:\n    import x\nexcept ImportError:\n    x = None\nif x:\n    def model(a, b, c):\n        return 1\n",
        "import functools\n@functools.wraps(int)\ndef model(*, a):\n    pass\n",
        "def model(a, b, c):\n    raise NotImplementedError\n",
        "def model(a, b, c):\n    try:\n        f()\n    except KeyError as error:\n        raise ValueError from error\n",
        "def model(a, b, c):\n    import os\n    os._exit(3)\n",
        "def model(a):\n    return 1\n\ndef model(a, b, c):\n    def inner():\n        yield 1\n    return inner\n",
    ],
)
def test_what_may_be_called_is_no_error(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, {"m.py": text, "helper.py": MODEL}) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"d.py": "def data():\n    return 1\n"}, "data.dataset: d.py:1 data: it takes (), and is called with (hyperparameters)"),
        (
            {"d.py": "\ndef data(a, b):\n    return 1\n"},
            "data.dataset: d.py:2 data: it takes (a, b), and is called with (hyperparameters)",
        ),
        (
            {"d.py": "def data(a, *, year):\n    return 1\n"},
            "data.dataset: d.py:1 data: it needs the keyword year, and is called with (hyperparameters)",
        ),
        (
            {"d.py": "def data(a):\n    print(a)\n"},
            "data.dataset: d.py:1 data: it returns nothing: return a dict with x_train and y_train",
        ),
        (
            {"d.py": "def data(a):\n    return (1, 2), (3, 4)\n"},
            "data.dataset: d.py:1 data: it returns a tuple: return a dict with x_train and y_train",
        ),
        (
            {"d.py": "def data(a):\n    return {'x_train': 1, 'y': 2}\n"},
            "data.dataset: d.py:1 data: the dict that it returns has no y_train",
        ),
        ({"d.py": "def data(a):\n    yield 1\n"}, "data.dataset: d.py:1 data: it yields: it must return one value"),
        ({"d.py": "data = {}\n"}, "data.dataset: d.py:1 data is no function"),
        ({"d.py": "def date(a):\n    return 1\n"}, "data.dataset: d.py has no function data: did you mean date?"),
        ({"d.py": "x = 1\ndef data(a)\n    return 1\n"}, "data.dataset: d.py:2 is not Python: expected ':'"),
        (
            {"d.py": "import helper\n" + DATA, "helper.py": "\n\ndef f(:\n"},
            "data.dataset: helper.py:3 is not Python: invalid syntax",
        ),
        (
            {"m.py": "def model(input_shape, classes):\n    return 1\n"},
            "model: m.py:1 model: it takes (input_shape, classes), and is called with (input_shape, classes, hyperparameters)",
        ),
        ({"m.py": "async def model(a, b, c):\n    return 1\n"}, "model: m.py:1 model: it is async: write `def`"),
        (
            {"m.py": "import keras\n" + MODEL, "keras.py": ""},
            "model: m.py:1 imports keras, which is a package of the runtime and not your keras.py: rename yours",
        ),
        (
            {"m.py": "import random\n" + MODEL, "random.py": "", "types.py": ""},
            "model: m.py:1 imports random, which is a module of Python and not your random.py: rename yours",
        ),
        (
            {"m.py": "from .helper import x\n" + MODEL},
            "model: m.py:1 imports relative to a package (from .), and is in none: import without the dot",
        ),
        (
            {"m.py": "from jobs import x\n" + MODEL, "jobs/__init__.py": ""},
            "model: m.py:1 imports jobs, which is a module of the program that runs the step and not your jobs/__init__.py: "
            "rename yours",
        ),
    ],
)
def test_one_line_for_each_fault(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    assert problems(tmp_path, files) == [expected]


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    assert problems(tmp_path, {}, data="data/d.py:data", model="n.py:model") == [
        f"data.dataset: data/d.py does not exist: there is no .py file in {tmp_path}/data",
        "model: n.py does not exist: did you mean m.py?",
    ]


@pytest.mark.parametrize("name", ["jobs", "types", "keras", "json"])
def test_a_functions_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert problems(tmp_path, {f"{name}.py": MODEL}, model=f"{name}.py:model") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print 'Python 2'\n" + MODEL, []),
        ("def f():\n    x: int = 1\n" + MODEL, ["model: m.py:2 has an annotated variable, which Python 2.7 does not know"]),
        (MODEL.replace("build()", "build(f'{classes}')"), ["model: m.py:2 has an f-string, which Python 2.7 does not know"]),
        ("def f(x: int): pass\n" + MODEL, ["model: m.py:1 has an annotated function, which Python 2.7 does not know"]),
        ("class A(B):\n    def f(self):\n        super().f()\n" + MODEL,
         ["model: m.py:3 has super() without arguments, which Python 2.7 does not know"]),
        ("import new\n" + MODEL, ["model: m.py:1 imports new, which is a module of Python and not your new.py: rename yours"]),
    ],
)  # fmt: skip
def test_a_model_of_the_legacy_runtime_is_python_2(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems(tmp_path, {"m.py": text, "new.py": ""}, on="theano") == expected
