"""The contract between whoever starts a run and the run: variables, file names, ids, exit codes, statuses, revisions.

Standard library alone, Python 3.9: every image and the tool import it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum, IntEnum
from typing import Any

SCHEMA = 1
"""Version of every JSON file that a run leaves in the store."""

ENV_RUN = "CRONSEMBLE_RUN"  # the run's id, which is the Job's name
ENV_TRY = "CRONSEMBLE_TRY"  # the try's id, which is the pod's UID
ENV_STEP = "CRONSEMBLE_STEP"  # which of the steps that a try has side by side; absent where it has one at a time
ENV_MEMBER_LOGS = "CRONSEMBLE_MEMBER_LOGS"  # "1": each member's predict step has a log of its own, for the engine to append
ENV_STORE = "CRONSEMBLE_STORE"  # the store's folder as this process sees it
ENV_TASK = "CRONSEMBLE_TASK"  # the task's resolved configuration, as JSON, unless it is too long for a variable
ENV_TASK_FILE = "CRONSEMBLE_TASK_FILE"  # the file that holds it, within the store unless absolute
ENV_KIND = "CRONSEMBLE_KIND"  # scheduled | manual | rerun | backfill
ENV_INVOCATION = "CRONSEMBLE_INVOCATION"  # ties the runs of one `run` command together
ENV_REPEATS = "CRONSEMBLE_REPEATS"  # the run of the same task that this one repeats: its data is used
ENV_SELECTION = "CRONSEMBLE_SELECTION"  # JSON {member: run id, or why there is none}, instead of the latest models
ENV_AWAIT = "CRONSEMBLE_AWAIT"  # JSON {"runs": {run id: retries}, "until": seconds since 1970}: what the await step waits for
ENV_OTHER = "CRONSEMBLE_OTHER_CONFIGURATION"  # "1": repeated with today's configuration and data, not its own
ENV_FRESH_DATA = "CRONSEMBLE_FRESH_DATA"  # "1": the data is read anew for the runs of this command
ENV_FOLDER = "CRONSEMBLE_FOLDER"  # where relative data paths begin
ENV_SNAPSHOT = "CRONSEMBLE_SNAPSHOT"  # a folder with the program and the code that the store may lack
ENV_REVISIONS = "CRONSEMBLE_REVISIONS"  # a folder with revisions, a JSON file each, that the store may lack
ENV_PYTHON = "CRONSEMBLE_PYTHON"  # the interpreter of the framework
ENV_IMAGE = "CRONSEMBLE_IMAGE"  # the image's reference, empty outside a container
ENV_OWNER = "CRONSEMBLE_OWNER"  # JSON identity of the local engine's process
ENV_SECRETS = "CRONSEMBLE_SECRETS"  # "stdin": the first line there is a JSON object, the variables from secrets
ENV_READ_ONLY_STORE = "CRONSEMBLE_READ_ONLY_STORE"  # "1": of the store only the run's folder can be written
ENV_PING_URL = "CRONSEMBLE_PING_URL"  # a server of Healthchecks: below it lie ping key and check; of scheduled runs alone
ENV_PING_KEY = "CRONSEMBLE_PING_KEY"  # the ping key of its project, from a Secret
ENV_RETRIES = "CRONSEMBLE_RETRIES"  # how many tries may follow one that failed
ENV_TIMEOUT = "CRONSEMBLE_TIMEOUT"  # seconds that this step may take
ENV_REPORT = "CRONSEMBLE_REPORT"  # the file descriptor to which a step's program writes how its work ended, a JSON line each
ENV_THEANO_WARM = "CRONSEMBLE_THEANO_WARM"  # a baked compile folder, copied before Theano starts

SECRETS_FROM_STDIN = "stdin"
"""The value of ENV_SECRETS: of a container the variables can be read from its engine, and arguments from a list of processes."""

REVISIONS = "/cronsemble/revisions"
"""Where a pod finds the revisions of its experiment, a JSON file each, if there are any."""

TERMINATION_LOG, TERMINATION_LOG_SIZE = "/dev/termination-log", 4096
"""The file from which the kubelet takes a container's termination message, and how many bytes of it."""

END_PREFIX, LARGEST_END = "cronsemble-end: ", 200_000
"""What a supervisor prints before its end mark, a line of JSON, if the store does not take it; and the bytes of such a line."""

REPORT_DONE = b'{"event": "done"}\n'
"""What a step's program writes to ENV_REPORT when its work is done: an exit status of 0 alone does not say so."""

LARGEST_VARIABLE = 120_000
"""Bytes of a variable of ours: Linux takes at most 128 KiB in one, its name and its end among them."""

