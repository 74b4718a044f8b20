"""The supervisor: runs one step of a run as a child, keeps its log, enforces its time, and publishes.

Standard library alone, Python 3.9: it is the entry point of every container and every local process.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs import contract as c
from jobs.select import Choice, latest, selected
from jobs.store import (
    Store,
    process_identity,
    publish_bytes,
    publish_file,
    read_json,
    sha256_of,
    snapshot_of,
    to_json,
    write_file,
)

GRACE = 2.0
"""Seconds between the SIGTERM that a child gets and its SIGKILL; the whole stop must fit 5 s."""
TAIL = 40
"""Lines of the log that a failed try keeps with its reason."""


class StepError(Exception):
    """The step cannot go on; ``code`` is the exit status and ``status`` what the try ends as."""

    def __init__(self, reason: str, code: int = c.FAILED, status: str = "failed", **facts: Any) -> None:
        super().__init__(reason)
        self.code, self.status, self.facts = code, status, facts


@dataclass
class Context:
    """What the environment says of this run and this process."""

    store: Store
    run: c.RunId
    name: str  # the try's
    task: dict[str, Any]  # with this run's seed filled in
    task_bytes: bytes  # as its snapshot keeps it
    snapshot: dict[str, str]
    env: Mapping[str, str]
    stopped: threading.Event = field(default_factory=threading.Event)
    child: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.store.try_folder(self.run, self.name)

    @property
    def invocation(self) -> str:
        return self.env.get(c.ENV_INVOCATION, "")

    @property
    def other_configuration(self) -> bool:
        return self.env.get(c.ENV_OTHER) == "1"


def read_context(env: Mapping[str, str]) -> Context:
    """The context that the environment spells; raises StepError naming the variable that is wrong."""
    for name in (c.ENV_RUN, c.ENV_STORE, c.ENV_TASK):
        if not env.get(name):
            raise StepError(f"{name} is not set: see `supervise --help`", c.WRONG_INPUT)
    try:
        task = json.loads(env[c.ENV_TASK])
        run = c.parse_run_id(env[c.ENV_RUN], task["experiment"], task["task"])
    except (ValueError, KeyError, TypeError) as error:
        raise StepError(f"{c.ENV_TASK} is not a task's configuration: {error!r}", c.WRONG_INPUT) from error
    if run is None:
        raise StepError(
            f"{c.ENV_RUN}={env[c.ENV_RUN]} is not a run of {task['experiment']}'s {task['task']}",
            c.WRONG_INPUT,
        )
    kept, snapshot = to_json(task), snapshot_of(task)
    if "seed" in task and task["seed"] is None:
        task["seed"] = c.seed_of(run.experiment, run.task, run.minute)
    store = Store(Path(env[c.ENV_STORE]))
    return Context(store, run, env.get(c.ENV_TRY) or uuid.uuid4().hex[:12], task, kept, snapshot, env)


def main(argv: Sequence[str]) -> int:
    """Run one step; returns its exit status (``jobs.contract``)."""
    parser = argparse.ArgumentParser(
        prog="supervise",
        description="Run one step of a run under supervision. The run is described by the environment: "
        f"{c.ENV_RUN} (<experiment>-<task>-<unix minutes>[-rN]), {c.ENV_STORE}, {c.ENV_TASK} (JSON), and "
        f"optionally {c.ENV_TRY}, {c.ENV_KIND}, {c.ENV_FOLDER}, {c.ENV_SNAPSHOT}, {c.ENV_PYTHON}, "
        f"{c.ENV_TIMEOUT}.",
    )
    parser.add_argument("step", choices=["prepare", "train", "predict", "combine"])
    parser.add_argument("--member", help="predict: whose model")
    options = parser.parse_args(argv)
    try:
        context = read_context(os.environ)
    except StepError as error:
        print(f"cronsemble: {error}", file=sys.stderr)
        return error.code
    return supervise(context, options.step, options.member)


def supervise(context: Context, step: str, member: str | None) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(context))
    if context.store.result(context.run) is not None:
        print("cronsemble: this run has its result already", flush=True)
        return c.DONE
    try:
        _mark_start(context)
        _STEPS[step](context, member)
    except StepError as error:
        _end(context, step, error)
        return error.code
    except OSError as error:
        _end(context, step, StepError(f"{error.filename or context.store.root}: {error.strerror}"))
        return c.FAILED
    return c.DONE


def _mark_start(context: Context) -> None:
    owner = context.env.get(c.ENV_OWNER)
    mark = {
        "schema": c.SCHEMA,
        "run": str(context.run),
        "try": context.name,
        "time": _now(),
        "kind": context.env.get(c.ENV_KIND, "scheduled"),
        "snapshot": context.snapshot,
        "process": json.loads(owner) if owner else process_identity(),
    }
    context.store.begin_try(context.run, context.name, mark)


def _end(context: Context, step: str, error: StepError) -> None:
    what = "" if error.status in ("failed", str(error)) else f"{error.status}: "
    print(f"cronsemble: {step}: {what}{error}", file=sys.stderr, flush=True)
    mark = {
        "schema": c.SCHEMA,
        "time": _now(),
        "step": step,
        "status": error.status,
        "reason": str(error),
        "tail": _tail(context.folder / c.LOG),
        **error.facts,
    }
    try:
        publish_bytes(context.folder / c.END, to_json(mark))
    except OSError as problem:
        print(f"cronsemble: the reason could not be stored: {problem.strerror}", file=sys.stderr, flush=True)


# -- the steps


def _prepare(context: Context, _: str | None) -> None:
    """Keep the snapshot, and pin the bytes that the tasks of this experiment and local date use."""
    task, store = context.task, context.store
    _keep_snapshot(context)
    _keep_revisions(context)
    repeated = _repeated_data(context)
    if repeated is not None:
        write_file(context.folder / c.DATA, to_json(repeated))
        return
    key = str(task["data"]["key"])
    if task["data"].get("refresh") == "each_run" or context.other_configuration:
        key += "-" + (context.invocation or str(context.run))
    date = _local_date(context)
    pin = store.pin(context.run.experiment, date, key)
    known = read_json(pin)
    if known is None or not store.dataset(known["fingerprint"]).exists():
        with (
            _code(context, task["snapshot"]["code"]) as code,
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
            _child(context, "prepare", arguments, {**task.get("env", {}), "KERAS_BACKEND": "numpy"})
            made = json.loads((out / c.DATA).read_text(encoding="utf-8"))
            publish_file(store.dataset(made["fingerprint"]), out / "data.npz")
            made["sha256"] = sha256_of(store.dataset(made["fingerprint"]))
            publish_bytes(pin, to_json({**made, "time": _now(), "run": str(context.run)}))
        known = read_json(pin)
        if known is None:
            raise StepError(f"{pin} cannot be read back")
    else:
        _tell_of_changes(context, known)
    write_file(context.folder / c.DATA, to_json(known))


def _repeated_kind(context: Context) -> str | None:
    """The kind of the run at the beginning of a chain of repeats: what is repeated feeds no more than it did itself."""
    name = context.env.get(c.ENV_REPEATS)
    run = c.parse_run_id(name, context.run.experiment, context.run.task) if name else None
    if run is None:
        return None
    original = context.store.read(run)
    marks = [each["start"].get("kind") for each in original.tries]
    kind = original.record.get("repeats_kind") or original.record.get("kind") or next(iter(marks), None)
    return str(kind) if kind else None


def _repeated_data(context: Context) -> dict[str, Any] | None:
    """What the repeated run learnt from; None where none is repeated, or it never came to have data."""
    name = context.env.get(c.ENV_REPEATS)
    if not name or context.other_configuration:
        return None
    run = c.parse_run_id(name, context.run.experiment, context.run.task)
    if run is None:
        raise StepError(f"{c.ENV_REPEATS}={name} is not a run of {context.run.task}", c.WRONG_INPUT)
    known = context.store.data_of(run)
    problem = known and context.store.data_problem(known)
    if problem:
        raise StepError(f"{name} cannot be repeated: {problem}", c.WRONG_INPUT)
    return known


def _tell_of_changes(context: Context, pinned: Mapping[str, Any]) -> None:
    """Say so if a file has changed since its data was pinned: the pinned bytes are used all the same."""
    for name, digest in pinned.get("files", {}).items():
        try:
            same = sha256_of(Path(context.env.get(c.ENV_FOLDER, ".")) / name) == digest
        except OSError:
            continue
        if not same:
            _notice(
                context,
                f"{name} has changed since {pinned['run']} fixed this date's data; "
                "what it fixed is used (`refresh: each_run` under data: reads the file anew)",
            )


def _train(context: Context, _: str | None) -> None:
    task = context.task
    began = _now()
    data = _data(context)
    _warm_theano(context)
    with _code(context, task["snapshot"]["code"]) as code, tempfile.TemporaryDirectory(prefix="cronsemble-") as scratch:
        arguments = [
            "--task",
            str(_task_file(context, Path(scratch))),
            "--data",
            str(data),
            "--out",
            str(context.folder),
        ]
        arguments += ["--progress", str(context.folder / c.PROGRESS), "--code", code]
        _child(context, "train", arguments, _framework_env(task))
    metrics = _require(context, c.METRICS)
    model = _require(context, c.MODEL)
    _commit(context, began, {"metrics": metrics, "model": model, "accuracy": metrics.get("accuracy")})


def _predict(context: Context, member: str | None) -> None:
    """One member's probabilities. A failure is recorded and the step ends well, for the next one's turn."""
    spec = next((each for each in context.task["members"] if each["member"] == member), None)
    if spec is None or member is None:
        raise StepError(f"--member {member}: not a member of this ensemble", c.WRONG_INPUT)
    out = context.folder / "probabilities" / member
    out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"member": member}
    try:
        if _started_before(context, member):
            raise StepError("left out: an earlier try of this run ended while it was predicting")
        choice = _choice(context, member)
        if choice.run is None:
            raise StepError(choice.reason)
        told["run"] = str(choice.run)
        publish_bytes(out / c.START, to_json({"time": _now()}))
        result = context.store.run_folder(choice.run) / c.RESULT
        record = read_json(result / c.RECORD) or {}
        told["accuracy"] = record.get("accuracy")
        told["class_names"] = record.get("model", {}).get("class_names")
        _warm_theano(context, spec["backend"])
        with _code(context, record.get("snapshot", {}).get("code", "")) as code:
            arguments = [
                "--model",
                str(result),
                "--data",
                str(_data(context)),
                "--out",
                str(out / "probabilities.npy"),
            ]
            _child(context, "predict", [*arguments, "--code", code], _framework_env(spec), spec.get("timeout"))
        told["probabilities"] = f"probabilities/{member}/probabilities.npy"
    except StepError as error:
        if error.status == "interrupted":
            raise
        told["left_out"] = str(error)
        _notice(context, f"{member} is left out: {error}")
    publish_bytes(out / c.END, to_json(told))


def _choice(context: Context, member: str) -> Choice:
    told = context.env.get(c.ENV_SELECTION)
    if told:
        return selected(json.loads(told), context.run.experiment, member)
    return latest(context.store, context.run, [member], context.task.get("max_age"), context.invocation)[0]


def _combine(context: Context, _: str | None) -> None:
    task = context.task
    began = _now()
    told = []
    for spec in task["members"]:
        known = read_json(context.folder / "probabilities" / spec["member"] / c.END)
        told.append(known or {"member": spec["member"], "left_out": "its predict step did not end"})
    taken = [each for each in told if "left_out" not in each]
    write_file(context.folder / c.SELECTION, to_json({"members": told}))
    if len(taken) < task["quorum"] or not taken:
        lines = "; ".join(f"{each['member']}: {each['left_out']}" for each in told if "left_out" in each)
        raise StepError(f"{len(taken)} of the {task['quorum']} members it needs ({lines})", c.WRONG_INPUT, c.NO_QUORUM)
    with tempfile.TemporaryDirectory(prefix="cronsemble-") as scratch:
        plan = Path(scratch) / "plan.json"
        members = [{**each, "probabilities": str(context.folder / each["probabilities"])} for each in taken]
        plan.write_bytes(to_json({"method": task["method"], "members": members, "data": str(_data(context))}))
        _child(context, "combine", ["--plan", str(plan), "--out", str(context.folder)], task.get("env", {}))
    ensemble = _require(context, c.ENSEMBLE)
    _commit(context, began, {"ensemble": ensemble, "members": told, "accuracy": ensemble.get("accuracy")})
    path = context.store.publish_archive(context.run)
    if path is None:
        print("cronsemble: a foreign file has this run's name in the archive; the CSV is in the run's result", flush=True)
    else:
        print(f"cronsemble: archived {path}", flush=True)


_STEPS = {"prepare": _prepare, "train": _train, "predict": _predict, "combine": _combine}


def _commit(context: Context, began: str, result: dict[str, Any]) -> None:
    start = read_json(context.folder / c.START) or {}
    task = context.task
    record = {
        "schema": c.SCHEMA,
        "run": str(context.run),
        "experiment": context.run.experiment,
        "task": context.run.task,
        "slot": context.run.slot.strftime("%Y-%m-%dT%H:%MZ"),
        "attempt": context.run.attempt,
        "try": context.name,
        "kind": start.get("kind"),
        "invocation": context.invocation or None,
        "published": bool(task.get("published")),
        "repeats": context.env.get(c.ENV_REPEATS) or None,
        "repeats_kind": _repeated_kind(context),
        "other_configuration": context.other_configuration,
        "started": start.get("time"),
        "step_started": began,
        "finished": _now(),
        "snapshot": context.snapshot,
        "hyperparameters": task.get("hyperparameters"),
        "seed": task.get("seed"),
        "threads": task.get("threads"),
        "data": _require(context, c.DATA),
        "image": _image(context),
        "python": context.env.get(c.ENV_PYTHON) or sys.executable,
        "processor": _processor(),
        "host": process_identity()["host"],
        **result,
    }
    write_file(context.folder / c.RECORD, to_json(record))
    if context.stopped.is_set():
        raise StepError("interrupted", c.INTERRUPTED, "interrupted")
    if not context.store.publish(context.run, context.name):
        raise StepError("another try of this run was first", c.DONE, "superseded")


# -- the child


def _child(
    context: Context,
    program: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    timeout: float | None = None,
) -> None:
    """Run a program of this zipapp in the framework's interpreter; raises StepError unless it ends with 0."""
    limit = context.env.get(c.ENV_TIMEOUT)
    timeout = min(filter(None, (timeout, float(limit) if limit else None)), default=None)
    interpreter = context.env.get(c.ENV_PYTHON) or sys.executable
    entry = sys.argv[0] if zipfile.is_zipfile(sys.argv[0]) else str(Path(__file__).parent)
    command = [interpreter, "-W", "ignore", entry, program, *arguments]
    if not zipfile.is_zipfile(entry):
        command = [interpreter, "-W", "ignore", "-m", "jobs", program, *arguments]
        env = {**env, "PYTHONPATH": str(Path(__file__).parent.parent)}
    if context.stopped.is_set():
        raise StepError("interrupted", c.INTERRUPTED, "interrupted")
    try:
        child = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    except OSError as error:
        raise StepError(f"the interpreter {interpreter} cannot be started: {error.strerror}", c.WRONG_INPUT) from error
    context.child = child
    late = threading.Event()

    def over() -> None:
        late.set()
        child.terminate()
        threading.Timer(GRACE, child.kill).start()

    timer = threading.Timer(timeout, over) if timeout else None
    if timer:
        timer.daemon = True
        timer.start()
    last = b""
    with open(context.folder / c.LOG, "ab") as log:
        assert child.stdout is not None
        for line in child.stdout:
            log.write(line)
            log.flush()
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            last = line if line.strip() else last
    code = child.wait()
    if timer:
        timer.cancel()
    context.child = None
    if context.stopped.is_set():
        raise StepError("interrupted", c.INTERRUPTED, "interrupted", exit_code=code)
    if late.is_set():
        raise StepError(f"{program}: not done within its deadline of {timeout:g} s", exit_code=code)
    if code == c.WRONG_INPUT:
        raise StepError(last.decode(errors="replace").strip() or f"{program}: wrong input", c.WRONG_INPUT, exit_code=code)
    if code:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        raise StepError(f"{program} ended with {how}: {last.decode(errors='replace').strip()[:300]}", exit_code=code)


