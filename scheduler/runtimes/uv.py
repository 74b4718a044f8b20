"""uv, which resolves requirements and creates virtual environments: how it is run, its settings (pip's serve too), its errors."""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scheduler import long_process
from scheduler.cache import cache_folder
from scheduler.long_process import Ended, Stage

_UNREACHABLE = ("error sending request", "dns error", "Connection refused", "timed out", "tunnel error", "Failed to fetch")


def run(arguments: Sequence[str], stage: Stage, pass_fds: Sequence[int] = ()) -> Ended:
    """Run uv to its end, in the cache folder, so that no project's settings reach it; raises OSError if it cannot be started."""
    from uv import find_uv_bin

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    command = [find_uv_bin(), "--no-progress", "--color", "never", *arguments]
    if arguments[0] == "pip" and pip_settings(os.environ).get("no-index", "").lower() in ("1", "true", "yes", "on"):
        command.append("--no-index")
    return long_process.run(command, stage, describe_downloads(), settings(os.environ), str(folder), pass_fds)


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of uv's process: the shell's, and pip's settings under uv's names where these are not set.

    Whoever has told pip of an index, a certificate or a folder of packages need not tell uv too.
    """
    # What would have it install elsewhere.
    kept = {name: value for name, value in environment.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"))}
    pip = pip_settings(environment)
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "cert": "SSL_CERT_FILE",
        "trusted-host": "UV_INSECURE_HOST",
        "proxy": "ALL_PROXY",
        "timeout": "UV_HTTP_TIMEOUT",
    }
    translated = {names[key]: value for key, value in pip.items() if key in names}
    if "UV_FIND_LINKS" in translated:
        translated["UV_FIND_LINKS"] = ",".join(translated["UV_FIND_LINKS"].split())
    # Hard links need the cache on the same file system as the environments.
    return {"UV_CACHE_DIR": str(cache_folder() / "uv"), **translated, **kept}


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """pip's settings by their long names: those of its configuration files, in its order, then PIP_* variables.

    A file that cannot be read or parsed has none.
    """
    home = Path(environment.get("HOME", "/"))
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        *(Path(folder) / "pip" / "pip.conf" for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        user / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    named = environment.get("PIP_CONFIG_FILE")
    if named is not None:
        files = [] if named == os.devnull else [*files, Path(named)]
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    variables = {
        key[4:].lower().replace("_", "-"): value for key, value in environment.items() if key.startswith("PIP_") and value
    }
    return found | variables


def describe_downloads() -> long_process.DescribeLine:
    """Gives for a line of uv's output the stage that it begins, or None: how many of the large packages are downloaded."""
    begun = ended = 0
    size = 0.0

    def describe(line: str) -> str | None:
        nonlocal begun, ended, size
        word, _, rest = line.strip().partition(" ")
        if word == "Downloading":
            begun += 1
            if match := re.search(r"\(([\d.]+)MiB\)$", rest):
                size += float(match[1])
        elif word == "Downloaded":
            ended += 1
        elif word == "Prepared":
            return "linking the packages, compiling their byte code"
        else:
            return None
        return f"{ended} of {begun} large packages downloaded ({size:.0f} MiB in all)"

    return describe


def reason(ended: Ended) -> str:
    """Why uv failed, as one line that says what to do."""
    output = ended.output
    absent = re.search(r"Because ([a-zA-Z0-9._-]+(?:==\S+)?) was not found", output)
    if any(word in output for word in _UNREACHABLE):
        return "the package index cannot be reached: connect this machine, or set PIP_INDEX_URL to an index that it can reach"
    if absent or "not found in the" in output or "no version of" in output:
        name = absent[1] if absent else next(iter(re.findall(r"no version of (\S+)", output)), "a package")
        return (
            f"the package index has no {name} for this machine: connect the machine, or set PIP_INDEX_URL to an index that has it"
        )
    if "No space left on device" in output:
        return f"no space left on the disk of {cache_folder()}: delete something, or set CRONSEMBLE_CACHE to another folder"
    lines = [re.sub(r"^[×╰├─▶│ ]+|^error: ", "", line).strip() for line in output.splitlines()]
    return " ".join(line for line in lines if line)[-400:] or f"uv ended with exit status {ended.status}"


def main(arguments: Sequence[str]) -> None:
    """Run uv for a Makefile: progress on stderr, and the exit status that uv has."""
    with Stage(f"uv {' '.join(arguments[:2])}", lambda text: print(text, file=sys.stderr, flush=True), 15.0) as stage:
        ended = run(arguments, stage)
    if ended.status:
        sys.exit(ended.output or ended.status)
