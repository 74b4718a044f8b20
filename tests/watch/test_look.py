"""A look: what it leaves in the store, what it says, and that each of its duties fails alone; the whole command."""

from __future__ import annotations

import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands import CLI
from jobs.store import LocalStore
from jobs.store.files import to_json
from jobs.store.report_pages import is_whole
from notifications.receivers import receiving
from scheduler import VERSION
from scheduler.watch.look import Look, look
from scheduler.watch.settings import WatchSettings, read_settings, settings_of
from stores import Builder, at
from watch.looks import command, environment, night, night_before_now, settings

NOW = at("2026-11-20T23:30").timestamp()


def done(store: LocalStore, now: float = NOW, timezone: str = "UTC", version: str = VERSION) -> tuple[bool, list[str], list[str]]:
    """Whether a look did all that it should, what it said, and what it complained of."""
    said: list[str] = []
    complaints: list[str] = []
    is_done = look(Look(store, WatchSettings("e", timezone, version), now), said.append, complaints.append)
    return is_done, said, complaints


def test_a_look_leaves_the_page_of_its_day_in_the_experiments_zone_and_the_latest(tmp_path: Path) -> None:
    store = night(tmp_path).store
    is_done, said, complaints = done(store, timezone="Asia/Tokyo")
    folder = tmp_path / "reports" / "e"
    assert is_done and complaints == []
    assert sorted(path.name for path in folder.iterdir()) == ["2026-11-21.html", "latest.html"]
    page = (folder / "latest.html").read_bytes()
    assert is_whole(page) and b"the disk of the night" in page and page == (folder / "2026-11-21.html").read_bytes()
    assert said[0].startswith("metrics: metrics/e.prom, ")
    assert said[1].startswith("report: reports/e/2026-11-21.html and reports/e/latest.html, ")
    metrics = (tmp_path / "metrics" / "e.prom").read_text()
    assert 'cronsemble_task_state{experiment="e",state="failed",task="train-a"} 1.0' in metrics


def test_the_page_of_a_day_is_that_of_its_last_look(tmp_path: Path) -> None:
    builder = night(tmp_path)
    done(builder.store)
    builder.run("train-a", "2026-11-21T01:00", "failed", reason="the morning after")
    done(builder.store, at("2026-11-21T02:00").timestamp())
    folder = tmp_path / "reports" / "e"
    assert b"the morning after" not in (folder / "2026-11-20.html").read_bytes()
    assert b"the morning after" in (folder / "2026-11-21.html").read_bytes()
    assert (folder / "latest.html").read_bytes() == (folder / "2026-11-21.html").read_bytes()


def test_an_experiment_that_has_not_run_yet_has_a_page_too(tmp_path: Path) -> None:
    is_done, _, complaints = done(LocalStore(tmp_path))
    assert is_done and complaints == []


def test_what_cannot_be_written_is_said_and_why(tmp_path: Path) -> None:
    store = night(tmp_path).store
    (tmp_path / "reports").write_text("no folder")
    is_done, said, complaints = done(store)
    assert not is_done and [line.partition(":")[0] for line in complaints] == ["report"]
    assert [line.partition(":")[0] for line in said] == ["metrics"]


def test_a_full_disk_is_said_and_the_page_before_stays(small_disk: Path) -> None:
    store = night(small_disk).store
    assert done(store)[0]
    before = (small_disk / "reports" / "e" / "latest.html").read_bytes()
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(b"x" * 4096)
    is_done, _, complaints = done(store)
    assert not is_done
    assert any("the store is full (No space left on device): cronsemble gc makes room" in line for line in complaints)
    assert (small_disk / "reports" / "e" / "latest.html").read_bytes() == before
    assert [path.name for path in (small_disk / "reports" / "e").iterdir() if path.name.startswith(".")] == []


def test_without_a_store_one_line_says_so(tmp_path: Path) -> None:
    is_done, said, complaints = done(LocalStore(tmp_path / "gone"))
    assert not is_done and said == [] and complaints == [f"watch: {tmp_path}/gone: there is no store"]
    assert not (tmp_path / "gone").exists()


def test_another_version_than_the_one_that_synchronised_is_said(tmp_path: Path) -> None:
    is_done, _, complaints = done(night(tmp_path).store, version="0.0.1")
    assert is_done
    (line,) = complaints
    assert line.startswith(f"watch: this is cronsemble {VERSION}, and the experiment was synchronised by 0.0.1: ")


# -- whom it tells


def channels() -> dict[str, object]:
    return {"channels": [{"name": "hook", "kind": "webhook", "address": {"secret": "s", "key": "HOOK_URL"}}], "link": ""}


def test_what_is_new_is_told_once_by_two_looks_at_once_and_all_after_them(tmp_path: Path) -> None:
    store = tmp_path / "store"
    night_before_now(store)
    with receiving() as receiver:
        path = settings(tmp_path, file="digits.yaml", notify=channels())
        arguments = [*CLI, "watch", "--store", str(store), "--settings", str(path)]
        env = environment(HOOK_URL=receiver.url("/secret-of-the-hook"))
        both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) for _ in range(2)]
        ended = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], ended
        assert command("--store", str(store), "--settings", str(path), env=env).returncode == 0
        (request,) = receiver.taken
    assert "the disk of the night" in request.document["text"] and "-f digits.yaml" in request.document["text"]
    written = "".join(file.read_text(errors="replace") for file in store.rglob("*") if file.is_file())
    assert "secret-of-the-hook" not in written + "".join(map(str, ended))