def _stop(context: Context) -> None:
    context.stopped.set()
    child = context.child
    if child is not None and child.poll() is None:
        child.terminate()
        timer = threading.Timer(GRACE, child.kill)
        timer.daemon = True
        timer.start()


def _die_with_parent() -> None:
    """Have the kernel end the child with its supervisor, however that ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _framework_env(spec: Mapping[str, Any]) -> dict[str, str]:
    threads = str(spec["threads"])
    env = {name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")}
    return {
        **spec.get("env", {}),
        **env,
        "PYTHONIOENCODING": "utf-8",
        "KERAS_BACKEND": spec["backend"],
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Without a GPU asked for, one that happens to be there would change the bits.
        **({} if spec.get("gpus") else {"CUDA_VISIBLE_DEVICES": "-1"}),
    }


def _warm_theano(context: Context, backend: str | None = None) -> None:
    """Give Theano a private copy of the image's compiled modules: it needs a writable folder."""
    warm = context.env.get(c.ENV_THEANO_WARM)
    if not warm or (backend or context.task.get("backend")) != "theano":
        return
    target = Path(tempfile.gettempdir()) / "cronsemble-theano"
    if not target.exists():
        shutil.copytree(warm, target)
    flags = [os.environ["THEANO_FLAGS"]] if os.environ.get("THEANO_FLAGS") else []
    os.environ["THEANO_FLAGS"] = ",".join([*flags, f"base_compiledir={target}"])


