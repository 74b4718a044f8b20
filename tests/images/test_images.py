"""The images as they are built: what is in them, that any user can run them, and that they give the same results."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from commands import run_command
from scheduler import VERSION
from scheduler.images import build
from scheduler.runtimes import containers
from scheduler.runtimes.mounts import Mount
from scheduler.snapshots.program import build_program
from stores import Builder
from tests.conftest import KERAS3, LEGACY

ROOT = Path(__file__).parents[2]
STRANGER = "12345:12345"
SMALL = "{epochs: 2, patience: 9, filters: [8], dense: 16, seed: 7}"


def inside(
    image: str,
    argv: Sequence[str],
    mounts: Sequence[Mount] = (),
    env: dict[str, str] | None = None,
    user: str = STRANGER,
) -> subprocess.CompletedProcess[str]:
    """Run a command as the tool runs a step: read-only root, no network, no capability."""
    name = f"cronsemble-test-{os.getpid()}"
    command = containers.run_command(containers.find_engine(), image, name, argv, env or {}, mounts, user)
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["legacy", "keras3"])
def test_the_identity_tells_what_is_inside(name: str, legacy: str, keras3_image: str) -> None:
    image, prefix = f"localhost/cronsemble-{name}", list(containers.find_engine().prefix)
    inspected = subprocess.run([*prefix, "image", "inspect", image], capture_output=True, text=True, check=True)
    config = json.loads(inspected.stdout)[0]["Config"]
    assert config["User"] == "1000:1000"
    assert config["Labels"].items() >= build.labels(name, build.inputs_of(name)).items(), "run `make images`"
    done = inside(image, ["cat", "/etc/cronsemble-image.json"])
    identity = json.loads(done.stdout)
    assert (identity["name"], identity["inputs"]) == (name, config["Labels"]["cronsemble.inputs"])
    for label, version in config["Labels"].items():
        key = label.removeprefix("cronsemble.")
        if key in identity["versions"]:
            # CNTK's wheel 2.7.post2 calls itself 2.7; Python's label has no patch version.
            version_inside = identity["versions"][key]
            assert version_inside == {"cntk": "2.7"}.get(key, version) or (
                key == "python" and version_inside.startswith(version + ".")
            )


def test_the_tools_image_watches_as_any_user_on_a_read_only_root_without_network(tmp_path: Path, tool_image: str) -> None:
    store, settings = tmp_path / "store", tmp_path / "settings"
    Builder(store).run("train-a", "2026-11-20T01:00", "failed", reason="as it was")
    settings.mkdir()
    (settings / "settings.json").write_text('{"experiment": "e", "timezone": "Asia/Tokyo"}')
    for folder in (tmp_path, *(path for path in store.rglob("*") if path.is_dir()), store, settings):
        folder.chmod(0o777)
    command = ["cronsemble", "watch", "--store", "/store", "--settings", "/settings/settings.json"]
    done = inside(tool_image, command, [Mount(store, "/store", True), Mount(settings, "/settings")], {"HOME": "/tmp"})
    assert done.returncode == 0, done.stderr
    assert b"as it was" in (store / "reports" / "e" / "latest.html").read_bytes()
    identity = json.loads(inside(tool_image, ["cat", "/etc/cronsemble-image.json"]).stdout)
    assert identity["name"] == "tool" and identity["versions"]["cronsemble"] == VERSION
    left = inside(
        tool_image, ["sh", "-c", "ls -d /w /b /usr/share/doc/* /var/lib/apt/lists/* /root/.cache /opt/tool/bin/pip* 2>/dev/null"]
    )
    assert left.stdout == ""
    compiled = inside(tool_image, ["python", "-vc", "import scheduler.cli"])
    assert "/site-packages/scheduler/__pycache__/cli.cpython-311.pyc matches" in compiled.stderr


def test_any_user_can_import_the_frameworks_on_a_read_only_root(legacy: str, keras3_image: str) -> None:
    done = inside(
        keras3_image,
        ["python3", "-c", "import tensorflow, jax, sklearn, polars, zoneinfo; print(zoneinfo.ZoneInfo('Asia/Tokyo'))"],
    )
    assert done.stdout == "Asia/Tokyo\n", done.stderr
    program = "import os, cntk; print(os.getuid(), os.environ['HOME'], cntk.__version__)"
    done = inside(legacy, ["python2.7", "-W", "ignore", "-c", program], env={"KERAS_BACKEND": "cntk"})
    assert done.stdout.strip().endswith("(12345, '/tmp', '2.7')"), done.stderr


def test_nothing_that_builds_the_images_is_left_in_them(legacy: str, keras3_image: str) -> None:
    for image in (legacy, keras3_image):
        done = inside(image, ["sh", "-c", "ls -d /w /b /usr/share/doc/* /var/lib/apt/lists/* /root/.cache 2>/dev/null"])
        assert done.stdout == ""
    # The frameworks' byte code is there and valid: the root cannot be written.
    done = inside(legacy, ["python2.7", "-vc", "import numpy.core.numeric"])
    assert "precompiled from" in done.stderr and "bad mtime" not in done.stderr
    done = inside(keras3_image, ["python3", "-vc", "import keras.src.models.model"])
    assert "code object from '/opt/keras3/lib/python3.11/site-packages/keras/__init__.py" not in done.stderr
    assert "/site-packages/keras/__pycache__/__init__.cpython-311.pyc matches" in done.stderr


def test_theano_compiles_nothing_for_the_built_in_models(tmp_path: Path, legacy: str) -> None:
    rng = np.random.default_rng(1)
    arrays: dict[str, np.ndarray] = {"class_names": np.arange(10).astype(str)}
    for part, items in (("train", 70), ("val", 40), ("predict", 10)):
        arrays[f"x_{part}"] = rng.integers(0, 17, (items, 8, 8, 1)).astype("float64")
        arrays[f"y_{part}"] = np.arange(items) % 10
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    tmp_path.chmod(0o777)
    (tmp_path / "data.npz").chmod(0o644)
    flags = "base_compiledir=/tmp/theano"
    env = {"KERAS_BACKEND": "theano", "PYTHONPATH": "/code", "OMP_NUM_THREADS": "1", "THEANO_FLAGS": flags}
    program = "cp -r $CRONSEMBLE_THEANO_WARM /tmp/theano && exec python2.7 -W ignore /code/tests/images/theano_modules.py /data"
    mounts = [Mount(ROOT, "/code"), Mount(tmp_path, "/data", True)]
    done = inside(legacy, ["sh", "-c", program], mounts, env)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    counts = [line for line in lines if "compiled" in line]
    assert len(counts) == 4
    assert counts[-1]["baked"] > 200 and counts[-1]["compiled"] == [], lines


PYTHON_3_9 = ("*.py", "portable/*.py", "store/*.py", "supervisor/*.py", "remote/*.py")
"""What needs Python 3.9 and no library; the rest needs the keras3 runtime."""


def test_each_pythons_share_of_the_program(tmp_path: Path, legacy: str) -> None:
    """Debian 11's Python 3.9 runs the supervisor, 2.7 compiles what the frameworks run."""
    (tmp_path / "jobs.pyz").write_bytes(build_program())
    tmp_path.chmod(0o755)
    mounts = [Mount(tmp_path, "/program"), Mount(ROOT / "jobs", "/jobs")]
    done = inside(legacy, ["sh", "-c", "python3 --version && python3 /program/jobs.pyz supervise --help"], mounts)
    assert done.stdout.startswith("Python 3.9") and "usage: supervise" in done.stdout, done.stderr
    compiled = "import sys\nfor path in sys.argv[1:]: compile(open(path).read(), path, 'exec')\nprint(len(sys.argv) - 1)"
    both = f'python2.7 -c "{compiled}" /jobs/portable/*.py /jobs/__main__.py /jobs/__init__.py && '
    both += f'python3 -c "{compiled}" ' + " ".join(f"/jobs/{part}" for part in PYTHON_3_9)
    done = inside(legacy, ["sh", "-c", both], mounts)
    assert done.returncode == 0, done.stderr
    for step in ("train", "predict"):
        done = inside(legacy, ["python2.7", "/program/jobs.pyz", step, "--help"], mounts)
        assert done.stdout.startswith(f"usage: {step}"), done.stderr


