"""What each step of a run does: await, prepare, train, predict, combine. Standard library, Python 3.9."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store.document_files import read_document
from jobs.store.files import exists, make_folder, publish_bytes, to_document, to_json, write_file
from jobs.store.latest_model import ModelChoice, choose_models, given_choice
from jobs.store.latest_predictions import update_latest
from jobs.store.prepared_data import is_own_reading, keep_prepared, leave_prepared, local_date, pin_name, pin_of
from jobs.store.reading import degraded_reason
from jobs.store.waits import waited, waited_lines
from jobs.supervisor import data_reading
from jobs.supervisor.fork_server import ForkServer
from jobs.supervisor.framework_process import NO_GPU, UserCode, framework_env, run_child, warm_theano
from jobs.supervisor.gate import judge_ensemble, judge_training
from jobs.supervisor.record import commit
from jobs.supervisor.run_context import RunContext, StepError, notice, now, require
from jobs.supervisor.snapshots import store_revisions, store_snapshot
from jobs.supervisor.wait_for_runs import record_awaited_runs
from jobs.temporary import TemporaryFolder


def _prepare(context: RunContext, _: Sequence[str]) -> None:
    """Put the snapshot into the store, and pin the data that the tasks of this experiment and local date use."""
    task, store = context.task, context.store
    for line in waited_lines(store.wait_of(context.run)):
        notice(context, line)
    store_snapshot(context)
    store_revisions(context)
    repeated = _repeated_data(context)
    if repeated is not None:
        write_file(context.folder / c.DATA, to_document(repeated))
        return
    date = _local_date(context)
    pin = pin_of(store, task, context.run, context.env)
    pinned, note = read_document(pin), ""
    damage = "" if pinned is None else store.data_problem(pinned)
    if pinned is None or damage:
        with (
            UserCode(context, task["snapshot"]["code"]) as code,
            tempfile.TemporaryDirectory(dir=context.folder, prefix=".prepare-") as scratch,
        ):
            out = Path(scratch)
            arguments = [
                "--task",
                str(_task_file(context, out)),
                "--folder",
                os.path.abspath(context.env.get(c.ENV_FOLDER, ".")),
            ]
            arguments += ["--code", code, "--date", date, "--out", scratch]
            run_child(context, "prepare", arguments, {"KERAS_BACKEND": "numpy", **NO_GPU})
            data = json.loads((out / c.DATA).read_text(encoding="utf-8"))
            if pinned is not None and pinned["fingerprint"] != data["fingerprint"]:
                reason = f"{damage}, and what is read now is other data: remove {pin}, and the next tasks of {date} use that"
                raise StepError(reason, ExitCode.WRONG_INPUT)
            described = pinned or {"pin": pin_name(pin), **data, "time": now(), **data_reading.origin(context)}
            if context.is_store_read_only:
                pinned = leave_prepared(context.folder, described, out / "data.npz")
            else:
                pinned = keep_prepared(store, pin, described, out / "data.npz")
        if damage:
            notice(context, f"{damage}: it was read again, and is the same data", shared=True)
        if pinned is None:
            raise StepError(f"{pin} cannot be read back")
        if is_own_reading(task, context.env):
            data_reading.report_own_reading(context)
        else:
            note = data_reading.report_read_again(context, date, pin.stem.removeprefix(f"{date}-"))
    else:
        note = data_reading.report_used_again(context, pinned)
    for warning in pinned.get("warnings", ()):
        notice(context, warning, shared=True)
    write_file(context.folder / c.DATA, to_document({**pinned, "note": note} if note else pinned))


def _repeated_data(context: RunContext) -> dict[str, Any] | None:
    """The pinned data of the run that this one repeats; None if it repeats none, or one that ended before it had data.

    Raises StepError for data that is missing or damaged.
    """
    name = context.env.get(c.ENV_REPEATS)
    if not name or context.other_configuration:
        return None
    run = c.parse_run_id(name, context.run.experiment, context.run.task)
    if run is None:
        raise StepError(f"{c.ENV_REPEATS}={name} is not a run of {context.run.task}", ExitCode.WRONG_INPUT)
    pinned = context.store.pinned_data(run)
    problem = pinned and context.store.data_problem(pinned)
    if problem:
        raise StepError(f"{name} cannot be repeated: {problem}", ExitCode.WRONG_INPUT)
    return pinned


def _train(context: RunContext, _: Sequence[str]) -> None:
    """Train the task's model and publish the run."""
    task = context.task
    began, clock = now(), time.monotonic()
    data = _data(context)
    warm_theano(context)
    with UserCode(context, task["snapshot"]["code"]) as code, TemporaryFolder("step") as scratch:
        arguments = [
            "--task",
            str(_task_file(context, scratch)),
            "--data",
            str(data),
            "--out",
            str(context.folder),
        ]
        arguments += ["--progress", str(context.folder / c.PROGRESS), "--code", code]
        run_child(context, "train", arguments, framework_env(task))
    metrics = require(context, c.METRICS)
    model = require(context, c.MODEL)
    result = {"metrics": metrics, "model": model, "accuracy": metrics.get("accuracy")}
    gate = judge_training(context, data, metrics, clock)
    additional = {"degraded": metrics.get("degraded"), "gate": gate}
    commit(context, began, result | {name: value for name, value in additional.items() if value})


