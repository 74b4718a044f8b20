"""What a server answers that is no Kubernetes, logins that end, and keys that leave no trace."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from websockets.sync.server import ServerConnection, serve

from kube.servers import (
    NAME,
    Records,
    api_handler,
    connect_handler,
    id_token,
    provider_handler,
    proxying,
    serving,
    socks_handler,
)
from scheduler.kube import kinds, tls
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, KubeError, NotKubernetes, Unreachable
from scheduler.kube.exec import ExecStream
from scheduler.kube.kubeconfig import Access, find_access
from scheduler.kube.target import ClusterTarget

HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<html><head><title>Sign in\n to Example</title></head><body>...</body></html>"
Answer = Callable[[str], tuple[int, dict[str, str], bytes]]


@contextlib.contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[KubeClient]:
    handler = api_handler(Records(), lambda path: (status, headers, body))
    with serving(handler, None) as port, KubeClient(Access(f"http://127.0.0.1:{port}"), patience=0) as api:
        yield api


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (302, {"Location": "https://login.example/start?token=secret"}, b"", "it redirects to https://login.example/start and"),
        (301, {"Location": "/login", **HTML}, PAGE, "it redirects to /login and does not answer as Kubernetes"),
        (307, {}, b"", "it redirects and does not answer as Kubernetes"),
        (
            200,
            HTML,
            PAGE,
            "it answers 200 with a web page (Sign in to Example) and not as Kubernetes: is a login in front of it over",
        ),
        (200, HTML, b"", "it answers 200 with a web page and not as Kubernetes"),
        (401, HTML, PAGE, "it answers 401 with a web page (Sign in to Example)"),
        (403, HTML, b"<h1>no</h1>", "it answers 403 with a web page and not as Kubernetes"),
        (503, HTML, PAGE, "it answers 503 with a web page (Sign in to Example)"),
        (200, {"Content-Type": "text/plain"}, b"ok", "answered with what is not Kubernetes' JSON"),
        (200, {}, b"", "answered with what is not Kubernetes' JSON"),
    ],
)
@pytest.mark.holds("cluster-text", "cluster-login")
def test_who_is_no_kubernetes_is_told_in_one_line(status: int, headers: dict[str, str], body: bytes, said: str) -> None:
    with answering(status, headers, body) as api:
        with pytest.raises(KubeError) as caught:
            api.version()
        assert said in str(caught.value) and "\n" not in str(caught.value) and "secret" not in str(caught.value)
        assert str(caught.value).startswith(api.access.server)


@pytest.mark.parametrize(("status", "headers"), [(302, {"Location": "/login"}), (200, HTML), (403, HTML)])
def test_a_stream_that_is_a_web_page_is_told_too(status: int, headers: dict[str, str]) -> None:
    with answering(status, headers, PAGE) as api, pytest.raises(NotKubernetes):
        next(api.stream("/logs"))


@pytest.mark.parametrize(
    "body", [b"7", b"[" * 50_000, b"null", b"[]", b'{"metadata": 7}', b'{"metadata": {"name": 7, "uid": "u"}}',
    b'{"metadata": {"name": "n"}}',
             b'{"metadata": {"name": "n", "uid": "u", "labels": 7}}',
             b'{"metadata": {"name": "n", "uid": "u"}, "data": {"a": 7}}'],
)  # fmt: skip
def test_what_is_no_object_is_told_in_one_line(body: bytes) -> None:
    with answering(200, {}, body) as api:
        with pytest.raises(KubeError, match="answered with what is no(t)? "):
            api.get(kinds.CONFIGMAP, "n", "n")
        with pytest.raises(KubeError, match="answered with what is no(t)? "):
            list(api.list(kinds.POD, "n"))
        with pytest.raises(KubeError, match="answered with what is no(t)? "):
            api.version()


def test_a_log_may_hold_html() -> None:
    with answering(200, {"Content-Type": "text/plain"}, PAGE) as api:
        assert b"".join(api.stream("/logs")) == PAGE


def test_kubernetes_own_words_stay() -> None:
    body = json.dumps({"kind": "Status", "reason": "Invalid", "message": "too <b>bold</b>"}).encode()
    with answering(422, {"Content-Type": "application/json"}, body) as api, pytest.raises(ApiError, match="too <b>bold</b>"):
        api.version()


def written(folder: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    path = folder / "config"
    content = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o640)
    return path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", NAME).configure_cert(made)
    authority.configure_trust(made)
    made.verify_mode = ssl.CERT_OPTIONAL
    return made


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.holds("kubeconfig-writes")
def test_an_openid_login_that_is_refused_is_renewed_once_and_kept(tmp_path: Path, authority: trustme.CA) -> None:
    records, asked = Records(), []

    def refuse_first(path: str) -> tuple[int, dict[str, str], bytes]:
        asked.append(path)
        return (401, {}, b"{}") if len(asked) == 1 else (200, {}, b'{"major": "1", "minor": "34"}')

    with (
        serving(api_handler(records, refuse_first), context(authority)) as port,
        serving(provider_handler(records, False, True), context(authority)) as provider,
    ):
        settings = {
            "idp-issuer-url": f"https://localhost:{provider}",
            "idp-certificate-authority-data": b64(authority.cert_pem.bytes()),
            "client-id": "kubernetes",
            "id-token": id_token(3600),
            "refresh-token": "first",
        }
        user = {"auth-provider": {"name": "oidc", "config": settings}}
        ca = {"certificate-authority-data": settings["idp-certificate-authority-data"]}
        path = written(tmp_path, f"https://127.0.0.1:{port}", user, **ca)
        with KubeClient(find_access(path, None, {})) as api:
            assert api.version() == (1, 34)
    kept = yaml.safe_load(path.read_text())["users"][0]["user"]["auth-provider"]["config"]
    assert (kept["id-token"], kept["refresh-token"]) == (id_token(0, "second"), "second")
    assert path.stat().st_mode & 0o777 == 0o640 and sorted(os.listdir(tmp_path)) == ["config"]


def test_a_login_that_cannot_be_kept_is_not_used(tmp_path: Path, authority: trustme.CA) -> None:
    """A refresh token may be good only once: kubectl would be locked out."""
    records = Records()
    with serving(provider_handler(records, False, True), context(authority)) as provider:
        settings = {
            "idp-issuer-url": f"https://localhost:{provider}",
            "idp-certificate-authority-data": b64(authority.cert_pem.bytes()),
            "client-id": "kubernetes",
            "refresh-token": "first",
        }
        path = written(tmp_path, "https://127.0.0.1:1", {"auth-provider": {"name": "oidc", "config": settings}})
        (tmp_path / "config.lock").touch()
        with (
            KubeClient(find_access(path, None, {})) as api,
            pytest.raises(KubeError, match="cannot be kept: .*lock: File exists"),
        ):
            api.version()


UNTRACED = """
import os, sys
written = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(arguments[0])
sys.addaudithook(hook)
from pathlib import Path
from scheduler.kube import tls
from scheduler.kube.client import KubeClient
from scheduler.kube.kubeconfig import find_access
with KubeClient(find_access(Path(sys.argv[1]), None)) as api:
    assert api.version() == (1, 34)
