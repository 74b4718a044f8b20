"""The Lease that keeps two syncs of a namespace apart: one holder, judged by the server's clock."""

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
SECONDS = 60
PROCESS = "cronsemble.io/process"
"""Annotation: who the holder's process is, so that one that died on this machine need not be waited for."""


class LeaseHeld(KubeError):
    """Another sync holds the Lease."""


class LeaseLost(KubeError):
    """The Lease that we held is another's now."""


class Lease:
    """Taken by ``take``, shown to be still ours by ``check``, given back by ``release``."""

    def __init__(self, api: KubeClient, namespace: str) -> None:
        self._api, self.namespace = api, namespace
        self._holder = f"{current_user()}:{os.getpid()}"
        self._lease: dict[str, Any] | None = None

    def take(self, wait: float, say: Callable[[str], None]) -> None:
        """Become the holder within ``wait`` seconds; raises Held, which says who is."""
        deadline, told = time.monotonic() + wait, False
        while True:
            try:
                self._try()
                return
            except LeaseHeld as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    say(f"waiting: {error}")
                    told = True
                time.sleep(min(0.5, wait))

    def check(self) -> None:
        """Renew; raises Lost if another took it."""
        assert self._lease is not None
        try:
            self._write(self._lease)
        except (Conflict, NotFound) as error:
            found = self._read()
            holder = found["spec"].get("holderIdentity") if found else "nobody"
            if found and holder == self._holder:
                self._lease = found
                return
            raise LeaseLost(
                f"namespace {self.namespace}: {holder} has taken the Lease {NAME}: nothing more is changed"
            ) from error

    def release(self) -> None:
        """Give it back; a Lease that is not ours any more is left alone."""
        if self._lease is None:
            return
        with contextlib.suppress(KubeError, KeyboardInterrupt):  # It runs out by itself.
            self._write(self._lease, holder="")
        self._lease = None

    def _try(self) -> None:
        found = self._read()
        if found is None:
            body = {
                "apiVersion": kinds.LEASE.version,
                "kind": kinds.LEASE.kind,
                "metadata": {"name": NAME, "namespace": self.namespace, "labels": labels.shared("sync")},
                "spec": {"leaseDurationSeconds": SECONDS},
            }
            self._fill(body, self._holder)
            try:
                self._lease = self._api.create(kinds.LEASE, self.namespace, body)
                return
            except Conflict as error:
                found = self._read()
                if found is None or found["spec"].get("holderIdentity") != self._holder:
                    raise LeaseHeld(f"namespace {self.namespace}: another sync has just begun: try again") from error
                self._lease = found
                return
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        left = self._left(found)
        if holder and holder != self._holder and left > 0 and self._lives(found):
            raise LeaseHeld(
                f"namespace {self.namespace}: {holder} is syncing it (Lease {NAME}, for {left:.0f} s more unless renewed): "
                "wait with --wait 2m, or try again"
            )
        try:
            self._write(found, taken=True)
        except Conflict as error:
            again = self._read()
            if again is not None and again["spec"].get("holderIdentity") == self._holder:
                self._lease = again
                return  # It was written, and only the answer lost.
            raise LeaseHeld(f"namespace {self.namespace}: another sync has just begun: try again") from error

    def _read(self) -> dict[str, Any] | None:
        try:
            return self._api.get(kinds.LEASE, self.namespace, NAME)
        except NotFound:
            return None

    def _left(self, lease: dict[str, Any]) -> float:
        spec = lease["spec"]
        if not spec.get("renewTime"):
            return 0
        end = datetime.fromisoformat(spec["renewTime"]) + timedelta(seconds=spec.get("leaseDurationSeconds", SECONDS))
        return (end - self._api.now()).total_seconds()

    def _lives(self, lease: dict[str, Any]) -> bool:
        process = (lease["metadata"].get("annotations") or {}).get(PROCESS)
        try:
            return process is None or is_alive(msgspec.json.decode(process)) is not False
        except (msgspec.DecodeError, AttributeError):
            return True

    def _write(self, lease: dict[str, Any], holder: str | None = None, taken: bool = False) -> None:
        body = {**lease, "spec": dict(lease.get("spec") or {}), "metadata": {**lease["metadata"]}}
        body["metadata"].pop("managedFields", None)
        if taken:
            body["spec"]["leaseTransitions"] = body["spec"].get("leaseTransitions", 0) + 1
        self._fill(body, self._holder if holder is None else holder, taken)
        self._lease = self._api.replace(kinds.LEASE, self.namespace, NAME, body)

    def _fill(self, body: dict[str, Any], holder: str, taken: bool = True) -> None:
        # The first answer that bore a date came before any write, by the read of the Lease itself.
        now = self._api.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body["spec"].update(holderIdentity=holder, renewTime=now, leaseDurationSeconds=SECONDS)
        if taken:
            body["spec"]["acquireTime"] = now
        process = msgspec.json.encode(process_identity()).decode()
        body["metadata"]["annotations"] = {**(body["metadata"].get("annotations") or {}), PROCESS: process}