PROGRAM_FILE = "program.pyz"
CODE_FILE = "code.zip"
TASK_FILE = "task.json"
"""Names in the folder of a mounted snapshot."""

CLAIM = "claim.json"  # beside the tries: who is to make the run, before its first try begins
START = "start.json"
END = "end.json"
RECORD = "record.json"
RECORD_TRACE = ".record.json"  # beside the result: a second name of its record, which stays if the result goes
RESULT = "result"
OBSERVED = "observed.json"
CANCELLED = "cancelled.json"  # who ended the run by `cancel`: no further try begins
REMOVED = "removed.json"
TRY_PREFIX = "try-"
CLAIM_PREFIX = ".claim-"  # of a run's folder until it has its name
LOG = "log.txt"
PROGRESS = "progress.jsonl"
DATA = "data.json"
METRICS = "metrics.json"
MODEL = "model.json"
EPOCHS = "epochs.csv"
VALIDATION = "validation.npy"
PROBABILITIES = "probabilities"
CSV = "predictions.csv"
METADATA = "predictions.json"  # what the CSV is: the archive has it as `<slot>.json` beside the dated one
MEMBERS = "members"
AGREEMENT = "agreement.csv"  # beside the members' CSVs: no member has that name
SELECTION = "selection.json"
ENSEMBLE = "ensemble.json"
WAIT = "wait.json"  # of an ensemble's run, beside its tries: for whom it waits, or has waited
VERDICT = "verdict.json"  # beside the result: the result of the comparison with the repeated run


LOG_LIMIT = 100 * 1000 * 1000
"""Bytes that are kept of a try's output, unless its configuration says otherwise: half of its beginning, half of its end."""


class ExitCode(IntEnum):
    """The exit status of a supervised step."""

    DONE = 0
    FAILED = 1
    """Another try may succeed."""
    WRONG_INPUT = 3
    """The user's data, model or configuration is wrong: another try would fail in the same way."""
    REPORT_LOST = 86
    """Of a step's program: its work is done, and the user's code has closed the report that would have said so."""
    TRY_LATER = 75
    """The await step ends for a while: what it waits for may need the room that its pod takes (``EX_TEMPFAIL`` of sysexits)."""
    INTERRUPTED = 143
    """As a shell says it of a process that SIGTERM ended: 128 + 15."""


class _Word(str, Enum):  # noqa: UP042 (Python 3.9 has no StrEnum)
    """A word in the store's files: written and compared as its text."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)


class Status(_Word):
    """What became of a slot or a run."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NO_QUORUM = "no quorum"
    """Of an ensemble: too few members gave a prediction."""
    INTERRUPTED = "interrupted"
    DIED = "died"
    """It ended without writing down how."""
    REFUSED = "refused"
    """Of a row of the history: it is published, but its gate or somebody by hand has refused it. A :class:`Run` has SUCCEEDED."""
    RUNNING = "running"
    MISSED = "missed"
    SKIPPED = "skipped"
    """Another run of the task was running, and its concurrency is ``forbid``."""
    SUSPENDED = "suspended"
    DUE = "due"
    NOT_YET_DUE = "not yet due"
    UNKNOWN = "unknown"


SUPERSEDED = "superseded"
"""What a try ends as when another one of its run published its result first; no status of a run."""


class RunKind(_Word):
    """Why a run was started."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    RERUN = "rerun"
    BACKFILL = "backfill"


class Cause(_Word):
    """Why a run or a try has failed or does not begin, as a cluster shows it: ``what`` in the file `observed.json`."""

    MEMORY = "memory"
    """A container was killed for memory."""
    KILLED = "killed"
    """A container was killed by SIGKILL, and nothing says by whom."""
    STOPPED = "stopped"
    """A container was ended by SIGTERM."""
    EXIT = "exit"
    """It ended with an exit status of its own: it has recorded more."""
    DEADLINE = "deadline"
    """Its time was over before it had ended."""
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    NODE_GONE = "node gone"
    IMAGE = "image"
    """An image cannot be pulled."""
    UNSCHEDULABLE = "unschedulable"
    MOUNT = "mount"
    """A volume cannot be mounted."""
    CONFIGURATION = "configuration"
    """A container cannot be created or started."""
    NOT_MADE = "not made"
    """Its pod is refused: by a quota, or by the namespace's Pod Security."""
    QUEUE = "queue"
    """Its Job is suspended until Kueue admits it."""


class NoteEvent(_Word):
    """What an engine's note is about: its own start or stop, or a slot that it did not run (``event`` in the file of notes)."""

    STARTED = "started"
    STOPPED = "stopped"
    MISSED = "missed"
    SKIPPED = "skipped"
    """As :attr:`Status.SKIPPED`."""
    REFUSED = "refused"
    """A cluster created no Job for it, and a command saw why; the history has it as missed unless it can still start."""
    DROPPED = "dropped"
    """An edit of its schedule or task took it away; the history has it as missed."""


