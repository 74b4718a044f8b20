"""Schedules and fire times against the Go library that Kubernetes uses, both reading the same zone files."""

from __future__ import annotations

import json
import os
import random
import string
import struct
import subprocess
import zoneinfo
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jobs.fire_times import fires
from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import ScheduleError, parse
from jobs.fire_times.zones import Zone

SEED = int(os.environ.get("CRONSEMBLE_TEST_SEED", "20261124"))
EXPRESSIONS, FIRES, MALFORMED = 10_000, 60, 60_000
LAST = 4_102_444_800  # 2100
ZONES = [
    "America/New_York",
    "America/Santiago",  # midnights that do not exist
    "America/Havana",
    "Africa/Cairo",
    "Asia/Beirut",
    "Africa/Casablanca",  # four shifts a year
    "Antarctica/Troll",  # two hours
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # a day left out
    "Pacific/Chatham",  # 12:45
    "Africa/Monrovia",  # 44 minutes and 30 seconds until 1972
    "Europe/Dublin",  # winter is the exception
    "America/Scoresbysund",  # the day before, by its rule
    "UTC",
]


@pytest.fixture(scope="module")
def zone_files() -> Iterator[Path]:
    """The folder of the package's zone files, and nothing else, for Python too."""
    folder = Path(str(files("tzdata") / "zoneinfo"))
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(folder)])
    yield folder
    zoneinfo.reset_tzpath(before)


def ask(program: Path, zone_files: Path, questions: list[dict[str, Any]]) -> subprocess.Popen[str]:
    """The library at work on questions; read its answers with ``answers``."""
    environment = {**os.environ, "ZONEINFO": str(zone_files)}
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdin is not None
    process.stdin.write("".join(json.dumps(each) + "\n" for each in questions))
    process.stdin.close()
    return process


def answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stdout is not None
    with process.stdout:
        found = [json.loads(line) for line in process.stdout]
    assert process.wait() == 0
    return found


def expression(chance: random.Random) -> str:
    if chance.random() < 0.02:
        return "@every " + chance.choice(["1h", "1h30m", "90s", "1m", "7h0.5s", "36h", "500ms", "-1h", "1000h", "1.5h"])
    if chance.random() < 0.02:
        return chance.choice(["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"])
    bounds = [(0, 59, 0.1), (0, 23, 0.2), (1, 31, 0.45), (1, 12, 0.6), (0, 6, 0.5)]
    return " ".join(field(chance, *each) for each in bounds)


def field(chance: random.Random, low: int, high: int, free: float) -> str:
    if chance.random() < 0.001 and high != 59:
        return ","  # never; in the field of minutes the library looks at each one of five years
    if chance.random() < free:
        return chance.choice(["*", "*", "*", "?", "*/1"])
    parts = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        first = chance.randint(low, high)
        last = chance.randint(first, high)
        step = chance.randint(1, 2 * (high - low))
        kinds = [f"{first}", f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}", f"{first}/{step}"]
        parts.append(chance.choice(kinds))
    return chance.choice([",", ",", ",", ",,"]).join(parts)


