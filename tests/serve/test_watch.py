"""The watch of a served experiment: at its times a process looks after the store; what fails is said once."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path

import pytest

from cronjobs.experiment import Experiment
from heartbeat.server import PING_KEY, Check, stand_in
from notifications.receivers import receiving
from scheduler.config import load
from scheduler.server.journal import Journal
from scheduler.server.watch import ServedWatch
from stores import Builder, at
from watch.looks import night_before_now

NOON = at("2026-11-20T12:00").timestamp()


def experiment(folder: Path, watch: str) -> Experiment:
    (folder / "config.yaml").write_text(f"experiment: e\nbackends: {{jax: {{}}}}\n{watch}\n")
    return load(folder / "config.yaml")


def watch_of(folder: Path) -> tuple[ServedWatch, StringIO]:
    out = StringIO()
    return ServedWatch(Journal(False, out).of("e"), folder / "store"), out


def wait(watch: ServedWatch) -> bool:
    """Wait for a look that has begun; whether one has."""
    thread, watch._thread = watch._thread, None
    if thread is not None:
        thread.join(120)
    return thread is not None


def test_a_look_is_made_when_its_time_has_come_and_not_before(tmp_path: Path) -> None:
    Builder(tmp_path / "store").run("train-jax", "2026-11-20T01:00", "failed", reason="the disk of the night")
    declared = experiment(tmp_path, "watch: {schedule: '*/10 * * * *'}")
    watch, out = watch_of(tmp_path)
    page = tmp_path / "store" / "reports" / "e" / "latest.html"
    for later in (0, 60, 540, 599.9):
        watch.look(declared, NOON + later)
    assert not wait(watch) and not page.exists()
    watch.look(declared, NOON + 601)
    assert wait(watch) and b"the disk of the night" in page.read_bytes() and out.getvalue() == ""
    watch.look(declared, NOON + 660)
    assert not wait(watch)
    # While this machine slept several of its times came: one look serves for all.
    watch.look(declared, NOON + 7260)
    assert wait(watch)
    watch.look(declared, NOON + 7320)
    assert not wait(watch)
    # The clock is set back: it waits for the next time there.
    watch.look(declared, NOON)
    watch.look(declared, NOON + 600)
    assert wait(watch)


def test_an_edit_counts_from_then_on_and_without_a_watch_nothing_is_done(tmp_path: Path) -> None:
    watch, _ = watch_of(tmp_path)
    (tmp_path / "store").mkdir()
    without = experiment(tmp_path, "")
    suspended = experiment(tmp_path, "watch: {suspend: true}")
    for declared in (without, suspended):
        for later in (0, 600, 86400):
            watch.look(declared, NOON + later)
        assert not wait(watch)
    watch.look(experiment(tmp_path, "watch: {schedule: '0 * * * *'}"), NOON + 86460)
    assert not wait(watch)


def test_what_a_look_cannot_do_is_said_once(tmp_path: Path) -> None:
    declared = experiment(tmp_path, "watch: {}")
    watch, out = watch_of(tmp_path)
    for later in (0, 600, 1200):
        watch.look(declared, NOON + later)
        wait(watch)
    (line,) = out.getvalue().splitlines()
    assert line.endswith(f"e: watch: {tmp_path}/store: there is no store")


def test_a_look_pings_the_server_of_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Builder(tmp_path / "store").run("train-jax", "2026-11-20T01:00")
    with stand_in() as server:
        server.checks = [Check(slug="e-watch")]
        declared = experiment(tmp_path, f"watch: {{}}\nheartbeat: {{server: {server.url}}}")
        for key, expected in (("", []), (PING_KEY + "\n", ["start", "success"])):
            monkeypatch.setenv("HEALTHCHECKS_PING_KEY", key)
            watch, out = watch_of(tmp_path)
            watch.look(declared, NOON)
            watch.look(declared, NOON + 600)
            assert wait(watch) and [ping.kind for ping in server.checks[0].pings] == expected and out.getvalue() == ""


def test_what_is_new_is_told_by_serve_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night_before_now(tmp_path / "store")
    with receiving() as receiver:
        monkeypatch.setenv("HOOK", receiver.url("/hook"))
        channels = "notify: {channels: {hook: {webhook: {secret: s, key: HOOK}}}}"
        declared = experiment(tmp_path, f"watch: {{}}\n{channels}")
        watch, _ = watch_of(tmp_path)
        watch.look(declared, NOON)
        watch.look(declared, NOON + 600)
        assert wait(watch) and receiver.taken == [] and (tmp_path / "store" / "reports").exists()


def test_the_end_of_serve_ends_a_look(tmp_path: Path) -> None:
    Builder(tmp_path / "store").run("train-jax", "2026-11-20T01:00")
    declared = experiment(tmp_path, "watch: {}")
    watch, out = watch_of(tmp_path)
    watch.look(declared, NOON)
    watch.look(declared, NOON + 600)
    watch.close()
    began = time.monotonic()
    assert wait(watch) and time.monotonic() - began < 60 and out.getvalue() == ""
    watch.look(declared, NOON + 1200)
    assert not wait(watch)
