"""The package as a library: light to import, silent, its errors of one tree with the commands' words, documented by examples."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

import cronsemble
import year_store
from commands import run_command
from stores import Builder

ROOT = Path(__file__).parents[2]
MODULES = ("cronsemble", *(f"cronsemble.{name}" for name in ("comparison", "experiment", "report_page", "run", "tables")))
CLASSES = (
    cronsemble.Comparison, cronsemble.Experiment, cronsemble.Model, cronsemble.ReportPage, cronsemble.Run, cronsemble.Table,
)  # fmt: skip


def documented() -> dict[str, FunctionType]:
    """The public functions and methods that are called, by name."""
    functions = {"open": cronsemble.open}
    for kind in CLASSES:
        functions |= {
            f"{kind.__name__}.{name}": member
            for name, member in vars(kind).items()
            if isinstance(member, FunctionType) and not name.startswith("_")
        }
    return functions


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_do_what_they_say(name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("config.yaml", "store"):
        (tmp_path / each).symlink_to(folder / each)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted >= 3 and result.failed == 0


def test_everything_public_is_documented_with_an_example() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    for name, function in documented().items():
        text = inspect.getdoc(function) or ""
        parameters = [each for each in inspect.signature(function).parameters if each != "self"]
        assert text.split("\n")[0].endswith((".", ":")) or "\n\n" in text, name
        assert all(f"    {parameter}: " in text for parameter in parameters), name
        if name != "Experiment.close":
            assert "Returns:\n" in text and "Example:\n    >>> " in text, name
        assert f"{name.rpartition('.')[2]}(" in page, name
    for name in cronsemble.__all__:
        assert name.startswith("__") or f"`{name}" in page, name


def test_importing_it_imports_little(folder: Path) -> None:
    code = "import sys, cronsemble; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert not {"typer", "rich", "yaml", "msgspec", "numpy", "arro3", "pandas", "polars", "pyarrow", "kubernetes", "ssl"} & set(
        loaded
    )


CALLS = """
import signal, sys, cronsemble
before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)}
experiment = cronsemble.open(sys.argv[1])
experiment.history(); experiment.slots(); experiment.members("2025-11-20"); experiment.predictions("2025-11-20")
experiment.run("2025-11-20").log(); experiment.model("2025-11-20", member="a"); experiment._repr_html_()
for call in (lambda: experiment.run("bogus"), lambda: cronsemble.open("/nowhere/config.yaml")):
    try:
        call()
    except cronsemble.CronsembleError:
        pass
