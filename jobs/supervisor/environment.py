"""The environment of a framework's process: what reaches it, and what a run records of it. Standard library, Python 3.9."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.supervisor.run_context import RunContext, notice
from jobs.temporary import folder_of_process

_LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT")
"""What the dynamic loader reads: the tool's interpreter may need it to start, and the framework must not get it."""

_READ_BY_FRAMEWORKS = (
    "BLIS_", "CNTK", "CUBLAS", "CUDA", "CUDNN", "DNNL_", "GLIBC_", "GOMP_", "HIP_", "HSA_", "JAX", "KERAS_", "KMP_", "LANG",
    "LC_", "LD_", "LIBTPU", "MALLOC_", "MKL", "NPROC", "NPY_", "NUMBA_", "NUMEXPR_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_",
    "PJRT_", "POLARS_", "PYTHON", "PYTORCH", "ROCR_", "SKLEARN_", "TF2_", "TF_", "THEANO", "TORCH", "TPU_", "TZ", 
    "VECLIB_", "XLA",
)  # fmt: skip
"""What the names of the variables begin with that Python, the frameworks and their libraries read."""
_CONFIDENTIAL = ("CREDENTIAL", "PASSWORD", "SECRET", "TOKEN", "_KEY")
"""Parts of the names of variables whose values are never recorded."""


def child_environment(context: RunContext, own: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, str]:
    """The whole environment of a child process, and, in the context, what is recorded of it.

    ``own``: the step's variables; ``spec``: the task or the ensemble's member whose ``env`` and ``secrets`` the process
    gets. On a machine the engine passes a few of the shell's variables, in a container there are the image's; neither
    decides how Keras and Theano are configured: both begin with their defaults.
    """
    declared, secrets = spec.get("env", {}), tuple(spec.get("secrets", ()))
    defaults = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        # The order of a set of texts is the same in every process, so that what is made of it repeats.
        "PYTHONHASHSEED": "0",
    }
    inherited = dict(os.environ)
    if not context.env.get(c.ENV_IMAGE):
        inherited = {name: value for name, value in inherited.items() if name not in _LOADER}
        defaults["THEANORC"] = os.devnull
    if "KERAS_BACKEND" in own and "KERAS_HOME" not in declared:
        defaults["KERAS_HOME"] = _keras_home()
    for name in secrets:
        if name not in inherited:
            notice(context, f"env.{name}: there is no variable {name} where cronsemble was started, so the step has none")
    environment = {**inherited, **defaults, **declared, **own}
    context.environment = recorded(environment, declared, secrets)
    return environment


def recorded(environment: Mapping[str, str], declared: Iterable[str], secrets: Iterable[str]) -> dict[str, Any]:
    """What a record says of an environment: the ``variables`` that a result may depend on, and the names of ``secrets``."""
    variables = {}
    for name in sorted({*declared, *(name for name in environment if name.startswith(_READ_BY_FRAMEWORKS))}):
        is_ours = name == "KERAS_HOME" and name not in declared
        if not is_ours and name not in secrets and not any(part in name.upper() for part in _CONFIDENTIAL):
            variables[name] = environment[name]
    return {"variables": variables, "secrets": sorted(name for name in secrets if name in environment)}


def _keras_home() -> str:
    """A temporary folder for Keras that has what is cached (datasets, weights) but no ``keras.json``, until this process ends."""
    cached = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
    folder = folder_of_process("keras")
    for name in ("datasets", "models") if cached.is_absolute() else ():  # not for a user without a home
        try:
            # A link to nothing could not be downloaded to.
            (cached / name).mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(cached / name)
        except OSError:
            continue
    return str(folder)
