"""Which cluster and namespace a command line names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scheduler.kube.kubeconfig import Access, find_access


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
        """The server's address and the login; raises KubeError."""
        return find_access(self.kubeconfig, self.context)
