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
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation, local_store, locate
from scheduler.stores.upload import LocalUpload, choose_uploads, upload_all


def put_files(location: StoreLocation, files: list[Path], name: str | None, replace: bool) -> None:
    """Copy files into a store; ``name`` is ``--as``. Raises CronsembleError."""
    uploads = choose_uploads(files, name)
    if location.folder is not None:
        if not location.folder.is_dir():
            raise CronsembleError(f"--store {location.folder}: no such folder")
        upload_all(LocalUpload(LocalStore(location.folder.resolve())), uploads, replace)
        return
    experiment = location.require_experiment()
    if location.is_remote:
        from scheduler.stores.remote.upload import upload_remotely

        upload_remotely(experiment, location.target, uploads, replace)
        return
    upload_all(LocalUpload(local_store(experiment)), uploads, replace)


def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The files to copy.")],
    file: File = DEFAULT_FILE,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="PATH", help="The file's path under data/; with / at the end, the folder for the files."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another file of that name.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Copy data into the store's data folder. Example: cronsemble put inputs.npz --as inputs/"""
    put_files(locate(file, store, target=ClusterTarget(kubeconfig, context, namespace)), files, name, replace)