# -- what the steps share


class _code:
    """The user's code unpacked in a folder of its own for as long as a child needs it; empty without any."""

    def __init__(self, context: Context, digest: str) -> None:
        self.context = context
        self.digest = digest
        self.scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> str:
        self.scratch = tempfile.TemporaryDirectory(prefix="cronsemble-code-")
        if self.digest:
            path = self.context.store.snapshot("code", self.digest)
            try:
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(self.scratch.name)
            except (FileNotFoundError, zipfile.BadZipFile) as error:
                self.scratch.cleanup()
                raise StepError(f"{path}: this snapshot of the user's code is missing or damaged", c.WRONG_INPUT) from error
        return self.scratch.name

    def __exit__(self, *_: object) -> None:
        if self.scratch is not None:
            self.scratch.cleanup()


def _task_file(context: Context, folder: Path) -> Path:
    path = folder / "task.json"
    path.write_bytes(to_json(context.task))
    return path


def _data(context: Context) -> Path:
    return context.store.dataset(str(_require(context, c.DATA)["fingerprint"]))


def _require(context: Context, name: str) -> dict[str, Any]:
    value = read_json(context.folder / name)
    if value is None:
        raise StepError(f"{context.folder / name} is not there: did the step before this one run?")
    return value


def _started_before(context: Context, member: str) -> bool:
    for folder in context.store.run_folder(context.run).glob(c.TRY_PREFIX + "*"):
        told = folder / "probabilities" / member
        if folder != context.folder and (told / c.START).exists() and not (told / c.END).exists():
            return True
    return False


