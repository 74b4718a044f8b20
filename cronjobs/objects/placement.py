"""Where a pod may run, and with whose rights it pulls its images."""

from __future__ import annotations

from typing import Any

from cronjobs.experiment import ClusterSettings, Task, Watch


def placement(cluster: ClusterSettings, settings: Task | Watch | None) -> dict[str, Any]:
    """The part of a pod's spec, without what is not asked for; ``settings``: whose nodes it may use, None for any."""
    parts = {
        "serviceAccountName": cluster.service_account,
        "imagePullSecrets": [{"name": name} for name in cluster.pull_secrets],
        "nodeSelector": dict(settings.node_selector) if settings else {},
        "tolerations": list(settings.tolerations) if settings else [],
        "affinity": dict(settings.affinity) if settings else {},
    }
    return {key: value for key, value in parts.items() if value}
