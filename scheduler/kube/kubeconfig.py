"""Where the cluster is and how to get in: kubeconfig files merged as kubectl merges them, or the pod that we run in.

Read here and not by the ``kubernetes`` package, whose import alone takes as long as a whole sync with nothing to do.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.kube.errors import KubeError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILES = (
    "certificate-authority",
    "client-certificate",
    "client-key",
    "tokenFile",
)


@dataclass(frozen=True)
class Access:
    """A server and a login; certificates and keys as PEM text."""

    server: str
    context: str = ""
    namespace: str | None = None
    authority: str | None = None
    insecure: bool = False
    server_name: str | None = None
    proxy: str | None = None
    user: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cluster: Mapping[str, Any] = field(default_factory=dict, repr=False)


def find_access(kubeconfig: Path | None, context: str | None, environ: Mapping[str, str] = os.environ) -> Access:
    """The access that ``--kubeconfig``, ``KUBECONFIG``, ``~/.kube/config`` or the pod's service account gives, in this order."""
    if kubeconfig is not None:
        if not kubeconfig.exists():
            raise KubeError(f"--kubeconfig {kubeconfig}: no such file")
        return select(merge([kubeconfig]), context, str(kubeconfig))
    listed = [Path(name) for name in environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    paths = listed or [Path(environ.get("HOME", "/")) / ".kube" / "config"]
    present = [path for path in paths if path.exists()]
    if not present:
        if "KUBERNETES_SERVICE_HOST" in environ and (ACCOUNT / "token").exists():
            return in_cluster(environ)
        raise KubeError(f"no cluster: {', '.join(map(str, paths))} not found: name a kubeconfig by --kubeconfig or KUBECONFIG")
    return select(merge(present), context, ", ".join(map(str, present)))


def in_cluster(environ: Mapping[str, str], account: Path = ACCOUNT) -> Access:
    """What every pod with a service account has."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        context="in-cluster",
        namespace=(account / "namespace").read_text().strip() if (account / "namespace").exists() else None,
        authority=(account / "ca.crt").read_text(),
        user={"tokenFile": str(account / "token")},
    )


def merge(paths: list[Path]) -> dict[str, Any]:
    """Several files as one: the first to name a cluster, user, context or the current context wins."""
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}}
    for path in paths:
        content = _read(path)
        if content.get("current-context"):
            merged.setdefault("current-context", content["current-context"])
        for group, one in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for entry in content.get(group) or []:
                if isinstance(entry, dict) and entry.get("name") is not None:
                    value = _absolute(dict(entry.get(one) or {}), path.parent)
                    merged[group].setdefault(str(entry["name"]), value)
    return merged


def select(merged: Mapping[str, Any], context: str | None, source: str) -> Access:
    """The access of a context, by default the current one."""
    name = context or merged.get("current-context")
    if not name:
        known = ", ".join(merged["contexts"]) or "none"
        raise KubeError(f"{source}: no current context: name one by --context (there are: {known})")
    if name not in merged["contexts"]:
        known = ", ".join(merged["contexts"]) or "none"
        given = f"--context {name}" if context else f"current-context {name}"
        raise KubeError(f"{given}: no such context in {source} (there are: {known})")
    chosen = merged["contexts"][name]
    cluster = merged["clusters"].get(str(chosen.get("cluster")))
    user = merged["users"].get(str(chosen.get("user"))) if chosen.get("user") else {}
    if cluster is None or not cluster.get("server"):
        raise KubeError(f"{source}: context {name} names the cluster {chosen.get('cluster')}, which has no server there")
    if user is None:
        raise KubeError(f"{source}: context {name} names the user {chosen.get('user')}, who is not there")
    if "auth-provider" in user:
        raise KubeError(f"{source}: the user of context {name} has an auth-provider, which Kubernetes 1.26 removed: use exec")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        context=str(name),
        namespace=chosen.get("namespace"),
        authority=_pem(cluster, "certificate-authority", source),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        user={
            **user,
            "client-certificate": _pem(user, "client-certificate", source),
            "client-key": _pem(user, "client-key", source),
        },
        cluster=cluster,
    )


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        with open(path, "rb") as file:
            content = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubeError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeError(f"{path}: not a kubeconfig: {' '.join(str(error).split())[:200]}") from error
    if content is not None and not isinstance(content, dict):
        raise KubeError(f"{path}: not a kubeconfig: it holds no keys")
    return content or {}


def _absolute(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    for key in _FILES:
        if entry.get(key):
            entry[key] = str(folder / entry[key])
    program = entry.get("exec")
    if isinstance(program, dict) and os.sep in str(program.get("command", "")):
        entry["exec"] = {**program, "command": str(folder / program["command"])}
    return entry


def _pem(entry: Mapping[str, Any], key: str, source: str) -> str | None:
    """A certificate or key, in the file itself or in one that it names."""
    data = entry.get(f"{key}-data")
    try:
        if data:
            return base64.b64decode(data, validate=True).decode()
        return Path(entry[key]).read_text() if entry.get(key) else None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise KubeError(f"{source}: {key}-data is not base64 of a PEM file") from error
    except OSError as error:
        raise KubeError(f"{source}: {key} {entry[key]}: {error.strerror}") from error
