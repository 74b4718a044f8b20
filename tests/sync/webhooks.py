"""An admission webhook of our own: an HTTPS server whose answers are those of a Python function."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cluster.access import Cluster
from cluster.certificates import Authority

Object = dict[str, Any]
Mutate = Callable[[Object], None]
"""Changes an object in place, as the webhook answers it; raises Denied or NoAnswer."""


class NoAnswer(Exception):
    """The webhook breaks the connection."""


class Denied(Exception):
    """The webhook's refusal: its message, and the status that it answers with."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def webhook(
    cluster: Cluster,
    namespace: str,
    folder: Path,
    mutate: Mutate,
    operations: tuple[str, ...] = ("CREATE", "UPDATE"),
    resources: tuple[str, ...] = ("cronjobs",),
) -> Iterator[None]:
    """A mutating webhook for one namespace, asked from the block's first line on."""
    authority = Authority(folder / "webhook-pki")
    certificate, key = authority.issue("127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer = json.dumps({**review, "response": _response(review["request"], mutate)}).encode()
            except NoAnswer:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    name = f"mutate-{namespace}"
    rules = [
        {"apiGroups": ["*"], "apiVersions": ["v1"], "operations": list(operations), "resources": [*resources, "secrets"]},
    ]
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "mutate.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": rules,
                "clientConfig": {
                    "url": f"https://127.0.0.1:{server.server_port}/",
                    "caBundle": base64.b64encode(authority.file.read_bytes()).decode(),
                },
            }
        ],
    }
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    probe = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"}})
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(configuration))
    try:
        # The API server learns of it a moment later.
        cluster.wait_for(
            lambda: (
                "webhook-was-asked"
                in cluster.kubectl("create", "-n", namespace, "--dry-run=server", "-o", "yaml", "-f", "-", stdin=probe)
                if "CREATE" in operations
                else True
            ),
            30,
            "the webhook",
        )
        yield
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", name)
        server.shutdown()
        server.server_close()
        thread.join()


def _response(request: Object, mutate: Mutate) -> Object:
    body = request["object"]
    if request["kind"]["kind"] == "Secret":
        body["metadata"].setdefault("labels", {})["webhook-was-asked"] = "yes"
    else:
        try:
            mutate(body)
        except Denied as denied:
            status = {"code": denied.status, "message": str(denied)}
            return {"uid": request["uid"], "allowed": False, "status": status}
    # One patch that puts each part in its whole in the place of the old one.
    patch = [{"op": "add", "path": f"/{part}", "value": body[part]} for part in ("metadata", "spec") if part in body]
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": encoded}
