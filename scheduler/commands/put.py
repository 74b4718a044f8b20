"""The command `put`."""

from __future__ import annotations

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from jobs.store import LocalStore
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    File,
    Kubeconfig,
    Namespace,
    StoreFolder,
)
from scheduler.config import load
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import local_store
from scheduler.stores.upload import LocalUpload, choose_uploads, upload_all


def put_files(
    file: Path, folder: Path | None, files: list[Path], name: str | None, cluster: ClusterTarget, replace: bool
) -> None:
    """`put`: into the store that a configuration declares, or into the one at ``folder``."""
    chosen = choose_uploads(files, name)
    if folder is not None:
        if not folder.is_dir():
            raise CronsembleError(f"--store {folder}: no such folder")
        upload_all(chosen, LocalUpload(LocalStore(folder.resolve())), replace)
        return
    experiment = load(file)
    if isinstance(experiment.store, str):
        upload_all(chosen, LocalUpload(local_store(experiment)), replace)
        return
    from scheduler.stores.remote.upload import upload_remotely

    upload_remotely(experiment, cluster, chosen, replace)


def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The files to copy.")],
    file: File = DEFAULT_FILE,
    name: Annotated[
        str | None, typer.Option("--as", metavar="PATH", help="Its path under data/; with / at the end a folder for them.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of another file of that name.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Copy data into the store's data folder. Example: cronsemble put inputs.npz --as inputs/"""
    from scheduler.kube.target import ClusterTarget

    put_files(file, store, files, name, ClusterTarget(kubeconfig, context, namespace), replace)
