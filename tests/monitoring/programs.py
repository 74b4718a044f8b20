"""Prometheus, promtool, Alertmanager and a judge of Grafana dashboards, built once into the cache.

`python3 tests/monitoring/programs.py` builds them from the modules pinned in ``modules/``.
Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.binaries import NoBinaries, build_once, cached_build, go_build, toolchain

SOURCE = Path(__file__).resolve().parent / "modules"
ALERTMANAGER = "github.com/prometheus/alertmanager"
PACKAGES = {
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
    "alertmanager": f"{ALERTMANAGER}/cmd/alertmanager",
    "dashboard": "./dashboard",
}
TAGS = "remove_all_sd,netgo"
"""Without the clients of every cloud: what is scraped is in a file."""


def find() -> Path:
    """The folder that holds the programs; raises NoBinaries."""
    folder = cached()
    if not folder.exists():
        raise NoBinaries("Prometheus is not built: run `make monitoring` (minutes, once)")
    return folder


def cached() -> Path:
    """Where the build of these sources is, or will be."""
    return cached_build("monitoring", SOURCE, _version("prometheus"))


def build() -> Path:
    """Builds what is not there yet; raises NoBinaries."""
    return build_once(cached(), _compile)


def _version(name: str) -> str:
    match = re.search(rf"github\.com/prometheus/{name} (v[0-9.]+)", (SOURCE / "go.mod").read_text())
    assert match, f"go.mod requires no {name}"
    return match[1]


def _compile(made: Path, scrap: Path) -> None:
    started = time.monotonic()
    go = toolchain(scrap, SOURCE)
    versions = f"Prometheus {_version('prometheus')} and Alertmanager {_version('alertmanager')}"
    say(f"building {versions}: 3 minutes on two cores, once")
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false"}
    folder = scrap / "modules"
    shutil.copytree(SOURCE, folder)
    _without_pages(go, folder, env)
    for name, package in PACKAGES.items():
        go_build([go, "build", "-p", "2", "-tags", TAGS, "-ldflags", "-s -w", "-o", str(made / name), package], folder, env, say)
    say(f"built in {time.monotonic() - started:.0f} s")


def _without_pages(go: str, folder: Path, env: dict[str, str]) -> None:
    """Let the build take a copy of Alertmanager with empty pages: its module lacks those that Elm and Node make."""
    shown = subprocess.run(
        [go, "mod", "download", "-json", ALERTMANAGER], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if shown.returncode:
        raise NoBinaries(f"Alertmanager comes through Go's modules: {shown.stdout.strip()} {shown.stderr.strip()}")
    copy = folder / "alertmanager"
    shutil.copytree(json.loads(shown.stdout)["Dir"], copy)
    for path in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    for pages in ("elm", "mantine"):
        (copy / "ui/app/dist" / pages).mkdir(parents=True)
        (copy / "ui/app/dist" / pages / "index.html").write_text("\n")
    edit = [go, "mod", "edit", "-replace", f"{ALERTMANAGER}=./alertmanager"]
    if subprocess.run(edit, cwd=folder, env=env, check=False).returncode:
        raise NoBinaries("`go mod edit` failed; its messages are above")


def say(text: str) -> None:
    print(f"monitoring: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(build())
    except NoBinaries as error:
        sys.exit(f"monitoring: {error}")
