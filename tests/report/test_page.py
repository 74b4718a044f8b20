"""The page as bytes: the same for the same store and time; no text of users is markup, and the policy allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.contract import Status
from scheduler.report.page import render_page
from scheduler.report.report import read_report
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at
from year_store import Nights, build, write_config

DAYS = 40
HOSTILE = """</script><img src=x onerror=alert(1)>"'&{{ 7*7 }}\x1b[31m\u202e"""


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    yield build(tmp_path_factory.mktemp("nights") / "store", DAYS)


def page(store: Builder, now: str) -> str:
    return render_page(read_report(HistoryReader(store.store, store.experiment, "UTC", at(now).timestamp())))


def data_of(html: str) -> dict[str, object]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data: dict[str, object] = json.loads(text)
    return data


def test_the_same_store_and_time_give_the_same_bytes_in_any_process(nights: Nights, tmp_path: Path) -> None:
    program = (
        "import sys; from scheduler.report.page import render_page; from scheduler.report.report import read_report\n"
        "from scheduler.stores.history_reader import HistoryReader; from jobs.store import LocalStore; from pathlib import Path\n"
        "reader = HistoryReader(LocalStore(Path(sys.argv[1])), 'e', 'UTC', float(sys.argv[2]))\n"
        "sys.stdout.buffer.write(render_page(read_report(reader)).encode())"
    )
    now = f"{nights.date(DAYS)}T12:00"
    arguments = [sys.executable, "-c", program, str(nights.builder.store.root), str(at(now).timestamp())]
    pages = {subprocess.run(arguments, check=True, capture_output=True, env={"PYTHONHASHSEED": seed}).stdout for seed in "12"}
    assert pages == {page(nights.builder, now).encode()}


def test_the_policy_names_the_script_and_the_style_and_nothing_of_elsewhere(nights: Nights) -> None:
    html = page(nights.builder, f"{nights.date(DAYS)}T12:00")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    policy = policy.replace("&#39;", "'")
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "connect-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    # No attribute needs another policy, and nothing names another place.
    assert not re.search(r"<[^>]+\s(style|on[a-z]+|src|srcset)=", html)
    assert set(re.findall(r'href="([^"]*)"', html)) == {"#now", "#calendar", "#trend", "#predictions"}


def test_text_of_users_is_text(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    task = {"schedule": "0 1 * * *"}
    builder.revise("2026-11-20T00:00", {"train-a": task})
    builder.revise("2026-11-21T00:30", {"train-a": {"schedule": HOSTILE}})
    builder.run("train-a", "2026-11-20T01:00", "failed", reason=HOSTILE)
    html = page(builder, "2026-11-22T12:00")
    assert "<img" not in html and "\x1b" not in html and "\u202e" not in html
    assert html.count("</script>") == 2
    assert "{{ 7*7 }}" in html
    strings = data_of(html)["strings"]
    assert isinstance(strings, list) and any("onerror=alert(1)" in text for text in strings)


def test_a_slots_story_has_its_tries_their_output_and_the_models_taken(nights: Nights) -> None:
    data = data_of(page(nights.builder, f"{nights.date(DAYS)}T12:00"))
    details = data["details"]
    assert isinstance(details, dict)
    run = next(name for name in details if name.startswith("e-train-b"))
    ((_, _, _, status, reason, _),) = details[run]["tries"]
    assert (status, "ran out of memory" in reason) == (Status.FAILED, True)
    # The night on which `b` failed: the ensemble took the night before, and says why not that night's.
    minute = int(at(f"{nights.date(4)}T06:00").timestamp() // 60)
    models = {model[0]: model for model in details[f"e-ensemble-{minute}"]["models"]}
    strings = data["strings"]
    assert isinstance(strings, list)
    assert [[strings[n] for n in pair] for pair in models["b"][6]] == [[f"{nights.date(4)} 01:00", "failed: ran out of memory"]]
    assert models["a"][6] == []
    # Without quorum: who was left out, and why.
    minute = int(at(f"{nights.date(17)}T06:00").timestamp() // 60)
    assert {model[4] for model in details[f"e-ensemble-{minute}"]["models"]} == {"the predict step ended with 1"}


def test_an_empty_store_and_one_without_ensembles_have_pages(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    assert "No ensemble has succeeded" in page(builder, "2026-11-22T12:00")
    builder.run("train-a", "2026-11-20T01:00", accuracy=0.9)
    html = page(builder, "2026-11-22T12:00")
    assert "2026-11" in html and "No ensemble has succeeded" in html


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from scheduler.cli import main; main()", "report", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_writes_a_file_of_the_dates_that_are_asked_for(nights: Nights, tmp_path: Path) -> None:
    config = write_config(tmp_path, str(nights.builder.store.root))
    since, until = nights.date(10), nights.date(20)
    done = run("-f", str(config), "--since", since, "--until", until, "--out", "a.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "a.html").read_text()
    assert re.search(rf"slots of\s+{since} to\s+{until}", html)
    assert f"{nights.date(21)}T" not in html
    assert done.stdout.startswith("a.html (") and list(tmp_path.glob("*.html")) == [tmp_path / "a.html"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--out", "no/where.html"), "there is no folder"),
        (("--out", "."), "it is a folder"),
        (("--since", "x"), "--since x"),
        (("--since", "2026-01-02", "--until", "2026-01-01"), "the end is before the beginning"),
    ],
)
def test_what_cannot_be_written_is_one_line(nights: Nights, tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    config = write_config(tmp_path, str(nights.builder.store.root))
    done = run("-f", str(config), *arguments, cwd=tmp_path)
    assert done.returncode == 1 and problem in done.stderr and done.stderr.count("\n") == 1
