"""A receiver of each kind that is slow, refuses or answers 500 for an hour: it is asked now and then, and told once."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster.control_plane import free_ports
from cronjobs.notify import Channel, MailSettings, Notify
from notifications.receivers import receiving
from notifications.test_channels import mail_server
from scheduler.notifications.tell import Teller
from stores import Builder, at

FAULTS = ("500", "refuses", "slow")
SUBJECTS = ["[e] train-a failed: 2026-11-02 02:00 +01:00", "[e] train-b failed: 2026-11-02 03:00 +01:00"]
FAILS = "import sys; print('no desk', file=sys.stderr); sys.exit(1)"
KEEPS = "import json, sys; open('subjects', 'a').write(json.load(sys.stdin)['subject'] + '\\n')"
SAYS = {
    "500": {"mail": "takes mail for none of them: 550 nobody here", "command": "ended with status 1: no desk"},
    "refuses": {"command": "cannot be started: No such file or directory"},
    "slow": {"command": "has not ended within 0.3s, and was killed", "apprise": "Apprise has not delivered it within 0.3s"},
}
"""What is said of it, where that is another thing than of the others."""
OTHERS = {"500": "answers 500 Internal Server Error", "refuses": "Connection refused", "slow": "gave no answer within 0"}


def silent(stack: ExitStack) -> int:
    """A port of one who takes connections and never says a word."""
    return int(stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])


def channel(kind: str, fault: str, **values: Any) -> Channel:
    # Less than a configuration may say, to be through with it.
    return Channel(**{"name": "c", "kind": kind, "timeout": 0.3 if fault == "slow" else 30, **values})


def by_http(stack: ExitStack, kind: str, fault: str) -> tuple[Channel, Channel, Callable[[], list[str]]]:
    """The channel while its receiver is in trouble, the one afterwards, and what arrived there."""
    broken, good = stack.enter_context(receiving()), stack.enter_context(receiving())
    broken.status = 500
    port = {"500": broken.port, "slow": silent(stack)}.get(fault) or free_ports("127.0.0.1", 1)[0]
    address = ("json" if kind == "apprise" else "http") + "://127.0.0.1:{}/x"

    def subjects() -> list[str]:
        documents = [request.document for request in good.taken]
        if kind == "alertmanager":
            return [alert["annotations"]["summary"] for alerts in documents for alert in alerts]
        # Of a text for Slack what stands between its first two asterisks.
        key = {"slack": "text", "apprise": "title"}.get(kind, "subject")
        return [str(document[key]).split("*")[1 if kind == "slack" else 0] for document in documents]

    return channel(kind, fault, address=address.format(port)), channel(kind, "", address=address.format(good.port)), subjects


def by_mail(stack: ExitStack, kind: str, fault: str) -> tuple[Channel, Channel, Callable[[], list[str]]]:
    broken, good = stack.enter_context(mail_server(None)), stack.enter_context(mail_server(None))
    broken.refuses = "@"
    ports = {"500": broken.server_address[1], "slow": silent(stack)}
    port = ports.get(fault) or free_ports("127.0.0.1", 1)[0]

    def settings(port: int) -> MailSettings:
        return MailSettings(host="127.0.0.1", port=port, security="none", sender="lab@example.org", to=("me@example.org",))

    def subjects() -> list[str]:
        return [str(letter["Subject"]) for _, _, letter in good.letters]

    return channel(kind, fault, mail=settings(port)), channel(kind, "", mail=settings(good.server_address[1])), subjects


def by_command(folder: Path, kind: str, fault: str) -> tuple[Channel, Channel, Callable[[], list[str]]]:
    python = (sys.executable, "-I", "-c")
    broken = {"500": (*python, FAILS), "refuses": ("/no/such",), "slow": ("sleep", "600")}[fault]

    def subjects() -> list[str]:
        return (folder / "subjects").read_text().splitlines() if (folder / "subjects").exists() else []

    return channel(kind, fault, command=broken), channel(kind, "", command=(*python, KEEPS)), subjects


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # a plugin of Apprise imports it
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["webhook", "slack", "mail", "alertmanager", "command", "apprise"])
def test_an_hour_of_trouble_costs_few_tries_and_each_is_told_once_afterwards(tmp_path: Path, kind: str, fault: str) -> None:
    if kind == "apprise":
        pytest.importorskip("apprise", reason="the extra cronsemble[apprise] is not installed")
    builder = Builder(tmp_path / "store")
    builder.revise("2026-11-02T00:00", {"train-a": {"schedule": "0 1 * * *"}, "train-b": {"schedule": "0 2 * * *"}})
    with ExitStack() as stack:
        if kind == "command":
            broken, good, subjects = by_command(tmp_path, kind, fault)
        else:
            broken, good, subjects = (by_mail if kind == "mail" else by_http)(stack, kind, fault)

        def teller(channel: Channel) -> Teller:
            # Another one each time, as after a restart.
            return Teller(
                builder.store, "e", "Europe/Berlin", Notify(channels=(channel,)), {"PATH": "/usr/bin:/bin"}, folder=tmp_path
            )

        now = at("2026-11-02T00:30").timestamp()
        teller(good).tell(now)
        builder.run("train-a", "2026-11-02T01:00", "failed", reason="ValueError: bad data")
        builder.run("train-b", "2026-11-02T02:00", "failed", reason="OSError: another")
        now = at("2026-11-02T02:30").timestamp()
        end, failed = now + 3600, []
        while now < end:
            began = time.monotonic()
            told = teller(broken).tell(now)
            assert time.monotonic() - began < 20 and told.sent == [] and told.trouble == ""
            failed += told.failed
            now = min(max(now + 60, told.again), end)
        # At 0, 1, 3, 7, 15 and 31 minutes; of an Alertmanager at least every four, as it would be told again anyway.
        assert len(failed) == (17 if kind == "alertmanager" else 6), failed
        assert all(
            SAYS[fault].get(kind, OTHERS[fault] if kind != "apprise" else "Apprise could not deliver it") in line
            for line in failed
        ), failed
        assert subjects() == []
        for _ in range(12):
            told = teller(good).tell(now)
            assert told.failed == []
            now = max(now + 60, min(told.again, now + 600))
    if kind == "alertmanager":
        # Posted again and again, so that it goes on: the same two.
        assert subjects()[:2] == SUBJECTS and set(subjects()) == set(SUBJECTS)
    else:
        assert subjects() == SUBJECTS
