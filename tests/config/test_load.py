"""Configurations: values of good ones, the exact lines for bad ones, and nothing but ConfigErrors for any bytes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scheduler.config import ConfigErrors, load
from scheduler.config.keys import EnsembleKeys
from scheduler.config.schema import schema
from scheduler.config.starter import starter

ROOT = Path(__file__).parents[2]
GOOD = "experiment: e\nbackends:\n  jax: {}\n"


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    return [str(each).removeprefix(str(file)) for each in caught.value.problems]


def test_the_default_file() -> None:
    experiment = load(ROOT / "config.yaml")
    assert list(experiment.members) == ["tensorflow", "theano", "cntk", "jax"]
    assert experiment.members["theano"].runtime == "legacy"
    assert experiment.members["theano"].data_format == "channels_first"
    assert experiment.members["jax"].hyperparameters["learning_rate"] == 0.002
    assert experiment.ensemble is not None and experiment.ensemble.max_age == 36 * 3600


def uncommented(text: str) -> str:
    """A configuration with its examples of `notify:` and `watch:`."""
    return re.sub("^# (?=(notify|watch): {)", "", text, flags=re.MULTILINE)


def test_what_the_starter_proposes_loads_too(tmp_path: Path) -> None:
    for text in (starter(), *((ROOT / name).read_text() for name in ("config.yaml", "examples/cluster.yaml"))):
        (tmp_path / "config.yaml").write_text(uncommented(text))
        experiment = load(tmp_path / "config.yaml")
        assert experiment.watch is not None and experiment.notify is not None


def test_the_starter_loads(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(starter())
    assert load(tmp_path / "config.yaml").name == "digits"


def test_defaults_hold_for_all_tasks(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + "defaults: {retries: 3}\nensemble: {retries: 0}\n")
    experiment = load(file)
    assert experiment.members["jax"].retries == 3
    assert experiment.ensemble is not None and experiment.ensemble.retries == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1:1: the file is empty: `cronsemble init` writes a starter"),
        (b"\x00\xff\xfe", ": byte 1 is not UTF-8 text: is this a configuration file?"),
        ("a:\n\tb: 1\n", ":2:1: a tab in the indentation: type spaces"),
        (
            "experiment: e\nbackends:\n  jax: {schedule: * * * * *}\n",
            ':3:19: an unquoted *: quote the text, e.g. schedule: "0 1 * * *"',
        ),
        ("- 1\n", ":1:1: the file holds [1], not keys: `cronsemble init` writes a starter"),
        (GOOD + "stor: x\n", ":4:1 stor: unknown key: did you mean store?"),
        (GOOD + "experiment: f\n", ":4:1 experiment: this key is given twice: remove one"),
        (
            "experiment: e\nbackends: {jax: {retries: two}}\n",
            ":2:27 backends.jax.retries: 'two' is given: it must be a whole number of at least 0 and at most 20",
        ),
        (
            GOOD + "runtimes: {keras3: {}}\n",
            ":4:20 runtimes.keras3: nothing is given: type {python: PATH}, {venv: [PACKAGE]} or {image: REF}",
        ),
        (
            "experiment: e\nbackends: {jax: {hyperparameters: {filters: 3}}}\n",
            ":2:45 backends.jax.hyperparameters.filters: 3 is given: it must be a list of whole numbers of at least 1, "
            "e.g. [32, 64]",
        ),
        (
            "experiment: e\nmodel: mlp\nhyperparameters: {dropout: 1}\nbackends: {jax: {}}\n",
            ":3:28 hyperparameters.dropout: 1 is given: it must be a number from 0 to below 1, e.g. 0.25",
        ),
        (
            "experiment: e\nbackends: {jax: {timezone: no}}\n",
            ":2:28 backends.jax.timezone: YAML reads this as false, a truth value, and it must be text: quote it",
        ),
        (GOOD + "timezone: Europe/Berln\n", ":4:11 timezone: 'Europe/Berln' is not a time zone: did you mean Europe/Berlin?"),
        (
            "experiment: e\nbackends: {jax: {hyperparameters: {dens: 3}}}\n",
            ":2:42 backends.jax.hyperparameters.dens: the model cnn does not take it: did you mean dense?",
        ),
        (
            'experiment: e\nbackends: {jax: {schedule: "0 1 * * 7"}}\n',
            ":2:28 backends.jax.schedule: '0 1 * * 7': day of week: 7 is outside 0-6: type 0 for Sunday; "
            '"0 1 * * 0" has crontab\'s fire times over 5 years in UTC '
            "(Kubernetes would say: end of range (7) above maximum (6): 7)",
        ),
        (GOOD + "ensemble: {quorum: 2}\n", ":4:20 ensemble.quorum: 2 is given, but there are 1 members"),
        (
            GOOD + "data: {dataset: ../x.npz}\n",
            ":4:17 data.dataset: ../x.npz is given: type a path within the configuration's folder, relative to it and without ..",
        ),
        (GOOD + f"hyperparameters: {{dense: {'[' * 25_000}{']' * 25_000}}}\n", ":4:74: nested too deeply: at most 50 levels"),
        (GOOD + f"hyperparameters: {{dense: {'[' * 60}{']' * 60}}}\n", ":4:75: nested too deeply: at most 50 levels"),
        (GOOD + f"hyperparameters:\n  dense:\n    {'- ' * 9000}1\n", ":6:101: nested too deeply: at most 50 levels"),
        (
            GOOD + f"hyperparameters: {{seed: {'1' * 40}}}\n",
            ":4:25 hyperparameters.seed: a whole number of 130 bits: it must fit in 64",
        ),
        (
            GOOD + "hyperparameters: {seed: 4294967296}\n",
            ":4:25 hyperparameters.seed: 4294967296 is given: it must be at most 4294967295, as NumPy takes it",
        ),
        (GOOD + "hyperparameters: {dropout: .NaN}\n", ":4:28 hyperparameters.dropout: .NaN is given: a number must be finite"),
        (GOOD + "defaults: {resources: {cpu: -.inf}}\n", ":4:29 defaults.resources.cpu: -.inf is given: a number must be finite"),
        (GOOD + 'store: "a\\0b"\n', ":4:8 store: a NUL character in the text: remove it"),
    ],
)
def test_one_line_for_each_fault(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert problems(tmp_path, text) == [expected]


FAULTS = {
    "experiment: E\n": "experiment",
    "zone: x\n": "zone",
    "timezone: 3\n": "timezone",
    "store: 3\n": "store",
    "code: [absent, 3]\n": "code.0 code.1",
    "model: d.py:model\n": "model",
    "data: {dataset: d.py:data, predict: absent.npz, refresh: x}\n": "data.dataset data.predict data.refresh",
    "hyperparameters: {epochs: 0, dens: 1}\n": "hyperparameters.dens hyperparameters.epochs",
    'defaults: {retries: x, schedule: "61 * * * *", thread: 1}\n': "defaults.retries defaults.schedule defaults.thread",
    "ensemble: {max_age: 36, quorum: 9}\n": "ensemble.max_age ensemble.quorum",
    "cluster: {namespace: A_, user: 0}\n": "cluster.namespace cluster.user",
}
BACKENDS = """backends:
  jax: {retries: a, schedule: "* * * * * *", model: cnn, hyperparameters: {patience: -1, none: 1}}
  foo: {model: d.py:modl, env: {KERAS_BACKEND: x}, resources: {cpu: many}}
  theano: 5
  torch:
