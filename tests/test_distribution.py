"""The wheel in an empty environment: every command that the README names, with real runs; and what a release must agree on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from uv import find_uv_bin

from needs import missing
from scheduler import VERSION
from scheduler.runtimes import uv

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
experiment: small
store: ./store
runtimes: {{keras3: {{python: {keras3}}}}}
model: mlp
hyperparameters: {{epochs: 1, patience: 1}}
backends: {{tensorflow: {{schedule: "0 1 * * *"}}, jax: {{schedule: "0 1 * * *"}}}}
ensemble: {{schedule: "0 6 * * *"}}
"""
EXPECTED_ERRORS = {
    **dict.fromkeys(("plan", "sync", "status", "run --cluster"), "kubeconfig|cluster"),
    "cancel RUN": "has ended already",
    "compare 2026-11-19 2026-11-20": "both names mean",
}
"""What commands say that have nothing to do here: no cluster, no run that runs, and each date is that of one run."""


def _call(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=uv.settings(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # By way of the source distribution: the wheel is built from it alone.
    _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), ".", cwd=ROOT)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"cronsemble-{VERSION}-py3-none-any.whl",
        f"cronsemble-{VERSION}.tar.gz",
    ]
    return folder / f"cronsemble-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in an environment that holds the wheel and its dependencies alone."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    _call(find_uv_bin(), "venv", "-q", "--python", sys.executable, str(folder))
    command = [find_uv_bin(), "pip", "install", "-q", "--python", str(folder / "bin" / "python"), str(wheel)]
    pins = re.sub(r"(?m) \\$|^ +--hash.*$", "", (ROOT / "requirements" / "dev.txt").read_text())
    (folder.parent / "pins.txt").write_text(pins)
    done = subprocess.run(
        [*command, "-c", str(folder.parent / "pins.txt")],
        env=uv.settings(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "error sending request" in done.stderr:
        missing("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "cronsemble"


@pytest.fixture(scope="module")
def project(installed: Path, keras3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration of two live members and an ensemble."""
    folder = tmp_path_factory.mktemp("project")
    _call(str(installed), "init", cwd=folder)
    _call(str(installed), "check", cwd=folder)
    (folder / "config.yaml").write_text(CONFIG.format(keras3=keras3))
    return folder


def _readme_commands() -> list[list[str]]:
    table = re.findall(r"^\| .* \| (`cronsemble .*`) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return [command.split()[1:] for row in table for command in re.findall(r"`([^`]+)`", row)]


def test_every_command_of_the_readme_does_its_work(installed: Path, project: Path) -> None:
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    words = {"FILE": "config.yaml", "FROM..TO": f"{today}..{today}"}
    ended: dict[str, int] = {}
    for command in _readme_commands():
        arguments = [words.get(word, re.sub(r"\d{4}-\d\d-\d\d", today, word)) for word in command]
        if arguments[0] == "init":  # the fixture has typed it
            continue
        with subprocess.Popen(
            [str(installed), *arguments],
            cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "KUBECONFIG": str(project / "absent")},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            if arguments[0] == "serve":
                process.stdout.readline()
                process.send_signal(signal.SIGTERM)
            printed = process.stdout.read()
        typed = " ".join(command)
        ended[typed] = process.returncode
        assert "Traceback" not in printed
        if process.returncode:
            assert process.returncode == 1 and re.search(EXPECTED_ERRORS[typed], printed), (typed, printed)
        if typed == "run":
            runs = [row["run"] for row in json.loads(_call(str(installed), "history", "--json", cwd=project))]
            assert len(runs) == 3
            words["RUN"] = runs[-1]
    assert {typed for typed, status in ended.items() if status} == EXPECTED_ERRORS.keys() and len(ended) >= 18, ended


def test_the_clusters_objects_are_rendered(installed: Path, project: Path) -> None:
    text = (project / "config.yaml").read_text()
    other = project / "cluster.yaml"
    other.write_text(text.replace("./store", "{claim: c}") + "cluster: {images: {keras3: registry.example/keras3:1}}\n")
    assert _call(str(installed), "render", "-f", str(other), cwd=project).count("\nkind: CronJob") == 3


def test_the_wheel_holds_the_python_interface(installed: Path, tmp_path: Path) -> None:
    store = shutil.copytree(ROOT / "tests" / "data" / "store-of-0.1.0" / "store", tmp_path / "store")
    code = "import sys, cronsemble; print(cronsemble.__file__, len(cronsemble.open(store=sys.argv[1]).history()))"
    file, rows = _call(str(installed.parent / "python"), "-c", code, str(store), cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed.parent.parent) and int(rows) > 3


def test_the_wheel_declares_its_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE) == ["mlflow", "tensorboard", "apprise", "png"]
    assert len(re.findall(r"; extra == .mlflow.", metadata)) == 3


def test_the_wheel_holds_what_images_are_built_from(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    context = ROOT / "scheduler" / "images" / "context"
    tracked = _call("git", "ls-files", str(context), cwd=ROOT).split()
    assert len(tracked) > 10 and set(tracked) <= inside
    assert {f"scheduler/requirements/{name}.txt" for name in ("keras3", "keras3-torch", "tool")} <= inside
    assert {"scheduler/metrics/alerts.yaml", "scheduler/metrics/dashboard.json"} <= inside


def test_the_changelog_begins_with_this_version() -> None:
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None and heading[1] == VERSION
