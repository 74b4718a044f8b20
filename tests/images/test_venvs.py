"""The making of virtual environments: two at once, a killed one, no network, a Python that is too new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes import uv, venvs

BUILD = """
import sys
from pathlib import Path
from scheduler.runtimes import venvs
print(venvs.build_venv(Path(sys.argv[1]), b"# nothing\\n", sys.executable, lambda text: print(text, flush=True), ""))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILD, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A process that has just begun to make an environment."""
    folder = tmp_path / "venvs" / "small-1"
    process = start(folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "creating the virtual environment small-1 (usually 1m)\n"
    with process:
        yield folder, process
        process.kill()


def test_the_second_of_two_waits_and_finds_it_ready(begun: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, first = begun
    # It is done in a second: it goes on once the second one has come.
    first.send_signal(signal.SIGSTOP)
    second = start(folder)
    assert second.stdout is not None
    waiting = second.stdout.readline()
    first.send_signal(signal.SIGCONT)
    python = f"{folder}/bin/python\n"
    assert first.communicate()[0] == python
    assert waiting == "another process is creating the virtual environment small-1: waiting for it (usually 1m)\n"
    assert second.communicate()[0] == python
    assert subprocess.run([python.strip(), "-c", ""], check=True, capture_output=True).returncode == 0


def test_a_killed_one_is_made_anew(begun: tuple[Path, subprocess.Popen[str]]) -> None:
    folder, first = begun
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (folder / ".ready").exists()
    output = start(folder).communicate()[0]
    assert "creating the virtual environment small-1 (usually 1m)\n" in output and output.endswith(f"{folder}/bin/python\n")
    assert (folder / ".ready").exists()


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An address that refuses at once stands for the absent network; it is pip's setting, which is uv's too.
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    assert _failure(tmp_path, "absent-package==1").startswith("the package index cannot be reached: connect this machine")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert _failure(tmp_path, "absent-package==1").startswith("the package index has no absent-package for this machine")


def _failure(folder: Path, pin: str) -> str:
    """Why an environment with one pin cannot be created."""
    with pytest.raises(RuntimeUnavailable) as caught:
        venvs.build_venv(folder / "v", f"{pin} --hash=sha256:{'0' * 64}\n".encode(), sys.executable, lambda _: None, "")
    text = str(caught.value)
    before, after = "the keras3 runtime cannot be created: ", "or give runtimes.keras3: {python: PATH} or {image: REF}"
    assert text.startswith(before) and text.endswith(after) and "\n" not in text
    return text.removeprefix(before)


def test_uv_has_pips_settings(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://a/simple\ncert = /c.pem\n[install]\nfind_links = /w /x\n")
    (tmp_path / "broken").write_text("[global\nindex-url = http://b/simple\n")
    environment = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path), "PIP_EXTRA_INDEX_URL": "http://e/simple"}
    found = uv.settings({**environment, "UV_INDEX": "http://own/simple", "PYTHONPATH": "/p", "VIRTUAL_ENV": "/v"})
    assert (found["UV_DEFAULT_INDEX"], found["SSL_CERT_FILE"], found["UV_FIND_LINKS"]) == ("http://a/simple", "/c.pem", "/w,/x")
    assert found["UV_INDEX"] == "http://own/simple" and not {"PYTHONPATH", "VIRTUAL_ENV"} & found.keys()
    assert "UV_DEFAULT_INDEX" not in uv.settings({**environment, "PIP_CONFIG_FILE": str(tmp_path / "broken")})


def test_how_far_a_download_is() -> None:
    describe = uv.describe_downloads()
    lines = [
        "Resolved 43 packages in 2s",
        "Downloading numpy (16.0MiB)",
        "Downloading jax (3.0MiB)",
        " Downloaded jax",
        "Prepared 2 packages",
    ]
    assert [describe(line) for line in lines] == [
        None,
        "0 of 1 large packages downloaded (16 MiB in all)",
        "0 of 2 large packages downloaded (19 MiB in all)",
        "1 of 2 large packages downloaded (19 MiB in all)",
        "linking the packages, compiling their byte code",
    ]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeUnavailable, match="the virtual environment cannot be created: .*file.*: "):
        venvs.build_venv(tmp_path / "file" / "v", b"", sys.executable, lambda _: None, "")


def test_a_python_that_the_pins_do_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert venvs.find_python() == (sys.executable, sys.version_info[:2])
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    broken = tmp_path / "python3.13"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    with pytest.raises(RuntimeUnavailable, match=r"needs Python 3.11, 3.12 or 3.13; this is 3.14 and PATH has none"):
        venvs.find_python()
    os.symlink(sys.executable, tmp_path / "python3.12")
    assert venvs.find_python() == (str(tmp_path / "python3.12"), (3, 12))


@pytest.mark.parametrize(
    ("backends", "requirements"), [(["tensorflow", "jax"], "keras3.txt"), (["jax", "torch"], "keras3-torch.txt")]
)
def test_torch_is_installed_only_where_a_member_uses_it(backends: list[str], requirements: str) -> None:
    assert venvs.requirement_set(backends) == requirements