def test_a_receiver_that_is_down_costs_nothing_else_and_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    night_before_now(store)
    with receiving() as receiver:
        receiver.status = 500
        path = settings(tmp_path, notify=channels())
        env = environment(HOOK_URL=receiver.url("/hook"))
        made = command("--store", str(store), "--settings", str(path), env=env)
        assert made.returncode == 1 and "notices: hook: " in made.stderr and "500" in made.stderr
        assert made.stderr.count("\n") == 1 and (store / "reports" / "e" / "latest.html").exists()
        receiver.status = 200
        now = time.time() + 120
        said: list[str] = []
        monkeypatch.setenv("HOOK_URL", receiver.url("/hook"))
        assert look(Look(LocalStore(store), read_settings(path), now), said.append, said.append)
        assert len(receiver.taken) == 1 and any(line.startswith("notices: hook: ") for line in said)


def test_a_secret_that_is_not_there_is_one_line_and_the_page_is_made(tmp_path: Path) -> None:
    store = tmp_path / "store"
    night_before_now(store)
    path = settings(tmp_path, notify=channels())
    made = command("--store", str(store), "--settings", str(path))
    assert made.returncode == 1 and "HOOK_URL" in made.stderr, made.stderr
    assert (store / "reports" / "e" / "latest.html").exists() and (store / "metrics" / "e.prom").exists()


def test_a_secret_that_is_not_there_is_said_before_anything_is_to_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, before = night(tmp_path / "store").store, at("2026-11-19T05:00").timestamp()
    known = settings_of({"experiment": "e", "timezone": "UTC", "version": VERSION, "notify": channels()})
    complaints: list[str] = []

    def is_done(now: float) -> bool:
        complaints.clear()
        return look(Look(store, known, now), lambda line: None, complaints.append)

    lacking = "the environment has no HOOK_URL: set that variable, or the key HOOK_URL of the Secret s"
    assert not is_done(before) and complaints == [f"notices: hook: {lacking}"]
    # Where there is something to tell, it is said with that.
    assert not is_done(NOW) and len(complaints) == 1 and lacking in complaints[0]
    monkeypatch.setenv("HOOK_URL", "http://127.0.0.1:9/x")
    assert is_done(before), complaints


# -- the command, as its pod types it


def test_revisions_that_only_the_cluster_has_reach_the_store_and_the_page(tmp_path: Path) -> None:
    """After a suspension no run would bring them."""
    store, mounted = tmp_path / "store", tmp_path / "mounted"
    builder = Builder(store)
    today = datetime.now(UTC)
    builder.revise(f"{today - timedelta(days=3):%Y-%m-%dT%H:%M}", {"train-a": {"schedule": "* * * * *"}}, engine="cluster:ns")
    since = today - timedelta(hours=1)
    revision = {
        "revision": 2, "time": since.isoformat(), "by": "somebody@laptop", "tool": VERSION, "what": "suspend",
        "engine": "cluster:ns", "tasks": {"train-a": {"suspend": True}}, "partial": True,
    }  # fmt: skip
    mounted.mkdir()
    (mounted / "0002.json").write_bytes(to_json(revision))
    (mounted / "..data").mkdir()
    made = command(
        "--store", str(store), "--settings", str(settings(tmp_path)), env=environment(CRONSEMBLE_REVISIONS=str(mounted))
    )
    assert made.returncode == 0, made.stderr
    assert [each["what"] for each in builder.store.ledger.revisions("e")] == ["serve", "suspend"]
    assert "suspended" in (store / "reports" / "e" / "latest.html").read_text()


def test_a_configuration_by_hand_needs_no_settings(tmp_path: Path) -> None:
    night(tmp_path / "store")
    (tmp_path / "config.yaml").write_text("experiment: e\nbackends: {jax: {}}\n")
    made = command("-f", str(tmp_path / "config.yaml"))
    assert made.returncode == 0 and (tmp_path / "store" / "reports" / "e" / "latest.html").exists(), made.stderr


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "these are no settings of a watch"),
        ('{"timezone": "UTC"}', "missing required field `experiment`"),
        ('{"experiment": "e", "timezone": "Berlin"}', "Berlin is no time zone that this machine knows"),
        ('{"experiment": "e", "schema": 2, "version": "9"}', "schema 2 is of a later version: build the image of cronsemble 9"),
    ],
)
def test_settings_that_are_none_are_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(Exception, match=r"^--settings .*settings.json: ") as caught:
        read_settings(path)
    assert problem in str(caught.value)


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    assert read_settings(settings(tmp_path, later={"a": 1})) == WatchSettings("e", "UTC", VERSION)


def test_settings_want_the_stores_folder(tmp_path: Path) -> None:
    made = command("--settings", str(settings(tmp_path)))
    assert made.returncode == 64 and "give the store's folder too: --store DIR" in made.stderr


def test_two_at_once_and_one_that_is_killed_leave_whole_pages(tmp_path: Path) -> None:
    store, path = tmp_path / "store", settings(tmp_path)
    night(store)
    arguments = [*CLI, "watch", "--store", str(store), "--settings", str(path)]
    folder = store / "reports" / "e"
    killed = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    limit = time.monotonic() + 120
    while not (folder.is_dir() and any(folder.iterdir())) and time.monotonic() < limit:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    pages = [page for page in folder.iterdir() if not page.name.startswith(".")]
    assert len(pages) >= 2 and all(is_whole(page.read_bytes()) for page in pages)
