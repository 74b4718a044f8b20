"""What `check` warns of in the gates of a configuration: limits that cannot be judged on so few items, or on such items."""

from __future__ import annotations

from collections.abc import Iterator

from cronjobs.experiment import Experiment, Task
from scheduler.config.dataset_sizes import items_to_test


def warnings(experiment: Experiment) -> list[str]:
    """A line for each; nothing where it is not known how many items there are."""
    members, ensemble = experiment.members.values(), experiment.ensemble
    if not any(task.gate for task in (*members, *([ensemble] if ensemble is not None else ()))):
        return []
    return [*_members(experiment), *_ensemble(experiment)]


def _members(experiment: Experiment) -> Iterator[str]:
    limits = sorted({member.gate["max_drop"] for member in experiment.members.values() if "max_drop" in member.gate})
    sizes = items_to_test(experiment) if limits else None
    if sizes is None:
        return
    for limit in limits:
        names = [name for name, member in experiment.members.items() if member.gate.get("max_drop") == limit]
        yield from _few(f"the gate of {', '.join(names)}", "validation items", sizes[0] - sizes[1], limit)


def _ensemble(experiment: Experiment) -> Iterator[str]:
    task: Task | None = experiment.ensemble
    if task is None or not task.gate:
        return
    predict = experiment.data.predict
    if predict != "holdout":
        yield f"ensemble.gate: it can be judged only where {predict} has labels (y): else runs are accepted, and degraded"
    if "max_drop" not in task.gate:
        return
    if "{date}" in predict:
        yield (
            f"ensemble.gate.max_drop: {predict} is another file at each date: it is judged on items that two dates have in "
            "common, by their ids, or by number and inputs where they have none"
        )
    sizes = items_to_test(experiment)
    if predict == "holdout" and sizes is not None:
        yield from _few("ensemble.gate", "items", sizes[1], task.gate["max_drop"])


def _few(whose: str, what: str, items: int, limit: float) -> Iterator[str]:
    """That even two models that agree on all but what one has lost would need more items."""
    from jobs.supervisor.paired_drop import needed_items  # late: most files have no gate

    needed = needed_items(limit)
    if 0 < items < needed:
        yield (
            f"{whose}: {items} {what} are few for max_drop {limit:g}: it takes {needed} or more to see a drop of {2 * limit:g} "
            "in 95 % of nights; chance is not refused more often"
        )
