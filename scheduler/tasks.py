"""From the resolved configuration to tasks: what one run of each needs to know, and the user's code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract import ENSEMBLE_TASK, member_task
from scheduler.config import Ensemble, Experiment, Member
from scheduler.errors import CronsembleError
from scheduler.program import deterministic_zip


def user_code(experiment: Experiment) -> bytes | None:
    """A deterministic zip of the user's code, named as in the configuration's folder; None without any."""
    paths: set[Path] = set()
    for item in experiment.code:
        named = experiment.folder / item
        paths.update(_files(named) if named.is_dir() else [named])
    if not experiment.code:
        for reference in (experiment.data.dataset, *(member.model for member in experiment.members.values())):
            source = reference.rpartition(":")[0]
            if source.endswith(".py"):
                paths.update((experiment.folder / source).parent.glob("*.py"))
    if not paths:
        return None
    try:
        files = [(path.relative_to(experiment.folder).as_posix(), path.read_bytes()) for path in paths]
    except OSError as error:
        raise CronsembleError(f"{error.filename}: the code cannot be read: {error.strerror}") from error
    return deterministic_zip(files)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@dataclass(frozen=True)
class Context:
    """What all tasks of one synchronised or started experiment share."""

    experiment: Experiment
    program: str  # hash
    code: str  # hash, empty without user code
    published: bool = False


def seed_of(*parts: object) -> int:
    """A 31-bit seed from names and slot: SHA-256 of the parts."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def data_config(experiment: Experiment, code: str) -> dict[str, Any]:
    """Where the data comes from; its ``key`` differs when anything that makes the data does."""
    data = experiment.data
    made_by_code = data.dataset.rpartition(":")[0].endswith(".py")
    told = {"dataset": data.dataset, "predict": data.predict, "refresh": data.refresh}
    key = json.dumps([told, experiment.name, code if made_by_code else ""], sort_keys=True)
    return {**told, "key": hashlib.sha256(key.encode()).hexdigest()[:8]}


def train_task(context: Context, member: Member, minute: int) -> dict[str, Any]:
    """The resolved configuration of one training, for the slot ``minute`` (Unix minutes)."""
    experiment, task = context.experiment, member_task(member.name)
    seed = member.seed if member.seed is not None else seed_of(experiment.name, task, minute)
    return {
        **_shared(context, task),
        **_model(member),
        "hyperparameters": dict(member.hyperparameters),
        "seed": seed,
        "published": context.published,
    }


def ensemble_task(context: Context, ensemble: Ensemble) -> dict[str, Any]:
    """The resolved configuration of the ensemble."""
    members = list(context.experiment.members.values())
    return {
        **_shared(context, ENSEMBLE_TASK),
        # What prepare checks the data against: any member's model stands for all.
        "model": members[0].model,
        "hyperparameters": dict(members[0].hyperparameters),
        "method": ensemble.method,
        "quorum": ensemble.quorum,
        "max_age": ensemble.max_age,
        "members": [{**_model(member), "timeout": ensemble.timeout} for member in members],
        "published": context.published,
    }


def _shared(context: Context, task: str) -> dict[str, Any]:
    experiment = context.experiment
    return {
        "schema": 1,
        "experiment": experiment.name,
        "task": task,
        "timezone": experiment.timezone,
        "data": data_config(experiment, context.code),
        "data_seed": seed_of(experiment.name, "data"),
        "snapshot": {"program": context.program, "code": context.code},
    }


def _model(member: Member) -> dict[str, Any]:
    return {
        "member": member.name,
        "backend": member.backend,
        "runtime": member.runtime,
        "model": member.model,
        "threads": member.threads,
        "data_format": member.data_format,
        "env": {name: value for name, value in member.env.items() if isinstance(value, str)},
    }