def _local_date(context: Context) -> str:
    """The slot's date in the experiment's zone; only prepare asks, whose runtime has zone data."""
    zone = str(context.task["timezone"])
    try:
        return context.run.slot.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d")
    except ZoneInfoNotFoundError as error:
        raise StepError(f"timezone {zone}: this runtime has no data of it: install tzdata there", c.WRONG_INPUT) from error


def _keep_snapshot(context: Context) -> None:
    """Put into the store what a rerun needs and the store lacks: program, user code, the task's configuration."""
    store, known = context.store, context.task["snapshot"]
    store.put_snapshot("task", context.task_bytes)
    mounted = context.env.get(c.ENV_SNAPSHOT)
    for kind, name in (("program", c.PROGRAM_FILE), ("code", c.CODE_FILE)):
        digest = known[kind]
        if mounted and digest and not store.snapshot(kind, digest).exists():
            found = store.put_snapshot(kind, (Path(mounted) / name).read_bytes())
            if found != digest:
                raise StepError(f"{Path(mounted) / name} is {found[:12]}, not the {digest[:12]} of this task", c.WRONG_INPUT)


def _keep_revisions(context: Context) -> None:
    """Put into the store the cluster's revisions that it lacks: a ConfigMap cannot hold all for ever."""
    mounted = context.env.get(c.ENV_REVISIONS)
    if mounted:
        # A volume's folder holds its files' older states too, under names that begin with two dots.
        known = (read_json(path) for path in sorted(Path(mounted).glob("[!.]*.json")))
        context.store.add_revisions(context.run.experiment, (each for each in known if each is not None))


def _image(context: Context) -> dict[str, Any] | None:
    reference = context.env.get(c.ENV_IMAGE)
    return {"reference": reference, "identity": read_json(Path("/etc/cronsemble-image.json"))} if reference else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _notice(context: Context, text: str) -> None:
    """Tell whoever watches, and the log, what the user should know of a step that goes on."""
    print(f"cronsemble: {text}", flush=True)
    with open(context.folder / c.LOG, "a", encoding="utf-8") as log:
        log.write(f"cronsemble: {text}\n")
    with open(context.folder / c.PROGRESS, "a", encoding="utf-8") as progress:
        progress.write(json.dumps({"event": "notice", "text": text}) + "\n")


def _tail(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-TAIL:]
    except OSError:
        return []


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
