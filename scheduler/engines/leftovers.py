"""What is left of a try on this machine, its processes and containers: it is ended, and seen to be gone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.store.process_identity import is_alive
from scheduler.engines.processes import end_processes_of_try, has_own_processes
from scheduler.runtimes import containers
from scheduler.runtimes.containers import Container, ContainerEngine, EngineError

END_TIME = 20.0
"""Seconds in which what is left of a try is ended, else it is said that it cannot be; an answer of the engine may take longer."""
_POLL_INTERVAL = 0.2


def end_containers_of_try(engine: ContainerEngine, name: str, step_id: str = "") -> str:
    """End the containers of a try, or of one of its steps, and see that they are gone; empty, or why they could not be ended.

    A container outlives its engine's client, and the monitor beside it, if those are killed.
    """
    give_up_at = time.monotonic() + END_TIME
    # Once one of its processes was there and is gone, that is known without the engine.
    was_seen = False
    while True:
        was_seen = was_seen or has_own_processes(name, step_id)
        try:
            # By the engine first: of a container that ended behind its back it waits for news.
            for container in _containers(engine, name, step_id):
                containers.remove_container(engine, container.name)
            problem = ", ".join(each.name for each in _containers(engine, name, step_id) if not each.has_ended)
            problem = problem and f"{problem} is still running"
        except EngineError as error:
            problem = str(error)
        remaining = end_processes_of_try(name, step_id, grace=0.0)
        if remaining:
            problem = f"process {remaining[0].pid} is still running"
        elif was_seen:
            problem = ""
        if not problem or time.monotonic() >= give_up_at:
            return problem
        time.sleep(_POLL_INTERVAL)


def _containers(engine: ContainerEngine, name: str, step_id: str) -> list[Container]:
    return [each for each in containers.containers_of_try(engine, name) if step_id in ("", each.name)]


def end_leftovers(engine: ContainerEngine, store: Path) -> list[str]:
    """End the containers of a store's tries whose makers are dead, on this machine; a line for each try of which that failed.

    Raises EngineError if the engine does not answer.
    """
    problems = []
    for labels in containers.labelled_containers(engine):
        owner = _owner(labels)
        # None is another machine's: an engine may be shared.
        if labels.get(containers.LABEL_STORE) == str(store.resolve()) and is_alive(owner) is False:
            name = labels[containers.LABEL_TRY]
            if problem := end_containers_of_try(engine, name):
                problems.append(f"the container of try {name}, whose maker is gone, could not be ended: {problem}")
    return problems


def end_try(start: Mapping[str, Any], name: str) -> str:
    """End what is left of a try by its start mark, on this machine; empty, or why it could not be ended."""
    engine = containers.engine_of_name(str(start.get("containers") or ""))
    if engine is not None:
        return end_containers_of_try(engine, name)
    remaining = end_processes_of_try(name)
    return f"process {remaining[0].pid} is still running" if remaining else ""


def _owner(labels: Mapping[str, str]) -> dict[str, Any]:
    try:
        owner = json.loads(labels.get(containers.LABEL_OWNER, ""))
    except ValueError:
        owner = None
    return owner if isinstance(owner, dict) else {"host": None}