assert not written, written
assert not os.listdir(os.environ["TMPDIR"])
assert not [link for link in os.listdir("/proc/self/fd") if "client-key" in os.path.realpath(f"/proc/self/fd/{link}")]
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files in memory are Linux's")
@pytest.mark.holds("kubeconfig-keys")
def test_a_key_is_never_written_to_a_file(tmp_path: Path, authority: trustme.CA) -> None:
    alice, records = authority.issue_cert("alice", common_name="alice"), Records()
    (tmp_path / "scratch").mkdir()
    with serving(api_handler(records), context(authority)) as port:
        certificate = b"".join(each.bytes() for each in alice.cert_chain_pems)
        user = {"client-certificate-data": b64(certificate), "client-key-data": b64(alice.private_key_pem.bytes())}
        ca = {"certificate-authority-data": b64(authority.cert_pem.bytes())}
        path = written(tmp_path, f"https://127.0.0.1:{port}", user, **ca)
        env = {**os.environ, "TMPDIR": str(tmp_path / "scratch")}
        subprocess.run([sys.executable, "-B", "-c", UNTRACED, str(path)], check=True, env=env)
    assert '"certificate": "alice"' in records.lines[0]


@pytest.mark.holds("kubeconfig-keys")
def test_where_files_in_memory_are_not_to_be_had_a_key_lies_in_a_folder_of_ours_and_no_longer(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    alice = authority.issue_cert("alice")
    pair = (alice.cert_chain_pems[0].bytes(), alice.private_key_pem.bytes())
    with tls._file(b"key") as path:
        assert Path(path).read_bytes() == b"key"
        assert Path(path).stat().st_mode & 0o777 == 0o600 and Path(path).parent.stat().st_mode & 0o777 == 0o700
    tls.make_context(None, False, pair, "here")
    with pytest.raises(KubeError, match="here: client-certificate and client-key are no pair"):
        tls.make_context(None, False, (pair[0], authority.issue_cert("bob").private_key_pem.bytes()), "here")
    assert os.listdir(tmp_path) == []


@pytest.mark.holds("kubeconfig-unread")
def test_what_is_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "https://x", {"tokn": "t", "token": "t", "exec": None}, **{"insecure-skip-tls-verfy": True})
    path.write_text(path.read_text() + "colour: red\n---\nb: c\n")
    ClusterTarget(path).access()
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {path}: clusters[c].cluster.insecure-skip-tls-verfy: unknown key, not read"
        " (is insecure-skip-tls-verify meant?)",
        f"warning: {path}: users[u].user.tokn: unknown key, not read (is token meant?)",
        f"warning: {path}: colour: unknown key, not read",
        f"warning: {path}: only the first of its documents is read",
    ]


