"""What tests do with a cluster, ours or a given one: kubectl, clients, namespaces, users with few rights, metrics.

Tests get a ``Cluster`` from the fixture ``cluster`` (see ``cluster.fixtures``):

    cluster.kubeconfig                       # Path
    cluster.plane                            # ControlPlane, or None on a given cluster
    cluster.kubectl("get", "cronjob", "-n", ns, "-o", "name")    # str: stdout; raises KubectlFailed with stderr
    cluster.get("cronjob", "digits-ensemble", ns)                # dict: one object, with managedFields
    cluster.objects("cronjob", ns, "a=b")                       # list of dicts, by label selector
    cluster.apply(object, ns)                                    # kubectl apply --server-side, strict validation
    cluster.client(kubeconfig=None)          # kubernetes.client.ApiClient
    cluster.new_namespace("restricted")      # str: a fresh namespace that enforces this Pod Security level
    cluster.limited_user(ns, rules)          # Path: kubeconfig of a service account with just these Role rules
    cluster.requests()                       # Counter: (verb, resource) -> requests since the server's start
    cluster.metrics()                        # str: the server's /metrics
    cluster.wait_for(lambda: ..., seconds=30, what="a Job")      # the first true answer; raises NotReady
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.certificates import write_kubeconfig
from cluster.control_plane import ControlPlane
from cluster.processes import NotReady

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

T = TypeVar("T")
Object = dict[str, Any]


class KubectlFailed(Exception):
    """What kubectl said on stderr."""


@dataclass
class Cluster:
    kubeconfig: Path
    folder: Path
    plane: ControlPlane | None = None
    namespaces: list[str] = field(default_factory=list)

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """An independent client's view; ``kubeconfig`` makes it another user's."""
        found = self.plane and self.plane.binaries / "kubectl"
        program = str(found) if found and found.exists() else shutil.which("kubectl") or "kubectl"
        command = [program, f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False)
        if done.returncode:
            raise KubectlFailed(done.stderr.strip())
        return done.stdout

    def get(self, kind: str, name: str, namespace: str) -> Object:
        return dict(json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--show-managed-fields")))

    def objects(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        shown = self.kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json", "--show-managed-fields")
        return list(json.loads(shown)["items"])

    def apply(self, manifest: Object | Sequence[Object], namespace: str) -> None:
        items = [manifest] if isinstance(manifest, dict) else list(manifest)
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.kubectl("apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-", stdin=text)

    def client(self, kubeconfig: Path | None = None) -> ApiClient:
        from kubernetes import config

        made: ApiClient = config.new_client_from_config(str(kubeconfig or self.kubeconfig))  # type: ignore[no-untyped-call]
        return made

    def new_namespace(self, level: str = "restricted") -> str:
        """``level``: restricted, baseline or privileged. Deleted at the session's end, or with the control plane."""
        name = f"cronsemble-test-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": level}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(body))
        self.namespaces.append(name)
        return name

    def forget(self, namespace: str) -> None:
        """Deletes it without waiting for the end."""
        self.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
        if namespace in self.namespaces:
            self.namespaces.remove(namespace)

    def limited_user(self, namespace: str, rules: Sequence[Object], name: str = "limited") -> Path:
        """``rules`` as a Role has them. The token lasts an hour; called again with other rules, it replaces them."""
        metadata = {"name": name, "namespace": namespace}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        }
        self.apply([account, role, binding], namespace)
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=1h").strip()
        view = json.loads(self.kubectl("config", "view", "--minify", "--raw", "--flatten", "-o", "json"))
        server = view["clusters"][0]["cluster"]
        path = self.folder / f"{namespace}-{name}.kubeconfig"
        write_kubeconfig(path, server["server"], Path("unused"), {"token": token}, namespace)
        content = json.loads(path.read_text())
        content["clusters"][0]["cluster"] = server
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path

    def metrics(self) -> str:
        return self.kubectl("get", "--raw", "/metrics")

    def requests(self) -> Counter[tuple[str, str]]:
        """Requests that the API server has finished since its start, by (verb, resource): ("APPLY", "cronjobs").

        Verbs are as the server counts them: GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE, DELETECOLLECTION. The
        controllers' own requests are in it; they LIST only when they start, and never APPLY.
        """
        counts: Counter[tuple[str, str]] = Counter()
        for labels, value in re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", self.metrics(), re.MULTILINE):
            of = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            counts[of["verb"], of["resource"]] += int(float(value))
        return counts

    def wait_for(self, answer: Callable[[], T], seconds: float = 30, what: str = "the answer") -> T:
        """Asks every 0.1 s until the answer is true; raises NotReady at the deadline."""
        deadline = time.monotonic() + seconds
        while True:
            found = answer()
            if found:
                return found
            if time.monotonic() > deadline:
                raise NotReady(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.1)
