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
    cluster.make_due("digits-ensemble", ns)  # its CronJob starts a Job for the last slot now, not at the next one
    cluster.run_job("digits-ensemble", ns, 29924640)   # ("Complete", logs): a Job of it, made and awaited
    cluster.limited_user(ns, rules)          # Path: kubeconfig of a service account with just these Role rules
    with cluster.counted() as counts: ...    # Counter: ("list", "cronjobs") -> requests of the block, at the server
    cluster.requests()                       # Counter: ("LIST", "cronjobs") -> requests since the server's start, all clients'
    cluster.metrics()                        # str: the server's /metrics
    cluster.wait_for(lambda: ..., seconds=30, what="a Job")      # the first true answer; raises NotReady
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from cluster.certificates import write_kubeconfig
from cluster.control_plane import ControlPlane
from cluster.processes import NotReady

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

T = TypeVar("T")
Object = dict[str, Any]
PATHS = {
    "job": "/apis/batch/v1/namespaces/{}/jobs",
    "cronjob": "/apis/batch/v1/namespaces/{}/cronjobs",
    "pod": "/api/v1/namespaces/{}/pods",
    "configmap": "/api/v1/namespaces/{}/configmaps",
    "serviceaccount": "/api/v1/namespaces/{}/serviceaccounts",
    "resourcequota": "/api/v1/namespaces/{}/resourcequotas",
}


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
        built = self.plane and self.plane.binaries / "kubectl"
        program = str(built) if built and built.exists() else shutil.which("kubectl") or "kubectl"
        command = [program, f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False)
        if done.returncode:
            raise KubectlFailed(done.stderr.strip())
        return done.stdout

    def get(self, kind: str, name: str, namespace: str) -> Object:
        found = self._read(kind, namespace, f"/{name}")
        if found is not None:
            return found
        return dict(json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--show-managed-fields")))

    def objects(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        found = self._read(kind, namespace, f"?labelSelector={quote(selector)}")
        if found is not None:
            # In a list the server leaves out what all have in common.
            common = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
            return [common | each for each in found["items"]]
        shown = self.kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json", "--show-managed-fields")
        return list(json.loads(shown)["items"])

    def _read(self, kind: str, namespace: str, which: str) -> Object | None:
        """What our own server answers, without the start of a kubectl, which tests that wait would make ten times a second.

        None where kubectl is to be asked, and to say what is wrong.
        """
        path = PATHS.get(kind)
        answer = self.plane.read(path.format(namespace) + which) if self.plane and path else None
        return None if answer is None else dict(json.loads(answer))

    def apply(self, manifest: Object | Sequence[Object], namespace: str) -> None:
        items = [manifest] if isinstance(manifest, dict) else list(manifest)
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.kubectl("apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-", stdin=text)

    def client(self, kubeconfig: Path | None = None) -> ApiClient:
        from kubernetes import config

        api_client: ApiClient = config.new_client_from_config(str(kubeconfig or self.kubeconfig))
        return api_client

    def new_namespace(self, level: str = "restricted") -> str:
        """``level``: restricted, baseline or privileged. On a given cluster it is deleted at the session's end."""
        name = f"cronsemble-test-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": level}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(body))
        self.namespaces.append(name)
        if self.plane is None or self.plane.has_controllers:  # no pod is admitted before its service account is there
            self.wait_for(lambda: self._there("serviceaccount", "default", name), 30, "the namespace's service account")
        return name

    def _there(self, kind: str, name: str, namespace: str) -> bool:
        if self.plane is not None:
            return self._read(kind, namespace, f"/{name}") is not None
        return self.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "name") != ""

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

    def make_due(self, cronjob: str, namespace: str, since: timedelta = timedelta(minutes=1)) -> None:
        """The controller believes that it last started a Job ``since`` ago, and starts one for the newest slot after that.

        Needs a starting deadline that reaches back to that slot, or none.
        """
        last = (datetime.now(UTC) - since).replace(second=0)
        patch = json.dumps({"status": {"lastScheduleTime": f"{last:%Y-%m-%dT%H:%M:%SZ}"}})
        self.kubectl("patch", "cronjob", cronjob, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)

    def run_job(self, cronjob: str, namespace: str, minute: int, seconds: float = 300) -> tuple[str, str]:
        """Run a CronJob's Job now, named as for that minute since 1970: Complete or Failed, and what its containers said."""
        name = f"{cronjob}-{minute}"
        self.kubectl("create", "job", name, f"--from=cronjob/{cronjob}", "-n", namespace)

        def ended() -> list[str]:
            conditions = self.get("job", name, namespace)["status"].get("conditions", [])
            return [condition["type"] for condition in conditions if condition["type"] in ("Complete", "Failed")]

        (end,) = self.wait_for(ended, seconds, f"the end of {name}")
        return end, self.kubectl("logs", f"job/{name}", "-n", namespace, "--all-containers")

    def metrics(self) -> str:
        return self.kubectl("get", "--raw", "/metrics")

    def requests(self) -> Counter[tuple[str, str]]:
        """Requests that the API server has finished since its start, by (verb, resource): ("APPLY", "cronjobs").

        Verbs are as the server counts them: GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE, DELETECOLLECTION. The
        controllers' own requests are in it: they LIST when they start and when a namespace is deleted.
        """
        counts: Counter[tuple[str, str]] = Counter()
        for labels, value in re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", self.metrics(), re.MULTILINE):
            of = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            counts[of["verb"], of["resource"]] += int(float(value))
        return counts

    @contextlib.contextmanager
    def counted(self, agent: str = "") -> Iterator[Counter[tuple[str, str]]]:
        """Filled when the block has ended, from our control plane's audit log: no component's own request is in it.

        Verbs are the audit log's: get, list, watch, create, update, patch (server-side apply too), delete,
        deletecollection. ``agent``: only requests whose User-Agent begins so; kubectl's begins with ``kubectl``. A request
        outside every resource counts as (verb, path).
        """
        assert self.plane is not None, "a given cluster's audit log is not ours to read"
        audit, counts = self.plane.audit, Counter[tuple[str, str]]()
        start = self._mark(audit)
        yield counts
        end = self._mark(audit)
        with open(audit, "rb") as log:
            log.seek(start)
            for line in log.read(end - start).splitlines():
                event = json.loads(line)
                uri = event["requestURI"]
                if not uri.startswith("/healthz?mark=") and event.get("userAgent", "").startswith(agent):
                    resource = event.get("objectRef", {}).get("resource") or uri.partition("?")[0]
                    counts[event["verb"], resource] += 1

    def _mark(self, audit: Path) -> int:
        """Where the log has come to: the server writes an event a moment after it has answered."""
        mark = f"/healthz?mark={secrets.token_hex(8)}".encode()
        self.kubectl("get", "--raw", mark.decode())
        self.wait_for(lambda: mark in audit.read_bytes(), 10, "the mark in the audit log")
        return audit.stat().st_size

    def wait_for(self, answer: Callable[[], T], seconds: float = 30, what: str = "the answer") -> T:
        """Asks every 0.1 s until the answer is true; raises NotReady at the deadline."""
        deadline = time.monotonic() + seconds
        while True:
            result = answer()
            if result:
                return result
            if time.monotonic() > deadline:
                raise NotReady(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.1)