@pytest.mark.holds("kubeconfig-unread")
def test_a_user_that_is_not_there_is_no_anonymous_one(tmp_path: Path) -> None:
    """kubectl asks without a login, and is refused by any server that is worth it."""
    path = written(tmp_path, "https://x", {"token": "t"})
    path.write_text(path.read_text().replace("user: u", "user: v"))
    with pytest.raises(KubeError, match="context x names the user v, who is not there"):
        find_access(path, None, {})


@pytest.mark.parametrize("proxied", ["", "http", "https", "socks5"])
def test_a_command_in_a_pod_through_each_proxy(tmp_path: Path, authority: trustme.CA, proxied: str) -> None:
    """A megabyte there and back, by a server of ours that speaks the protocol and runs `cat`: pods need a node."""
    records, seen = Records(), []

    def run(connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        seen.append(
            (request.path.partition("?")[0], request.headers.get_all("Impersonate-Group"), request.headers["Authorization"])
        )
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            for message in connection:
                assert isinstance(message, bytes) and message[0] == 0
                process.stdin.write(message[1:])
                process.stdin.flush()
                left = len(message) - 1
                while left:
                    data = process.stdout.read1(left)  # type: ignore[attr-defined]
                    connection.send(b"\x01" + data)
                    left -= len(data)
            process.stdin.close()

    with contextlib.ExitStack() as held:
        server = held.enter_context(
            serve(run, "127.0.0.1", 0, ssl=context(authority), subprotocols=["v5.channel.k8s.io"], max_size=None)  # type: ignore[list-item]
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        held.callback(thread.join)
        held.callback(server.shutdown)
        port = server.socket.getsockname()[1]
        more: dict[str, Any] = {"certificate-authority-data": b64(authority.cert_pem.bytes())}
        if proxied == "socks5":
            more["proxy-url"] = f"socks5://a:b@127.0.0.1:{held.enter_context(proxying(socks_handler(records, 'socks', 'a:b')))}"
        elif proxied:
            secured = context(authority) if proxied == "https" else None
            at = held.enter_context(proxying(connect_handler(records, "proxy", "a:b"), secured))
            more["proxy-url"] = f"{proxied}://a:b@localhost:{at}"
        user = {"token": "t", "as": "jürgen", "as-groups": ["a", "größe"]}
        host = NAME if proxied else "127.0.0.1"
        api = held.enter_context(KubeClient(find_access(written(tmp_path, f"https://{host}:{port}/pre", user, **more), None, {})))
        stream = ExecStream(api, "n", "p", "c", ["cat"])
        data = os.urandom(1 << 20)
        for at in range(0, len(data), 1 << 17):
            stream.write(data[at : at + (1 << 17)])
            back = b""
            while len(back) < 1 << 17:
                back += stream.read(1 << 17)
            assert back == data[at : at + (1 << 17)]
        stream.close()
    assert seen == [("/pre/api/v1/namespaces/n/pods/p/exec", ["a", "größe"], "Bearer t")]


def test_a_web_page_instead_of_a_command(authority: trustme.CA) -> None:
    with answering(200, HTML, PAGE) as api, pytest.raises(NotKubernetes, match="Sign in to Example"):
        ExecStream(api, "n", "p", "c", ["cat"])


def test_a_proxy_that_refuses_is_named_without_its_login(tmp_path: Path) -> None:
    with proxying(connect_handler(Records(), "proxy", "a:b")) as port:
        path = written(tmp_path, "https://x.example.test", {"token": "t"}, **{"proxy-url": f"http://a:secret@127.0.0.1:{port}"})
        with KubeClient(find_access(path, None, {})) as api, pytest.raises(Unreachable) as caught:
            api.version()
    assert f"proxy http://127.0.0.1:{port}: Tunnel connection failed: 407" in str(caught.value) and "secret" not in str(
        caught.value
    )


@pytest.mark.parametrize(
    "server",
    ["https://[2J", "https://[zz]/", "https://a b", "https://a:99999", "https://a:b", "ftp://x", "https://", "http://[::1"],
)
def test_a_server_that_is_no_address_is_one_line(server: str) -> None:
    with pytest.raises(KubeError, match="is not an address, e.g. https://host:6443"):
        KubeClient(Access(server, "a"))


@pytest.mark.holds("cluster-text")
def test_what_a_server_says_makes_no_further_line_and_no_command() -> None:
    message = "no\x1b[2J\r\nfsck: nothing is wrong\u2028\x9b31m\u202e"
    body = json.dumps({"kind": "Status", "message": message, "reason": message, "code": 422}).encode()
    with answering(422, {"Content-Type": "application/json"}, body) as api, pytest.raises(ApiError) as error:
        list(api.stream("/x", what="pods/x"))
    assert str(error.value).isprintable() and "nothing is wrong" in str(error.value)
