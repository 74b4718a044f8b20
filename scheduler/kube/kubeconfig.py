"""Where the cluster is and how to get in: kubeconfig files read and merged as kubectl does, or the pod that we run in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.kube import kubeconfig_schema, proxy
from scheduler.kube.errors import KubeError
from scheduler.kube.lazy_kubernetes import ConfigException, ConfigNode, InClusterConfigLoader, KubeConfigMerger

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_LOGINS = ("token", "tokenFile", "client-certificate", "client-certificate-data", "username", "exec", "auth-provider")
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass(frozen=True)
class Access:
    """A server and a login; ``cluster`` and ``user`` are as the kubeconfig has them, with absolute paths."""

    server: str
    context: str = ""
    namespace: str | None = None
    user: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cluster: Mapping[str, Any] = field(default_factory=dict, repr=False)
    user_name: str = ""
    user_file: str | None = None
    """The kubeconfig that has the user: an OIDC login that was renewed is written there."""
    warnings: tuple[str, ...] = ()
    """What is in the files and is not read, a line each."""

    @property
    def secure(self) -> bool:
        """Whether the server is spoken to over TLS; over plain HTTP no login is sent."""
        return self.server.lower().startswith("https://")

    @property
    def insecure(self) -> bool:
        """Whether the server's certificate is taken unchecked."""
        return bool(self.cluster.get("insecure-skip-tls-verify"))

    @property
    def authority(self) -> bytes | None:
        """The PEM text of the certificate authority; raises KubeError where its file cannot be read."""
        return self._pem(self.cluster, "certificate-authority")

    @property
    def certificate(self) -> tuple[bytes, bytes] | None:
        """The user's certificate and its key; raises KubeError where a file cannot be read."""
        certificate = self._pem(self.user, "client-certificate")
        key = self._pem(self.user, "client-key") if certificate else None
        return (certificate, key) if certificate and key else None

    def _pem(self, entry: Mapping[str, Any], key: str) -> bytes | None:
        if data := entry.get(f"{key}-data"):
            return kubeconfig_schema.decode(data)
        if not entry.get(key):
            return None
        try:
            return Path(entry[key]).read_bytes()
        except OSError as error:
            raise KubeError(f"context {self.context}: {key} {entry[key]}: {error.strerror}") from error


def find_access(kubeconfig: Path | None, context: str | None, environ: Mapping[str, str] = os.environ) -> Access:
    """The access that ``--kubeconfig``, ``KUBECONFIG``, ``~/.kube/config`` or the pod's service account gives, in this order.

    Raises KubeError for what kubectl refuses too, and for a context whose user is not there, whom kubectl takes for anonymous.
    """
    if kubeconfig is not None:
        if not kubeconfig.exists():
            raise KubeError(f"--kubeconfig {kubeconfig}: no such file")
        return select(merge([kubeconfig]), context, str(kubeconfig))
    listed = [Path(name) for name in dict.fromkeys(environ.get("KUBECONFIG", "").split(os.pathsep)) if name]
    paths = listed or [Path(environ.get("HOME", "/")) / ".kube" / "config"]
    present = [path for path in paths if path.exists()]
    if not present:
        if "KUBERNETES_SERVICE_HOST" in environ and (ACCOUNT / "token").exists():
            return in_cluster(environ)
        raise KubeError(f"no cluster: {', '.join(map(str, paths))} not found: name a kubeconfig by --kubeconfig or KUBECONFIG")
    return select(merge(present), context, ", ".join(map(str, present)))


def in_cluster(environ: Mapping[str, str], account: Path = ACCOUNT) -> Access:
    """What every pod with a service account has; raises KubeError where it has not."""
    token, authority, namespace = account / "token", account / "ca.crt", account / "namespace"
    loader = InClusterConfigLoader(str(token), str(authority), environ={"KUBERNETES_SERVICE_PORT": "443", **environ})
    try:
        loader._load_config()
    except (ConfigException, OSError) as error:
        raise KubeError(f"no cluster: the service account in {account} cannot be used: {error}") from error
    return Access(
        server=loader.host,
        context="in-cluster",
        namespace=namespace.read_text().strip() if namespace.exists() else None,
        # The file and not what the loader has read of it: it is replaced while we run, and may end with a line break.
        user={"tokenFile": str(token)},
        cluster={"server": loader.host, "certificate-authority": str(authority)},
    )


@dataclass(frozen=True)
class Merged:
    """Several files as one: entries by name, and each user's file."""

    clusters: Mapping[str, Mapping[str, Any]]
    users: Mapping[str, Mapping[str, Any]]
    contexts: Mapping[str, Mapping[str, Any]]
    current_context: str | None
    user_files: Mapping[str, str]
    warnings: tuple[str, ...]


