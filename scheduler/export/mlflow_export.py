"""Exports runs to MLflow: a tracking server or an SQLite store. Each run has one run there, however often it is exported.

A run of ours is known there by its tag. The tag of its digest is written last: what a kill left unfinished is completed by the
next export, and what has changed since (a verdict, a failure that a later try made good) is brought up to date.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from jobs.contract import RunId, Status
from jobs.store import Store
from scheduler.cache import cache_folder
from scheduler.errors import CronsembleError, MissingPackage
from scheduler.export.exported_run import PREFIX, ExportedRun, artifacts, digest, exported_run
from scheduler.history.query import ExperimentHistory
from scheduler.history.slots import Row

RUN, DIGEST, ARTIFACTS = f"{PREFIX}run", f"{PREFIX}digest", f"{PREFIX}artifacts"
STATUSES = {Status.SUCCEEDED: "FINISHED", Status.REFUSED: "FINISHED", Status.INTERRUPTED: "KILLED"}
"""MLflow's word for a status; any other is FAILED."""
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
"""Characters that every version of MLflow 3 takes."""
BATCH = 900
"""Metrics in one request: MLflow takes 1,000."""
_SQLITE = "sqlite:///"
PAGE = 1000
"""Runs that are listed in one request."""


@dataclass
class Exported:
    """How many runs are new there, how many were completed or brought up to date, and how many were there as they are."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0


class MlflowExport:
    """The runs of one experiment in an MLflow store, under the MLflow experiment of that name."""

    def __init__(self, uri: str, name: str) -> None:
        """``uri``: of the tracking server or store. Raises MissingPackage, and CronsembleError where it cannot be reached."""
        self.uri = uri
        self._client = _client(uri)
        with _errors(uri):
            self._experiment = self._experiment_id(name)
            self._known = dict(self._list_known())

    def _experiment_id(self, name: str) -> str:
        existing = self._client.get_experiment_by_name(name)
        if existing is None:
            return str(self._client.create_experiment(name))
        if existing.lifecycle_stage != "active":
            raise CronsembleError(
                f"{shown(self.uri)}: its experiment {name} is deleted: "
                f"type `mlflow experiments restore -x {existing.experiment_id}`, or give --name"
            )
        return str(existing.experiment_id)

    def _list_known(self) -> Iterator[tuple[str, Any]]:
        """By our id each run that is there, deleted ones too: what a user deleted is not exported again."""
        from mlflow.entities import ViewType

        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], run_view_type=ViewType.ALL, max_results=PAGE, page_token=token, order_by=["start_time ASC"]
            )
            for run in page:
                if RUN in run.data.tags:
                    yield run.data.tags[RUN], run
            token = page.token
            if not token:
                return

    def export(
        self,
        store: Store,
        history: ExperimentHistory,
        runs: Sequence[tuple[RunId, Row]],
        with_artifacts: bool,
        advance: Callable[[], None],
    ) -> Exported:
        """Export runs with their rows of the history; ``advance`` is called after each. Raises CronsembleError."""
        done = Exported()
        for run_id, row in runs:
            known = self._known.get(str(run_id))
            tags = {} if known is None else known.data.tags
            is_there = known is not None and tags.get(DIGEST) == digest(row)
            is_deleted = known is not None and known.info.lifecycle_stage != "active"
            has_artifacts = not with_artifacts or tags.get(ARTIFACTS) == "true"
            if is_deleted or (is_there and has_artifacts):
                done.unchanged += 1
            else:
                with _errors(self.uri):
                    self._write(store, exported_run(store, history, run_id, row), known, digest(row), with_artifacts)
                done.new += known is None
                done.updated += known is not None
            advance()
        return done

    def _write(self, store: Store, run: ExportedRun, known: Any, digest: str, with_artifacts: bool) -> None:
        from mlflow.entities import Metric, Param, RunTag

        client = self._client
        tags = {name: value[:LONGEST_TAG] for name, value in run.tags.items()}
        if known is None:
            name = f"{run.id.task} {run.id.dated_name}"
            # With its tag from the first moment on: a kill after this leaves a run that the next export finds.
            known = client.create_run(self._experiment, _milliseconds(run.started), tags, name)
        id = known.info.run_id
        params = [Param(name, value[:LONGEST_PARAM]) for name, value in run.params.items() if name not in known.data.params]
        metrics = [
            Metric(name, value, _milliseconds(epoch.time), epoch.number)
            for epoch in run.epochs
            for name, value in epoch.values.items()
        ]
        metrics += [Metric(name, value, _milliseconds(run.finished), 0) for name, value in run.metrics.items()]
        for name in known.data.tags:
            # What it had and has no more: the reason of a refusal that was taken back.
            if name.startswith(PREFIX) and name not in (*tags, DIGEST, ARTIFACTS):
                client.delete_tag(id, name)
        client.log_batch(id, params=params, tags=[RunTag(name, value) for name, value in tags.items()])
        for start in range(0, len(metrics), BATCH):
            client.log_batch(id, metrics=metrics[start : start + BATCH])
        if with_artifacts:
            for path, name in artifacts(store, run.id):
                folder = str(PurePosixPath(name).parent)
                client.log_artifact(id, str(path), None if folder == "." else folder)
        client.set_terminated(id, STATUSES.get(Status(run.status), "FAILED"), _milliseconds(run.finished))
        if with_artifacts:
            client.set_tag(id, ARTIFACTS, "true")
        client.set_tag(id, DIGEST, digest)


def shown(uri: str) -> str:
    """A URI as it may be printed: without the password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@contextmanager
def exclusive(uri: str) -> Iterator[None]:
    """Within it, no other process of this user on this machine exports to the same store: two would make each run twice."""
    # A file may be named in several ways.
    place = os.path.realpath(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else uri
    path = cache_folder() / "export" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _client(uri: str) -> Any:
    # Nothing of a user's runs or habits is to be sent anywhere but to where it was asked to go.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    if uri.partition("://")[0] in (uri, "file"):
        raise CronsembleError(
            f"{uri}: a folder of MLflow's keeps no run up to date: type a store's URI, e.g. sqlite:///mlflow.db, or a server's"
        )
    try:
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with _errors(uri):
            return MlflowClient(tracking_uri=uri)
    except ModuleNotFoundError as error:
        # Another database than SQLite needs its own driver.
        package = "'cronsemble[mlflow]'" if error.name in ("mlflow", "sqlalchemy", "alembic") else error.name
        raise MissingPackage(
            f"the package {error.name} is not installed: type `pip install {package}`, then the same again"
        ) from error


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    """MLflow's errors, and those beneath it, as a CronsembleError with their first line."""
    try:
        yield
    except (CronsembleError, ModuleNotFoundError):
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "requests", "urllib3", "alembic")):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CronsembleError(f"{shown(uri)}: MLflow cannot take the runs: {shown(first)}") from error
