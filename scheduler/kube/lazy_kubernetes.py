"""The parts of the ``kubernetes`` package that we stand on, imported without the rest of it.

``import kubernetes`` runs every package that it has, and ``kubernetes.config`` imports an HTTP client with pydantic and two OAuth
libraries for what few kubeconfigs need. CPU seconds above ``python -c pass``, CPython 3.11, best of nine: 0.27 for
``kubernetes.config`` and ``kubernetes.client.rest`` as they come, 0.10 as they are imported here, of which urllib3 is 0.06.

So its packages are put into ``sys.modules`` without their ``__init__`` having run. The first attribute that is asked of one and
is no submodule imported by then runs it: everything stays where it is. Python 3.15's lazy imports will make this needless.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_PACKAGES = ("kubernetes", "kubernetes.client", "kubernetes.config", "kubernetes.utils")
_lock = threading.RLock()


class _LazyPackage(ModuleType):
    """A package whose ``__init__`` runs when something is asked that only it can answer."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__version__", "__project__", "__all__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self._run()
        return getattr(self, name)

    def __dir__(self) -> Iterable[str]:
        self._run()
        return dir(self)

    def _run(self) -> None:
        with _lock:
            if type(self) is _LazyPackage:
                self.__class__ = ModuleType  # type: ignore[assignment]
                spec = self.__spec__
                assert spec is not None and spec.loader is not None
                spec.loader.exec_module(self)


def _install(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _LazyPackage
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _on_first_call(module: str, name: str) -> Callable[..., Any]:
    """Stands for a class until it is built."""

    def build(*arguments: Any, **keywords: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments, **keywords)

    build.__name__ = build.__qualname__ = name
    return build


class _OnFirstAttribute(ModuleType):
    """Stands for a module until something is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _without_oauth() -> Iterator[None]:
    """What is imported meanwhile gets stand-ins for the two OAuth libraries, unless they are there already."""
    oauthlib, oauth2 = _OnFirstAttribute("oauthlib"), _OnFirstAttribute("oauthlib.oauth2")
    oauthlib.__path__ = []
    oauthlib.oauth2 = oauth2  # type: ignore[attr-defined]
    session = ModuleType("requests_oauthlib")
    session.OAuth2Session = _on_first_call("requests_oauthlib", "OAuth2Session")  # type: ignore[attr-defined]
    names = {"oauthlib": oauthlib, "oauthlib.oauth2": oauth2, "requests_oauthlib": session}
    absent = {name: module for name, module in names.items() if name not in sys.modules}
    if len(absent) < len(names):
        yield
        return
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _prepare() -> None:
    """Import ``kubernetes.config.kube_config`` with stand-ins; where ``kubernetes`` is there already, nothing is left to save."""
    if any(name in sys.modules for name in _PACKAGES):
        return
    for name in _PACKAGES:
        _install(name)
    client = sys.modules["kubernetes.client"]
    configuration = importlib.import_module("kubernetes.client.configuration")
    client.Configuration = configuration.Configuration  # type: ignore[attr-defined]
    client.ApiClient = _on_first_call("kubernetes.client.api_client", "ApiClient")  # type: ignore[attr-defined]
    try:
        with _without_oauth():
            importlib.import_module("kubernetes.config.kube_config")
    finally:
        del client.ApiClient


with _lock:
    _prepare()

from kubernetes.client.configuration import Configuration  # noqa: E402
from kubernetes.client.rest import RESTClientObject  # noqa: E402
from kubernetes.config.config_exception import ConfigException  # noqa: E402
from kubernetes.config.exec_provider import ExecProvider  # noqa: E402
from kubernetes.config.incluster_config import InClusterConfigLoader  # noqa: E402
from kubernetes.config.kube_config import ConfigNode, KubeConfigLoader, KubeConfigMerger  # noqa: E402

__all__ = [
    "ConfigException",
    "ConfigNode",
    "Configuration",
    "ExecProvider",
    "InClusterConfigLoader",
    "KubeConfigLoader",
    "KubeConfigMerger",
    "RESTClientObject",
]
