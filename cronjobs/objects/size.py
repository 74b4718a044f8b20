"""What is too large for the API server or for a process, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cronjobs.objects.config_maps import LARGEST
from cronjobs.objects.volumes import ObjectsError
from jobs.contract import LARGEST_VARIABLE

LARGEST_ANNOTATIONS = 256 * 1024
"""Bytes of the names and values of all annotations of an object, as the API server counts them."""


class TooLarge(ObjectsError):
    """A task that no cluster can run, in whatever store and images."""


def check_size(made: Mapping[str, Any], task: str) -> None:
    """Raise TooLarge for a CronJob or Job that the API server may refuse, or a variable that reaches no process."""
    import msgspec

    size = len(msgspec.json.encode(made))
    if size > LARGEST:
        raise TooLarge(f"{task}: its {made['kind']} has {size:,} bytes, at most {LARGEST:,} fit: split the experiment")


def check_variables(variables: Mapping[str, str], task: str) -> None:
    """Raise TooLarge for a variable of ours that is longer than Linux passes to a process."""
    for name, value in variables.items():
        size = len(value.encode())
        if size > LARGEST_VARIABLE:
            limit = f"at most {LARGEST_VARIABLE:,} reach a process"
            raise TooLarge(f"{task}: {name} has {size:,} bytes, {limit}: split the experiment")


def check_annotations(annotations: Mapping[str, str], task: str) -> None:
    """Raise TooLarge for more annotations than an object may have: the task's configuration is one."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in annotations.items())
    if size > LARGEST_ANNOTATIONS:
        raise TooLarge(
            f"the configuration of {task} has, with its annotations, {size:,} bytes, at most {LARGEST_ANNOTATIONS:,} fit a pod: "
            "shorten hyperparameters, env or annotations, or split the experiment"
        )
