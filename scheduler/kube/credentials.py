"""Logins: certificates, tokens, passwords, plugins and OIDC, by kube_config's loader with kubectl's rules where it has others."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler.kube.errors import KubeError
from scheduler.kube.kubeconfig import Access
from scheduler.kube.lazy_kubernetes import ConfigException, ConfigNode, Configuration, ExecProvider, KubeConfigLoader

_KEY = "BearerToken"
_CERTIFICATES = tuple(
    key for name in ("certificate-authority", "client-certificate", "client-key") for key in (name, f"{name}-data")
)


class Login:
    """What goes with each request; ``renew`` asks the plugin, the token's file or the OIDC provider again. Safe for threads."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._loader = _Loader(access)
        self._lock = threading.Lock()
        self._configuration: Configuration | None = None
        self.generation = 0
        """Grows when the login changes."""

    def configuration(self) -> Any:
        """The server and the login as the kubernetes package has them (a Configuration); raises KubeError."""
        with self._lock:
            return self._current()

    def headers(self) -> list[tuple[str, str]]:
        """The Authorization and the Impersonate headers; raises KubeError where the login cannot be had."""
        with self._lock:
            authorization = self._current().api_key.get(_KEY)
        headers = [("Authorization", authorization)] if authorization else []
        headers += impersonation(self._access.user)
        for name, value in headers:
            if any(character < " " and character != "\t" or character == "\x7f" for character in value):
                raise KubeError(f"context {self._access.context}: {name} would hold a line break or another control character")
        return headers

    def certificate(self) -> tuple[bytes, bytes] | None:
        """The certificate and key to show, PEM: the user's own, or the plugin's; raises KubeError."""
        with self._lock:
            self._current()
            return self._loader.pair

    def renew(self, generation: int) -> bool:
        """Make the login of that generation anew; False where nothing could be different."""
        if not self._loader.renewable:
            return False
        with self._lock:
            if self.generation == generation:
                self._load(force=True)
        return True

    def _current(self) -> Any:
        if self._configuration is None:
            self._load()
            self.generation = 0
        elif self._loader.stale():
            self._load()
        return self._configuration

    def _load(self, force: bool = False) -> None:
        configuration = Configuration(host=self._access.server, proxy="", no_proxy="")
        try:
            self._loader.force = force
            self._loader.load_and_set(configuration)
        except ConfigException as error:
            raise KubeError(f"context {self._access.context}: {error}") from error
        self._configuration = configuration
        self.generation += 1


