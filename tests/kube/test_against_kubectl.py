"""Kubeconfigs as they are found in the wild: what the server, proxies and plugins see of us and of kubectl is the same."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from cluster import binaries
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
from needs import missing
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.kubeconfig import find_access

PROXY_LOGIN = "us er:p@ss:wörd"
PROXY_LOGIN_URL = "us%20er:p%40ss%3Aw%C3%B6rd"


@dataclass
class World:
    """Servers of one session; ``records`` is what they saw since the latest look."""

    kubectl: str
    records: Records
    authority: trustme.CA
    intermediate: trustme.CA
    clients: trustme.CA
    leaf: trustme.LeafCert
    alice: trustme.LeafCert
    ports: dict[str, int]

    @property
    def ca(self) -> str:
        return self.authority.cert_pem.bytes().decode()

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.ports['api']}"

    @property
    def named(self) -> str:
        """The same by a name that only the proxies know."""
        return f"https://{NAME}:{self.ports['api']}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    try:
        kubectl = binaries.find() / "kubectl"
    except binaries.NoBinaries as error:
        missing(str(error))
    authority, clients = trustme.CA(), trustme.CA()
    intermediate = authority.create_child_ca()
    leaf = intermediate.issue_cert("127.0.0.1", "::1", "localhost", NAME, "other.example.test")
    alice = clients.issue_cert("alice", common_name="alice")
    records = Records()

    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(made)
        clients.configure_trust(made)
        made.verify_mode = ssl.CERT_OPTIONAL
        return made

    handler = api_handler(records)
    with contextlib.ExitStack() as held:
        enter = held.enter_context
        ports = {
            "api": enter(serving(handler, context())),
            "api6": enter(serving(handler, context(), ipv6=True)),
            "plain": enter(serving(handler, None)),
            "proxy": enter(proxying(connect_handler(records, "proxy", None))),
            "login": enter(proxying(connect_handler(records, "login", PROXY_LOGIN))),
            "secure": enter(proxying(connect_handler(records, "secure", PROXY_LOGIN), context())),
            "socks": enter(proxying(socks_handler(records, "socks", None))),
            "sockslogin": enter(proxying(socks_handler(records, "sockslogin", PROXY_LOGIN))),
            "provider": enter(serving(provider_handler(records, False, True), context())),
            "provider_in_body": enter(serving(provider_handler(records, True, False), context())),
        }
        yield World(str(kubectl), records, authority, intermediate, clients, leaf, alice, ports)


@dataclass
class Case:
    """Files by name, of which ``config`` is the kubeconfig, and the environment; ``kubeconfig`` takes its place in KUBECONFIG."""

    config: Any
    files: dict[str, str | bytes] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    kubeconfig: str = "config"


Make = Callable[[World], Case]
GOOD: dict[str, Make] = {}
BAD: dict[str, Make] = {}


def good(make: Make) -> Make:
    """Both reach the server."""
    GOOD[make.__name__] = make
    return make


def bad(make: Make) -> Make:
    """Both refuse, or are refused."""
    BAD[make.__name__] = make
    return make


def config(
    world: World,
    cluster: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    data = {"server": world.server, "certificate-authority-data": b64(world.ca), **(cluster or {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {key: value for key, value in data.items() if value is not None}}],
        "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **(context or {})}}],
        "current-context": "x",
        **more,
    }


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def pem(leaf: trustme.LeafCert) -> tuple[str, str]:
    return b"".join(each.bytes() for each in leaf.cert_chain_pems).decode(), leaf.private_key_pem.bytes().decode()


# Trust


@good
def only_an_intermediate_authority(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": b64(world.intermediate.cert_pem.bytes())}))


@good
def only_the_servers_own_certificate(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": b64(world.leaf.cert_chain_pems[0].bytes())}))


@bad
def another_authority(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": b64(trustme.CA().cert_pem.bytes())}))


@bad
def the_systems_authorities(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": None}))


@good
def authorities_of_the_environment(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": None}), {"ca.pem": world.ca}, {"SSL_CERT_FILE": "{folder}/ca.pem"})


@good
def base64_with_line_breaks(world: World) -> Case:
    broken = "\r\n".join(b64(world.ca)[at : at + 64] for at in range(0, len(b64(world.ca)), 64))
    return Case(config(world, {"certificate-authority-data": broken + "\n"}))


@bad
def base64_with_spaces(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": b64(world.ca)[:64] + " " + b64(world.ca)[64:]}))


@bad
def no_base64(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": "%%%"}))


@bad
def no_base64_in_a_cluster_that_is_not_used(world: World) -> Case:
    content = config(world)
    content["clusters"].append({"name": "other", "cluster": {"server": "https://x", "certificate-authority-data": "a"}})
    return Case(content)


@good
def utf8_comments_in_an_authority(world: World) -> Case:
    text = f"# Zertifikat für Köln, „intern“\n{trustme.CA().cert_pem.bytes().decode()}\nSubject: CN=Größe\n{world.ca}# Ende\n"
    return Case(config(world, {"certificate-authority-data": None, "certificate-authority": "ca.pem"}), {"ca.pem": text})


@good
def latin1_comments_and_carriage_returns_in_an_authority(world: World) -> Case:
    text = ("# für\n" + world.ca).replace("\n", "\r\n").encode("latin-1")
    return Case(config(world, {"certificate-authority-data": None, "certificate-authority": "ca.pem"}), {"ca.pem": text})


@good
def a_broken_certificate_beside_a_good_one(world: World) -> Case:
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return Case(config(world, {"certificate-authority-data": b64(broken + world.ca)}))


@bad
def an_authority_that_is_no_certificate(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": b64("hello")}))


@bad
def an_authority_that_is_not_there(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": None, "certificate-authority": "nowhere.pem"}))


@bad
def an_authority_twice(world: World) -> Case:
    return Case(config(world, {"certificate-authority": "ca.pem"}), {"ca.pem": world.ca})


@good
def insecure(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": None, "insecure-skip-tls-verify": True}))


@bad
def insecure_with_an_authority(world: World) -> Case:
    return Case(config(world, {"insecure-skip-tls-verify": True}))


@bad
def insecure_as_text(world: World) -> Case:
    return Case(config(world, {"certificate-authority-data": None, "insecure-skip-tls-verify": "true"}))


@good
def another_name_for_tls(world: World) -> Case:
    return Case(config(world, {"tls-server-name": "other.example.test"}))


@bad
def a_name_for_tls_that_is_not_the_servers(world: World) -> Case:
    return Case(config(world, {"tls-server-name": "wrong.example.test"}))


@good
def insecure_with_another_name_for_tls(world: World) -> Case:
    cluster = {"certificate-authority-data": None, "insecure-skip-tls-verify": True, "tls-server-name": "wrong.example.test"}
    return Case(config(world, cluster))


# Addresses


@good
def ipv6(world: World) -> Case:
    return Case(config(world, {"server": f"https://[::1]:{world.ports['api6']}"}))


@good
def localhost_by_name(world: World) -> Case:
    return Case(config(world, {"server": f"https://localhost:{world.ports['api']}"}))


@good
def a_path_before_the_apis(world: World) -> Case:
    return Case(config(world, {"server": f"{world.server}/k8s/clusters/c-m-abc/"}))


@good
def a_query_and_a_slash(world: World) -> Case:
    return Case(config(world, {"server": f"{world.server}/a?b=c#d"}))


@good
def a_slash_at_the_end(world: World) -> Case:
    return Case(config(world, {"server": f"{world.server}/"}))


@good
def upper_case_scheme(world: World) -> Case:
    return Case(config(world, {"server": world.server.replace("https", "HTTPS")}))


@good
def plain_http_sends_no_login(world: World) -> Case:
    server = f"http://127.0.0.1:{world.ports['plain']}"
    return Case(config(world, {"server": server}, {"token": "secret", "as": "jane"}))


@good
def plain_http_runs_no_plugin(world: World) -> Case:
    return plugin(world, '{"status": {"token": "p"}}', cluster={"server": f"http://127.0.0.1:{world.ports['plain']}"})


@good
def no_scheme_is_plain_http(world: World) -> Case:
    return Case(config(world, {"server": f"127.0.0.1:{world.ports['plain']}"}))


@good
def localhost_without_a_scheme(world: World) -> Case:
    return Case(config(world, {"server": f"localhost:{world.ports['plain']}"}))


@bad
def another_scheme(world: World) -> Case:
    return Case(config(world, {"server": "ftp://127.0.0.1:1"}))


@bad
def no_port(world: World) -> Case:
    return Case(config(world, {"server": "https://127.0.0.1:port"}))


@bad
def no_server(world: World) -> Case:
    return Case(config(world, {"server": ""}))


@good
def a_login_in_the_address(world: World) -> Case:
    return Case(config(world, {"server": world.server.replace("//", "//bob:s%40crt@")}, {}) | {"users": [ALICE(world)]})


def ALICE(world: World) -> dict[str, Any]:
    certificate, key = pem(world.alice)
    return {"name": "u", "user": {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}}


# Proxies


def through(world: World, url: str, server: str | None = None, cluster: dict[str, Any] | None = None, **env: str) -> Case:
    return Case(config(world, {"server": server or world.named, "proxy-url": url, **(cluster or {})}), env=env)


@good
def proxy_url(world: World) -> Case:
    return through(world, f"http://127.0.0.1:{world.ports['proxy']}")


@good
def proxy_url_to_loopback(world: World) -> Case:
    return through(world, f"http://127.0.0.1:{world.ports['proxy']}", world.server)


@good
def proxy_url_whatever_no_proxy_says(world: World) -> Case:
    return through(world, f"http://127.0.0.1:{world.ports['proxy']}", NO_PROXY="*", no_proxy="*")


@good
def proxy_url_before_the_environment(world: World) -> Case:
    return through(world, f"http://127.0.0.1:{world.ports['proxy']}", HTTPS_PROXY="http://127.0.0.1:9")


@good
def proxy_url_with_a_login(world: World) -> Case:
    return through(world, f"http://{PROXY_LOGIN_URL}@127.0.0.1:{world.ports['login']}")


@bad
def proxy_url_without_its_login(world: World) -> Case:
    return through(world, f"http://127.0.0.1:{world.ports['login']}")


@bad
def proxy_url_with_a_wrong_login(world: World) -> Case:
    return through(world, f"http://a:b@127.0.0.1:{world.ports['login']}")


@good
def secure_proxy_url_with_a_login(world: World) -> Case:
    return through(world, f"https://{PROXY_LOGIN_URL}@localhost:{world.ports['secure']}")


@bad
def secure_proxy_url_of_another_authority(world: World) -> Case:
    other = {"certificate-authority-data": b64(trustme.CA().cert_pem.bytes())}
    return through(world, f"https://{PROXY_LOGIN_URL}@localhost:{world.ports['secure']}", cluster=other)


@good
def insecure_behind_a_secure_proxy_url(world: World) -> Case:
    cluster = {"certificate-authority-data": None, "insecure-skip-tls-verify": True}
    return through(world, f"https://{PROXY_LOGIN_URL}@localhost:{world.ports['secure']}", cluster=cluster)


@good
def a_certificate_behind_a_proxy(world: World) -> Case:
    made = through(world, f"http://127.0.0.1:{world.ports['proxy']}")
    return Case(made.config | {"users": [ALICE(world)]})


@good
def another_name_for_tls_behind_a_proxy(world: World) -> Case:
    return through(world, f"http://127.0.0.1:{world.ports['proxy']}", cluster={"tls-server-name": "other.example.test"})


@good
def socks_proxy_url(world: World) -> Case:
    return through(world, f"socks5://127.0.0.1:{world.ports['socks']}")


@good
def socks_proxy_url_to_an_address(world: World) -> Case:
    return through(world, f"socks5://127.0.0.1:{world.ports['socks']}", world.server)


@good
def socks_proxy_url_to_an_ipv6_address(world: World) -> Case:
    return through(world, f"socks5://127.0.0.1:{world.ports['socks']}", f"https://[::1]:{world.ports['api6']}")


@good
def socks_proxy_url_with_a_login(world: World) -> Case:
    return through(world, f"socks5://{PROXY_LOGIN_URL}@127.0.0.1:{world.ports['sockslogin']}")


@bad
def socks_proxy_url_without_its_login(world: World) -> Case:
    return through(world, f"socks5://127.0.0.1:{world.ports['sockslogin']}")


@bad
def proxy_url_of_an_unknown_scheme(world: World) -> Case:
    return through(world, f"socks4://127.0.0.1:{world.ports['socks']}")


@bad
def proxy_url_without_a_scheme(world: World) -> Case:
    return through(world, f"127.0.0.1:{world.ports['proxy']}")


@bad
def a_proxy_that_is_not_there(world: World) -> Case:
    return through(world, "http://127.0.0.1:1")


@good
def plain_http_through_proxy_url(world: World) -> Case:
    user = {"as": "jane", "as-groups": ["a", "b"]}
    server = f"http://{NAME}:{world.ports['plain']}"
    url = f"http://{PROXY_LOGIN_URL}@127.0.0.1:{world.ports['login']}"
    return Case(config(world, {"server": server, "proxy-url": url}, user))


def environment(world: World, server: str | None = None, **env: str) -> Case:
    ports = {name: str(port) for name, port in world.ports.items()}
    return Case(config(world, {"server": server or world.named}), env={key: value.format(**ports) for key, value in env.items()})


@good
def https_proxy(world: World) -> Case:
    return environment(world, HTTPS_PROXY="http://127.0.0.1:{proxy}")


@good
def https_proxy_in_lower_case(world: World) -> Case:
    return environment(world, https_proxy="http://127.0.0.1:{proxy}")


@good
def https_proxy_in_both_cases(world: World) -> Case:
    return environment(world, HTTPS_PROXY="http://127.0.0.1:{proxy}", https_proxy="http://127.0.0.1:1")


@good
def https_proxy_without_a_scheme(world: World) -> Case:
    return environment(world, HTTPS_PROXY="127.0.0.1:{proxy}")


@good
def https_proxy_with_a_login(world: World) -> Case:
    return environment(world, HTTPS_PROXY="http://" + PROXY_LOGIN_URL + "@127.0.0.1:{login}")


@good
def https_proxy_by_socks(world: World) -> Case:
    return environment(world, HTTPS_PROXY="socks5://127.0.0.1:{socks}")


@good
def https_proxy_by_socks5h(world: World) -> Case:
    return environment(world, HTTPS_PROXY="socks5h://127.0.0.1:{socks}")


@good
def https_proxy_is_not_for_loopback(world: World) -> Case:
    return environment(world, world.server, HTTPS_PROXY="http://127.0.0.1:1")


@good
def https_proxy_is_not_for_localhost(world: World) -> Case:
    return environment(world, world.server.replace("127.0.0.1", "localhost"), HTTPS_PROXY="http://127.0.0.1:1")


@bad
def https_proxy_that_is_not_there(world: World) -> Case:
    return environment(world, HTTPS_PROXY="http://127.0.0.1:1")


@bad
def all_proxy_does_not_count(world: World) -> Case:
    return environment(world, ALL_PROXY="http://127.0.0.1:{proxy}", all_proxy="http://127.0.0.1:{proxy}")


@bad
def http_proxy_is_not_for_https(world: World) -> Case:
    return environment(world, HTTP_PROXY="http://127.0.0.1:{proxy}", http_proxy="http://127.0.0.1:{proxy}")


@good
def http_proxy_for_plain_http(world: World) -> Case:
    return environment(world, f"http://{NAME}:{world.ports['plain']}", HTTP_PROXY="http://127.0.0.1:{proxy}")


# The name is known to nobody but the proxy: without it there is no way.
NO_PROXIES = {
    "*": False,
    NAME: False,
    f".{NAME}": True,
    "example.test": False,
    ".example.test": False,
    "*.example.test": False,
    "EXAMPLE.TEST": False,
    " example.test ,other": False,
    "ample.test": True,
    "test": False,
    f"{NAME}:1": True,
    NAME + ":{api}": False,
    "*example.test": True,
    "127.0.0.1,10.0.0.0/8": True,
}


def _no_proxy(value: str, proxied: bool) -> None:
    def make(world: World) -> Case:
        return environment(world, HTTPS_PROXY="http://127.0.0.1:{proxy}", NO_PROXY=value)

    (GOOD if proxied else BAD)[f"no_proxy {value}"] = make


for _value, _proxied in NO_PROXIES.items():
    _no_proxy(_value, _proxied)

# To Go 0.0.0.0 and :: are no loopback, and Linux connects to it.
for _value in (
    "0.0.0.0", "0.0.0.0/8", "0.0.0.0/29,x", "0.0.3.0/24", "0.0.0.0:{api}", "0.0.0.0:1", ".0.0", "0.0", "*.0.0", "::/0",
    "0.0.0.0/33", "00.0.0.0", "x/8", "::ffff:0.0.0.0", "::ffff:0:0/96", "::ffff:1.2.3.0/120",
):  # fmt: skip

    def _address(world: World, value: str = _value) -> Case:
        server = f"https://0.0.0.0:{world.ports['api']}"
        case = environment(world, server, HTTPS_PROXY="http://127.0.0.1:{proxy}", NO_PROXY=value)
        case.config["clusters"][0]["cluster"]["tls-server-name"] = "localhost"
        return case

    GOOD[f"no_proxy {_value} for an address"] = _address

for _value in ("::", "[::]", "::/64", "[::]:{api6}", "[::]:1", "0::0", "0.0.0.0", "fe80::/10", ":{api6}"):

    def _address6(world: World, value: str = _value) -> Case:
        server = f"https://[::]:{world.ports['api6']}"
        case = environment(world, server, HTTPS_PROXY="http://127.0.0.1:{proxy}", NO_PROXY=value)
        case.config["clusters"][0]["cluster"]["tls-server-name"] = "localhost"
        return case

    GOOD[f"no_proxy {_value} for an IPv6 address"] = _address6


# Logins


@good
def a_token(world: World) -> Case:
    return Case(config(world))


@good
def no_login_at_all_but_a_certificate(world: World) -> Case:
    return Case(config(world) | {"users": [ALICE(world)]})


@good
def a_certificate_in_files(world: World) -> Case:
    certificate, key = pem(world.alice)
    user = {"client-certificate": "pki/a.crt", "client-key": "./pki/../pki/a.key"}
    return Case(config(world, user=user), {"pki/a.crt": "# für Köln\n" + certificate, "pki/a.key": "# Schlüssel\n" + key})


@good
def certificate_data_with_a_key_in_a_file(world: World) -> Case:
    certificate, key = pem(world.alice)
    return Case(config(world, user={"client-certificate-data": b64(certificate), "client-key": "a.key"}), {"a.key": key})


@bad
def a_certificate_without_a_key(world: World) -> Case:
    return Case(config(world, user={"client-certificate-data": b64(pem(world.alice)[0])}))


@bad
def a_certificate_with_anothers_key(world: World) -> Case:
    key = pem(world.clients.issue_cert("bob"))[1]
    return Case(config(world, user={"client-certificate-data": b64(pem(world.alice)[0]), "client-key-data": b64(key)}))


@bad
def a_certificate_twice(world: World) -> Case:
    certificate, key = pem(world.alice)
    user = {"client-certificate-data": b64(certificate), "client-certificate": "a.crt", "client-key-data": b64(key)}
    return Case(config(world, user=user), {"a.crt": certificate})


@bad
def an_encrypted_key(world: World) -> Case:
    from cryptography.hazmat.primitives import serialization

    certificate, key = pem(world.alice)
    loaded = serialization.load_pem_private_key(key.encode(), None)
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    encrypted = loaded.private_bytes(serialization.Encoding.PEM, form, encryption)
    return Case(config(world, user={"client-certificate-data": b64(certificate), "client-key-data": b64(encrypted)}))


@good
def a_certificate_and_a_token(world: World) -> Case:
    return Case(config(world) | {"users": [{"name": "u", "user": {**ALICE(world)["user"], "token": "t"}}]})


@good
def a_key_without_a_certificate(world: World) -> Case:
    return Case(config(world, user={"token": "t", "client-key": "nowhere"}))


@good
def username_and_password(world: World) -> Case:
    return Case(config(world, user={"username": "jürgen", "password": "p:ä€"}))


@good
def a_username_alone(world: World) -> Case:
    return Case(config(world, user={"username": "bob"}))


@bad
def a_token_and_a_username(world: World) -> Case:
    return Case(config(world, user={"token": "t", "username": "bob", "password": "p"}))


@good
def a_token_in_a_file(world: World) -> Case:
    return Case(config(world, user={"tokenFile": "tokens/t"}), {"tokens/t": " from-a-file \r\n\n"})


@good
def a_token_and_a_token_file(world: World) -> Case:
    return Case(config(world, user={"token": "t", "tokenFile": "file"}), {"file": "from-a-file\n"})


@good
def a_token_and_a_token_file_that_is_not_there(world: World) -> Case:
    return Case(config(world, user={"token": "t", "tokenFile": "file"}))


@bad
def a_token_file_that_is_not_there(world: World) -> Case:
    return Case(config(world, user={"tokenFile": "file"}))


@bad
def a_token_with_a_line_break(world: World) -> Case:
    return Case(config(world, user={"token": "t\n"}))


def _scalar(text: str, string: bool) -> None:
    def make(world: World) -> Case:
        return Case(yaml.safe_dump(config(world)).replace("token: t", f"token: {text}"))

    (GOOD if string else BAD)[f"a token written {text}"] = make


for _text in (
    "2026-11-26",
    "1:30",
    "190:20:30",
    "1.2.3",
    "=",
    "12E5a",
    "0x",
    "1e",
    "_1",
    "+",
    "!!str 5",
    "'5'",
    "!foo bar",
    "inf",
):
    _scalar(_text, string=True)
_scalar("!!binary aGVsbG8=", string=True)
_scalar("1.7976931348623157e+309", string=True)
for _text in (
    "12e5",
    "0777",
    "0O17",
    "0x1F",
    "1_000",
    ".5",
    "-1",
    "yes",
    "y",
    "N",
    "Off",
    "~",
    "null",
    ".inf",
    "-.INF",
    ".nan",
    "!!int 5",
):
    _scalar(_text, string=False)


@good
def impersonation(world: World) -> Case:
    user = {
        "token": "t",
        "as": "jürgen@example",
        "as-uid": "7",
        "as-groups": ["devs", "a,b", "größe"],
        "as-user-extra": {"example.org/Scopes%": ["view", "list"], "größe": ["x"]},
    }
    return Case(config(world, user=user))


@bad
def impersonation_of_two_lines(world: World) -> Case:
    return Case(config(world, user={"token": "t", "as": "jane\nroot"}))


@good
def a_token_of_other_letters(world: World) -> Case:
    return Case(config(world, user={"token": "tökén€\tx"}))


@bad
def groups_without_a_user(world: World) -> Case:
    return Case(config(world, user={"token": "t", "as-groups": ["devs"]}))


@bad
def no_login_at_all(world: World) -> Case:
    """kubectl would ask on a terminal."""
    return Case(config(world, user={}))


@bad
def no_user_at_all(world: World) -> Case:
    return Case(config(world, context={"user": ""}))


@bad
def impersonation_without_a_login(world: World) -> Case:
    return Case(config(world, user={"as": "jane"}))


@bad
def a_removed_auth_provider(world: World) -> Case:
    return Case(config(world, user={"auth-provider": {"name": "gcp", "config": {"access-token": "t"}}}))


# Plugins


def plugin(
    world: World, answer: str, cluster: dict[str, Any] | None = None, more: dict[str, Any] | None = None, **user: Any
) -> Case:
    """One that keeps what it is told, and answers."""
    version = (more or {}).get("apiVersion", "client.authentication.k8s.io/v1")
    content = json.loads(answer)
    if isinstance(content, dict):
        content = {"apiVersion": version, "kind": "ExecCredential", **content}
    script = (
        '#!/bin/sh\nfolder=$(dirname "$0")\nprintf "%s" "$KUBERNETES_EXEC_INFO" > "$folder/info.json"\n'
        'printf "%s\\n" "$EXTRA" "$@" "$([ -t 0 ] && echo terminal)" > "$folder/arguments"\ncat "$folder/answer.json"\n'
    )
    program = {"apiVersion": version, "command": "bin/plugin", "interactiveMode": "Never", **(more or {})}
    files: dict[str, str | bytes] = {"bin/plugin": script, "bin/answer.json": json.dumps(content)}
    return Case(config(world, cluster, {"exec": program, **user}), files)


TOKEN = '{"status": {"token": "p"}}'


@good
def a_plugin(world: World) -> Case:
    return plugin(world, TOKEN)


@good
def a_plugin_of_v1beta1(world: World) -> Case:
    return plugin(world, TOKEN, more={"apiVersion": "client.authentication.k8s.io/v1beta1", "interactiveMode": None})


@bad
def a_plugin_of_v1alpha1(world: World) -> Case:
    return plugin(world, TOKEN, more={"apiVersion": "client.authentication.k8s.io/v1alpha1"})


@bad
def a_plugin_of_v1_must_say_its_mode(world: World) -> Case:
    return plugin(world, TOKEN, more={"interactiveMode": None})


@bad
def a_plugin_of_an_unknown_mode(world: World) -> Case:
    return plugin(world, TOKEN, more={"interactiveMode": "Sometimes"})


@bad
def a_plugin_that_must_ask(world: World) -> Case:
    return plugin(world, TOKEN, more={"interactiveMode": "Always"})


@good
def a_plugin_that_may_ask(world: World) -> Case:
    return plugin(world, TOKEN, more={"interactiveMode": "IfAvailable"})


@good
def a_plugin_with_arguments_and_an_environment(world: World) -> Case:
    env = [{"name": "EXTRA", "value": "2026-11-26 x"}, {"name": "PATH", "value": "/usr/bin:/bin"}]
    return plugin(world, TOKEN, more={"args": ["--a", "b c", ""], "env": env})


@good
def a_plugin_with_empty_values(world: World) -> Case:
    return plugin(world, TOKEN, more={"args": [None, "a"], "env": [{"name": "EXTRA"}, {"name": "B", "value": None}]})


@bad
def a_plugin_with_a_nameless_variable(world: World) -> Case:
    return plugin(world, TOKEN, more={"env": [{"value": "x"}]})


@bad
def a_plugin_whose_token_ends_at_no_time(world: World) -> Case:
    return plugin(world, '{"status": {"token": "p", "expirationTimestamp": "2030-01-01T00:00:00"}}')


@good
def a_plugin_whose_token_ends_in_fractions(world: World) -> Case:
    return plugin(world, '{"status": {"token": "p", "expirationTimestamp": "2099-01-01T00:00:00.123456789+05:30"}}')


@good
def a_plugin_that_is_told_of_the_cluster(world: World) -> Case:
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a", "numbers": [1, 2.5]}}
    cluster = {"extensions": [extension], "tls-server-name": "localhost", "proxy-url": f"http://127.0.0.1:{world.ports['proxy']}"}
    return plugin(world, TOKEN, cluster, {"provideClusterInfo": True})


@good
def a_plugin_that_is_told_of_an_insecure_cluster(world: World) -> Case:
    cluster = {"certificate-authority-data": None, "insecure-skip-tls-verify": True, "disable-compression": True}
    return plugin(world, TOKEN, cluster, {"provideClusterInfo": True})


@good
def a_plugin_that_is_told_of_an_authority_in_a_file(world: World) -> Case:
    cluster = {"certificate-authority-data": None, "certificate-authority": "ca.pem", "server": f"{world.server}/a/"}
    case = plugin(world, TOKEN, cluster, {"provideClusterInfo": True})
    return Case(case.config, {**case.files, "ca.pem": world.ca})


@good
def a_plugin_that_gives_a_certificate(world: World) -> Case:
    certificate, key = pem(world.alice)
    return plugin(world, json.dumps({"status": {"clientCertificateData": certificate, "clientKeyData": key}}))


@good
def a_plugin_that_gives_both(world: World) -> Case:
    certificate, key = pem(world.alice)
    return plugin(world, json.dumps({"status": {"clientCertificateData": certificate, "clientKeyData": key, "token": "p"}}))


@bad
def a_plugin_that_gives_half_a_pair(world: World) -> Case:
    return plugin(world, json.dumps({"status": {"clientCertificateData": pem(world.alice)[0]}}))


@bad
def a_plugin_that_gives_nothing(world: World) -> Case:
    return plugin(world, '{"status": {}}')


@bad
def a_plugin_that_says_no_status(world: World) -> Case:
    return plugin(world, "{}")


@bad
def a_plugin_that_answers_in_another_version(world: World) -> Case:
    return plugin(world, '{"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "p"}}')


@bad
def a_plugin_of_another_kind(world: World) -> Case:
    return plugin(world, '{"kind": "Credential", "status": {"token": "p"}}')


@bad
def a_plugin_that_prints_no_json(world: World) -> Case:
    return plugin(world, '"hello"')


@bad
def a_plugin_that_fails(world: World) -> Case:
    return plugin(world, TOKEN, more={"command": "false"})


@bad
def a_plugin_that_is_not_there(world: World) -> Case:
    return plugin(world, TOKEN, more={"command": "no-such-plugin", "installHint": "get it"})


@bad
def a_plugin_without_a_command(world: World) -> Case:
    return plugin(world, TOKEN, more={"command": ""})


@bad
def a_plugin_in_the_working_folder(world: World) -> Case:
    return plugin(world, TOKEN, more={"command": "plugin"})


@good
def a_plugin_beside_a_token_does_not_run(world: World) -> Case:
    return plugin(world, TOKEN, token="t")


@good
def a_plugin_beside_a_certificate_does_not_run(world: World) -> Case:
    return plugin(world, TOKEN, **ALICE(world)["user"])


@good
def a_plugin_beside_a_password_does_not_run(world: World) -> Case:
    return plugin(world, TOKEN, username="bob", password="p")


@bad
def a_plugin_beside_an_auth_provider(world: World) -> Case:
    return plugin(world, TOKEN, **{"auth-provider": {"name": "oidc"}})


@good
def a_plugin_whose_token_has_ended(world: World) -> Case:
    return plugin(world, '{"status": {"token": "p", "expirationTimestamp": "2020-01-01T00:00:00Z"}}')


# OpenID


def provider(world: World, name: str = "provider", ends_in: float = -60, user: dict[str, Any] | None = None, **more: Any) -> Case:
    given = {
        "idp-issuer-url": f"https://localhost:{world.ports[name]}",
        "idp-certificate-authority-data": b64(world.ca),
        "client-id": "kubernetes",
        "client-secret": "s:ecret/",
        "id-token": id_token(ends_in),
        "refresh-token": "first",
        **more,
    }
    settings = {key: value for key, value in given.items() if value is not None}
    return Case(config(world, user={"auth-provider": {"name": "oidc", "config": settings}, **(user or {})}))


@good
def an_id_token(world: World) -> Case:
    return provider(world, ends_in=3600)


@good
def an_id_token_without_a_refresh_token(world: World) -> Case:
    return provider(world, ends_in=3600, **{"refresh-token": None})


@good
def an_id_token_that_has_ended(world: World) -> Case:
    return provider(world)


@good
def an_id_token_that_is_about_to_end(world: World) -> Case:
    return provider(world, ends_in=5)


@good
def no_id_token_yet(world: World) -> Case:
    return provider(world, **{"id-token": None})


@good
def a_provider_that_wants_the_login_in_the_body(world: World) -> Case:
    return provider(world, "provider_in_body")


@good
def a_client_without_a_secret(world: World) -> Case:
    return provider(world, "provider_in_body", **{"client-secret": None})


@good
def a_providers_authority_in_a_file(world: World) -> Case:
    case = provider(world, **{"idp-certificate-authority-data": None, "idp-certificate-authority": "{folder}/idp.pem"})
    return Case(case.config, {"idp.pem": world.ca})


@bad
def a_provider_that_is_not_trusted(world: World) -> Case:
    return provider(world, **{"idp-certificate-authority-data": None})


@bad
def a_refresh_token_that_is_refused(world: World) -> Case:
    return provider(world, **{"refresh-token": "wrong"})


@bad
def nothing_to_refresh_with(world: World) -> Case:
    return provider(world, **{"refresh-token": None})


@bad
def an_id_token_that_is_none(world: World) -> Case:
    return provider(world, **{"id-token": "abc"})


@bad
def a_provider_without_an_issuer(world: World) -> Case:
    return provider(world, ends_in=3600, **{"idp-issuer-url": None})


@good
def a_token_before_a_provider(world: World) -> Case:
    return provider(world, user={"token": "t"})


@good
def a_certificate_beside_a_provider(world: World) -> Case:
    return provider(world, user=ALICE(world)["user"])


# Files


@good
def as_json(world: World) -> Case:
    return Case(json.dumps(config(world), indent="\t"))


@good
def carriage_returns(world: World) -> Case:
    return Case(yaml.safe_dump(config(world)).replace("\n", "\r\n"))


@good
def a_byte_order_mark(world: World) -> Case:
    return Case(b"\xef\xbb\xbf" + yaml.safe_dump(config(world)).encode())


@good
def utf16(world: World) -> Case:
    return Case(yaml.safe_dump(config(world)).encode("utf-16"))


@good
def several_documents(world: World) -> Case:
    return Case(yaml.safe_dump(config(world)) + "---\na: b\n")


@good
def anchors(world: World) -> Case:
    text = yaml.safe_dump(config(world, {"server": "SERVER"}))
    return Case(f"x: &server {world.server}\n" + text.replace("SERVER", "*server"))


@good
def no_kind_and_no_version(world: World) -> Case:
    content = config(world)
    del content["apiVersion"], content["kind"]
    return Case(content)


@bad
def another_kind(world: World) -> Case:
    return Case(config(world, kind="Pod"))


@bad
def another_version(world: World) -> Case:
    return Case(config(world, apiVersion="v2"))


@good
def unknown_keys(world: World) -> Case:
    return Case(config(world, {"sever": 1}, {"token": "t", "Token": "u"}, {"name-space": "n"}, currentContext="y"))


@good
def nulls(world: World) -> Case:
    return Case(
        config(world, {"proxy-url": None}, {"token": "t", "exec": None, "as-groups": None}, preferences=None, extensions=None)
    )


@bad
def an_empty_file(world: World) -> Case:
    return Case("")


@bad
def a_comment_alone(world: World) -> Case:
    return Case("# nothing\n")


@bad
def no_yaml(world: World) -> Case:
    return Case("a: [")


@bad
def a_list(world: World) -> Case:
    return Case("- a\n")


@bad
def tabs(world: World) -> Case:
    return Case(yaml.safe_dump(config(world)).replace("  ", "\t"))


@bad
def no_current_context(world: World) -> Case:
    return Case(config(world, **{"current-context": ""}))


@bad
def a_current_context_that_is_not_there(world: World) -> Case:
    return Case(config(world, **{"current-context": "y"}))


@bad
def a_cluster_that_is_not_there(world: World) -> Case:
    return Case(config(world, context={"cluster": "d"}))


@bad
def a_name_twice(world: World) -> Case:
    content = config(world)
    return Case({**content, "users": content["users"] * 2})


@bad
def a_name_that_is_a_number(world: World) -> Case:
    return Case(yaml.safe_dump(config(world)).replace("name: x", "name: 7").replace("current-context: x", "current-context: '7'"))


@bad
def a_namespace_that_is_a_number(world: World) -> Case:
    return Case(config(world, context={"namespace": 7}))


@good
def a_namespace(world: World) -> Case:
    return Case(config(world, context={"namespace": "n"}))


@bad
def clusters_that_are_no_list(world: World) -> Case:
    return Case(config(world, clusters={"name": "c"}))


@good
def several_files(world: World) -> Case:
    content = config(world)
    first = {"clusters": content["clusters"], "current-context": "x"}
    second = {
        "users": [{"name": "u", "user": {"tokenFile": "t"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://x"}}],
    }
    third = {"contexts": content["contexts"], "current-context": "y", "users": content["users"]}
    files = {"a": json.dumps(first), "b/b": json.dumps(second), "b/t": "in-b", "t": "wrong", "c": json.dumps(third), "d": ""}
    listed = "a:{folder}/b/b::nowhere:a:c:d:"
    return Case(content, dict(files), kubeconfig=listed)


@bad
def one_broken_file_of_several(world: World) -> Case:
    return Case(config(world), {"b": "a: ["}, kubeconfig="config:b")


@bad
def a_folder_among_the_files(world: World) -> Case:
    return Case(config(world), {"b/c": ""}, kubeconfig="config:b")


@bad
def no_file_at_all(world: World) -> Case:
    return Case(config(world), kubeconfig="nowhere:neither")


@good
def a_kubeconfig_behind_a_link(world: World) -> Case:
    """Paths are relative to the folder of the link."""
    files = {"real/c": json.dumps(config(world, user={"tokenFile": "t"})), "real/t": "beside-the-file", "t": "beside-the-link"}
    return Case(config(world), {**files, "link": "->real/c"}, kubeconfig="link")


@dataclass
class Outcome:
    """What came of a kubeconfig: whether the server's version was answered, what the servers saw, and what was written."""

    answered: bool
    seen: list[Any]
    written: dict[str, Any]
    said: str = ""