assert before == {number: signal.getsignal(number) for number in before}
assert not {"typer", "rich", "polars", "pandas", "kubernetes", "scheduler.signals"} & set(sys.modules)
"""


def test_it_prints_nothing_and_leaves_signals_alone(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", CALLS, str(folder / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_errors_are_of_one_tree_and_have_the_commands_words(folder: Path, experiment: cronsemble.Experiment) -> None:
    def printed(*arguments: str) -> str:
        done = run_command(*arguments, folder=folder)
        assert done.returncode == 1
        return done.stderr.strip()

    for name in cronsemble.__all__:
        value = getattr(cronsemble, name)
        if inspect.isclass(value) and issubclass(value, Exception) and not issubclass(value, Warning):
            assert issubclass(value, cronsemble.CronsembleError)
    with pytest.raises(cronsemble.UnknownRun) as unknown:
        experiment.run("bogus")
    assert str(unknown.value) == printed("show", "bogus")
    with pytest.raises(cronsemble.CronsembleError) as status:
        experiment.slots(statuses=["bogus"])
    assert str(status.value) == printed("history", "--status", "bogus")
    with pytest.raises(cronsemble.CronsembleError) as task:
        experiment.history(tasks=["bogus"])
    assert str(task.value) == printed("history", "--task", "bogus")
    with pytest.raises(cronsemble.CronsembleError) as absent:
        cronsemble.open(folder / "absent" / "config.yaml")
    assert str(absent.value) == printed("history", "-f", str(folder / "absent" / "config.yaml"))


def test_what_has_no_predictions_or_model_says_why(experiment: cronsemble.Experiment) -> None:
    with pytest.raises(
        cronsemble.CronsembleError, match=r"^e-ensemble-\d+: it has no predictions: its status is no quorum: 0 of"
    ):
        experiment.predictions("2025-12-07")
    with pytest.raises(cronsemble.CronsembleError, match="^z: no member of e-ensemble-29393640: it has a, b, c, d$"):
        experiment.predictions("2025-11-20", member="z")
    with pytest.raises(cronsemble.CronsembleError, match="an ensemble run has no model of its own"):
        experiment.model("latest")
    with pytest.raises(cronsemble.CronsembleError, match="it is no ensemble run"):
        experiment.members("e-train-a-29393340")
    with pytest.raises(cronsemble.CronsembleError, match="it has no model: its status is failed: ran out of memory"):
        experiment.model("2025-11-24", member="b")


def test_the_report_is_the_page_of_the_command(folder: Path, experiment: cronsemble.Experiment, tmp_path: Path) -> None:
    written = tmp_path / "report.html"
    run_command("report", "--until", "2025-12-09", "--out", written, folder=folder, check=True)
    page = experiment.report(until="2025-12-09")
    # What differs is when it was made.
    assert abs(len(page.html) - len(written.read_text())) < 100 and "</script><b>" not in page._repr_html_()
    assert page._repr_html_().startswith('<iframe sandbox="allow-scripts" srcdoc="&lt;!doctype html&gt;')
    with pytest.raises(cronsemble.StoreError, match="/dev/null"):
        page.save("/dev/null/report.html")


def test_files_that_are_not_what_the_run_wrote_are_refused(tmp_path: Path) -> None:
    year_store.build(tmp_path / "store", 1)
    experiment = cronsemble.open(store=tmp_path / "store")
    run = experiment.run("2025-11-20", task="train-a")
    (record,) = (path for path in experiment.run("2025-11-20").files() if path.name == "record.json")
    record.chmod(0o644)
    record.write_bytes(record.read_bytes()[:-2])
    with pytest.raises(
        cronsemble.CronsembleError, match="it has no predictions: its status is unknown: unreadable: result/record.json"
    ):
        experiment.predictions("2025-11-20")
    for path in run.files():
        if path.suffix != ".json":
            path.chmod(0o644)
            path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(cronsemble.DamagedResult, match="is not what the run wrote"):
        run.epochs()
    with pytest.raises(cronsemble.DamagedResult, match="is not what the run wrote"):
        experiment.model("2025-11-20", member="a")


def test_what_was_done_in_part_is_a_warning_at_the_callers_line(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    builder.run("train-a", "2026-11-20T01:00")
    (tmp_path / "config.yaml").write_text("experiment: e\nstore: ./store\nbogus: 1\nbackends: {jax: {}}\n")
    experiment = cronsemble.open(tmp_path / "config.yaml")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert len(experiment.history()) == 1
    assert [str(warning.message).removeprefix(f"{tmp_path}/") for warning in warned] == [
        "config.yaml:3:1 bogus: unknown key: there are experiment, timezone, store, data, code, model, hyperparameters, "
        "defaults, backends, ensemble, watch, runtimes, cluster, notify, heartbeat",
        f"the history is read from {tmp_path}/store alone",
    ]
    assert {(warning.category, warning.filename) for warning in warned} == {(cronsemble.CronsembleWarning, __file__)}
    builder.run("ensemble", "2026-11-20T01:00")
    builder.run("ensemble", "2026-11-20T02:00")
    with pytest.warns(cronsemble.CronsembleWarning, match="the newest of 2 ensemble runs"):
        cronsemble.open(store=tmp_path / "store").members("2026-11-20")


def test_a_store_that_cannot_be_read_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Builder(tmp_path / "store").run("train-a", "2026-11-20T01:00")
    experiment = cronsemble.open(store=tmp_path / "store")
    (tmp_path / "store" / "runs").rename(tmp_path / "away")
    os.symlink(tmp_path / "store" / "runs", tmp_path / "store" / "runs")
    with pytest.raises(cronsemble.StoreError, match="runs"):
        experiment.tasks  # noqa: B018
