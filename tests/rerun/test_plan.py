"""The plan of a rerun: a run that cannot be repeated is left out with its reason, and holds up no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.contract import RunId
from jobs.store import Run
from jobs.store.files import to_json
from scheduler.rerun.plan import RerunPlan, plan
from scheduler.rerun.selection import originals
from stores import Builder


class Made(Builder):
    """A store whose runs can be repeated: each was made from a snapshot and data that are there."""

    def repeatable(self, task: str, slot: str, status: str = "succeeded", **record: Any) -> RunId:
        configuration = self.store.put_snapshot("task", to_json({"timezone": "UTC", "task": task}))
        data = self.store.dataset_path("f")
        data.parent.mkdir(parents=True, exist_ok=True)
        data.write_bytes(b"data")
        snapshot = {"program": "", "code": "", "task": configuration}
        files = {"data.json": to_json({"fingerprint": "f"}), **record.pop("files", {})}
        return self.run(task, slot, status, snapshot=snapshot, files=files, **record)


def no_problems(run: Run) -> tuple[list[str], list[str]]:
    return [], []


def member(training: RunId) -> dict[str, Any]:
    return {"member": training.task.removeprefix("train-"), "run": str(training), "accuracy": 0.9}


def planned(builder: Builder, what: str, reuse: bool = False) -> tuple[RerunPlan, list[RunId]]:
    runs = originals(builder.store, "e", what, None)
    return plan(builder.store, runs, reuse, no_problems), [run.id for run in runs]


def test_an_ensemble_without_a_quorum_holds_up_no_other(tmp_path: Path) -> None:
    builder = Made(tmp_path)
    training = builder.repeatable("train-a", "2026-11-20T01:00")
    good = builder.repeatable("ensemble", "2026-11-20T06:00", members=[member(training)])
    bad = builder.run("ensemble", "2026-11-20T08:00", "no quorum", reason="0 of the 1 members it needs")
    running = builder.run("ensemble", "2026-11-20T10:00", "running")
    whole, named = planned(builder, "2026-11-20")
    problems = whole.problems()
    assert named == [good, bad, running] and set(problems) == {bad, running}
    assert problems[running][0] == "it is still running"
    assert "it took no model, so there is nothing to combine again (no quorum: 0 of the 1 members it needs)" in problems[bad]
    possible = whole.possible([good])
    assert [repeat.original.id for repeat in possible.repeats] == [training, good]


def test_an_ensemble_is_left_out_with_the_training_that_it_needs_and_so_are_its_other_trainings(tmp_path: Path) -> None:
    builder = Made(tmp_path)
    first, second = (builder.repeatable(f"train-{name}", "2026-11-20T01:00") for name in "ab")
    both = builder.repeatable("ensemble", "2026-11-20T06:00", members=[member(first), member(second)])
    later = builder.repeatable("train-a", "2026-11-20T07:00")
    alone = builder.repeatable("ensemble", "2026-11-20T08:00", members=[member(later)])
    (builder.store.run_folder(second) / "result" / "data.json").unlink()
    whole, named = planned(builder, "2026-11-20")
    assert whole.problems() == {
        second: ["it ended before it had data"],
        both: [f"{second}: it ended before it had data"],
    }
    assert [repeat.original.id for repeat in whole.possible([alone]).repeats] == [later, alone]
    # A training that was asked for itself is repeated, whatever becomes of the ensemble.
    trainings = plan(builder.store, [builder.store.read(run) for run in (first, both)], False, no_problems)
    assert [repeat.original.id for repeat in trainings.possible([first]).repeats] == [first]


def test_of_a_slot_the_newest_attempt_that_has_ended_is_meant(tmp_path: Path) -> None:
    builder = Made(tmp_path)
    builder.run("train-a", "2026-11-20T01:00", "failed", reason="because")
    builder.run("train-a", "2026-11-20T01:00", "running", attempt=2)
    assert [str(run.id.attempt) + run.status for run in originals(builder.store, "e", "2026-11-20", None)] == ["1failed"]