def lay_out(case: Case, folder: Path) -> dict[str, str]:
    """The case's files; returns its environment."""
    content = case.config if isinstance(case.config, str | bytes) else json.dumps(case.config)
    files = {"config": content, **case.files}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, str) and text.startswith("->"):
            path.symlink_to(text[2:])
            continue
        path.write_bytes(text if isinstance(text, bytes) else text.replace("{folder}", str(folder)).encode())
        path.chmod(0o755 if name.startswith("bin/") else 0o600)
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ}
    own = {key: value.replace("{folder}", str(folder)) for key, value in case.env.items()}
    return {**kept, "HOME": str(folder), "KUBECONFIG": case.kubeconfig.replace("{folder}", str(folder)), **own}


def written(folder: Path) -> dict[str, Any]:
    """What plugins and logins leave behind."""
    found: dict[str, Any] = {}
    for name in ("bin/info.json", "bin/arguments"):
        if (folder / name).exists():
            text = (folder / name).read_text()
            found[name] = json.loads(text) if name.endswith("json") else text
    with contextlib.suppress(Exception):
        users = yaml.safe_load((folder / "config").read_bytes())["users"]
        found["tokens"] = [each["user"]["auth-provider"]["config"] for each in users]
        for settings in found["tokens"]:
            settings.pop("idp-certificate-authority", None)
    return found


