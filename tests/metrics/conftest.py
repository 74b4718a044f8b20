"""What the tests of metrics share: Prometheus' own programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.binaries import NoBinaries
from monitoring import programs as monitoring_programs
from needs import missing


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of prometheus, promtool, alertmanager and dashboard."""
    try:
        return monitoring_programs.find()
    except NoBinaries as error:
        missing(str(error))
