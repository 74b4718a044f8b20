"""Which proxy a request goes through, by the rules of Go's net/http, which kubectl follows.

They are not Python's: loopback never goes through a proxy of the environment, ``ALL_PROXY`` does not count, upper case comes
first, a name in ``NO_PROXY`` stands for its subdomains too, one that begins with a dot for those alone, and ``NO_PROXY`` says
nothing about a ``proxy-url`` (golang.org/x/net/http/httpproxy; k8s.io/apimachinery/pkg/util/net.NewProxierWithNoProxyCIDR).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from scheduler.kube.errors import KubeError

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Proxy:
    """A proxy's scheme (``http``, ``https`` or ``socks5h``), address and login."""

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Without the login, to be shown."""
        scheme = "socks5" if self.scheme == "socks5h" else self.scheme
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What urllib3 takes. Of a SOCKS proxy with the login, and ``socks5h``: Go lets the proxy resolve names."""
        login = ""
        if self.scheme == "socks5h" and self.username is not None:
            login = f"{quote(self.username, safe='')}:{quote(self.password or '', safe='')}@"
        return f"{self.scheme}://{login}{self.address.partition('://')[2]}"


def choose(server: SplitResult, proxy_url: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy to a server: the kubeconfig's, else that of ``HTTPS_PROXY`` (``HTTP_PROXY`` for http) and ``NO_PROXY``."""
    if proxy_url:
        return parse(proxy_url, "proxy-url")
    name = "HTTPS_PROXY" if server.scheme == "https" else "HTTP_PROXY"
    value = environ.get(name) or environ.get(name.lower())
    host = server.hostname or ""
    if not value or bypassed(
        host, server.port or _PORTS[server.scheme], environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    ):
        return None
    if "://" not in value:
        value = f"http://{value}"
    return parse(value, name, tuple(_PORTS))


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Whether Go goes to that host without the environment's proxy."""
    host = host.strip().lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if entry == "*":
            return True
        if entry and _matches(entry, host, port, address):
            return True
    return False


def _matches(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if "/" in entry:
        network = _network(entry)
        if network is not None:
            return address is not None and address in network
    name, only_port = _split_port(entry)
    if not name or (only_port and only_port != str(port)):
        return False
    entry_address = _address(name)
    if entry_address is not None or address is not None:
        return address == entry_address
    if name.startswith("*."):
        name = name[1:]
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith("." + name)


def _split_port(entry: str) -> tuple[str, str]:
    """Host and port; without a port where the entry is no ``host:port``."""
    if entry.startswith("["):
        host, bracket, rest = entry[1:].partition("]")
        return (host, rest[1:]) if bracket and rest.startswith(":") else (entry, "")
    host, colon, port = entry.rpartition(":")
    return (host, port) if colon and ":" not in host else (entry, "")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # Go takes ::ffff:10.0.0.1 for 10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


def parse(value: str, origin: str, schemes: tuple[str, ...] = ("http", "https", "socks5")) -> Proxy:
    """A proxy of its URL; raises KubeError, beginning with ``origin``."""
    try:
        parts = urlsplit(value.strip() if origin != "proxy-url" else value)
        port = parts.port
    except ValueError as error:
        raise KubeError(f"{origin} {_without_login(value)} is not an address: {error}") from error
    if parts.scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise KubeError(f"{origin} {_without_login(value)}: must begin with one of {known}")
    if not parts.hostname:
        raise KubeError(f"{origin} {_without_login(value)} names no host, e.g. http://proxy.example:3128")
    scheme = "socks5h" if parts.scheme == "socks5" else parts.scheme
    username = unquote(parts.username) if parts.username is not None else None
    password = unquote(parts.password) if parts.password is not None else None
    return Proxy(scheme, parts.hostname, port or _PORTS[scheme], username, password)


def _without_login(value: str) -> str:
    scheme, mark, rest = value.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]
