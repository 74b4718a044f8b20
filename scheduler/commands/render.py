"""The command `render`."""

from __future__ import annotations

import sys

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.options import DEFAULT_FILES, Files
from scheduler.config import load_all
from scheduler.console.messages import print_line
from scheduler.console.yaml_output import to_yaml


def print_objects(files: list[Path], volume: bool) -> None:
    """Print the objects of these files as YAML on stdout, and notes on them on stderr; raises CronsembleError.

    ``volume``: a PersistentVolume and a claim for each store in their place.
    """
    from cronjobs.objects.volumes import claim_name, pod_security
    from scheduler.sync import desired

    experiments = load_all(files)
    if volume:
        objects = desired.store_volumes(experiments)
        notes = [
            f"{experiment.path}: once these are applied, type store: {{claim: {claim_name(experiment)}}}"
            for experiment in experiments
        ]
    else:
        objects, notes = desired.desired(experiments), desired.notes(experiments)
        for experiment in experiments:
            required = pod_security(experiment)
            if required.reason:
                notes.append(
                    f"{experiment.path}: a namespace that enforces more than Pod Security {required.level} refuses the pods: "
                    f"{required.reason}; `cronsemble render --volume` prints a claim for it"
                )
    sys.stdout.write(to_yaml(objects))
    sys.stdout.flush()
    for note in notes:
        print_line(note, sys.stderr)


def render(
    file: Files = DEFAULT_FILES,
    volume: Annotated[bool, typer.Option("--volume", help="Print a PersistentVolume and a claim for the store instead.")] = False,
) -> None:
    """Print the cluster's objects as YAML. Example: cronsemble render | kubectl apply --server-side -f -"""

    print_objects(file, volume)
