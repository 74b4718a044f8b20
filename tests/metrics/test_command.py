"""`cronsemble metrics`: the text of every experiment, a file that is replaced whole, and exit statuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
import yaml

from scheduler.cli import app
from scheduler.errors import CronsembleError
from stores import Builder

CONFIG = "experiment: {name}\nstore: ./store\nbackends: {{a: {{backend: jax, schedule: '0 1 * * *'}}}}\n"


def experiment(folder: Path, name: str) -> Path:
    builder = Builder(folder / "store", name)
    builder.revise("2026-11-18T12:00", {"train-a": {"schedule": "0 1 * * *"}})
    builder.run("train-a", "2026-11-20T01:00", accuracy=0.75)
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(name=name))
    return path


def run(*arguments: str) -> int:
    """The exit status; an error of the command goes to stderr, as its entry point has it."""
    try:
        return int(app(["metrics", *arguments], standalone_mode=False) or 0)
    except CronsembleError as error:
        print(error, file=sys.stderr)
        return 1


def test_several_experiments_in_one_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("e", "f"):
        experiment(tmp_path, name)
    assert run("-f", str(tmp_path)) == 0
    out, errors = capfd.readouterr()
    assert errors == ""
    for name in ("e", "f"):
        assert f'cronsemble_validation_accuracy_ratio{{experiment="{name}",task="train-a"}} 0.75\n' in out
    assert out.count("# TYPE cronsemble_task_state gauge\n") == 1


def test_a_file_is_replaced_whole_and_whoever_reads_its_folder_may_read_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "textfile"
    folder.mkdir(0o755)
    path, out = experiment(tmp_path, "e"), folder / "cronsemble.prom"
    out.write_text("before")
    out.chmod(0o600)
    held = out.open()
    assert run("-f", str(path), "--out", str(out)) == 0
    assert held.read() == "before"
    held.close()
    assert out.read_text().startswith("# HELP cronsemble_metrics_timestamp_seconds ") and out.read_text().endswith("\n")
    assert out.stat().st_mode & 0o444 == 0o444
    assert [path.name for path in folder.iterdir()] == ["cronsemble.prom"]
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_read_keeps_nobody_else_from_an_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, out = experiment(tmp_path, "e"), tmp_path / "e.prom"
    other = tmp_path / "other.yaml"
    other.write_text("experiment: [\n")
    (tmp_path / "empty").mkdir()
    alone = tmp_path / "empty" / "config.yaml"
    alone.write_text("experiment: [\n")
    assert run("-f", str(path), "-f", str(alone), "--out", str(out)) == 1
    assert 'experiment="e"' in out.read_text()
    (error,) = capfd.readouterr().err.splitlines()
    assert str(alone) in error and "is not a store with runs" in error
    # Nothing replaces a file if there is nothing to say.
    before = out.read_bytes()
    assert run("-f", str(alone), "--out", str(out)) == 1
    assert out.read_bytes() == before


def test_a_broken_configuration_costs_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = experiment(tmp_path, "e")
    path.write_text(path.read_text() + "modle: mlp\n")
    assert run("-f", str(path)) == 0
    assert 'cronsemble_running_runs{experiment="e",task="train-a"} 0.0' in capfd.readouterr().out


def test_a_store_without_a_configuration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path, "e")
    assert run("-f", str(tmp_path / "absent.yaml"), "--store", str(tmp_path / "store"), "--experiment", "e") == 0
    assert 'task="train-a"' in capfd.readouterr().out


@pytest.mark.parametrize("out", ["absent/x.prom", "."])
def test_a_file_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str], out: str) -> None:
    path = experiment(tmp_path, "e")
    assert run("-f", str(path), "--out", str(tmp_path / out)) == 1
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("--out ")


def test_an_experiment_that_nothing_ran_of_yet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(CONFIG.format(name="e"))
    assert run("-f", str(path)) == 0
    names = {line.partition("{")[0] for line in capfd.readouterr().out.splitlines() if line[0] != "#"}
    assert names == {"cronsemble_metrics_timestamp_seconds", "cronsemble_unreadable_folders"}


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--alerts or --dashboard"):
        run("--alerts", "--dashboard")
    with pytest.raises(typer.BadParameter, match="one -f FILE"):
        run("-f", "a.yaml", "-f", "b.yaml", "--store", str(tmp_path))


def test_rules_and_dashboard_are_in_the_package(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--alerts") == 0
    (group,) = yaml.safe_load(capfd.readouterr().out)["groups"]
    assert len(group["rules"]) == 5
    assert run("--dashboard") == 0
    assert json.loads(capfd.readouterr().out)["title"] == "Cronsemble"
