"""The kinds of chaos by their names."""

from __future__ import annotations

from chaos.arrays import Arrays
from chaos.configurations import Configurations
from chaos.damages import Damages
from chaos.kills import Kills
from chaos.kinds import Kind
from chaos.outputs import Outputs

KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Configurations, Damages, Kills, Outputs, Arrays)}
