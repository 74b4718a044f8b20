"""What a supervised process knows of its run, from its environment, and its messages. Standard library alone, Python 3.9."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store import LocalStore, snapshot_digests
from jobs.store.document_files import read_document
from jobs.store.files import read_fresh, to_json
from jobs.store.jobs_by_hand import claim_run, claimed_run
from jobs.store.ownership import share
from jobs.store.regular_files import read_regular
from jobs.supervisor.child_process import ChildProcess
from jobs.supervisor.log_writer import LogWriter
from jobs.text import one_line

_NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""An experiment's, a task's or a member's: folders of the store have it, so that one of a forged snapshot leads nowhere else."""


class StepError(Exception):
    """The step cannot go on; ``code`` is the exit status and ``status`` what the try ends as."""

    def __init__(self, reason: str, code: int = ExitCode.FAILED, status: str = Status.FAILED, **facts: Any) -> None:
        super().__init__(one_line(reason))
        self.code, self.status, self.facts = code, status, facts


@dataclass
class RunContext:
    """The run of this process, as its environment describes it."""

    store: LocalStore
    run: c.RunId
    name: str  # the id of the try
    task: dict[str, Any]  # with this run's seed filled in
    task_bytes: bytes  # as its snapshot keeps it
    snapshot: dict[str, str]
    env: Mapping[str, str]
    stopped: threading.Event = field(default_factory=threading.Event)
    child: ChildProcess | None = None  # the program that is running
    environment: dict[str, Any] = field(default_factory=dict)  # of the last child process: what is recorded of it
    member_folder: Path | None = None  # where its log is, while a member predicts whose log is one of its own

    @property
    def folder(self) -> Path:
        """The folder of this try."""
        return self.store.try_folder(self.run, self.name)

    @property
    def invocation(self) -> str:
        """The id of the command that started this run among others; empty for a run on its own."""
        return self.env.get(c.ENV_INVOCATION, "")

    @property
    def fresh_data(self) -> bool:
        """Whether this run's command reads the data anew, for its runs alone."""
        return self.env.get(c.ENV_FRESH_DATA) == "1"

    @property
    def other_configuration(self) -> bool:
        """Whether this run repeats another with today's configuration and data."""
        return self.env.get(c.ENV_OTHER) == "1"

    @property
    def is_store_read_only(self) -> bool:
        """Whether only this run's folder can be written: what else a step publishes is left there, for the engine."""
        return self.env.get(c.ENV_READ_ONLY_STORE) == "1"

    def open_log(self) -> LogWriter:
        """The log of this try, or of the member that predicts, to be closed by whoever writes to it."""
        return LogWriter(self.member_folder or self.folder, int(self.task.get("log_limit", c.LOG_LIMIT)))


def read_context(env: Mapping[str, str]) -> RunContext:
    """The context that environment variables describe; raises StepError with the name of a wrong one."""
    for name in (c.ENV_RUN, c.ENV_STORE, c.ENV_TASK):
        if not env.get(name) and not (name == c.ENV_TASK and env.get(c.ENV_TASK_FILE)):
            raise StepError(f"{name} is not set: see `supervise --help`", ExitCode.WRONG_INPUT)
    minute = int(time.time()) // 60
    # Absolute, as all that a program is given: its working directory is that of the user's functions.
    store = LocalStore(Path(env[c.ENV_STORE]).absolute())
    source = c.ENV_TASK if env.get(c.ENV_TASK) else c.ENV_TASK_FILE
    text = env[c.ENV_TASK] if source == c.ENV_TASK else _read_task(store.root / env[c.ENV_TASK_FILE])
    try:
        task = json.loads(text)
        name, experiment = env[c.ENV_RUN], task["experiment"]
        for part in (experiment, task["task"], *(member["member"] for member in task.get("members", ()))):
            if not _NAME.fullmatch(part):
                raise ValueError(f"{part!r} is no name")
        spelled = c.parse_run_id(name, experiment, task["task"])
        # Only on a cluster has a Job its name from others; a machine's own engine may have another clock.
        run = c.run_of_job_name(name, experiment, task["task"], minute) if env.get(c.ENV_REVISIONS) else spelled
    except (ValueError, KeyError, TypeError) as error:
        raise StepError(f"{source} is not the configuration of a task: {error!r}", ExitCode.WRONG_INPUT) from error
    if run is None:
        run = _run_by_hand(env, store, task["experiment"], task["task"], minute)
        env = {**env, c.ENV_RUN: str(run), c.ENV_KIND: c.RunKind.MANUAL}
    task_bytes, snapshot = to_json(task), snapshot_digests(task)
    if "seed" in task and task["seed"] is None:
        task["seed"] = c.seed_of(run.experiment, run.task, run.minute)
    return RunContext(store, run, env.get(c.ENV_TRY) or uuid.uuid4().hex[:12], task, task_bytes, snapshot, env)


def _read_task(path: Path) -> str:
    """A task's configuration from a file; raises StepError for one that cannot be read, or is not what its name says."""
    try:
        # A volume's files are links.
        data = read_fresh(path, partial(read_regular, follows_links=True))
    except OSError as error:
        raise StepError(f"{path}: {error.strerror}") from error
    # In the store it is named by its hash.
    if path.name != c.TASK_FILE and hashlib.sha256(data).hexdigest() != path.stem:
        raise StepError(f"{path}: this task is damaged: the file's sha256 differs from its name", ExitCode.WRONG_INPUT)
    return data.decode(errors="replace")


def _run_by_hand(env: Mapping[str, str], store: LocalStore, experiment: str, task: str, minute: int) -> c.RunId:
    """The run of a Job that has a name of its own: the one that an earlier step or pod of it has claimed, else a new one."""
    name = env[c.ENV_RUN]
    if not env.get(c.ENV_REVISIONS):
        raise StepError(f"{c.ENV_RUN}={name} is not a run of {experiment}'s {task}", ExitCode.WRONG_INPUT)
    try:
        # No other Job of that name can be made before this one has gone.
        run = claimed_run(store, experiment, task, name, minute + 1, env.get(c.ENV_TRY, ""))
        if run is None:
            run = claim_run(store, experiment, task, minute, name)
            print(f"cronsemble: the Job {name} was made by hand: it is the run {run}", flush=True)
    except OSError as error:
        raise StepError(f"{error.filename or store.root}: {error.strerror}") from error
    return run


def require(context: RunContext, name: str) -> dict[str, Any]:
    """The JSON object in a file of this try that an earlier step wrote; raises StepError if it is missing."""
    value = read_document(context.folder / name)
    if value is None:
        raise StepError(f"{context.folder / name} is missing: the step before this one has to run first")
    return value


def notice(context: RunContext, text: str, shared: bool = False) -> None:
    """Print what the user should know of a step that continues, and write it to the try's log and progress.

    ``shared``: it is about what the tasks of a command share, so that a display shows it once.
    """
    text = one_line(text)
    print(f"cronsemble: {text}", flush=True)
    with context.open_log() as log:
        log.write(f"cronsemble: {text}\n".encode())
    with open(context.folder / c.PROGRESS, "a", encoding="utf-8") as progress:
        share(context.folder / c.PROGRESS)
        progress.write(json.dumps({"event": "notice", "text": text, **({"shared": True} if shared else {})}) + "\n")


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
