"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stores import at

EXPORT = "from scheduler.cli import main; main()"
READ = """
import json, sys
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
multiplexer = EventMultiplexer().AddRunsFromDirectory(sys.argv[1])
multiplexer.Reload()
runs = {run: {tag: [(e.step, e.wall_time, e.value) for e in multiplexer.Scalars(run, tag)] for tag in tags["scalars"]}
        for run, tags in multiplexer.Runs().items()}
json.dump(runs, sys.stdout)
"""


def test_each_run_has_its_epochs_and_each_task_its_trend(program: Any, folder: Path, tmp_path: Path) -> None:
    for expected in ("29 event files written, 0 were there", "0 event files written, 29 were there"):
        done = program(EXPORT, "export", "tensorboard", str(tmp_path / "events"), cwd=folder)
        assert done.returncode == 0 and expected in done.stdout, done.stderr
        files = {path: path.read_bytes() for path in tmp_path.rglob("events.*")}
        assert len(files) == 29
    done = program(READ, str(tmp_path / "events"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)
    assert len(runs) == 29
    start = at("2025-11-20T01:00:05").timestamp()
    epochs = runs["train-a/2025-11-20T0100Z"]
    assert epochs["val_loss"] == [[n, start + 1.5 * n, pytest.approx(2.2 / n, abs=1e-4)] for n in (1, 2, 3, 4)]
    assert epochs["run/accuracy"] == [[4, start + 340, pytest.approx(0.9133)]]
    assert 0.5 < epochs["run/items_accuracy"][0][2] <= 1
    trend = runs["trend/ensemble"]
    assert [step for step, _, _ in trend["run/accuracy"]] == [29393640 + 1440 * day for day in range(6)]
    assert set(trend) >= {"run/accuracy", "run/loss", "run/duration", "member/c/weight", "member/c/accuracy"}


def test_an_event_file_that_was_cut_off_is_written_anew_and_others_stay(program: Any, folder: Path, tmp_path: Path) -> None:
    more = ("--until", "2025-11-20", "--task", "train-a")
    assert program(EXPORT, "export", "tensorboard", str(tmp_path), *more, cwd=folder).returncode == 0
    (path,) = (tmp_path / "train-a" / "2025-11-20T0100Z").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    (tmp_path / "train-a" / "own").write_text("mine")
    done = program(EXPORT, "export", "tensorboard", str(tmp_path), *more, cwd=folder)
    assert "1 event files written, 1 were there" in done.stdout
    assert path.read_bytes() == whole and (tmp_path / "train-a" / "own").read_text() == "mine"
