"""Temporary folders of the jobs: whose they are, and what becomes of those that killed processes leave."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.store import LocalStore
from jobs.supervisor.framework_process import warm_theano
from jobs.supervisor.run_context import RunContext
from jobs.temporary import TemporaryFolder, remove_leftovers

_HOLDER = """
import sys
from jobs.temporary import TemporaryFolder
folder = TemporaryFolder("code")
(folder.path / "lib").mkdir()
(folder.path / "lib" / "model.py").write_text("TOKEN = 1")
(folder.path / "lib").chmod(0o500)
(folder.path / "link").symlink_to(sys.argv[1])
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def _hold(kept: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(kept)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.holds("code-temporary")
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(tmp_path: Path, temporary: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "x").touch()
    killed, left = _hold(kept)
    living, used = _hold(kept)
    with killed, living:
        assert {left.parent, used.parent} == {temporary}
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.exists()
        with TemporaryFolder("step") as own:
            assert not left.exists() and (used / "lib" / "model.py").exists() and own.exists()
            assert stat.S_IMODE(own.stat().st_mode) == 0o700
        assert not own.exists()
        living.kill()
    remove_leftovers()
    assert not list(temporary.iterdir()) and (kept / "x").exists()


@pytest.mark.holds("code-temporary")
def test_only_folders_of_our_own_are_leftovers(tmp_path: Path, temporary: Path) -> None:
    """Neither a link by such a name, nor a file, nor a folder of another name, also not one that another user's name is in."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").touch()
    prefix = f"cronsemble-{os.geteuid()}-code-"
    (temporary / f"{prefix}aaaaaaaa").symlink_to(tmp_path / "kept")
    (temporary / f"{prefix}bbbbbbbb").touch()
    for name in (f"cronsemble-{os.geteuid() + 1}-code-aaaaaaaa", "cronsemble-notes", f"{prefix}aaaaaaaa-mine", "other"):
        (temporary / name).mkdir()
    names = sorted(os.listdir(temporary))
    remove_leftovers()
    assert sorted(os.listdir(temporary)) == names and (tmp_path / "kept" / "x").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the user root")
@pytest.mark.holds("code-temporary")
def test_a_folder_that_belongs_to_another_user_stays(temporary: Path) -> None:
    folder = temporary / f"cronsemble-{os.geteuid()}-code-aaaaaaaa"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    remove_leftovers()
    assert folder.exists()


def test_none_is_taken_for_a_leftover_while_it_is_made(temporary: Path) -> None:
    """Processes that make folders, and clear those of others, as fast as they can: each holds what it has made."""
    script = """
import sys
from jobs.temporary import TemporaryFolder
for _ in range(400):
    with TemporaryFolder("step") as folder:
        (folder / "file").write_text("mine")
        assert (folder / "file").read_text() == "mine"
"""
    processes = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert list(temporary.iterdir()) == []


@pytest.mark.holds("code-temporary")
def test_compiled_modules_that_others_left_in_the_temporary_folder_are_not_used(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theano loads what its compile folder holds: that is the image's, in a folder of the step's own."""
    (tmp_path / "warm").mkdir()
    (tmp_path / "warm" / "module.so").write_text("ours")
    for planted in ("cronsemble-theano", f"cronsemble-{os.geteuid()}-theano"):
        (temporary / planted / "compiledir").mkdir(parents=True)
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
    env = {c.ENV_THEANO_WARM: str(tmp_path / "warm")}
    run = c.RunId(29_924_640, 1, "e", "train-a")
    warm_theano(RunContext(LocalStore(tmp_path), run, "a", {"backend": "theano"}, b"", {}, env))
    folder = Path(os.environ.pop("THEANO_FLAGS").partition("base_compiledir=")[2])
    assert (folder / "module.so").read_text() == "ours" and folder.parent.parent == temporary
    assert (
        folder.parent.name.startswith(f"cronsemble-{os.geteuid()}-theano-")
        and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    )


def test_every_folder_in_the_temporary_one_is_such_a_folder() -> None:
    """Others would stay after a kill: what needs a folder there takes it from jobs.temporary; an image's build has its own."""
    root = Path(__file__).resolve().parents[2]
    calls = re.compile(r"tempfile\.(mkdtemp|TemporaryDirectory|NamedTemporaryFile|mkstemp|gettempdir)\((?![^)]*\bdir=)")
    sources = [path for top in ("cronsemble", "scheduler", "cronjobs", "jobs") for path in (root / top).rglob("*.py")]
    context = root / "scheduler/images/context"
    found = [path for path in sources if calls.search(path.read_text()) and not path.is_relative_to(context)]
    assert found == [root / "jobs/temporary.py"]
