"""Logins: certificates, tokens, passwords and credential plugins, made anew when the server refuses them."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler.kube.errors import KubeError
from scheduler.kube.kubeconfig import Access


class Login:
    """What goes with each request; ``renew`` asks the plugin or the token's file again."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._plugin: dict[str, Any] | None = None
        self.generation = 0
        """Grows when the login changes: connections made with an older one are of no use."""

    def header(self) -> dict[str, str]:
        """The Authorization header, or none where a certificate is the login."""
        user = self._access.user
        if user.get("token") and not user.get("tokenFile"):
            return {"Authorization": f"Bearer {user['token']}"}
        if user.get("tokenFile"):
            # Read each time, as the kubelet replaces it while we run.
            try:
                return {"Authorization": f"Bearer {Path(user['tokenFile']).read_text().strip()}"}
            except OSError as error:
                raise KubeError(f"tokenFile {user['tokenFile']}: {error.strerror}") from error
        if user.get("exec"):
            token = self._credential().get("token")
            return {"Authorization": f"Bearer {token}"} if token else {}
        if user.get("username"):
            pair = f"{user['username']}:{user.get('password', '')}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        return {}

    def tls(self) -> ssl.SSLContext:
        """The context of one more connection."""
        access = self._access
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif access.authority:
            try:
                context.load_verify_locations(cadata=access.authority)
            except ssl.SSLError as error:
                raise KubeError(f"context {access.context}: the certificate authority is not a PEM certificate") from error
        else:
            context.load_default_certs()
        certificate, key = access.user.get("client-certificate"), access.user.get("client-key")
        if access.user.get("exec"):
            credential = self._credential()
            certificate = credential.get("clientCertificateData") or certificate
            key = credential.get("clientKeyData") or key
        if certificate and key:
            _load_pair(context, certificate, key, access.context)
        return context

    def renew(self, generation: int) -> bool:
        """Make the login of that generation anew; False where nothing could be different."""
        user = self._access.user
        if user.get("tokenFile"):
            return True
        if not user.get("exec"):
            return False
        with self._lock:
            if self.generation == generation:
                self._plugin = None
                self.generation += 1
        return True

    def _credential(self) -> dict[str, Any]:
        with self._lock:
            if self._plugin is None or _expired(self._plugin):
                if self._plugin is not None:
                    self.generation += 1
                self._plugin = run_plugin(self._access)
            return self._plugin


def run_plugin(access: Access, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The status of the ExecCredential that the user's plugin prints (client.authentication.k8s.io)."""
    plugin = access.user["exec"]
    command = [str(plugin.get("command", "")), *map(str, plugin.get("args") or [])]
    interactive = plugin.get("interactiveMode", "IfAvailable") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if plugin.get("interactiveMode") == "Always" and not interactive:
        raise KubeError(f"the credential plugin {command[0]} must ask something: run this on a terminal")
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        authority = access.authority and base64.b64encode(access.authority.encode()).decode()
        told = {
            "server": access.server,
            "tls-server-name": access.server_name,
            "insecure-skip-tls-verify": access.insecure,
            "certificate-authority-data": authority,
            "proxy-url": access.proxy,
        }
        spec["cluster"] = {key: value for key, value in told.items() if value}
        extensions = access.cluster.get("extensions") or []
        config = [each.get("extension") for each in extensions if each.get("name") == "client.authentication.k8s.io/exec"]
        if config:
            spec["cluster"]["config"] = config[0]
    info = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": spec}
    own = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or []}
    env = {**environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        done = subprocess.run(
            command, env=env, stdin=None if interactive else subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
    except OSError as error:
        hint = plugin.get("installHint")
        raise KubeError(
            f"the credential plugin {command[0]} cannot start: {error.strerror}" + (f": {hint}" if hint else "")
        ) from error
    if done.returncode:
        raise KubeError(f"the credential plugin {' '.join(command)} ended with {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        status = dict(answer["status"])
    except (ValueError, KeyError, TypeError) as error:
        raise KubeError(f"the credential plugin {command[0]} printed no ExecCredential with a status") from error
    if answer.get("apiVersion") != plugin.get("apiVersion"):
        given, wanted = answer.get("apiVersion"), plugin.get("apiVersion")
        raise KubeError(f"the credential plugin {command[0]} answered in {given}, the kubeconfig says {wanted}")
    return status


def _expired(status: Mapping[str, Any]) -> bool:
    end = status.get("expirationTimestamp")
    return bool(end) and datetime.fromisoformat(str(end)) <= datetime.now(UTC)


def _load_pair(context: ssl.SSLContext, certificate: str, key: str, name: str) -> None:
    # ssl takes a key only from a file.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate.rstrip() + "\n" + key)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except (ssl.SSLError, OSError) as error:
            raise KubeError(f"context {name}: client-certificate and client-key are no pair of PEM texts") from error
