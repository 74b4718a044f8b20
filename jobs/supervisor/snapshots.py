"""What a run puts into the store beside its own files, so that it can happen again. Standard library alone, Python 3.9."""

from __future__ import annotations

from pathlib import Path

from jobs import contract as c
from jobs.contract import ExitCode
from jobs.store.files import exists, read_json
from jobs.supervisor.run_context import RunContext, StepError


def store_snapshot(context: RunContext) -> None:
    """Put into the store what a rerun needs and the store lacks: program, user code, the task's configuration."""
    store, known = context.store, context.task["snapshot"]
    store.put_snapshot("task", context.task_bytes)
    mounted = context.env.get(c.ENV_SNAPSHOT)
    for kind, name in (("program", c.PROGRAM_FILE), ("code", c.CODE_FILE)):
        digest = known[kind]
        if mounted and digest and not exists(store.snapshot_path(kind, digest)):
            found = store.put_snapshot(kind, (Path(mounted) / name).read_bytes())
            if found != digest:
                raise StepError(
                    f"{Path(mounted) / name} is {found[:12]}, not the {digest[:12]} of this task", ExitCode.WRONG_INPUT
                )


def store_revisions(context: RunContext) -> None:
    """Put into the store the cluster's revisions that it lacks: a ConfigMap cannot hold all for ever."""
    mounted = context.env.get(c.ENV_REVISIONS)
    if mounted:
        # A volume's folder holds its files' older states too, under names that begin with two dots.
        known = (read_json(path) for path in sorted(Path(mounted).glob("[!.]*.json")))
        context.store.add_revisions(context.run.experiment, (each for each in known if each is not None))
