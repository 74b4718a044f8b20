"""A look pings a server of Healthchecks: that it began, and whether all was done; what it says holds no key."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.server import PING_KEY, Check, StandIn, stand_in
from watch.looks import command, environment, night, settings


def pinged(server: StandIn) -> list[tuple[str, str]]:
    """The kinds of the watch's pings and the first lines of their texts."""
    return [(ping.kind, ping.body.partition("\n")[0]) for ping in server.of("e-watch").pings]


def variables(server: StandIn) -> dict[str, str]:
    return environment(CRONSEMBLE_PING_URL=f"{server.url}/ping", CRONSEMBLE_PING_KEY=PING_KEY)


@pytest.mark.holds("heartbeat-secret")
def test_a_look_pings_its_start_and_its_end(tmp_path: Path) -> None:
    store = tmp_path / "store"
    night(store)
    arguments = ["--store", str(store), "--settings", str(settings(tmp_path))]
    with stand_in() as server:
        server.checks = [Check(slug="e-watch")]
        made = command(*arguments, env=variables(server))
        assert made.returncode == 0, made.stderr
        assert pinged(server) == [("start", ""), ("success", "e-watch succeeded")]
        check = server.of("e-watch")
        assert "report: reports/e/" in check.pings[-1].body and (check.status, check.last_start) == ("up", None)
        # What cannot be done is a failure, at once.
        (store / "reports" / "e" / "latest.html").unlink()
        (store / "reports" / "e" / "latest.html").mkdir()
        made = command(*arguments, env=variables(server))
        assert made.returncode == 1 and check.status == "down"
        assert pinged(server)[2:] == [("start", ""), ("fail", "e-watch failed: not all could be done")]
        assert "report: " in check.pings[-1].body and check.pings[2].rid == check.pings[3].rid != check.pings[0].rid
    written = "".join(file.read_text(errors="replace") for file in store.rglob("*") if file.is_file())
    assert PING_KEY not in written + made.stdout + made.stderr


def test_a_server_that_does_not_take_a_ping_costs_a_line_and_nothing_else(tmp_path: Path) -> None:
    store = tmp_path / "store"
    night(store)
    arguments = ["--store", str(store), "--settings", str(settings(tmp_path))]
    with stand_in() as server:
        made = command(*arguments, env=variables(server))
        assert made.returncode == 0 and "it knows no such check, or another ping key (404)" in made.stderr
        made = command(*arguments, env={**variables(server), "CRONSEMBLE_PING_KEY": ""})
        assert made.returncode == 0 and made.stderr == "heartbeat: no pings are sent: there is no ping key\n"