def merge(paths: list[Path]) -> Merged:
    """Several files as one: the first to name a cluster, user, context or the current context wins; raises KubeError."""
    merger = _Merger(paths)
    merged = merger.config.value
    entries = {
        group: {str(node.value.get("name") or ""): node.value.get(group[:-1]) or {} for node in merged[group]}
        for group in ("clusters", "users", "contexts")
    }
    return Merged(
        **entries,
        current_context=merged["current-context"],
        user_files={str(node.value.get("name") or ""): node.path for node in merged["users"]},
        warnings=tuple(merger.warnings),
    )


def select(merged: Merged, context: str | None, source: str) -> Access:
    """The access of a context, by default the current one; raises KubeError."""
    name = context or merged.current_context
    known = ", ".join(merged.contexts) or "none"
    if not name:
        raise KubeError(f"{source}: no current context: name one by --context (there are: {known})")
    if name not in merged.contexts:
        origin = f"--context {name}" if context else f"current-context {name}"
        raise KubeError(f"{origin}: no such context in {source} (there are: {known})")
    chosen = merged.contexts[name]
    cluster = merged.clusters.get(chosen.get("cluster") or "")
    user_name = chosen.get("user") or ""
    user = merged.users.get(user_name) if user_name else {}
    if not cluster or not cluster.get("server"):
        raise KubeError(f"{source}: context {name} names the cluster {chosen.get('cluster')}, which has no server there")
    if user is None:
        raise KubeError(f"{source}: context {name} names the user {user_name}, who is not there")
    access = Access(
        server=_address(str(cluster["server"])),
        context=str(name),
        namespace=chosen.get("namespace") or None,
        user=user,
        cluster=cluster,
        user_name=user_name,
        user_file=merged.user_files.get(user_name),
        warnings=merged.warnings,
    )
    for problem in _problems(access):
        raise KubeError(f"{source}: context {name}: {problem}")
    return access


class _Merger(KubeConfigMerger):  # type: ignore[misc]
    """kube_config's merger, which takes the last current-context, refuses an empty file, and reads relative paths of a user from
    the folder of the cluster's file."""

    def __init__(self, paths: list[Path]) -> None:
        self.warnings: list[str] = []
        super().__init__(paths)

    def _load_config_from_file_path(self, paths: Iterable[Path]) -> None:
        self.config_merged = ConfigNode("kubeconfig", {"clusters": [], "users": [], "contexts": [], "current-context": None})
        for path in paths:
            self.load_config(path)

    def load_config(self, path: Path) -> None:
        content, documents = _read(path)
        try:
            unknown = kubeconfig_schema.check(content)
        except kubeconfig_schema.Fault as fault:
            raise KubeError(f"{path}: {fault}") from fault
        self.warnings += [f"{path}: {line}" for line in unknown]
        if documents > 1:
            self.warnings.append(f"{path}: only the first of its documents is read")
        folder = Path(os.path.abspath(path)).parent
        for group in ("clusters", "users", "contexts"):
            entries = [{"name": "", **entry} for entry in content.get(group) or [] if entry]
            kind = group[:-1]
            resolved = [{**entry, kind: _absolute(entry.get(kind) or {}, folder)} for entry in entries]
            self._merge(group, resolved, str(path))
        merged = self.config_merged.value
        merged["current-context"] = merged["current-context"] or content.get("current-context")


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """The first document of a file, and how many it has, at most two."""
    import yaml

    try:
        with open(path, "rb") as file:
            documents = yaml.load_all(file, _loader())
            content = next(documents, None)
            more = next(documents, None) is not None
    except OSError as error:
        raise KubeError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise KubeError(f"{path}: not a kubeconfig: {' '.join(str(error).split())[:200]}") from error
    if content is not None and not isinstance(content, dict):
        raise KubeError(f"{path}: not a kubeconfig: it holds no keys")
    return content or {}, 1 + more


