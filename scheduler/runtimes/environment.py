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


def client_environment(shell: Mapping[str, str]) -> dict[str, str]:
    """What the client of a container engine is started with: the shell's variables, but for those of our contract.

    It reads its configuration by them, and passes on to the container those alone that its command line names.
    """
    return {name: value for name, value in shell.items() if not name.startswith("CRONSEMBLE_")}


_EXPECTED = ("CNTK", "JAX_", "KERAS_", "LD_PRELOAD", "PYTHONPATH", "PYTORCH", "TF_", "THEANO", "TORCH", "XLA_")
"""What the names of variables begin with that somebody may have set for the frameworks, and expect to have an effect."""
_TERRAFORM = (
    "TF_CLI_",
    "TF_DATA_DIR",
    "TF_INPUT",
    "TF_IN_AUTOMATION",
    "TF_LOG",
    "TF_PLUGIN_",
    "TF_TOKEN_",
    "TF_VAR_",
    "TF_WORKSPACE",
)
"""What begins like TensorFlow's and is another program's."""
_OURS = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")
"""Those of them that each step is given by us."""


def ignored_variables(shell: Mapping[str, str], declared: Iterable[str]) -> str:
    """A line that names the variables of ``shell`` that are meant for frameworks and reach none; empty if there are none.

    ``declared``: the names in the configuration's ``env``.
    """
    names = sorted(
        name
        for name in shell
        if name.startswith(_EXPECTED) and not name.startswith(_TERRAFORM) and name not in {*_OURS, *declared}
    )
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"of your shell, {', '.join(names[:5])}{more} reach no step: what a step needs goes into `env:`" if names else ""


def absent_variable_hint(reason: str, shell: Mapping[str, str]) -> str:
    """What to do if a step failed for want of a variable that ``shell`` has and no step gets; empty if that is not why."""
    match = re.search(r"KeyError: '([A-Za-z_][A-Za-z0-9_]*)'", reason)
    if match is None or match[1] not in shell or match[1] in PASSED:
        return ""
    return f"{match[1]} is set in the environment of cronsemble, but reaches no step by itself: give it under `env:`"
