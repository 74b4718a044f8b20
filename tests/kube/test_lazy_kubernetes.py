"""The kubernetes package, loaded in parts: cheap, and everything stays where it is."""

from __future__ import annotations

import json
import subprocess
import sys

PACKAGES = ("kubernetes", "kubernetes.client", "kubernetes.config", "kubernetes.utils")
ATTRIBUTES = """
import importlib, json, sys
{before}
def kind(module, name):
    value = getattr(module, name)
    if isinstance(value, type(sys)):
        return "module"
    return f"{{type(value).__name__}} {{getattr(value, '__module__', '')}} {{getattr(value, '__qualname__', '')}}"
# Whoever names one has more submodules loaded.
importlib.import_module("kubernetes.client").ApiClient
shown = {{}}
for package in {packages}:
    module = importlib.import_module(package)
    names = sorted(name for name in dir(module) if not name.startswith("__"))
    shown[package] = {{name: kind(module, name) for name in names}}
    assert all(hasattr(module, name) for name in module.__dict__.get("__all__", ()))
import kubernetes.config.kube_config as kube_config
shown["kube_config"] = sorted(vars(kube_config))
print(json.dumps(shown))
"""


def attributes(before: str) -> dict[str, object]:
    code = ATTRIBUTES.format(before=before, packages=PACKAGES)
    return dict(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout))


def test_every_attribute_is_where_it_was() -> None:
    assert attributes("from scheduler.kube import lazy_kubernetes") == attributes("import kubernetes")


def loaded(code: str) -> set[str]:
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_a_client_loads_no_models_and_no_other_http_client() -> None:
    found = loaded("from scheduler.kube import kubeconfig, transport")
    assert "kubernetes.config.kube_config" in found and "kubernetes.client.rest" in found
    heavy = ("pydantic", "requests", "requests_oauthlib", "oauthlib", "aiohttp", "kubernetes.client.models", "kubernetes.dynamic")
    assert not found & {*heavy, "kubernetes.client.api_client"}


def test_a_command_that_asks_no_cluster_does_not_load_it() -> None:
    assert not any(name.startswith(("kubernetes", "urllib3")) for name in loaded("import scheduler.cli, scheduler.kube.client"))


STAND_INS = """
from scheduler.kube import lazy_kubernetes
from kubernetes.config import kube_config
session = kube_config.OAuth2Session(client_id="a")
import requests_oauthlib, oauthlib.oauth2
assert type(session) is requests_oauthlib.OAuth2Session
assert kube_config.oauthlib.oauth2.rfc6749.errors.InvalidClientIdError is oauthlib.oauth2.rfc6749.errors.InvalidClientIdError
client = kube_config.ApiClient()
import kubernetes.client
assert type(client) is kubernetes.client.ApiClient
assert kubernetes.client.Configuration is lazy_kubernetes.Configuration
"""


def test_what_is_stood_in_for_comes_when_it_is_used() -> None:
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", STAND_INS], check=True)


LOADED_BEFORE = """
import kubernetes.client as before
from scheduler.kube import lazy_kubernetes
import kubernetes.client as after
assert before is after and before.Configuration is lazy_kubernetes.Configuration
"""


def test_a_kubernetes_that_is_loaded_already_is_taken_as_it_is() -> None:
    subprocess.run([sys.executable, "-c", LOADED_BEFORE], check=True)
