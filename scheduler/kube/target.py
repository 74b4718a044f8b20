"""Which cluster and namespace a command line names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.notices import notify

if TYPE_CHECKING:
    from scheduler.kube.kubeconfig import Access


@dataclass(frozen=True)
class ClusterTarget:
    """A cluster by kubeconfig and context, and a namespace in the place of the configurations'.

    ``offline``: nothing is asked of it; what was last read of it is enough.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    offline: bool = False

    def access(self) -> Access:
        """The server's address and the login; what is in the kubeconfig and not read is named in notices. Raises KubeError."""
        # Late: with kubernetes comes 0.1 s.
        from scheduler.kube.kubeconfig import find_access

        access = find_access(self.kubeconfig, self.context)
        for warning in access.warnings:
            notify(f"warning: {warning}")
        return access


def server_time(target: ClusterTarget) -> float:
    """The clock of a cluster's server, in seconds since 1970; raises KubeError if it does not answer."""
    # Late, as above.
    from scheduler.kube.client import KubeClient
    from scheduler.kube.errors import READ_TIMEOUT

    with KubeClient(target.access(), READ_TIMEOUT, READ_TIMEOUT) as api:
        return api.server_time().timestamp()