def _predict(context: RunContext, members: Sequence[str]) -> None:
    """Predict with the model of each of these members, one after the other; what they need is imported once, where they let it.

    A failure is recorded and the step goes on, and ends with 0: other members' steps follow.
    """
    specs = {spec["member"]: spec for spec in context.task["members"]}
    for member in members or (None,):
        if member not in specs:
            raise StepError(f"--member {member}: not a member of this ensemble", ExitCode.WRONG_INPUT)
    limit, began = context.env.get(c.ENV_TIMEOUT), time.monotonic()
    with ForkServer(len(members), context.stopped) as server:
        for member in members:
            if limit and member != members[0]:
                left = max(1.0, float(limit) - (time.monotonic() - began))
                context.env = {**context.env, c.ENV_TIMEOUT: f"{left:.3f}"}
            _predict_member(context, specs[member], server)


def _predict_member(context: RunContext, spec: Mapping[str, Any], server: ForkServer) -> None:
    """Predict with one member's model; a failure is recorded."""
    member = str(spec["member"])
    out = context.folder / "probabilities" / member
    make_folder(out, context.store.root)
    context.member_folder = out if context.env.get(c.ENV_MEMBER_LOGS) == "1" else None
    outcome: dict[str, Any] = {"member": member}
    try:
        if started_before(context, member):
            raise StepError("an earlier try of this run ended while it was predicting")
        choice = _choice(context, member)
        if choice.run is None:
            raise StepError(choice.reason)
        outcome["run"] = str(choice.run)
        if choice.refused is not None:
            newer, why = choice.refused
            outcome["refused"] = {"run": str(newer), "reason": why}
            notice(context, f"{member}: the model of {choice.run} is taken, for {newer} is refused: {why}")
        publish_bytes(out / c.START, to_document({"time": now()}))
        result = context.store.run_folder(choice.run) / c.RESULT
        record = read_document(result / c.RECORD)
        if record is None:
            raise StepError(f"{choice.run} has no result")
        outcome["accuracy"] = record.get("accuracy")
        outcome["class_names"] = record.get("model", {}).get("class_names")
        degraded = degraded_reason(record)
        refusal = context.store.refusal(choice.run, record)
        if refusal:  # it was named, as the model of a run that is repeated
            degraded = "; ".join(filter(None, (f"refused: {refusal}", degraded)))
        if degraded:
            outcome["degraded"] = degraded
            notice(context, f"{member}'s model is degraded: {degraded}")
        # The record says which model was trained; what lies beside it is what may be damaged.
        description = record.get("model")
        if not isinstance(description, dict) or not description.get("sha256"):
            raise StepError(f"the record of {choice.run} does not say which model it has")
        warm_theano(context, spec["backend"])
        with (
            UserCode(context, record.get("snapshot", {}).get("code", "")) as code,
            TemporaryFolder("step") as scratch,
        ):
            described = scratch / c.MODEL
            described.write_bytes(to_json(description))
            arguments = [
                "--model",
                str(result),
                "--description",
                str(described),
                "--data",
                str(_data(context)),
                "--out",
                str(out / "probabilities.npy"),
            ]
            arguments += ["--code", code]
            if context.task.get("validation"):
                arguments += ["--validation", str(out / c.VALIDATION)]
            task = str(record.get("snapshot", {}).get("task") or "")
            with suppress(OSError):  # only models of earlier versions need it
                if task:
                    data = context.store.read_snapshot("task", task)
                    (scratch / "task.json").write_bytes(data)
                    arguments += ["--task", str(scratch / "task.json")]
            run_child(context, "predict", arguments, framework_env(spec), spec.get("timeout"), spec, server)
        outcome["environment"] = context.environment
        outcome["probabilities"] = f"probabilities/{member}/probabilities.npy"
        if context.task.get("validation"):
            outcome["validation"] = f"probabilities/{member}/{c.VALIDATION}"
    except StepError as error:
        if error.status == Status.INTERRUPTED:
            if context.env.get(c.ENV_OWNER):
                # By its engine, and not for what it did: the next try may predict with it, and with those beside it.
                (out / c.START).unlink(missing_ok=True)
            raise
        outcome["left_out"] = str(error)
        notice(context, f"{member} is left out: {error}")
    publish_bytes(out / c.END, to_document(outcome))


