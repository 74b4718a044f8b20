"""The page as bytes: the same for the same store and time; no text of users is markup, and the policy allows nothing else."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from commands import run_command
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
    assert set(re.findall(r'href="([^"]*)"', html)) == {"#now", "#calendar", "#trend", "#predictions", "#compare"}


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
    return run_command("report", *arguments, folder=cwd)


def test_the_command_writes_a_file_of_the_dates_that_are_asked_for(nights: Nights, tmp_path: Path) -> None:
    config = write_config(tmp_path, str(nights.builder.store.root))
    since, until = nights.date(10), nights.date(20)
    done = run("-f", str(config), "--since", since, "--until", until, "--out", "a.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "a.html").read_text()
    assert re.search(rf"slots of\s+{since} to\s+{until}", html)
    assert f"{nights.date(21)}T" not in html
    assert done.stdout.startswith("a.html (") and list(tmp_path.glob("*.html")) == [tmp_path / "a.html"]


@pytest.mark.parametrize("chart", ["accuracy", "loss", "ages", "durations"])
def test_a_chart_is_a_picture_of_its_own(nights: Nights, tmp_path: Path, chart: str) -> None:
    config = write_config(tmp_path, str(nights.builder.store.root))
    done = run("-f", str(config), "--format", "svg", "--chart", chart, "--out", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = ElementTree.fromstring(done.stdout)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in done.stdout and "href" not in done.stdout
    lines = [element for element in root.iter("{http://www.w3.org/2000/svg}path") if "ln" in element.get("class", "").split()]
    assert len(lines) >= 4


def test_a_chart_is_a_png(nights: Nights, tmp_path: Path) -> None:
    config = write_config(tmp_path, str(nights.builder.store.root))
    assert run("-f", str(config), "--format", "png", cwd=tmp_path).returncode == 0
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_two_dates_stand_side_by_side_with_what_changed(nights: Nights, tmp_path: Path) -> None:
    config = write_config(tmp_path, str(nights.builder.store.root))
    before, after = nights.date(nights.edited - 1), nights.date(nights.edited)
    assert run("-f", str(config), "--compare", before, after, cwd=tmp_path).returncode == 0
    html = (tmp_path / "report.html").read_text()
    pair = html.split('<article class="pair"')[1]
    assert f"<b>{before} 06:00</b> → <b>{after} 06:00</b>" in pair
    assert "hyperparameters.epochs 4 → 8" in pair and "keras 3.12.0 → 3.13.0" in pair
    assert '<span class="del">-    return 4</span>' in pair and '<span class="add">+    return 8</span>' in pair
    # The numbers are those of the archived CSVs.
    archive = nights.builder.store.archive_folder("e")
    given = []
    for day in (before, after):
        rows = list(csv.reader(io.StringIO((archive / f"{day}T0600Z.csv").read_text())))[1:]
        given.append([row[1] for row in rows])
    flips = sum(left != right for left, right in zip(*given, strict=True))
    assert f"{flips} label{'s' if flips != 1 else ''} flipped" in pair


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--compare", "2001-01-01", "latest"), "2001-01-01"),
        (("--format", "svg", "--until", "2001-01-01"), "nothing to draw"),
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
