"""What confines every pod of ours: Pod Security's `restricted` rules, whatever the configuration says."""

from __future__ import annotations

from typing import Any

from cronjobs.experiment import Experiment


def confined_pod(experiment: Experiment) -> dict[str, Any]:
    """The part of a pod's spec: not root, the runtime's seccomp profile, no token, no service links."""
    cluster = experiment.cluster
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": cluster.user,
            "runAsGroup": cluster.group,
            "fsGroup": cluster.fs_group,
            # Else the kubelet walks the whole store before every pod.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def container_security() -> dict[str, Any]:
    """A container's own: no way to more rights, no capability, a read-only root."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
