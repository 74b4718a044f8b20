"""Configurations for a cluster, and the command line on them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import CLI, run_command


@dataclass
class Experiment:
    """A folder with a config.yaml for one namespace, and `cronsemble` there."""

    folder: Path
    namespace: str
    kubeconfig: Path
    name: str

    def write(self, tasks: dict[str, dict[str, Any]] | int, ensemble: dict[str, Any] | None = None, **more: Any) -> None:
        """``tasks``: members by name, or their number; every one runs on jax."""
        if isinstance(tasks, int):
            tasks = {f"m{number:04}": {"schedule": f"{number % 60} 1 * * *"} for number in range(tasks)}
        content: dict[str, Any] = {
            "experiment": self.name,
            "store": {"claim": "store"},
            "cluster": {"namespace": self.namespace, "images": {"keras3": "registry.example/keras3:1"}},
            "backends": {name: {"backend": "jax", **task} for name, task in tasks.items()},
            **({"ensemble": ensemble} if ensemble else {}),
            **more,
        }
        self.file.write_text(json.dumps(content, indent=1))

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    def run(self, *arguments: str, file: bool = True, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, *(["-f", str(self.file)] if file else []), env=self.env(kubeconfig))

    def start(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        command = [*CLI, *arguments, "-f", str(self.file)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.env(kubeconfig), stdin=subprocess.DEVNULL)

    def env(self, kubeconfig: Path | None = None) -> dict[str, str]:
        # Where there is no node, no reader pod starts: it is waited for, but not for long.
        return {**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig), "CRONSEMBLE_READER_START": "1"}

    def good(self, *arguments: str, **more: Any) -> str:
        """The output of a command that must succeed."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bad(self, *arguments: str, **more: Any) -> str:
        """What a command that must fail says on stderr; one line or more, never a traceback."""
        done = self.run(*arguments, **more)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr and "a bug in cronsemble" not in done.stderr, done.stderr
        return done.stderr
