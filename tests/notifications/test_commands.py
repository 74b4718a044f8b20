"""`notify` and `serve` as processes: what arrives at real receivers, and that no secret is in any file, log or process list."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from commands import run_command
from jobs.store import LocalStore
from notifications.receivers import Receiver, check_schema, receiving
from scheduler.config import load
from scheduler.notifications.events import EVENT_KINDS
from scheduler.notifications.messages import message_schema
from scheduler.server.journal import Journal
from scheduler.server.loop import ServerClock
from scheduler.server.notifier import Notifier
from served import make_server, served_since, serving, write

SECRET = "q8w7e6r5t4y3u2"
NOTIFY = "notify: {channels: {hook: {webhook: {secret: n, key: HOOK_URL}}}}\n"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv("HOOK_URL", receiver.url(f"/hooks/{SECRET}"))
        yield receiver


def configure(folder: Path, keras3: Path | str, schedule: str = "0 1 * * *", notify: str = NOTIFY) -> Path:
    path = write(folder, Path(keras3), f'jax: {{schedule: "{schedule}"}}')
    path.write_text(path.read_text() + notify)
    return path


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder, env={**os.environ, **environment})


def no_secret(folder: Path, *texts: str) -> None:
    for text in texts:
        assert SECRET not in text
    for path in folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_sample_says_for_each_channel_what_came_back(tmp_path: Path, receiver: Receiver) -> None:
    more = "notify: {channels: {hook: {webhook: {secret: n, key: HOOK_URL}}, gone: {slack: {secret: n, key: GONE_URL}}, "
    more += "unset: {apprise: {secret: n, key: UNSET}}, desk: {command: [sh, -c, 'cat > got.json; env > got.env']}}}\n"
    configure(tmp_path, "python3", notify=more)
    gone = f"http://127.0.0.1:9/{SECRET}?token={SECRET}"
    done = run(tmp_path, "notify", "--test", GONE_URL=gone)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines() == [
        "hook (webhook): 200 OK",
        "gone (slack): not taken: 127.0.0.1:9: Connection refused",
        "unset (apprise): not taken: the environment has no UNSET: set that variable, or the key UNSET of the Secret n",
        "desk (command): ended with status 0",
    ]
    (request,) = receiver.requests
    assert request.path == f"/hooks/{SECRET}"
    assert request.document["type"] == "test" and "nothing is wrong" in request.document["text"]
    got = json.loads((tmp_path / "got.json").read_text())
    assert got["subject"] == "[e] test of the channel desk"
    variables = dict(line.split("=", 1) for line in (tmp_path / "got.env").read_text().splitlines() if "=" in line)
    assert variables["CRONSEMBLE_TYPE"] == "test" and variables["CRONSEMBLE_SUBJECT"] == got["subject"]
    # The command gets no secret of another channel.
    no_secret(tmp_path, done.stdout, done.stderr)
    assert run(tmp_path, "notify", "--test", "--channel", "hook").stdout == "hook (webhook): 200 OK\n"


@pytest.mark.holds("author-channels")
def test_a_command_gets_no_secret_that_the_configuration_names(tmp_path: Path) -> None:
    path = configure(
        tmp_path,
        "python3",
        notify="heartbeat: {server: 'http://127.0.0.1:9', ping_key: {secret: hc, key: PING}}\n"
        "notify: {channels: {hook: {webhook: {secret: n, key: HOOK_URL}}, desk: {command: [sh, -c, 'env > got.env']}}}\n",
    )
    path.write_text(path.read_text().replace("defaults: {", "defaults: {env: {TOKEN: {secret: s, key: t}}, "))
    secrets = dict.fromkeys(("HOOK_URL", "PING", "HEALTHCHECKS_API_KEY", "TOKEN"), SECRET)
    done = run(tmp_path, "notify", "--test", "--channel", "desk", **secrets, OTHER="other")
    assert done.returncode == 0, done.stderr
    got = (tmp_path / "got.env").read_text()
    assert "OTHER=other" in got and SECRET not in got


def test_serve_says_which_secrets_it_lacks_before_anything_is_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.server.notifier.GATHERS", 0.0)
    monkeypatch.delenv("HOOK_URL", raising=False)
    experiment, out = load(configure(tmp_path, "python3", "0 0 29 2 *")), StringIO()
    notifier = Notifier(LocalStore(tmp_path / "store"), Journal(False, out).of("e"), lambda: True)
    notifier.use(experiment)
    limit = time.monotonic() + 30
    while "the environment has no HOOK_URL" not in out.getvalue() and time.monotonic() < limit:
        time.sleep(0.02)
    notifier.stop()
    assert out.getvalue().count("hook: the environment has no HOOK_URL: set that variable") == 1


def test_without_options_it_tells_what_is_new_and_dry_run_tells_nothing(tmp_path: Path, receiver: Receiver) -> None:
    path = configure(tmp_path, "python3", "0 * * * *")
    served_since(path, 150)  # two slots were missed: nobody served
    dry = run(tmp_path, "notify", "--dry-run")
    assert dry.returncode == 0 and "train-jax was missed" in dry.stdout and receiver.requests == []
    assert not (tmp_path / "store/experiments/e/notifications").exists()
    done = run(tmp_path, "notify")
    assert (done.returncode, done.stderr) == (0, "")
    (request,) = receiver.requests
    (incident,) = request.document["incidents"]
    assert (incident["kind"], incident["task"]) == ("missed", "train-jax")
    assert incident["commands"][0] == f"cronsemble history {incident['slot']} -f {path.resolve()} --task train-jax"
    for command in incident["commands"]:
        typed = command.removeprefix("cronsemble ").split() + (["--dry-run"] if "backfill" in command else [])
        assert run(Path("/"), *typed).returncode == 0, command
    assert done.stdout == f"hook: {request.document['subject']}: 200 OK\n"
    assert run(tmp_path, "notify").stdout == "nothing is new\n"
    digest = run(tmp_path, "notify", "--digest", "--since", "3h")
    assert digest.returncode == 0 and "Wrong now:" in digest.stdout
    assert receiver.requests[-1].document["type"] == "digest"
    no_secret(tmp_path, done.stdout, dry.stdout, digest.stdout)


def test_what_is_not_possible_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, Path("python3"), 'jax: {schedule: "0 1 * * *"}')
    assert run(tmp_path, "notify").stderr.startswith("config.yaml: notify: nobody is to be told: name a channel there")
    configure(tmp_path, "python3")
    assert run(tmp_path, "notify", "--channel", "x").stderr == "--channel x: there are hook\n"
    assert run(tmp_path, "notify", "--since", "1d").stderr == "--since is for --digest\n"
    assert run(tmp_path, "notify", "--test", "--digest").stderr == "--test and --digest are given, and one is meant\n"


def test_a_messages_document_fits_its_schema(tmp_path: Path, receiver: Receiver) -> None:
    configure(tmp_path, "python3")
    schema = json.loads(run(tmp_path, "notify", "--schema").stdout)
    assert run(tmp_path, "notify", "--test").returncode == 0
    check_schema(schema, receiver.requests[0].document)


def test_the_documentation_has_every_key_and_kind(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/notifications.md").read_text()
    schema = message_schema()
    incident = schema["properties"]["incidents"]["items"]
    words = [*schema["properties"], *incident["properties"], *EVENT_KINDS, *schema["properties"]["type"]["enum"]]
    assert [word for word in words if f"`{word}`" not in page] == []


@pytest.mark.holds("author-channels", "author-notify")
def test_serve_tells_at_once_and_again_after_a_kill_nothing_twice(tmp_path: Path, keras3: Path, receiver: Receiver) -> None:
    path = configure(tmp_path, keras3, "0 * * * *")  # its data is absent: the run fails
    path.write_text(path.read_text().replace("defaults: {", "defaults: {starting_deadline: 59m, "))
    served_since(path, 61)
    logs: list[str] = []
    with serving(tmp_path, "--listen", "127.0.0.1:0") as (process, until):
        port = until("listens")["port"]
        ended = until("ended")
        assert ended["status"] == "failed"
        told = until("sent")
        logs.append(told["text"])
        for pid in [process.pid, *children(process.pid)]:
            assert SECRET not in Path(f"/proc/{pid}/cmdline").read_text()
        for name in ("/e/", "/metrics", "/"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{name}", timeout=60) as answer:
                logs.append(answer.read().decode())
        assert any("absent-" in page for page in logs[1:])
        process.kill()
        process.wait()
    (request,) = receiver.requests
    (incident,) = request.document["incidents"]
    assert (incident["kind"], incident["run"]) == ("failed", ended["run"])
    assert "absent-" in incident["reason"]
    assert told["text"] == f"hook: {request.document['subject']}: 200 OK"
    with serving(tmp_path) as (process, until):
        until("started")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert len(receiver.requests) == 1
    no_secret(tmp_path, *logs)


class Clock(ServerClock):
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = time.time()
        self.wall = self.steady = lambda: self.now


def test_serve_tells_of_a_refused_configuration_and_who_is_named_by_an_edited_one(tmp_path: Path, receiver: Receiver) -> None:
    path = configure(tmp_path, "python3", "0 0 29 2 *", notify="")
    out, clock = StringIO(), Clock()
    server = make_server(path, Journal(False, out), clock)
    server.begin(False)

    def minute_later(text: str) -> None:
        path.write_text(text)
        clock.now += 60
        server.look()

    def told(number: int) -> dict[str, Any]:
        assert receiver.wait_for(number)
        document: dict[str, Any] = receiver.requests[number - 1].document
        return document

    minute_later(path.read_text() + NOTIFY)
    good = path.read_text()
    minute_later(good + "nonsense: 1\n")
    refused = told(1)
    assert refused["subject"].startswith("[e] configuration refused")
    assert "unknown key" in refused["text"] and "the configuration that was read before stays in use" in refused["text"]
    assert f"cronsemble check -f {path.resolve()}" in refused["text"]
    minute_later(good + "nonsense: 1\n# still\n")  # the same, in another edit
    minute_later(good)
    assert told(2)["type"] == "resolved" and told(3)["type"] == "well"
    server.experiments[0].stop(clock.now)
    assert len(receiver.requests) == 3
    no_secret(tmp_path, out.getvalue())


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def test_a_receiver_that_does_not_answer_holds_neither_a_run_nor_the_end_of_serve(
    tmp_path: Path, keras3: Path, receiver: Receiver
) -> None:
    done = threading.Event()
    receiver.behaviour = lambda handler, body: done.wait(60) and None
    path = configure(tmp_path, keras3, "* * * * *")
    served_since(path, 2)
    with serving(tmp_path) as (process, until):
        until("ended")
        assert receiver.arrived.wait(60)
        until("begun")  # the next minute's run begins while the receiver is silent
        until("ended")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert time.monotonic() - began < 12
    done.set()