class Evidence(_Word):
    """How a status is known: written by the run, seen on the cluster in time, or concluded afterwards."""

    RECORDED = "recorded"
    OBSERVED = "observed"
    INFERRED = "inferred"
    UNKNOWN = "unknown"


ENSEMBLE_TASK = "ensemble"

_FIRST_YEAR, _LAST_YEAR = 1970, 9998
LAST_MINUTE = 4_223_371_679
"""Of the year 9999, since 1970."""
_RUN = re.compile(r"(?P<name>[a-z0-9]([-a-z0-9]*[a-z0-9])?)-(?P<minute>0|[1-9][0-9]{0,9})(-r(?P<attempt>[1-9][0-9]{0,8}))?")


def run_name(experiment: str, task: str, minute: int, attempt: int) -> str:
    """The name of a slot's attempt, which is its Job's."""
    return f"{experiment}-{task}-{minute}" + (f"-r{attempt}" if attempt > 1 else "")


def slot_text(minute: int) -> str:
    """A slot as it is written, in records and for people: ``2026-11-20T06:00Z``; ``minute`` is counted since 1970."""
    return datetime.fromtimestamp(minute * 60, timezone.utc).strftime("%Y-%m-%dT%H:%MZ")


@dataclass(frozen=True, order=True)
class RunId:
    """One attempt at a slot; ordered by slot, then attempt, as "latest" is."""

    minute: int
    attempt: int
    experiment: str
    task: str

    def __str__(self) -> str:
        return run_name(self.experiment, self.task, self.minute, self.attempt)

    @property
    def slot(self) -> datetime:
        """The scheduled UTC minute."""
        return datetime.fromtimestamp(self.minute * 60, timezone.utc)

    @property
    def month(self) -> str:
        """The slot's month in UTC, ``YYYY-MM``: the folder of the run."""
        return self.slot.strftime("%Y-%m")

    @property
    def dated_name(self) -> str:
        """The archive's name for this run, without a suffix: ``2026-11-23T0600Z`` or ``…Z-r2``."""
        return self.slot.strftime("%Y-%m-%dT%H%MZ") + (f"-r{self.attempt}" if self.attempt > 1 else "")


def parse_run_id(text: str, experiment: str, task: str) -> RunId | None:
    """The id that ``text`` spells for this experiment and task, or None if it spells another's."""
    match = _RUN.fullmatch(text)
    if match is None or match["name"] != f"{experiment}-{task}" or int(match["minute"]) > LAST_MINUTE:
        return None
    return RunId(int(match["minute"]), int(match["attempt"] or 1), experiment, task)


def run_of_job_name(name: str, experiment: str, task: str, minute: int) -> RunId | None:
    """The run that a Job's name spells; None for a Job that somebody made by hand under a name of its own.

    ``minute``: when the Job was made, in minutes since 1970. No run is made long before its slot: a number far beyond is another.
    """
    run = parse_run_id(name, experiment, task)
    return run if run is not None and run.minute <= minute + 1440 else None


def any_run_id(text: str, experiment: str) -> RunId | None:
    """The id that ``text`` spells for any task of this experiment, or None if it spells none."""
    match = _RUN.match(text)
    if match is None or not match["name"].startswith(experiment + "-"):
        return None
    return parse_run_id(text, experiment, match["name"][len(experiment) + 1 :])


def member_task(member: str) -> str:
    """The name of the task that trains a member."""
    return f"train-{member}"


def seed_of(*parts: object) -> int:
    """A 31-bit seed from names and slot: the first 31 bits of the SHA-256 of the parts, a line each."""
    import hashlib  # late: it loads OpenSSL, and every command of the tool imports this module

    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def parse_time(value: Any) -> float | None:
    """A time of a stored document (ISO 8601, with a zone) in seconds since 1970; None for whatever else a document holds.

    Years in which no run can have been are none: not every clock and calendar can count them.
    """
    if not isinstance(value, str):
        return None
    try:
        # Python 3.9's fromisoformat knows no Z.
        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return time.timestamp() if time.tzinfo is not None and _FIRST_YEAR <= time.year <= _LAST_YEAR else None


def revision_time(revision: Mapping[str, Any]) -> float:
    """Since when it holds, in seconds since 1970; raises KeyError without a time, ValueError for one without a zone or none."""
    time = parse_time(str(revision["time"]))
    if time is None:
        raise ValueError(f"{revision['time']!r} is not a time with a zone")
    return time
