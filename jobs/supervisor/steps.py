"""The steps of a run: await, prepare, train, predict, combine. Each starts its child and publishes what it made. Python 3.9."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store.files import exists, publish_bytes, publish_file, read_json, sha256_of, to_json, write_file
from jobs.store.latest_model import ModelChoice, choose_models, selected
from jobs.supervisor.framework_process import UserCode, framework_env, run_child, warm_theano
from jobs.supervisor.record import commit
from jobs.supervisor.run_context import RunContext, StepError, notice, now, require
from jobs.supervisor.snapshots import store_revisions, store_snapshot
from jobs.supervisor.wait_for_runs import tell_awaited


def _prepare(context: RunContext, _: str | None) -> None:
    """Keep the snapshot, and pin the bytes that the tasks of this experiment and local date use."""
    task, store = context.task, context.store
    store_snapshot(context)
    store_revisions(context)
    repeated = _repeated_data(context)
    if repeated is not None:
        write_file(context.folder / c.DATA, to_json(repeated))
        return
    key = str(task["data"]["key"])
    if task["data"].get("refresh") == "each_run" or context.other_configuration:
        key += "-" + (context.invocation or str(context.run))
    date = _local_date(context)
    pin = store.pin_path(context.run.experiment, date, key)
    known = read_json(pin)
    if known is None or not exists(store.dataset_path(known["fingerprint"])):
        with (
            UserCode(context, task["snapshot"]["code"]) as code,
            tempfile.TemporaryDirectory(dir=context.folder, prefix=".prepare-") as scratch,
        ):
            out = Path(scratch)
            arguments = [
                "--task",
                str(_task_file(context, out)),
                "--folder",
                context.env.get(c.ENV_FOLDER, "."),
            ]
            arguments += ["--code", code, "--date", date, "--out", scratch]
            run_child(context, "prepare", arguments, {**task.get("env", {}), "KERAS_BACKEND": "numpy"})
            made = json.loads((out / c.DATA).read_text(encoding="utf-8"))
            publish_file(store.dataset_path(made["fingerprint"]), out / "data.npz")
            made["sha256"] = sha256_of(store.dataset_path(made["fingerprint"]))
            publish_bytes(pin, to_json({**made, "time": now(), "run": str(context.run)}))
        known = read_json(pin)
        if known is None:
            raise StepError(f"{pin} cannot be read back")
    else:
        problem = store.data_problem(known)
        if problem:
            raise StepError(f"{problem}: remove it, and the next run makes it anew", ExitCode.WRONG_INPUT)
        _tell_of_changes(context, known)
    write_file(context.folder / c.DATA, to_json(known))


def _repeated_data(context: RunContext) -> dict[str, Any] | None:
    """What the repeated run learnt from; None where none is repeated, or it never came to have data."""
    name = context.env.get(c.ENV_REPEATS)
    if not name or context.other_configuration:
        return None
    run = c.parse_run_id(name, context.run.experiment, context.run.task)
    if run is None:
        raise StepError(f"{c.ENV_REPEATS}={name} is not a run of {context.run.task}", ExitCode.WRONG_INPUT)
    known = context.store.pinned_data(run)
    problem = known and context.store.data_problem(known)
    if problem:
        raise StepError(f"{name} cannot be repeated: {problem}", ExitCode.WRONG_INPUT)
    return known


def _tell_of_changes(context: RunContext, pinned: Mapping[str, Any]) -> None:
    """Say so if a file has changed since its data was pinned: the pinned bytes are used all the same."""
    for name, digest in pinned.get("files", {}).items():
        try:
            same = sha256_of(Path(context.env.get(c.ENV_FOLDER, ".")) / name) == digest
        except OSError:
            continue
        if not same:
            notice(
                context,
                f"{name} has changed since {pinned['run']} fixed this date's data; "
                "what it fixed is used (`refresh: each_run` under data: reads the file anew)",
            )


def _train(context: RunContext, _: str | None) -> None:
    task = context.task
    began = now()
    data = _data(context)
    warm_theano(context)
    with UserCode(context, task["snapshot"]["code"]) as code, tempfile.TemporaryDirectory(prefix="cronsemble-") as scratch:
        arguments = [
            "--task",
            str(_task_file(context, Path(scratch))),
            "--data",
            str(data),
            "--out",
            str(context.folder),
        ]
        arguments += ["--progress", str(context.folder / c.PROGRESS), "--code", code]
        run_child(context, "train", arguments, framework_env(task))
    metrics = require(context, c.METRICS)
    model = require(context, c.MODEL)
    commit(context, began, {"metrics": metrics, "model": model, "accuracy": metrics.get("accuracy")})


def _predict(context: RunContext, member: str | None) -> None:
    """One member's probabilities. A failure is recorded and the step ends well, for the next one's turn."""
    spec = next((each for each in context.task["members"] if each["member"] == member), None)
    if spec is None or member is None:
        raise StepError(f"--member {member}: not a member of this ensemble", ExitCode.WRONG_INPUT)
    out = context.folder / "probabilities" / member
    out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"member": member}
    try:
        if started_before(context, member):
            raise StepError("an earlier try of this run ended while it was predicting")
        choice = _choice(context, member)
        if choice.run is None:
            raise StepError(choice.reason)
        told["run"] = str(choice.run)
        publish_bytes(out / c.START, to_json({"time": now()}))
        result = context.store.run_folder(choice.run) / c.RESULT
        record = read_json(result / c.RECORD)
        if record is None:
            raise StepError(f"{choice.run} has no result")
        told["accuracy"] = record.get("accuracy")
        told["class_names"] = record.get("model", {}).get("class_names")
        warm_theano(context, spec["backend"])
        with UserCode(context, record.get("snapshot", {}).get("code", "")) as code:
            arguments = [
                "--model",
                str(result),
                "--data",
                str(_data(context)),
                "--out",
                str(out / "probabilities.npy"),
            ]
            run_child(context, "predict", [*arguments, "--code", code], framework_env(spec), spec.get("timeout"))
        told["probabilities"] = f"probabilities/{member}/probabilities.npy"
    except StepError as error:
        if error.status == Status.INTERRUPTED:
            raise
        told["left_out"] = str(error)
        notice(context, f"{member} is left out: {error}")
    publish_bytes(out / c.END, to_json(told))


def _choice(context: RunContext, member: str) -> ModelChoice:
    told = context.env.get(c.ENV_SELECTION)
    if told:
        return selected(json.loads(told), context.run.experiment, member)
    return choose_models(context.store, context.run, [member], context.task.get("max_age"), context.invocation)[0]


def _combine(context: RunContext, _: str | None) -> None:
    task = context.task
    began = now()
    told = []
    for spec in task["members"]:
        known = read_json(context.folder / "probabilities" / spec["member"] / c.END)
        told.append(known or {"member": spec["member"], "left_out": "its predict step did not end"})
    taken = [each for each in told if "left_out" not in each]
    write_file(context.folder / c.SELECTION, to_json({"members": told}))
    if len(taken) < task["quorum"] or not taken:
        lines = "; ".join(f"{each['member']}: {each['left_out']}" for each in told if "left_out" in each)
        raise StepError(
            f"{len(taken)} of the {task['quorum']} members it needs ({lines})", ExitCode.WRONG_INPUT, c.Status.NO_QUORUM
        )
    with tempfile.TemporaryDirectory(prefix="cronsemble-") as scratch:
        plan = Path(scratch) / "plan.json"
        members = [{**each, "probabilities": str(context.folder / each["probabilities"])} for each in taken]
        plan.write_bytes(to_json({"method": task["method"], "members": members, "data": str(_data(context))}))
        run_child(context, "combine", ["--plan", str(plan), "--out", str(context.folder)], task.get("env", {}))
    ensemble = require(context, c.ENSEMBLE)
    commit(context, began, {"ensemble": ensemble, "members": told, "accuracy": ensemble.get("accuracy")})
    path = context.store.publish_archive(context.run)
    if path is None:
        print("cronsemble: a foreign file has this run's name in the archive; the CSV is in the run's result", flush=True)
    else:
        print(f"cronsemble: archived {path}", flush=True)


def _task_file(context: RunContext, folder: Path) -> Path:
    path = folder / "task.json"
    path.write_bytes(to_json(context.task))
    return path


def _data(context: RunContext) -> Path:
    return context.store.dataset_path(str(require(context, c.DATA)["fingerprint"]))


def started_before(context: RunContext, member: str) -> bool:
    """Whether a try before this one began to predict and never ended. One that runs beside this one says nothing of it."""
    own = str((read_json(context.folder / c.START) or {}).get("time", ""))
    for folder in context.store.run_folder(context.run).glob(c.TRY_PREFIX + "*"):
        told = folder / "probabilities" / member
        is_open = folder != context.folder and exists(told / c.START) and not exists(told / c.END)
        if is_open and str((read_json(told / c.START) or {}).get("time", "")) < own:
            return True
    return False


def _local_date(context: RunContext) -> str:
    """The slot's date in the experiment's zone; only prepare asks, whose runtime has zone data."""
    zone = str(context.task["timezone"])
    try:
        return context.run.slot.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d")
    except ZoneInfoNotFoundError as error:
        raise StepError(f"timezone {zone}: this runtime has no data of it: install tzdata there", ExitCode.WRONG_INPUT) from error


STEPS = {"await": tell_awaited, "prepare": _prepare, "train": _train, "predict": _predict, "combine": _combine}