class _Loader(KubeConfigLoader):  # type: ignore[misc]
    """kube_config's loader of one user and cluster.

    Otherwise than there: a plugin that fails is an error and no request without a login, a token's file is stripped and read
    again, a token or a password keeps plugins and providers out, OIDC never goes without verification, no login leaves over
    plain HTTP, and certificates are not written to /tmp but are loaded by ``scheduler.kube.tls``.
    """

    pair: tuple[bytes, bytes] | None
    force = False

    def __init__(self, access: Access) -> None:
        self.access = access
        self.pair = None
        self._renewed: dict[str, str] = {}
        config = {
            "current-context": "context",
            "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
            "clusters": [{"name": "cluster", "cluster": _without_certificates({**access.cluster, "server": access.server})}],
            "users": [{"name": "user", "user": _without_certificates(access.user)}],
        }
        super().__init__(config)

    @property
    def renewable(self) -> bool:
        """Whether a login that the server refuses may be another when it is asked for again."""
        user = self.access.user
        if not self.access.secure:
            return False
        if user.get("token") or user.get("username"):
            return bool(user.get("tokenFile"))
        return bool(user.get("tokenFile") or (user.get("exec") and not self._has_certificate) or user.get("auth-provider"))

    def stale(self) -> bool:
        """Whether the login must be loaded again: it has ended, or is in a file, which the kubelet replaces while we run."""
        if self.access.secure and self.access.user.get("tokenFile"):
            return True
        expiry = self.__dict__.get("expiry")
        return expiry is not None and expiry <= datetime.now(UTC)

    @property
    def _has_certificate(self) -> bool:
        user = self.access.user
        return bool(user.get("client-certificate") or user.get("client-certificate-data"))

    def _load_authentication(self) -> None:
        before = self.__dict__.pop("token", None)
        self.__dict__.pop("expiry", None)
        if not self.access.secure:
            return
        self.pair = self.access.certificate
        user = self.access.user
        provider = (user.get("auth-provider") or {}).get("name")
        if user.get("auth-provider") and provider != "oidc":
            raise KubeError(f"context {self.access.context}: the auth-provider {provider} was removed from Kubernetes: use exec")
        if self._load_user_token(before) or self._load_user_pass_token():
            return
        if provider:
            self._load_oid_token(self._user["auth-provider"])
        elif user.get("exec") and not self._has_certificate:
            self._load_from_exec_plugin()

    def _load_user_token(self, before: str | None = None) -> bool:
        token, path = self.access.user.get("token"), self.access.user.get("tokenFile")
        if path:
            try:
                read = Path(path).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                # The kubelet replaces it while we read, or it was there a moment ago.
                if before is None and not token:
                    raise KubeError(f"tokenFile {path}: {getattr(error, 'strerror', None) or error}") from error
            else:
                if not read and before is None and not token:
                    raise KubeError(f"tokenFile {path} is empty")
                token = read or token
            if before is not None and not token:
                self.token = before
                return True
        if token:
            self.token = f"Bearer {token}"
        return bool(token)

    def _load_user_pass_token(self) -> bool:
        user = self.access.user
        if not user.get("username"):
            return False
        login = f"{user['username']}:{user.get('password') or ''}"
        self.token = "Basic " + base64.b64encode(login.encode()).decode()
        return True

    def _load_oid_token(self, provider: ConfigNode) -> bool:
        from scheduler.kube import oidc

        config = {**(provider.value.get("config") or {}), **self._renewed}
        where = f"context {self.access.context}: auth-provider oidc"
        token, self._renewed = oidc.id_token(config, where, self.force, self._keep_tokens)
        self.token = f"Bearer {token.text}"
        self.expiry = token.refresh_at
        return True

    def _keep_tokens(self, tokens: Mapping[str, str]) -> None:
        from scheduler.kube import oidc

        oidc.write_tokens(self.access.user_file, self.access.user_name, tokens)

    def _load_from_exec_plugin(self) -> bool:
        status = _ExecPlugin(self.access).run()
        if token := status.get("token"):
            self.token = f"Bearer {token}"
        if status.get("clientCertificateData"):
            self.pair = (status["clientCertificateData"].encode(), status["clientKeyData"].encode())
        if end := status.get("expirationTimestamp"):
            try:
                self.expiry = datetime.fromisoformat(str(end))
                if self.expiry.tzinfo is None:
                    raise ValueError("it has no time zone")
            except ValueError as error:
                raise KubeError(f"the credential plugin answered with the expirationTimestamp {end}, which is no time") from error
        return True


