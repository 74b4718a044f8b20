"""urllib3's pools as the kubernetes package makes them, with our TLS context and proxy, and the errors beneath urllib3's."""

from __future__ import annotations

import base64
import ssl
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, ProxyError

from scheduler.kube import proxy
from scheduler.kube.errors import ProxyFailed
from scheduler.kube.lazy_kubernetes import Configuration, RESTClientObject

_CONNECTIONS = 64
"""Kept for the next request; more are made where more are needed."""


class ConnectionBroken(OSError):
    """A connection could not be made, or ended in the middle; its cause where the system has a name for it."""


def manager_for(
    url: str, context: ssl.SSLContext | None, through: proxy.Proxy | None, configuration: Any = None
) -> urllib3.PoolManager:
    """The kubernetes package's pools for the URL of a server, with this TLS and proxy."""
    configuration = configuration if configuration is not None else Configuration(host=url, proxy="", no_proxy="")
    configuration.proxy, configuration.no_proxy = (through.url if through else ""), ""
    configuration.proxy_ssl_context = context
    configuration.connection_pool_maxsize = _CONNECTIONS
    # Notice within about a minute that the other side is gone, however long it says nothing.
    configuration.keep_alive = True
    if through is not None and through.scheme != "socks5h" and through.username is not None:
        login = f"{through.username}:{through.password or ''}"
        # Not by urllib3's make_headers, which takes Latin-1 where Go takes UTF-8.
        configuration.proxy_headers = {"proxy-authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    manager: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    if context is not None:
        # Ours: kubernetes would make one from files for each connection.
        manager.connection_pool_kw["ssl_context"] = context
        manager.connection_pool_kw["cert_reqs"] = context.verify_mode
        if context.verify_mode == ssl.CERT_NONE:
            urllib3.disable_warnings(InsecureRequestWarning)
    return manager


def cause(error: BaseException, through: proxy.Proxy | None = None) -> OSError:
    """The system's error beneath one of urllib3's, or ConnectionBroken with its words."""
    if isinstance(error, ProxyError) and through is not None:
        return ProxyFailed(f"proxy {through.address}: {_words(cause(error.original_error))}")
    visited: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in visited:
            continue
        visited.add(id(current))
        if isinstance(current, OSError) and not isinstance(current, HTTPError):
            return current
        waiting += [*current.args, current.__cause__, current.__context__, getattr(current, "reason", None)]
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return TimeoutError(str(error))
    return ConnectionBroken(str(error) or type(error).__name__)


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or str(error) or type(error).__name__
