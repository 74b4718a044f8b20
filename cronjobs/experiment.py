"""The resolved configuration: plain values, every default filled in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Data:
    dataset: str
    predict: str
    refresh: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every task has; durations in seconds."""

    schedule: str | None
    timezone: str
    suspend: bool | None
    concurrency: str
    starting_deadline: int
    retries: int
    deadline: int
    threads: int
    resources: dict[str, Any]
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    affinity: dict[str, Any]
    priority_class: str | None
    queue: str | None
    env: dict[str, Any]
    labels: dict[str, str]
    annotations: dict[str, str]
    history_limits: dict[str, int]
    ttl: int | None


@dataclass(frozen=True, kw_only=True)
class Member(Task):
    name: str
    backend: str
    runtime: str
    model: str
    hyperparameters: dict[str, Any]
    seed: int | None
    data_format: str


@dataclass(frozen=True, kw_only=True)
class Ensemble(Task):
    method: str
    quorum: int
    max_age: int | None
    timeout: int


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What one file declares; ``store`` is a path as written, or the volume's keys.

    ``hyperparameters`` are those for all members, ours with their defaults.
    """

    name: str
    timezone: str
    store: str | dict[str, Any]
    folder: Path
    path: Path
    data: Data
    code: list[str]
    hyperparameters: dict[str, Any]
    members: dict[str, Member]
    ensemble: Ensemble | None
    runtimes: dict[str, Any]
    cluster: dict[str, Any]