def ask_kubectl(world: World, case: Case, folder: Path) -> Outcome:
    env = lay_out(case, folder)
    done = subprocess.run(
        [world.kubectl, "get", "--raw", "/version"],
        env=env, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    answered = done.returncode == 0 and '"minor"' in done.stdout
    return Outcome(answered, [json.loads(line) for line in world.records.take()], written(folder), done.stderr + done.stdout)


def ask_us(world: World, case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    env = lay_out(case, folder)
    with monkeypatch.context() as patch:
        for name in list(os.environ):
            if name not in env:
                patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        try:
            with KubeClient(find_access(None, None)) as api:
                answered, said = api.version() == (1, 34), ""
        except KubeError as error:
            answered, said = False, str(error)
    return Outcome(answered, [json.loads(line) for line in world.records.take()], written(folder), said)


@pytest.mark.parametrize("name", [*GOOD, *BAD])
@pytest.mark.holds("cluster-login")
def test_the_same_is_seen_of_us_as_of_kubectl(world: World, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = (GOOD.get(name) or BAD[name])(world)
    for folder in ("kubectl", "ours"):
        (tmp_path / folder).mkdir()
    world.records.take()
    kubectl = ask_kubectl(world, case, tmp_path / "kubectl")
    ours = ask_us(world, case, tmp_path / "ours", monkeypatch)
    assert (kubectl.answered, ours.answered) == (name in GOOD, name in GOOD), (kubectl, ours)
    assert ours.seen == kubectl.seen, (kubectl, ours)
    assert ours.written == kubectl.written
    assert "\n" not in ours.said


OURS = """
from scheduler.kube.client import KubeClient
from scheduler.kube.kubeconfig import find_access
with KubeClient(find_access(None, None)) as api:
    api.version()
"""


@pytest.mark.parametrize("mode", ["Never", "IfAvailable", "Always"])
def test_a_plugin_on_a_terminal(world: World, mode: str, tmp_path: Path) -> None:
    case = plugin(world, TOKEN, more={"interactiveMode": mode})
    left: list[dict[str, Any]] = []
    for name, command in {"kubectl": [world.kubectl, "get", "--raw", "/version"], "ours": [sys.executable, "-c", OURS]}.items():
        folder = tmp_path / name
        folder.mkdir()
        env = lay_out(case, folder)
        ours, theirs = pty.openpty()
        try:
            subprocess.run(command, env=env, cwd=folder, stdin=theirs, capture_output=True, check=True)
        finally:
            os.close(ours)
            os.close(theirs)
        left.append(written(folder))
    assert left[0] == left[1]
    assert left[0]["bin/info.json"]["spec"]["interactive"] == (mode != "Never")
    assert ("terminal" in left[0]["bin/arguments"]) == (mode != "Never")
