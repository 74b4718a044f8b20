"""An experiment in a fresh namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.access import Cluster
from sync.experiments import Experiment


@pytest.fixture
def experiment(cluster: Cluster, namespace: str, tmp_path: Path) -> Experiment:
    # A name of its own: namespaces of earlier tests may still be on their way out.
    return Experiment(tmp_path, namespace, cluster.kubeconfig, f"e{namespace.rpartition('-')[2]}")
