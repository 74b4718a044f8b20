"""1,000 fire times of 1,000 expressions: ours, croniter's, and the Go library's that Kubernetes uses, in turn."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from croniter import croniter

from jobs.fire_times.fires import fires
from jobs.fire_times.schedule import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from cron_reference.program import build

EXPRESSIONS, FIRES, RUNS = 1000, 1000, 3
TENTH = 10  # croniter takes so long that every tenth expression is enough of it
ZONE = "Europe/Berlin"
START = datetime(2000, 1, 1, tzinfo=UTC)  # croniter's calendar ends in 2099


def main() -> None:
    chance = random.Random(1)
    expressions = [expression(chance) for _ in range(EXPRESSIONS)]
    program = build()
    measures: dict[str, tuple[Callable[[list[str]], float], list[str]]] = {
        "ours": (ours, expressions),
        "Go": (lambda sample: go(program, sample), expressions),
        "croniter": (theirs, expressions[::TENTH]),
    }
    print(
        f"{FIRES} fire times of {EXPRESSIONS} expressions in {ZONE}; croniter: of every {TENTH}th; {RUNS} rounds, processor time"
    )
    times: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(RUNS):
        for name, (measure, sample) in measures.items():
            times[name].append(measure(sample) / len(sample) / FIRES * 1e6)
    base = statistics.median(times["ours"])
    for name, each in times.items():
        median = statistics.median(each)
        print(f"{name}: median {median:.2f} us for a fire time, {median / base:.1f} times ours")


def expression(chance: random.Random) -> str:
    """From once a minute to once a month, in the dialect that all three read."""
    minute = chance.choice(["*", "*/5", "0", "30", "0,30", str(chance.randrange(60))])
    hour = chance.choice(["*", "*/6", "9-17", "3", str(chance.randrange(24)), str(chance.randrange(24))])
    day = chance.choice(["*", "*", "*", "1", "1,15", str(chance.randint(1, 28))])
    weekday = "*" if day != "*" else chance.choice(["*", "*", "1-5", "0", "mon,thu"])
    return f"{minute} {hour} {day} * {weekday}"


def ours(expressions: list[str]) -> float:
    began = time.process_time()
    for expression in expressions:
        assert sum(1 for _ in islice(fires(parse(expression), ZONE, START), FIRES)) == FIRES
    return time.process_time() - began


def theirs(expressions: list[str]) -> float:
    zone = ZoneInfo(ZONE)
    began = time.process_time()
    for expression in expressions:
        times = croniter(expression, START.astimezone(zone), ret_type=datetime)
        for _ in range(FIRES):
            times.get_next()
    return time.process_time() - began


def go(program: Path, expressions: list[str]) -> float:
    """By its own measure, without its start and the reading of the questions."""
    questions = [
        {"expression": expression, "zone": ZONE, "after": int(START.timestamp()), "count": FIRES} for expression in expressions
    ]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([program, "bench"], input=lines, text=True, capture_output=True, check=True)
    return int(done.stdout) / 1e9


if __name__ == "__main__":
    main()
