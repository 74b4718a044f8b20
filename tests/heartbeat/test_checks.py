"""What is done with checks, as values: from any that are there to those that there should be, and then nothing more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.server import API_KEY, Check, StandIn, stand_in
from scheduler.commands.check import print_schedule_warnings
from scheduler.config import load
from scheduler.heartbeat.checks import (
    CheckAction,
    DesiredCheck,
    ExistingCheck,
    Timing,
    Verb,
    desired_checks,
    plan_checks,
)
from scheduler.heartbeat.client import HeartbeatApi, HeartbeatError
from scheduler.heartbeat.update import carry_out, plan_update
from scheduler.heartbeat.watched_task import WatchedTask, tasks_of_experiment

DAILY = Timing(25_200, "0 1 * * *", "Europe/Berlin")
HOURLY = Timing(600, "0 * * * *", "UTC")
OWN = frozenset({"cronsemble", "experiment=e"})
TODAY = 20_500


def existing(slug: str = "e-ensemble", status: str = "up", timing: Timing = DAILY, **changes: object) -> ExistingCheck:
    values: dict[str, object] = {"uuid": "u", "name": slug, "slug": slug, "tags": OWN, "resumes_by_hand": True, **changes}
    return ExistingCheck(timing=timing, status=status, **values)  # type: ignore[arg-type]


def verbs(desired: list[DesiredCheck], *there: ExistingCheck) -> list[tuple[str, str]]:
    return [(str(action.verb), action.slug) for action in plan_checks("e", desired, there).actions]


WANTED = [DesiredCheck("e-ensemble", DAILY)]


def test_what_is_done() -> None:
    assert verbs(WANTED) == [("create", "e-ensemble")]
    for status in ("up", "grace", "down", "started"):
        assert verbs(WANTED, existing(status=status)) == []
    assert verbs(WANTED, existing(status="new")) == [("arm", "e-ensemble")]
    assert verbs(WANTED, existing(status="paused")) == [("resume", "e-ensemble")]
    assert verbs(WANTED, existing(timing=HOURLY)) == [("change", "e-ensemble")]
    assert verbs(WANTED, existing(resumes_by_hand=False)) == [("change", "e-ensemble")]
    # What its user has added or renamed is the user's.
    assert verbs(WANTED, existing(tags=OWN | {"team-a"}, name="Our nightly ensemble")) == []
    # A suspended task, and one that was removed.
    assert verbs([DesiredCheck("e-ensemble", None)], existing()) == [("pause", "e-ensemble")]
    assert verbs([DesiredCheck("e-ensemble", None)]) == []
    assert verbs([], existing(), existing("e-train-a", "paused")) == [("pause", "e-ensemble")]
    # Two syncs at once have made it twice.
    assert plan_checks("e", WANTED, [existing(uuid="a"), existing(uuid="b", pings=3)]).actions == (
        CheckAction(Verb.REMOVE, "e-ensemble", existing(uuid="a")),
    )


def test_what_others_made_is_left_as_it_is() -> None:
    for there in (
        existing(tags=frozenset()),
        existing(tags=OWN - {"experiment=e"}),
        existing(slug="x", name="e-ensemble", tags=frozenset()),
    ):
        plan = plan_checks("e", WANTED, [there])
        assert plan.actions == () and "cronsemble did not make" in plan.notes[0]
    assert verbs([], existing(tags=frozenset({"cronsemble", "experiment=other"}))) == []


def test_when_a_task_is_expected() -> None:
    tasks = [
        WatchedTask("train-a", "0 1 * * *", "Europe/Berlin", 25_200),
        WatchedTask("train-b", "@every 2h", "UTC", 30),
        WatchedTask("train-c", "0 1 * * *", "UTC", 25_200, is_suspended=True),
        WatchedTask("train-d", "0 0 31 2 *", "UTC", 25_200),
        WatchedTask("ensemble", "30 2 * * *", "Europe/Berlin", 25_200),
    ]
    checks, notes = desired_checks("e", tasks, TODAY)
    assert checks == [
        DesiredCheck("e-train-a", DAILY),
        DesiredCheck("e-train-b", Timing(60, timeout=7200)),
        DesiredCheck("e-train-c", None),
        DesiredCheck("e-train-d", None),
        DesiredCheck("e-ensemble", Timing(25_200 + 3600, "02:30", "Europe/Berlin")),
    ]
    assert [note.split(":")[0] for note in notes] == ["check e-train-d", "check e-ensemble"]
    assert checks[4].timing is not None
    assert checks[4].timing.before_3_1 == Timing(25_200 + 84_600, "30 2 * * *", "Europe/Berlin")
    assert "grace is 1h longer" in notes[1]


def test_the_watch_is_expected_too(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("experiment: e\ntimezone: Europe/Berlin\nbackends: {jax: {}}\nwatch: {schedule: '0 7 * * *', deadline: 5m}\n")
    assert tasks_of_experiment(load(path)) == [WatchedTask("watch", "0 7 * * *", "Europe/Berlin", 3600 + 300)]
    path.write_text("experiment: e\nbackends: {jax: {}}\nwatch: {suspend: true}\n")
    assert tasks_of_experiment(load(path))[0].is_suspended


WEEKLY = WatchedTask("ensemble", "30 2 * * 0", "Europe/Berlin", 25_200)


def test_a_server_that_knows_no_oncalendar_gets_cron_and_a_longer_grace() -> None:
    with stand_in() as server:
        api = HeartbeatApi(server.url, f"{server.url}/ping", API_KEY, {})
        server.is_before_3_1 = True
        said: list[str] = []
        carry_out(api, "e", plan_update(api, "e", [WEEKLY], server.now()), said.append)
        assert said == ['+ check e-ensemble: "30 2 * * 0" Europe/Berlin, grace 7d 6h']
        plan = plan_update(api, "e", [WEEKLY], server.now())
        assert plan.actions == () and "knows no OnCalendar, so the check's grace is 6d 22h longer" in plan.notes[0]
        # The server is updated; whoever reads the note pauses the check.
        server.is_before_3_1 = False
        api.pause(api.checks()[0])
        carry_out(api, "e", plan_update(api, "e", [WEEKLY], server.now()), said.append)
        assert said[1] == '~ check e-ensemble: resumed, "Sun 02:30" Europe/Berlin, grace 8h'
        assert (server.checks[0].schedule, server.checks[0].status) == ("Sun 02:30", "up")
        plan = plan_update(api, "e", [WEEKLY], server.now())
        assert plan.actions == () and all("OnCalendar" not in note for note in plan.notes)


def test_another_refusal_is_not_taken_for_an_old_server() -> None:
    with stand_in() as server:
        api = HeartbeatApi(server.url, f"{server.url}/ping", API_KEY, {})
        server.answers = [
            (200, {}, '{"checks": []}'),
            (400, {}, '{"error": "json validation error: tz is not a valid timezone"}'),
        ]
        plan = plan_update(api, "e", [WEEKLY], server.now())
        with pytest.raises(HeartbeatError, match="tz is not a valid timezone"):
            carry_out(api, "e", plan, lambda _: None)


def test_check_says_what_waits_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    server = "heartbeat: {server: 'https://hc.example.org'}"
    path.write_text(f"experiment: e\ntimezone: Europe/Berlin\nbackends: {{jax: {{schedule: '30 2 * * *'}}}}\n{server}\n")
    print_schedule_warnings(load(path))
    assert "heartbeat: warning: check e-train-jax: its grace is 1h longer, for where clocks are set" in capsys.readouterr().err


def test_two_syncs_at_once_make_one_check_each() -> None:
    tasks = [WatchedTask(f"train-{n}", "0 1 * * *", "UTC", 600) for n in range(5)]
    with stand_in() as server:

        def sync(_: int) -> None:
            api = HeartbeatApi(server.url, f"{server.url}/ping", API_KEY, {})
            carry_out(api, "e", plan_update(api, "e", tasks, server.now()), lambda _: None)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(sync, range(4)))
        assert sorted(check.slug for check in server.checks) == [f"e-train-{n}" for n in range(5)]
        assert {check.status for check in server.checks} == {"up"}
        # A server that lets both make one: all but one go, or it would take pings for neither.
        server.checks.append(replace(server.checks[0], code="other", pings=[]))
        sync(0)
        assert sorted(check.slug for check in server.checks) == [f"e-train-{n}" for n in range(5)]


TASKS = st.lists(
    st.builds(
        WatchedTask,
        st.sampled_from(["train-a", "train-b", "ensemble"]),
        st.sampled_from(["0 1 * * *", "@every 1h", "*/5 * * * *", "30 2 * * *"]),
        st.sampled_from(["UTC", "Europe/Berlin"]),
        st.integers(30, 40_000_000),
        st.booleans(),
    ),
    unique_by=lambda task: task.task,
)
EDITS = st.lists(st.tuples(st.sampled_from(["pause", "new", "untag", "remove", "ping"]), st.integers(0, 5)), max_size=3)


def edit(server: StandIn, what: str, check: Check) -> None:
    """As somebody in the server's pages."""
    if what == "remove":
        server.checks.remove(check)
    elif what == "untag":
        check.tags = ""
    elif what == "ping":
        check.ping("success", server.now(), "", "")
    else:
        check.status = "paused" if what == "pause" else "new"


@given(st.lists(st.tuples(TASKS, EDITS), min_size=1, max_size=4))
def test_whatever_was_there_a_second_update_has_nothing_to_do(
    rounds: list[tuple[list[WatchedTask], list[tuple[str, int]]]],
) -> None:
    with stand_in() as server:
        server.checks = [Check("by hand", "by-hand", status="up", last_ping=0.0)]
        api = HeartbeatApi(server.url, f"{server.url}/ping", API_KEY, {})
        for tasks, edits in rounds:
            untagged = {check.slug for check in server.checks if check.tags == ""}
            carry_out(api, "e", plan_update(api, "e", tasks, server.now()), lambda _: None)
            assert plan_update(api, "e", tasks, server.now()).actions == ()
            watched = {f"e-{task.task}" for task in tasks if not task.is_suspended} - untagged
            own = {check.slug: check for check in server.checks if "cronsemble" in check.tags.split()}
            # Each that is expected would go down if nothing came; and nothing else would.
            assert {slug for slug, check in own.items() if check.goes_down_at() is not None} == watched
            for what, number in edits:
                if server.checks:
                    edit(server, what, server.checks[number % len(server.checks)])
