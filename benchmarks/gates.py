"""What gates do on streams of nights: how often chance refuses, and how often a real drop is seen.

`benchmarks/gates.py` simulates; it exits with 1 if more than 5 % of a stream without change are refused, or a drop of twice the
limit in less than 95 % of nights with as many items as docs/gates.md says. `benchmarks/gates.py KERAS3 [NIGHTS]` trains on a
real backend with that interpreter: nights without change, as many in which a member is made worse on purpose, and as many on
data that moves on from night to night.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.supervisor.paired_drop import PairedDrop, needed_items

ACCURACIES = (0.6, 0.8, 0.9, 0.97, 0.99)
ITEMS = (60, 250, 1000, 10_000)
AGREEMENTS = (0.3, 2.0, 20.0)
"""Concentrations of a beta distribution of how likely each item is predicted right: the lower, the more do models agree."""
STREAMS, NIGHTS, TRIALS = 12, 150, 1500
SMALLEST = 1e-6
"""A limit that refuses by the interval alone: no other limit refuses more."""


def chances(random: np.random.Generator, accuracy: float, agreement: float, shape: Any) -> Any:
    """Of each item how likely a model predicts it."""
    return random.beta(accuracy * agreement, (1 - accuracy) * agreement, shape)


def stream(random: np.random.Generator, accuracy: float, agreement: float, items: int, is_fixed: bool) -> float:
    """The share of refused nights without change, each compared with the last accepted one.

    ``is_fixed``: the items are the same in all nights, so that an accepted model that has more right by chance keeps them.
    """
    refused = 0
    chance = chances(random, accuracy, agreement, items)
    accepted = random.random(items) < chance
    for _ in range(NIGHTS):
        if not is_fixed:
            chance = chances(random, accuracy, agreement, items)
            accepted = random.random(items) < chance
        new = random.random(items) < chance
        if PairedDrop(items, int((accepted & ~new).sum()), int((~accepted & new).sum())).exceeds(SMALLEST):
            refused += 1
        else:
            accepted = new
    return refused / NIGHTS


def seen(random: np.random.Generator, accuracy: float, agreement: float, items: int, limit: float) -> float:
    """The share of nights in which a drop of twice ``limit`` is refused: each item is right less often in the same proportion."""
    refused = 0
    for _ in range(TRIALS):
        chance = chances(random, accuracy, agreement, items)
        earlier = random.random(items) < chance
        new = random.random(items) < chance * (accuracy - 2 * limit) / accuracy
        refused += PairedDrop(items, int((earlier & ~new).sum()), int((~earlier & new).sum())).exceeds(limit)
    return refused / TRIALS


def disagreement(accuracy: float, agreement: float) -> float:
    """The share of items that only one of two equally good models has right: twice the mean of p (1 - p)."""
    return 2 * accuracy * (1 - accuracy) * agreement / (agreement + 1)


def simulate() -> bool:
    """Print both, and return whether they are as promised."""
    random = np.random.default_rng(20261127)
    worst: dict[bool, tuple[float, str]] = {}
    print(f"refused without change, % of {STREAMS} × {NIGHTS} nights, at the smallest limit: same items | new items each night")
    for items in ITEMS:
        for accuracy in ACCURACIES:
            cells = []
            for agreement in AGREEMENTS:
                shares = {
                    is_fixed: sum(stream(random, accuracy, agreement, items, is_fixed) for _ in range(STREAMS)) / STREAMS
                    for is_fixed in (True, False)
                }
                for is_fixed, share in shares.items():
                    where = f"{items} items, accuracy {accuracy}, disagreement {disagreement(accuracy, agreement):.3f}"
                    worst[is_fixed] = max(worst.get(is_fixed, (0.0, "")), (share, where))
                cells.append(f"{100 * shares[True]:4.1f} | {100 * shares[False]:4.1f}")
            print(f"  {items:6d} items, accuracy {accuracy:.2f}:  " + "   ".join(cells))
    for is_fixed, (share, where) in worst.items():
        print(f"  worst, {'same' if is_fixed else 'new'} items: {100 * share:.1f} % ({where})")
    print(f"a drop of twice the limit refused, % of {TRIALS} nights: with half the items it takes, with them, with twice")
    lowest = 1.0
    for limit in (0.01, 0.03, 0.05, 0.1):
        for accuracy in ACCURACIES:
            for agreement in AGREEMENTS:
                needed = needed_items(limit, disagreement(accuracy, agreement))
                if accuracy - 2 * limit <= 0.1 or needed > 20_000:
                    continue
                half, exact, twice = (
                    seen(random, accuracy, agreement, items, limit) for items in (needed // 2, needed, 2 * needed)
                )
                lowest = min(lowest, exact, twice)
                print(
                    f"  limit {limit:.2f}, accuracy {accuracy:.2f}, disagreement {disagreement(accuracy, agreement):.3f}: "
                    f"{needed:6d} items: {100 * half:5.1f}  {100 * exact:5.1f}  {100 * twice:5.1f}"
                )
    print(f"  lowest with as many as it takes, or more: {100 * lowest:.1f} %")
    # Of so many trials a share of 5 % has a standard error of 0.6 %.
    return max(share for share, _ in worst.values()) <= 0.05 and lowest >= 0.95 - 0.006


# -- real trainings

CONFIG = """
experiment: gates
store: ./store
runtimes: {{keras3: {{python: {python}}}}}
data: {{dataset: "{dataset}", holdout: 20}}
model: mlp
hyperparameters: {{epochs: {epochs}, patience: 9}}
backends: {{jax: {{schedule: "0 1 * * *", gate: {{max_drop: {limit}}}}}}}
"""
EPOCHS, WORSE_EPOCHS, LIMIT = 12, 2, 0.03


def train(python: str, nights: int) -> bool:
    """Real nights, jax; print what the gate made of each, and return whether it was right.

    Digits without change, then each night trained for too short a time; and data that moves on, from which the tool splits the
    validation items off anew each night.
    """
    today = datetime.now(UTC).date()
    dates = [str(today - timedelta(days=back)) for back in range(2 * nights + 1, 0, -1)]
    same, worse = dates[: nights + 1], dates[nights + 1 :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for epochs, some in ((EPOCHS, same), (WORSE_EPOCHS, worse)):
            _backfill(folder, python, "digits", epochs, some)
        refused = _print_gates(folder, dates)
    unchanged, seen = sum(refused[1 : nights + 1]), sum(refused[nights + 1 :])
    print(f"refused: {unchanged} of {nights} without change, {seen} of {nights} worse")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_moving(folder, same)
        _backfill(folder, python, "moving-{date}.npz", EPOCHS, same)
        moving = sum(_print_gates(folder, same))
    print(f"refused: {moving} of {nights} on data that moves on")
    return not unchanged and not refused[0] and seen == nights and not moving


def _write_moving(folder: Path, dates: list[str]) -> None:
    """Ten classes that overlap, so that a model knows what it was trained on better; each night 20 of 1,500 items are new."""
    random = np.random.default_rng(20261127)
    centres, y = random.normal(0, 1, (10, 64)), random.integers(0, 10, 1500 + 20 * len(dates))
    x = (centres[y] + random.normal(0, 2.5, (len(y), 64))).astype("float32")
    for number, date in enumerate(dates):
        night = slice(20 * number, 20 * number + 1500)
        np.savez(folder / f"moving-{date}.npz", x_train=x[night], y_train=y[night])


def _backfill(folder: Path, python: str, dataset: str, epochs: int, dates: list[str]) -> None:
    (folder / "config.yaml").write_text(CONFIG.format(python=python, dataset=dataset, epochs=epochs, limit=LIMIT))
    command = [sys.executable, "-c", "from scheduler.cli import main; main()", "backfill", f"{dates[0]}..{dates[-1]}"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _print_gates(folder: Path, dates: list[str]) -> list[bool]:
    """Print what the gate has made of each date; whether it refused it."""
    refused = []
    for date, gate in zip(dates, _gates(folder, dates), strict=True):
        counts = f"lost {gate.get('lost')}, gained {gate.get('gained')} of {gate.get('items')}, drop {gate.get('drop')}"
        counts += f", {gate['learnt_before']} left out" if gate.get("learnt_before") else ""
        refused.append(bool(gate.get("refused")))
        why = gate.get("not_judged") or ("refused" if refused[-1] else "accepted")
        print(f"  {date}: accuracy {gate['accuracy']:.4f}, {counts}: {why}", flush=True)
    return refused


def _gates(folder: Path, dates: list[str]) -> Iterator[dict[str, Any]]:
    for date in dates:
        minute = int(datetime.fromisoformat(f"{date}T01:00+00:00").timestamp()) // 60
        (record,) = folder.glob(f"store/runs/gates/train-jax/{date[:7]}/gates-train-jax-{minute}/result/record.json")
        yield json.loads(record.read_text())["gate"]


if __name__ == "__main__":
    is_right = train(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 6) if len(sys.argv) > 1 else simulate()
    sys.exit(0 if is_right else 1)