"""
OF_BACKENDS = (
    "backends.jax.retries backends.jax.schedule backends.jax.hyperparameters.patience backends.jax.hyperparameters.none "
    "backends.foo backends.foo.model backends.foo.env.KERAS_BACKEND backends.foo.resources.cpu backends.theano"
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.sets(st.sampled_from(sorted(FAULTS))))
@example(set(FAULTS))
def test_every_fault_in_one_pass(tmp_path: Path, faults: set[str]) -> None:
    (tmp_path / "d.py").write_text("def data(hyperparameters):\n    return ()\n\n\ndef model(a, b, c, d):\n    return d\n")
    expected = [*OF_BACKENDS.split(), *(key for fault in faults for key in FAULTS[fault].split())]
    experiment = "" if "experiment: E\n" in faults else "experiment: e\n"
    keys = [line.split(" ")[1].rstrip(":") for line in problems(tmp_path, experiment + "".join(faults) + BACKENDS)]
    # A function may have several faults, each with a line of its own.
    assert set(keys) == set(expected)


def test_a_thousand_schedules_of_another_dialect_are_answered_at_once(tmp_path: Path) -> None:
    """The first twenty with what to type, the others with the command that says it."""
    members = "\n".join(f'  m{n}: {{backend: jax, schedule: "{n % 60} {n // 60} * * 7"}}' for n in range(1000))
    found = problems(tmp_path, f"experiment: e\ntimezone: Asia/Kolkata\nbackends:\n{members}\n")
    assert len(found) == 1000
    assert all("has crontab's fire times over 5 years in Asia/Kolkata" in line for line in found[:20])
    assert "cronsemble next --dialect crontab '20 0 * * 7' says what to type" in found[20]
    assert all("says what to type" in line for line in found[20:])


@pytest.mark.holds("author-bounds")
def test_the_number_of_problems_is_bounded(tmp_path: Path) -> None:
    members = "\n".join(f"  m{n}: {{backend: jax, timezone: Europe/Berlim{n}}}" for n in range(9000))
    lines = problems(tmp_path, f"experiment: e\nbackends:\n{members}\n")
    assert lines[0] == ": 1000 problems are listed, and there are more: correct these first"
    assert lines[1].endswith("backends.m0.timezone: 'Europe/Berlim0' is not a time zone: did you mean Europe/Berlin?")
    assert len(lines) == 1001 and lines[1000].endswith("is not a time zone: type an IANA name, e.g. Europe/Berlin")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("store", "store: {}"),
        ("model", "model: {}.py:f"),
        ("data.dataset", "data: {{dataset: {}.npz}}"),
        ("data.dataset", "data: {{dataset: {}.py:f}}"),
        ("code.0", "code: [{}]"),
        ("runtimes.keras3.python", "runtimes: {{keras3: {{python: {}}}}}"),
    ],
)
@pytest.mark.holds("author-bounds")
def test_names_that_no_file_can_have(tmp_path: Path, key: str, text: str) -> None:
    (line,) = problems(tmp_path, GOOD + text.format("x" * 300) + "\n")
    assert f" {key}: " in line and line.endswith("cannot be a file or folder: File name too long") and len(line) < 200


def test_what_holds_for_all_members_is_reported_once(tmp_path: Path) -> None:
    members = "\n".join(f"  m{n}: {{backend: jax, model: {'cnn' if n % 2 else 'mlp'}}}" for n in range(2000))
    unknown = ", ".join(f"k{n}: 1" for n in range(200))
    lines = problems(tmp_path, f"experiment: e\nbackends:\n{members}\nhyperparameters: {{epochs: 0, {unknown}}}\n")
    assert len(lines) == 1 + 2 * 200


def test_what_no_process_takes_is_refused(tmp_path: Path) -> None:
    """Linux passes 128 KiB of a variable, with its name and the byte that ends it."""
    for length in (131_072 - len("A=") - 1, 131_072):
        text = "experiment: e\nbackends: {jax: {env: {A: " + "x" * length + "}}}\n"
        if length < 131_072:
            (tmp_path / "config.yaml").write_text(text)
            assert load(tmp_path / "config.yaml").members["jax"].env == {"A": "x" * length}
            environment = {"A": "x" * length}
            subprocess.run(["true"], env=environment, check=True)
        else:
            message = "131,075 bytes with its name, at most 131,072 reach a process: put it into a file"
            assert problems(tmp_path, text) == [f":2:24 backends.jax.env.A: {message}"]
    several = ", ".join(f"A{n}: {'x' * 100_000}" for n in range(6))
    (one,) = problems(tmp_path, "experiment: e\nbackends: {jax: {env: {" + several + "}}}\n")
    assert one.endswith("backends.jax.env: 600,024 bytes: at most 500,000 reach a process: put them into files")


@pytest.mark.holds("author-bounds")
def test_a_huge_file_is_one_line(tmp_path: Path) -> None:
    assert problems(tmp_path, b"a: 1\n" * 2_000_000) == [": 10.0 MB: a configuration has at most 1 MB"]


def test_an_absent_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="No such file or directory: `cronsemble init` writes a starter"):
        load(tmp_path / "none.yaml")


def test_a_model_functions_hyperparameters_are_read_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "raise SystemExit\ndef f(input_shape, classes, hyperparameters):\n    return hyperparameters['wide']\n"
    )
    text = "experiment: e\nmodel: m.py:f\nbackends: {jax: {hyperparameters: {wode: 3}}}\n"
    assert problems(tmp_path, text) == [
        ":3:42 backends.jax.hyperparameters.wode: the model m.py:f does not take it: did you mean wide?"
    ]


WHOLE = """
experiment: e
timezone: UTC
store: {claim: a}
data: {dataset: "d.py:data", predict: x.npz, refresh: daily}
code: [d.py]
model: d.py:model
hyperparameters: {epochs: 1, foo: 2}
defaults: {retries: 1, env: {A: b, S: {secret: s, key: k}}, resources: {cpu: 1}, schedule: "0 1 * * *", timezone: UTC}
backends:
  jax: {schedule: "0 1 * * *", hyperparameters: {patience: 1}, tolerations: [{key: a}], history_limits: {failed: 1}}
  t: {backend: torch, model: cnn, data_format: channels_last, hyperparameters: {filters: [1], dense: 3}}