def _loader() -> Any:
    """libyaml's, with the scalars of Go's YAML: what is a string to kubectl is one here, and what is none is none."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge", "bool")]
            for first, resolvers in base.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver("!number", _NUMBER, list("-+.0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))
    Loader.add_constructor("!number", lambda loader, node: _number(node.value))
    Loader.add_constructor("tag:yaml.org,2002:bool", lambda loader, node: node.value.lower() in ("y", "yes", "true", "on"))
    Loader.add_constructor(
        "tag:yaml.org,2002:binary", lambda loader, node: loader.construct_yaml_binary(node).decode(errors="replace")
    )
    Loader.add_multi_constructor("!", lambda loader, suffix, node: _untagged(loader, node))
    return Loader


_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?0[bBoOxX][0-9a-fA-F_]+$"
    r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)


def _number(text: str) -> int | float | str:
    """A number as Go's YAML reads it: with a leading zero it is octal."""
    digits = text.replace("_", "")
    octal = re.fullmatch("([-+]?)0([0-7]+)", digits)
    try:
        return int(octal[1] + octal[2], 8) if octal else int(digits, 0)
    except ValueError:
        pass
    try:
        value = float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return float("nan") if text.lstrip("+-").lower() in (".inf", ".nan") else text
    return text if value in (float("inf"), float("-inf")) and "inf" not in text else value


def _untagged(loader: Any, node: Any) -> Any:
    """A value whose tag says nothing to us, as if it had none."""
    if node.id == "scalar":
        return node.value
    return loader.construct_mapping(node, deep=True) if node.id == "mapping" else loader.construct_sequence(node, deep=True)


def _absolute(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """An entry whose relative paths begin at the folder of its file; a program's too, unless it is looked up in PATH."""
    absolute = dict(entry)
    for key in _FILES:
        if absolute.get(key):
            absolute[key] = str(folder / absolute[key])
    program = absolute.get("exec")
    if program and os.sep in (program.get("command") or ""):
        absolute["exec"] = {**program, "command": str(folder / program["command"])}
    return absolute


def _address(server: str) -> str:
    """A server's URL; kubectl takes one without a scheme for HTTP, and a query or fragment for nothing."""
    if "://" not in server:
        server = f"http://{server}"
    return re.split("[?#]", server, maxsplit=1)[0].rstrip("/")


def _problems(access: Access) -> Iterable[str]:
    """What kubectl refuses in a context (k8s.io/client-go/tools/clientcmd/validation.go)."""
    cluster, user = access.cluster, access.user
    if cluster.get("proxy-url"):
        proxy.parse(cluster["proxy-url"], "proxy-url")
    yield from _both(cluster, "certificate-authority")
    if access.secure and access.insecure and (cluster.get("certificate-authority") or cluster.get("certificate-authority-data")):
        yield "insecure-skip-tls-verify and a certificate authority exclude each other: remove one"
    if user.get("token") and (user.get("username") or user.get("password")):
        yield "token and username exclude each other: remove one"
    if user.get("client-certificate") or user.get("client-certificate-data"):
        yield from _both(user, "client-certificate")
        yield from _both(user, "client-key")
        if not user.get("client-key") and not user.get("client-key-data"):
            yield "client-certificate needs a client-key"
    yield from _unreadable(access)
    if not user.get("as"):
        for key in ("as-uid", "as-groups", "as-user-extra"):
            if user.get(key):
                yield f"{key} needs as, the user to impersonate"
    if user.get("exec"):
        yield from _exec_problems(user)
    if access.secure and not any(user.get(key) for key in _LOGINS):
        yield f"the user {access.user_name or 'it names'} has no login: no token, certificate, password, exec or auth-provider"


def _both(entry: Mapping[str, Any], key: str) -> Iterable[str]:
    if entry.get(key) and entry.get(f"{key}-data"):
        yield f"{key} and {key}-data are both given: remove one"


def _unreadable(access: Access) -> Iterable[str]:
    files = [("certificate-authority", access.cluster)]
    if access.user.get("client-certificate") or access.user.get("client-certificate-data"):
        files += [("client-certificate", access.user), ("client-key", access.user)]
    for key, entry in files:
        if entry.get(key):
            try:
                open(entry[key], "rb").close()
            except OSError as error:
                yield f"{key} {entry[key]}: {error.strerror}"


def _exec_problems(user: Mapping[str, Any]) -> Iterable[str]:
    plugin = user["exec"]
    if user.get("auth-provider"):
        yield "exec and auth-provider exclude each other: remove one"
    if not plugin.get("command"):
        yield "exec.command is missing"
    version = plugin.get("apiVersion")
    if version not in _EXEC_VERSIONS:
        yield f"exec.apiVersion is {version or 'missing'}, must be {' or '.join(_EXEC_VERSIONS)}"
    if any(not (entry or {}).get("name") for entry in plugin.get("env") or []):
        yield "exec.env has an entry without a name"
    mode = plugin.get("interactiveMode") or ("IfAvailable" if version == _EXEC_VERSIONS[1] else "")
    if mode not in ("Never", "IfAvailable", "Always"):
        yield f"exec.interactiveMode is {mode or 'missing'}, must be Never, IfAvailable or Always"
