"""Creates or applies objects by bare requests: how long an API server takes for them if a client does nothing else.

python benchmarks/bare_requests.py KUBECONFIG OBJECTS (create | apply) CONNECTIONS

OBJECTS is YAML, as `cronsemble render` prints it. All requests are made before the clock starts; each connection is a socket that
writes one and reads its answer, and parses nothing of it but its status and length. Prints the seconds.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


def main() -> None:
    kubeconfig = yaml.safe_load(Path(sys.argv[1]).read_text())
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    objects = [item for item in yaml.load_all(Path(sys.argv[2]).read_text(), loader) if item]  # noqa: S506 (a safe loader)
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    url = urlsplit(cluster["server"])
    requests = [_request(item, sys.argv[3], f"{url.hostname}:{url.port}", user.get("token")) for item in objects]
    # ConfigMaps first, as CronJobs mount them.
    stages = [[text for kind, text in requests if kind == "ConfigMap"], [text for kind, text in requests if kind == "CronJob"]]
    sockets = [_connect(url.hostname or "", url.port or 443, cluster, user) for _ in range(int(sys.argv[4]))]
    began = time.perf_counter()
    for stage in stages:
        pending = iter(stage)
        lock = threading.Lock()
        threads = [threading.Thread(target=_send, args=(one, pending, lock)) for one in sockets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{time.perf_counter() - began:.3f}")


def _request(item: dict[str, Any], how: str, host: str, token: str | None) -> tuple[str, bytes]:
    kind, metadata = item["kind"], item["metadata"]
    folder = "/apis/batch/v1" if kind == "CronJob" else "/api/v1"
    path = f"{folder}/namespaces/{metadata['namespace']}/{kind.lower()}s"
    method, content = "POST", "application/json"
    if how == "apply":
        method, content = "PATCH", "application/apply-patch+yaml"
        path += f"/{metadata['name']}"
    query = "fieldManager=bare" + ("&force=false&fieldValidation=Strict" if how == "apply" else "")
    body = json.dumps(item).encode()
    login = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"{method} {path}?{query} HTTP/1.1\r\nHost: {host}\r\n{login}Accept: application/json\r\n"
    return kind, f"{head}Content-Type: {content}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _connect(host: str, port: int, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLSocket:
    with tempfile.TemporaryDirectory() as folder:

        def path(source: dict[str, Any], key: str) -> str | None:
            if f"{key}-data" not in source:
                return source.get(key)
            file = Path(folder) / key
            file.write_bytes(base64.b64decode(source[f"{key}-data"]))
            return str(file)

        context = ssl.create_default_context(cafile=path(cluster, "certificate-authority"))
        certificate = path(user, "client-certificate")
        if certificate:
            context.load_cert_chain(certificate, path(user, "client-key"))
        plain = socket.create_connection((host, port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=host)


def _send(connection: ssl.SSLSocket, pending: Any, lock: threading.Lock) -> None:
    while True:
        with lock:
            request = next(pending, None)
        if request is None:
            return
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        if head[9:12] not in (b"200", b"201"):
            raise SystemExit(answer.decode())
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        if b"content-length" in fields:
            left = int(fields[b"content-length"]) - len(body)
            while left > 0:
                left -= len(connection.recv(65536))
        else:
            while not body.endswith(b"0\r\n\r\n"):
                body += connection.recv(65536)


if __name__ == "__main__":
    main()