class _ExecPlugin(ExecProvider):  # type: ignore[misc]
    """kube_config's credential plugin (client.authentication.k8s.io), started as kubectl starts it.

    Otherwise than there: whether it may ask depends on stdin and ``interactiveMode``, what it writes to stderr is seen, the
    cluster that it is shown is the API's type, and what it answers is checked.
    """

    def __init__(self, access: Access) -> None:
        self._access, plugin = access, access.user["exec"]
        # What is left out is empty; kube_config would refuse it.
        variables = [{"name": entry["name"], "value": entry.get("value") or ""} for entry in plugin.get("env") or []]
        self._plugin = {**plugin, "env": variables, "args": [argument or "" for argument in plugin.get("args") or []]}
        super().__init__(ConfigNode("exec", self._plugin), None)
        self.name = str(self.args[0])

    def run(self, previous_response: object = None) -> dict[str, Any]:
        mode = self._plugin.get("interactiveMode") or "IfAvailable"
        interactive = mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
        if mode == "Always" and not interactive:
            raise KubeError(f"the credential plugin {self.name} must ask something: run this on a terminal")
        spec: dict[str, Any] = {"interactive": interactive}
        if self._plugin.get("provideClusterInfo"):
            spec["cluster"] = self._cluster()
        info = {"kind": "ExecCredential", "apiVersion": self.api_version, "spec": spec}
        try:
            process = subprocess.run(
                # Looked up in our PATH, whatever PATH the plugin gets.
                [shutil.which(self.name) or self.name, *self.args[1:]],
                env={**self.env, "KUBERNETES_EXEC_INFO": json.dumps(info)},
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=False,
            )
        except OSError as error:
            raise KubeError(f"the credential plugin {self.name} cannot start: {error.strerror}{self._hint()}") from error
        if process.returncode:
            raise KubeError(f"the credential plugin {' '.join(self.args)} ended with {process.returncode}{self._hint()}")
        return self._status(process.stdout)

    def _status(self, output: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(output)
            status = dict(answer["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise KubeError(f"the credential plugin {self.name} printed no ExecCredential with a status") from error
        if answer.get("apiVersion") != self.api_version or answer.get("kind") != "ExecCredential":
            answered = f"{answer.get('kind')} of {answer.get('apiVersion')}"
            raise KubeError(
                f"the credential plugin {self.name} answered with a {answered}, "
                f"the kubeconfig says ExecCredential of {self.api_version}"
            )
        values = {key: status.get(key) or "" for key in ("token", "clientCertificateData", "clientKeyData")}
        if not all(isinstance(value, str) for value in values.values()) or not any(values.values()):
            raise KubeError(f"the credential plugin {self.name} answered with neither a token nor a certificate")
        if bool(values["clientCertificateData"]) != bool(values["clientKeyData"]):
            raise KubeError(f"the credential plugin {self.name} answered with a certificate or a key alone")
        return status

    def _cluster(self) -> dict[str, Any]:
        access, cluster = self._access, self._access.cluster
        authority = access.authority
        values = {
            "server": cluster["server"],
            "tls-server-name": cluster.get("tls-server-name"),
            "insecure-skip-tls-verify": access.insecure,
            "certificate-authority-data": base64.b64encode(authority).decode() if authority else None,
            "proxy-url": cluster.get("proxy-url"),
            "disable-compression": cluster.get("disable-compression"),
        }
        extensions = {entry.get("name"): entry.get("extension") for entry in cluster.get("extensions") or []}
        return {
            **{key: value for key, value in values.items() if value},
            "config": extensions.get("client.authentication.k8s.io/exec"),
        }

    def _hint(self) -> str:
        """The kubeconfig's own words, on one line and without what would move the cursor."""
        words = " ".join((self._plugin.get("installHint") or "").split())
        clean = "".join(letter for letter in words if unicodedata.category(letter)[0] != "C")
        return f": {clean}" if clean else ""


def impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of ``as``, ``as-uid``, ``as-groups`` and ``as-user-extra`` (k8s.io/client-go/transport.ImpersonationConfig)."""
    if not user.get("as"):
        return []
    headers = [("Impersonate-User", user["as"])]
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", user["as-uid"]))
    headers += [("Impersonate-Group", group) for group in user.get("as-groups") or []]
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{_escaped(key)}", value) for value in values or []]
    return headers


def _escaped(key: str) -> str:
    """A key as part of a header's name: what may not be in one as %XX, and % itself."""
    legal = frozenset(b"!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return "".join(chr(byte) if byte in legal else f"%{byte:02X}" for byte in key.encode())


def _without_certificates(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _CERTIFICATES and value is not None}
