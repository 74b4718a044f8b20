"""All runs that are due at once are claimed before the first of them begins."""

from __future__ import annotations

import json
import threading
import time
from io import StringIO
from pathlib import Path

from scheduler.config import load
from scheduler.server.claim_order import AT_ONCE, ClaimOrder
from scheduler.server.journal import Journal
from scheduler.server.loop import ScheduleServer, ServerClock
from scheduler.server.metrics import Metrics

DUE = 24


def test_no_run_begins_before_all_that_are_due_are_claimed(tmp_path: Path) -> None:
    members = "\n".join(f"  m{n}: {{backend: jax, schedule: '* * * * *'}}" for n in range(DUE))
    text = f"experiment: e\nruntimes: {{keras3: {{python: /bin/false}}}}\ndefaults: {{retries: 0}}\nbackends:\n{members}\n"
    (tmp_path / "config.yaml").write_text(text)
    now, out = [time.time() // 60 * 60 + 1], StringIO()
    clock = ServerClock(lambda: now[0], lambda: now[0])
    server = ScheduleServer([load(tmp_path / "config.yaml")], DUE, Journal(True, out), Metrics(), clock)
    server.begin(False)
    (served,) = server.experiments
    now[0] += 60
    server.look()
    for thread in list(served._threads.values()):
        thread.join()
    server.look()
    events = [json.loads(line)["event"] for line in out.getvalue().splitlines()]
    assert events.count("begun") == events.count("ended") == DUE
    folders = [claim.parent for claim in tmp_path.glob("store/runs/e/*/*/*/claim.json")]
    last_claim = max(claim.stat().st_mtime_ns for claim in tmp_path.glob("store/runs/e/*/*/*/claim.json"))
    first_start = min(path.stat().st_mtime_ns for folder in folders for path in folder.glob("try-*/start.json"))
    assert last_claim <= first_start
    served.stop(now[0])


def test_few_claim_at_once_and_none_while_threads_are_started() -> None:
    order, lock, claiming, most, early = ClaimOrder(), threading.Lock(), [0], [0], [0]
    is_collecting = threading.Event()

    def claim() -> None:
        with order.claim():
            with lock:
                claiming[0] += 1
                most[0] = max(most[0], claiming[0])
                early[0] += is_collecting.is_set()
            with lock:
                claiming[0] -= 1

    threads = [threading.Thread(target=claim) for _ in range(5 * AT_ONCE)]
    with order.collect():
        is_collecting.set()
        for thread in threads:
            order.announce()
            thread.start()
        is_collecting.clear()
    for thread in threads:
        thread.join()
    assert order.wait_for_others() and 1 <= most[0] <= AT_ONCE and early[0] == 0


def test_a_claim_that_fails_or_is_not_made_is_not_waited_for() -> None:
    order = ClaimOrder()
    for _ in range(2):
        order.announce()
    try:
        with order.claim():
            raise OSError("no space left")
    except OSError:
        order.withdraw()
    assert order.wait_for_others()
