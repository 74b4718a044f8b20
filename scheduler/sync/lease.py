"""The Lease that lets one sync at a time change a namespace. Whether it has expired is judged by the server's clock."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from cronjobs.objects import labels
from jobs.store.process_identity import is_alive, process_identity
from scheduler.identity import current_user
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Conflict, KubeError, NotFound

NAME = "cronsemble-sync"
"""The Lease's name, in each namespace."""
SECONDS = 60
"""How long a Lease lasts after it was renewed."""
PROCESS = "cronsemble.io/process"
"""Annotation: the holder's process, so that one that died on this machine need not be waited for."""
_PAUSE = 0.5
"""Seconds between two attempts to take a Lease that another holds."""


class LeaseHeld(KubeError):
    """Another sync holds the Lease."""


class LeaseLost(KubeError):
    """Another sync has taken the Lease that we held."""


class Lease:
    """The Lease of a namespace: ``take``, ``check`` while it is held, ``release``."""

    def __init__(self, api: KubeClient, namespace: str) -> None:
        self._api, self.namespace = api, namespace
        self._holder = f"{current_user()}:{os.getpid()}"
        self._lease: dict[str, Any] | None = None

    def take(self, wait: float, say: Callable[[str], None]) -> None:
        """Become the holder within ``wait`` seconds; ``say`` is given a line once there is something to wait for.

        Raises:
            LeaseHeld: another holds it still; the message names the holder.
        """
        deadline, is_waiting = time.monotonic() + wait, False
        while True:
            try:
                self._try()
                return
            except LeaseHeld as error:
                if time.monotonic() >= deadline:
                    raise
                if not is_waiting:
                    say(f"waiting: {error}")
                    is_waiting = True
                time.sleep(min(_PAUSE, wait))

    def check(self) -> None:
        """Renew it.

        Raises:
            LeaseLost: another has taken it.
        """
        assert self._lease is not None
        try:
            self._write(self._lease)
        except (Conflict, NotFound) as error:
            current = self._read()
            holder = (current.get("spec") or {}).get("holderIdentity") if current else "nobody"
            if current and holder == self._holder:
                self._lease = current
                return
            raise LeaseLost(
                f"namespace {self.namespace}: {holder} has taken the Lease {NAME}: nothing more is changed"
            ) from error

    def release(self) -> None:
        """Clear its holder; a Lease that is not ours any more is left alone."""
        if self._lease is None:
            return
        with contextlib.suppress(KubeError, KeyboardInterrupt):  # It expires by itself.
            self._write(self._lease, holder="")
        self._lease = None

    def _try(self) -> None:
        current = self._read()
        if current is None:
            body = {
                "apiVersion": kinds.LEASE.version,
                "kind": kinds.LEASE.kind,
                "metadata": {"name": NAME, "namespace": self.namespace, "labels": labels.shared("sync")},
                "spec": {"leaseDurationSeconds": SECONDS},
            }
            self._set_holder(body, self._holder)
            try:
                self._lease = self._api.create(kinds.LEASE, self.namespace, body)
                return
            except Conflict as error:
                self._accept_if_ours(error)
                return
        spec = current.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        left = self._seconds_left(current)
        if holder and holder != self._holder and left > 0 and self._may_be_alive(current):
            raise LeaseHeld(
                f"namespace {self.namespace}: {holder} is syncing it (Lease {NAME}, for {left:.0f} s more unless renewed): "
                "wait with --wait 2m, or try again"
            )
        try:
            self._write(current, taken=True)
        except Conflict as error:
            self._accept_if_ours(error)

    def _accept_if_ours(self, conflict: Conflict) -> None:
        """After a conflict: the Lease is ours if it was written and only the answer was lost; raises LeaseHeld if not."""
        current = self._read()
        if current is None or (current.get("spec") or {}).get("holderIdentity") != self._holder:
            raise LeaseHeld(f"namespace {self.namespace}: another sync has just started: try again") from conflict
        self._lease = current

    def _read(self) -> dict[str, Any] | None:
        try:
            return self._api.get(kinds.LEASE, self.namespace, NAME)
        except NotFound:
            return None

    def _seconds_left(self, lease: dict[str, Any]) -> float:
        spec = lease.get("spec") or {}
        if not spec.get("renewTime"):
            return 0
        end = datetime.fromisoformat(spec["renewTime"]) + timedelta(seconds=spec.get("leaseDurationSeconds", SECONDS))
        return (end - self._api.now()).total_seconds()

    def _may_be_alive(self, lease: dict[str, Any]) -> bool:
        """Whether the holder's process still runs; True where that cannot be known on this machine."""
        process = (lease["metadata"].get("annotations") or {}).get(PROCESS)
        try:
            return process is None or is_alive(msgspec.json.decode(process)) is not False
        except (msgspec.DecodeError, AttributeError):
            return True

    def _write(self, lease: dict[str, Any], holder: str | None = None, taken: bool = False) -> None:
        """Replace the Lease as it was read; raises Conflict where it has changed since. ``taken``: from another holder."""
        body = {**lease, "spec": dict(lease.get("spec") or {}), "metadata": {**lease["metadata"]}}
        body["metadata"].pop("managedFields", None)
        if taken:
            body["spec"]["leaseTransitions"] = body["spec"].get("leaseTransitions", 0) + 1
        self._set_holder(body, self._holder if holder is None else holder, taken)
        self._lease = self._api.replace(kinds.LEASE, self.namespace, NAME, body)

    def _set_holder(self, body: dict[str, Any], holder: str, taken: bool = True) -> None:
        # An answer with the server's date came before any write: that to the read of the Lease.
        now = self._api.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body["spec"].update(holderIdentity=holder, renewTime=now, leaseDurationSeconds=SECONDS)
        if taken:
            body["spec"]["acquireTime"] = now
        process = msgspec.json.encode(process_identity()).decode()
        body["metadata"]["annotations"] = {**(body["metadata"].get("annotations") or {}), PROCESS: process}