def moment(chance: random.Random, shifts: list[tuple[int, int, int]]) -> int:
    """Anywhere, near a shift, or some months before one."""
    kind = chance.random()
    if kind < 0.3 or not shifts:
        return chance.randrange(LAST)
    shift = chance.choice(shifts)[0]
    if kind < 0.6:
        return shift - chance.randrange(-7200, 90_000)
    return max(shift - chance.randrange(0, 60 * 86_400) // 60 * 60, 0)


class EndlessSearch(ArithmeticError):
    """The library would never return: it steps onto a day that the zone has left out, and back, for ever."""


def search_without_end(_: int) -> int:
    raise EndlessSearch


def find(area: Zone, question: dict[str, Any]) -> list[int] | None:
    try:
        return list(islice(instants(parse(question["expression"]), area, question["after"]), FIRES))
    except EndlessSearch:
        return None


@pytest.mark.parametrize("name", ZONES)
def test_no_fire_time_differs(cron_reference: Path, zone_files: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    chance = random.Random(f"{SEED} {name}")
    area = Zone(zoneinfo.ZoneInfo.no_cache(name))
    shifts = area.shifts(0, LAST)
    questions = [
        {"expression": expression(chance), "zone": name, "after": moment(chance, shifts), "count": FIRES}
        for _ in range(EXPRESSIONS)
    ]
    if name == "Pacific/Apia":
        # Where the library would not answer, there is nothing to compare.
        monkeypatch.setattr(fires, "_after_day_left_out", search_without_end)
        ours = [find(area, each) for each in questions]
        questions = [each for each, found in zip(questions, ours, strict=True) if found is not None]
        at_work = ask(cron_reference, zone_files, questions)
    else:
        at_work = ask(cron_reference, zone_files, questions)
        ours = [find(area, each) for each in questions]
    mine = [found for found in ours if found is not None]
    theirs = answers(at_work)
    differing = [
        f"{each['expression']} from {each['after']}: ours {sorted(set(a) - set(b))[:3]}, theirs {sorted(set(b) - set(a))[:3]}"
        for each, a, answer in zip(questions, mine, theirs, strict=True)
        if a != (b := answer.get("fires", []))
    ]
    assert differing[:5] == []
    assert sum(map(len, mine)) > EXPRESSIONS * FIRES * 0.5


def test_where_the_library_hangs_we_step_over(cron_reference: Path, zone_files: Path) -> None:
    area = Zone(zoneinfo.ZoneInfo.no_cache("Pacific/Apia"))
    after = 1_325_100_000  # two days before the day that Samoa left out, 30 December 2011
    question = {"expression": "0 0 31 * *", "zone": "Pacific/Apia", "after": after, "count": 1}
    assert answers(ask(cron_reference, zone_files, [question])) == [{"endless": True}]
    assert next(instants(parse("0 0 31 * *"), area, after)) == 1_325_239_200  # 2011-12-31 00:00+14:00


def malformed(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.2:
        units = ["h", "m", "s", "ms", "us", "\u00b5s", "\u03bcs", "ns", "d", "", "H", " "]
        numbers = [
            "1",
            "0",
            "1.5",
            ".5",
            "1.",
            ".",
            "",
            "9223372036854775807",
            "9223372036854775808",
            "2562047",
            "00",
            "-1",
            "1.99999999999999999999",
        ]
        text = "".join(chance.choice(numbers) + chance.choice(units) for _ in range(chance.randint(1, 3)))
        return chance.choice(["@every ", "@every ", "@every  ", "@every"]) + chance.choice(["", "", "-", "+"]) + text
    if kind < 0.25:
        return chance.choice(
            ["@Daily", "@reboot", " @daily", "@daily ", "@", "", " ", "\t", "TZ=UTC 0 0 * * *", "@every", "* * * *"]
        )
    text = list(expression(chance))
    letters = string.digits + "*?,-/+ LW#@.\t\x0b\x1c\x85\xa0\u2003\u3000_" + "sunMONjan\u0130\u212a\u017f\u0661"
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(text) + 1)
        text[at : at + chance.randint(0, 2)] = chance.choice(
            [
                chance.choice(letters),
                chance.choice(["sun", "Fri", "JAN", "fr\u0130", "99999999999999999999", "9223372036854775807"]),
            ]
        )
    return "".join(text)


def test_what_is_refused_and_how_it_is_said(cron_reference: Path, zone_files: Path) -> None:
    chance = random.Random(SEED)
    texts = [malformed(chance) for _ in range(MALFORMED)]
    theirs = answers(ask(cron_reference, zone_files, [{"expression": text} for text in texts]))
    refused = 0
    for text, answer in zip(texts, theirs, strict=True):
        said = answer.get("error")
        try:
            parse(text)
            ours = None
        except ScheduleError as error:
            ours = error.kubernetes
        assert (ours is None) == (said is None), (text, ours, said)
        if text.isascii() and text.isprintable():
            assert ours == said, text
        refused += said is not None
    assert MALFORMED * 0.5 < refused < MALFORMED * 0.97


def listed(data: bytes) -> list[tuple[int, int, int]]:
    """The shifts that a zone's file lists (RFC 9636, the 64-bit block): first second, offset before, offset since."""

    def counts(at: int) -> tuple[int, ...]:
        return struct.unpack(">6l", data[at + 20 : at + 44])

    utc, standard, leaps, times, types, letters = counts(0)
    start = 44 + times * 5 + types * 6 + letters + leaps * 8 + standard + utc
    *_, times, types, _ = counts(start)
    at = start + 44
    instants_ = struct.unpack(f">{times}q", data[at : at + 8 * times])
    kinds = data[at + 8 * times : at + 9 * times]
    table = at + 9 * times
    offsets = [struct.unpack(">l", data[table + 6 * kind : table + 6 * kind + 4])[0] for kind in kinds]
    steps = zip(instants_[1:], offsets, offsets[1:], strict=False)
    return [(instant, before, since) for instant, before, since in steps if before != since]


def test_every_shift_of_every_zone_is_found(zone_files: Path) -> None:
    """Zone asks for offsets some days apart; it must miss nothing of what the files list from 1970 on."""
    names = sorted(zoneinfo.available_timezones())
    assert len(names) > 500
    for name in names:
        expected = [each for each in listed((zone_files / name).read_bytes()) if each[0] > 0]
        last = max([each[0] for each in expected], default=1)
        assert Zone(zoneinfo.ZoneInfo.no_cache(name)).shifts(0, last) == expected, name