ensemble: {quorum: 1, max_age: 36h, method: accuracy}
runtimes: {keras3: {python: x}, legacy: {image: y}}
cluster: {namespace: n, images: {keras3: a}, pull_secrets: [a], user: 5}
"""
ODD = [None, 1, -1, 1.5, "x", "", True, [], {}, [1], {"a": 1}, {"x": {"y": [1]}}, "d.py:data", "../x", 10**30, "0 1 * * *", "36h"]


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*above,)] * bool(above) + [place for key, item in inner for place in places(item, (*above, key))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(places(yaml.safe_load(WHOLE))), st.sampled_from(ODD)), min_size=1, max_size=5))
def test_no_values_raise_anything_else(tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    (tmp_path / "d.py").write_text("def data(h):\n    return {}\n\ndef model(a, b, c):\n    return 1\n")
    value = yaml.safe_load(WHOLE)
    for path, odd in changes:
        holder = value
        for key in path[:-1]:
            # An earlier change may have put something else there.
            inner = dict(enumerate(holder)) if isinstance(holder, list) else holder
            holder = inner.get(key, {}) if isinstance(inner, dict) else {}
        if isinstance(holder, dict):
            holder[path[-1]] = odd
    file = tmp_path / "any.yaml"
    file.write_text(yaml.safe_dump(value))
    try:
        load(file)
    except ConfigErrors as error:
        assert not any("object at" in problem.message or "\n" in problem.message for problem in error.problems)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: (GOOD + text).encode())))
@pytest.mark.holds("author-bounds")
def test_no_bytes_raise_anything_else(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(data)
    try:
        load(file)
    except ConfigErrors as error:
        assert "\n" not in str(error.problems[0])


def test_every_value_of_an_enumerated_key_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    def values(part: object) -> set[str]:
        if isinstance(part, dict):
            return set(part.get("enum", ())).union(*map(values, part.values()))
        return set().union(*map(values, part)) if isinstance(part, list) else set()

    enumerated = {
        key: values(definition)
        for keys in schema()["$defs"].values()  # type: ignore[attr-defined]
        for key, definition in keys.get("properties", {}).items()
        if values(definition)
    }
    assert enumerated.keys() >= {"method", "concurrency", "refresh", "backend", "pull_policy", "data_format"}
    for key, allowed in enumerated.items():
        rows = " ".join(line for line in text.splitlines() if line.startswith(f"| `{key}` |"))
        assert {value for value in allowed if f"`{value}`" not in rows} == set(), key


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    definitions = schema()
    found = set(definitions["properties"])  # type: ignore[call-overload]
    for each in definitions["$defs"].values():  # type: ignore[attr-defined]
        found |= set(each.get("properties", {}))
    assert found >= set(EnsembleKeys.__struct_fields__)
    assert {key for key in found if f"`{key}`" not in text} == set()


def test_what_the_data_function_reads_a_model_need_not_take(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def data(values):\n    return values['items']\n")
    text = "experiment: e\ndata: {dataset: 'f.py:data'}\nhyperparameters: {items: 9, itmes: 9}\nbackends: {jax: {}}\n"
    assert problems(tmp_path, text) == [":3:36 hyperparameters.itmes: the model cnn does not take it: did you mean items?"]


def test_data_of_a_cluster_lies_in_its_store(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + "data: {dataset: far.npz}\nstore: {claim: c}\n")
    assert load(file).data.dataset == "far.npz"
    assert problems(tmp_path, GOOD + "data: {dataset: far.npz}\n") == [
        f":4:17 data.dataset: far.npz does not exist (looked in {tmp_path})"
    ]


def test_a_problem_is_a_line_of_bounded_length(tmp_path: Path) -> None:
    for key in ("schedule", "timezone", "backend"):
        text = f"experiment: e\nbackends:\n  jax: {{{key}: {'x' * 200_000}}}\n"
        assert max(map(len, problems(tmp_path, text))) <= 2000