def _choice(context: RunContext, member: str) -> ModelChoice:
    """The run whose model a member predicts with: the one that the environment names, else the latest that is taken."""
    selection = context.env.get(c.ENV_SELECTION)
    if selection:
        return given_choice(json.loads(selection), context.run.experiment, member)
    return choose_models(context.store, context.run, [member], context.task.get("max_age"), context.invocation)[0]


def _combine(context: RunContext, _: Sequence[str]) -> None:
    """Combine the members' predictions, publish the run and archive its CSV; raises StepError without a quorum."""
    task = context.task
    began, clock = now(), time.monotonic()
    members = []
    for spec in task["members"]:
        outcome = read_document(context.folder / "probabilities" / spec["member"] / c.END)
        members.append(outcome or {"member": spec["member"], "left_out": "its predict step did not end"})
    predicted = [member for member in members if "left_out" not in member]
    write_file(context.folder / c.SELECTION, to_document({"members": members}))
    if len(predicted) < task["quorum"] or not predicted:
        reasons = "; ".join(f"{member['member']}: {member['left_out']}" for member in members if "left_out" in member)
        raise StepError(
            f"{len(predicted)} of the {task['quorum']} members it needs ({reasons})", ExitCode.WRONG_INPUT, c.Status.NO_QUORUM
        )
    with TemporaryFolder("step") as scratch:
        plan = scratch / "plan.json"
        files = ("probabilities", "validation")
        inputs = [
            {**member, **{key: str(context.folder / member[key]) for key in files if key in member}} for member in predicted
        ]
        described = {"method": task["method"], "members": inputs, "data": str(_data(context)), "seed": task.get("data_seed")}
        plan.write_bytes(to_json(described))
        arguments = ["--plan", str(plan), "--out", str(context.folder)]
        if ":" not in task["method"]:
            run_child(context, "combine", arguments, {})
        else:
            with UserCode(context, task["snapshot"]["code"]) as code:
                # As for the data function: whoever imports Keras gets no framework, and no GPU unless one is asked for.
                env = {"KERAS_BACKEND": "numpy", **({} if task.get("gpus") else NO_GPU)}
                run_child(context, "combine", [*arguments, "--code", code], env)
    ensemble = require(context, c.ENSEMBLE)
    gate, wait = judge_ensemble(context, _data(context), ensemble, clock), waited(context.store.wait_of(context.run))
    result = {"ensemble": ensemble, "members": members, "accuracy": ensemble.get("accuracy")}
    commit(context, began, result | ({"gate": gate} if gate else {}) | ({"waited": wait} if wait else {}))
    if context.is_store_read_only:
        return  # the engine archives it
    path = context.store.publish_archive(context.run)
    if path is None:
        print("cronsemble: another file has this run's name in the archive; the CSV is in the run's result", flush=True)
    else:
        print(f"cronsemble: archived {path}", flush=True)
    if problem := update_latest(context.store, context.run.experiment).problem:
        print(f"cronsemble: {problem}", flush=True)


def _task_file(context: RunContext, folder: Path) -> Path:
    path = folder / "task.json"
    path.write_bytes(to_json(context.task))
    return path


def _data(context: RunContext) -> Path:
    """The prepared data of this run; raises StepError if it is not what was prepared: another try prepares it again."""
    pinned = require(context, c.DATA)
    problem = context.store.data_problem(pinned)
    if problem:
        raise StepError(problem)
    return context.store.dataset_path(str(pinned["fingerprint"]))


def started_before(context: RunContext, member: str) -> bool:
    """Whether a try that began before this one began to predict with a member and never ended.

    A try that runs beside this one, and began to predict after this one had started, does not count.
    """
    started = str((read_document(context.folder / c.START) or {}).get("time", ""))
    for folder in context.store.run_folder(context.run).glob(c.TRY_PREFIX + "*"):
        prediction = folder / "probabilities" / member
        is_open = folder != context.folder and exists(prediction / c.START) and not exists(prediction / c.END)
        if is_open and str((read_document(prediction / c.START) or {}).get("time", "")) < started:
            return True
    return False


def _local_date(context: RunContext) -> str:
    """The slot's date in the experiment's zone, YYYY-MM-DD. Only prepare calls it: its runtime has time zone data."""
    zone = str(context.task["timezone"])
    try:
        return local_date(context.task, context.run)
    except ZoneInfoNotFoundError as error:
        raise StepError(
            f"timezone {zone}: this runtime has no time zone data for it: install tzdata in the runtime", ExitCode.WRONG_INPUT
        ) from error


STEPS = {"await": record_awaited_runs, "prepare": _prepare, "train": _train, "predict": _predict, "combine": _combine}
