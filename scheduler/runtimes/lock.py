"""The lock file of a runtime's own packages: what was asked for, resolved once to pins with hashes; a part of the snapshot."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from cronjobs.experiment import Experiment
from jobs.store.files import replace_file
from jobs.temporary import TemporaryFolder
from scheduler.errors import RuntimeUnavailable
from scheduler.long_process import Say, Stage
from scheduler.runtimes import uv
from scheduler.runtimes.venvs import requirement_set

_FIRST_LINE = (
    "# Packages of runtimes.keras3.venv with all that they need, pinned by cronsemble: keep this file under version control."
)
_USUAL_SECONDS = 15.0


def ensure_lock(experiment: Experiment, say: Say) -> None:
    """Resolve the packages of ``runtimes.keras3.venv``, unless its lock file says what they are resolved to.

    An edited list is resolved anew, and what it does not concern keeps its pins; a removed file, all. Raises RuntimeUnavailable.
    """
    path = experiment.lock_file()
    if path is None or not lock_problem(experiment):
        return
    with Stage(f"resolving the packages of runtimes.keras3.venv into {path.name}", say, _USUAL_SECONDS) as stage:
        pins = _resolve(experiment, path, stage)
    text = f"{_FIRST_LINE}\n# requested: {json.dumps(_request(experiment))}\n{pins}"
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise RuntimeUnavailable(f"{path}: the lock file cannot be written: {error.strerror}") from error


def lock_problem(experiment: Experiment) -> str:
    """Why the lock file is not what the next run uses, as a part of a message; empty if it is, or if none is needed."""
    path = experiment.lock_file()
    if path is None:
        return ""
    try:
        locked = locked_request(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "does not exist"
    except (OSError, UnicodeDecodeError) as error:
        raise RuntimeUnavailable(f"{path}: the lock file cannot be read: {error}") from error
    return "" if locked == _request(experiment) else "is of another list of packages"


def locked_request(text: str) -> list[str] | None:
    """What a lock file was resolved from; None if the text is no lock file."""
    first, _, rest = text.partition("\n")
    match = re.match(r"# requested: (.*)\n", rest)
    if first != _FIRST_LINE or match is None:
        return None
    try:
        request = json.loads(match[1])
    except ValueError:
        return None
    return request if isinstance(request, list) else None


def lock_of_code(code: bytes) -> str | None:
    """The lock file in a snapshot of the user's code; None if it has none."""
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        for name in archive.namelist():
            if name.endswith(".lock") and "/" not in name:
                text = archive.read(name).decode(errors="replace")
                if locked_request(text) is not None:
                    return text
    return None


def requested_packages(experiment: Experiment) -> list[str]:
    """What ``runtimes.keras3.venv`` asks for, a requirement each; raises RuntimeUnavailable for a file that cannot be read."""
    asked = experiment.runtimes["keras3"].packages
    if not isinstance(asked, str):
        return list(asked)
    try:
        lines = (experiment.folder / asked).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RuntimeUnavailable(f"runtimes.keras3.venv: {asked} cannot be read: {error}") from error
    return [text for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]


def _base_pins(experiment: Experiment) -> bytes:
    """The pins of the runtime itself, which its own packages are resolved beside."""
    name = requirement_set(member.backend for member in experiment.members.values())
    return files("scheduler").joinpath("requirements", name).read_bytes()


def _request(experiment: Experiment) -> list[str]:
    digest = hashlib.sha256(_base_pins(experiment)).hexdigest()[:16]
    return [*requested_packages(experiment), f"# beside the runtime's own pins {digest}"]


def _resolve(experiment: Experiment, path: Path, stage: Stage) -> str:
    with TemporaryFolder("lock") as scratch:
        base, asked, out = (scratch / name for name in ("base.txt", "asked.txt", "out.txt"))
        base.write_text(_without_hashes(_base_pins(experiment).decode()))
        asked.write_text("".join(f"{line}\n" for line in requested_packages(experiment)), encoding="utf-8")
        if path.exists():
            # uv keeps the versions of its output file where it can.
            out.write_text("\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")))
        options: Sequence[str] = ("--generate-hashes", "--universal", "--no-header", "--no-annotate", "--python-version", "3.11")
        ended = uv.run(["pip", "compile", "-q", *options, str(base), str(asked), "-o", str(out)], stage)
        if ended.status:
            raise RuntimeUnavailable(f"runtimes.keras3.venv: the packages cannot be resolved: {uv.reason(ended)}")
        return out.read_text()


def _without_hashes(pins: str) -> str:
    return (
        "\n".join(re.sub(r"\s*\\$", "", line) for line in pins.splitlines() if not line.lstrip().startswith(("--hash", "#")))
        + "\n"
    )
