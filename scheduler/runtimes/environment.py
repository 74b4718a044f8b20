"""The environment of a step on this machine: which of the shell's variables reach it. What else it needs is in its `env:`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

PASSED = (
    "HOME", "LOGNAME", "PATH", "TMPDIR", "USER",
    # How a download leaves this machine.
    "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy",
    "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    # Which of a shared machine's GPUs are the user's: of effect only where a task asks for GPUs.
    "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES",
    # To start the tool's own interpreter: the supervisor does not pass it on.
    "LD_LIBRARY_PATH",
)  # fmt: skip
"""The shell's variables that a step gets: those of the user, of the network, and the choice of GPUs."""


def step_environment(shell: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """What a step's supervisor starts with: a locale as in the images, and what of ``shell`` is passed.

    ``secrets`` are the names of the variables that the step's configuration takes.
    """
    return {"LC_ALL": "C.UTF-8"} | {name: shell[name] for name in (*PASSED, *secrets) if name in shell}


def absent_variable_hint(reason: str, shell: Mapping[str, str]) -> str:
    """What to do if a step failed for want of a variable that ``shell`` has and no step gets; empty if that is not why."""
    match = re.search(r"KeyError: '([A-Za-z_][A-Za-z0-9_]*)'", reason)
    if match is None or match[1] not in shell or match[1] in PASSED:
        return ""
    return f"{match[1]} is set in the environment of cronsemble, but reaches no step by itself: give it under `env:`"