def run_experiment(folder: Path, runtimes: str, backends: str) -> dict[str, bytes]:
    """Run it; what each member and the ensemble ("") archived."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(
        f"experiment: small\nstore: ./store\nruntimes: {runtimes}\nhyperparameters: {SMALL}\n"
        f"backends: {backends}\nensemble: {{quorum: 2}}\n"
    )
    done = run_command("run", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (archived,) = folder.glob("store/predictions/small/*.csv")
    members = {path.stem: path.read_bytes() for path in folder.glob("store/predictions/small/*.members/*.csv")}
    return {"": archived.read_bytes(), **members}


def test_every_step_in_images_gives_what_the_environment_gives(
    tmp_path: Path, keras3: Path, legacy: str, keras3_image: str
) -> None:
    backends = "{tensorflow: {}, jax: {}}"
    images = f"{{keras3: {{image: {KERAS3}}}, legacy: {{image: {LEGACY}}}}}"
    archived = run_experiment(tmp_path / "images", images, backends)
    assert set(archived) == {"", "tensorflow", "jax", "agreement"}
    assert archived == run_experiment(tmp_path / "venv", f"{{keras3: {{python: {keras3}}}}}", backends)
    for path in tmp_path.glob("images/store/runs/small/*/*/*/result/record.json"):
        image = json.loads(path.read_text())["image"]
        assert image["reference"] == KERAS3
        assert image["identity"]["versions"]["tensorflow-cpu"] == "2.21.0"


OWN = """
def f(input_shape, classes, hyperparameters):
    import keras
    from ours import units
    layers = [keras.layers.Flatten(input_shape=input_shape), keras.layers.Dense(units.HIDDEN, "relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(classes, "softmax")])
    model.compile("adam", "categorical_crossentropy")
    return model
"""


@pytest.fixture
def own_image(tmp_path: Path, keras3_image: str) -> Iterator[str]:
    """An image with a library of the user's, from a Containerfile of three lines."""
    context = tmp_path / "context"
    context.mkdir()
    with zipfile.ZipFile(context / "ours-1-py3-none-any.whl", "w") as wheel:
        about = "ours-1.dist-info"
        wheel.writestr("ours/__init__.py", "")
        wheel.writestr("ours/units.py", "HIDDEN = 12\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    # As in docs/runtimes.md, but for the network.
    install = "RUN --mount=type=bind,target=/w pip install --no-cache-dir --no-index --find-links /w ours"
    lines = [f"FROM {keras3_image}", "USER root", install]
    (context / "Containerfile").write_text("\n".join(lines) + "\n")
    engine, image = containers.find_engine(), f"localhost/cronsemble-test-own:{os.getpid()}"
    options = ["--isolation", "chroot", "--pull=never"] if engine.name == "podman" else []
    command = [*engine.prefix, "build", "-q", *options, "-t", image, "-f", str(context / "Containerfile"), str(context)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield image
    subprocess.run([*engine.prefix, "rmi", image], capture_output=True, check=True)


def test_a_member_uses_a_library_that_the_user_added(tmp_path: Path, own_image: str) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "m.py").write_text(OWN)
    runtimes = f"{{keras3: {{image: '{own_image}'}}}}"
    (folder / "config.yaml").write_text(
        f"experiment: small\nstore: ./store\nruntimes: {runtimes}\nmodel: m.py:f\n"
        "hyperparameters: {epochs: 1, patience: 1}\nbackends: {tensorflow: {}}\n"
    )
    done = run_command("run", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = folder.glob("store/runs/small/train-tensorflow/*/*/result/record.json")
    assert json.loads(record.read_text())["image"]["reference"] == own_image


def test_saved_archives_are_kept_until_the_image_changes(tmp_path: Path, legacy: str) -> None:
    command = ("images", "build", "legacy", "--save", tmp_path)
    first = run_command(*command, check=True).stdout
    tar = tmp_path / "cronsemble-legacy.tar"
    names = subprocess.run(["tar", "-xOf", str(tar), "manifest.json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(names)[0]["RepoTags"] == [f"{legacy}:latest"]
    assert "already built from these files" in first and " MB" in first
    time = tar.stat().st_mtime_ns
    assert f"{tar}: up to date" in run_command(*command, check=True).stdout
    assert tar.stat().st_mtime_ns == time
