"""The cluster's errors, each as one line that says what to do.

Only what someone handles has a class; the server's own words are kept where they are the best there are.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from scheduler.errors import CronsembleError

TIMEOUT = 60.0
"""Seconds without a word after which a connection counts as broken."""
CONNECT_TIMEOUT = 10.0
"""Seconds in which a connection must be there."""
READ_TIMEOUT = 15.0
"""Seconds without an answer after which a command that only looks shows what it has."""
_DENIED = re.compile(r'cannot (?P<verb>[a-z]+) resource "(?P<resource>[^"/]+)(?P<part>/[^"]*)?" in API group "(?P<group>[^"]*)"')


class KubeError(CronsembleError):
    """The cluster cannot be used as asked."""


class Unreachable(KubeError):
    """No answer from the server."""


class NotKubernetes(KubeError):
    """Something else answered: a redirect or a web page."""


class ApiError(KubeError):
    """The server answered with an error status."""

    def __init__(self, text: str, status: int, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.answer = answer or {}

    @property
    def reason(self) -> str:
        """The server's word for the error, e.g. ``AlreadyExists``; empty where it gave none."""
        return str(self.answer.get("reason") or "")

    @property
    def causes(self) -> list[dict[str, Any]]:
        """What the server named one by one: ``reason``, ``message`` and ``field`` of each."""
        return list((self.answer.get("details") or {}).get("causes") or [])


class NotFound(ApiError):
    """404."""


class Expired(ApiError):
    """410: a LIST's continue token is too old."""


class Conflict(ApiError):
    """409: another owns a field, or the object has changed or exists already."""

    @property
    def owners(self) -> list[tuple[str, str]]:
        """(manager, field) of each conflict of ownership."""
        owners = []
        for cause in self.causes:
            if cause.get("reason") == "FieldManagerConflict":
                message = str(cause.get("message", ""))
                manager = message.partition('"')[2].partition('"')[0] or message
                owners.append((manager, str(cause.get("field", "")).lstrip(".")))
        return owners


class Forbidden(ApiError):
    """403 by the authorizer: a right is missing."""


class ProxyFailed(OSError):
    """The proxy could not be reached, or did not let us through; for :func:`unreachable`."""


def api_error(method: str, what: str, verb: str, where: str, status: int, answer: Mapping[str, Any]) -> ApiError:
    """The error for an answer with a status of 400 or more; ``what`` is the resource (``cronjobs.batch/name``)."""
    message = " ".join(str(answer.get("message") or answer.get("reason") or f"status {status}").split())
    if "admission webhook" in message and "denied the request" in message:
        # With whatever status the webhook chose.
        return ApiError(f"{what}{where}: refused by admission: {_after(message, 'is forbidden: ')}", status, answer)
    if "failed calling webhook" in message or "failed calling admission webhook" in message:
        failure = _after(message, "Internal error occurred: ")
        return ApiError(f"{what}{where}: a webhook of the cluster does not work: {failure}: mend or remove it", status, answer)
    if status == 404:
        return NotFound(f"{what}{where}: not found", status, answer)
    if status == 410:
        return Expired(f"{what}: {message}", status, answer)
    if status == 409:
        return Conflict(f"{what}{where}: {message}", status, answer)
    if status == 401:
        return ApiError("the server does not accept this login: its token or certificate is wrong or has expired", status, answer)
    if status == 403 and "exceeded quota" in message:
        return ApiError(f"{what}{where}: {_after(message, 'is forbidden: ')}: raise the quota, or declare less", status, answer)
    if status == 403 and (denial := _DENIED.search(message)):
        resource = f"{denial['resource']}.{denial['group']}" if denial["group"] else denial["resource"]
        # Applying what is not there needs two rights, and the server knows which one is missing.
        return Forbidden(permission_missing(resource, denial["verb"], where, denial["part"] or ""), status, answer)
    if status == 403:
        return ApiError(f"{what}{where}: refused by admission: {_after(message, 'is forbidden: ')}", status, answer)
    if status in (400, 422) and ("admission webhook" in message or "denied request" in message):
        return ApiError(f"{what}{where}: refused by admission: {message}", status, answer)
    if status == 413 or "Too long" in message or "request is too large" in message:
        return ApiError(f"{what}{where}: too large for the server: {message}", status, answer)
    return ApiError(f"{what}{where}: the server says: {message}", status, answer)


def is_admission(answer: bytes) -> bool:
    """Whether an error comes from a webhook of the cluster, which denies or fails."""
    return b"admission webhook" in answer or b"failed calling webhook" in answer


def refuse_page(server: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raises where an answer is a redirect or a web page: what stands before a server and wants a login answers so."""
    hint = "is a login in front of it over, or the address wrong?"
    if 300 <= status < 400:
        location = (headers.get("Location") or "").partition("?")[0]
        towards = f" to {location}" if location else ""
        raise NotKubernetes(f"{server}: it redirects{towards} and does not answer as Kubernetes: {hint}")
    if "html" in (headers.get("Content-Type") or "").lower():
        title = re.search(rb"<title[^>]*>(.*?)</title>", body[:20000], re.IGNORECASE | re.DOTALL)
        named = f" ({' '.join(title[1].decode(errors='replace').split())[:100]})" if title else ""
        raise NotKubernetes(f"{server}: it answers {status} with a web page{named} and not as Kubernetes: {hint}")


def unreachable(server: str, context: str, error: Exception, waited: float) -> Unreachable:
    """The error for no answer at all, after ``waited`` seconds."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(
            f"{server}: its certificate is not the one that context {context} expects ({error.verify_message}): "
            "is this the right server, and certificate-authority the right one?"
        )
    if isinstance(error, ssl.SSLError):
        return Unreachable(f"{server}: no secure connection ({error.reason or error}): is this an API server?")
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    if isinstance(error, socket.gaierror):
        words = f"its name is not known ({words})"
    if isinstance(error, TimeoutError):
        words = f"no answer in {waited:.0f} s"
    return Unreachable(f"{server}: not reachable (context {context}): {words}")


def permission_missing(what: str, verb: str, where: str, part: str = "") -> str:
    """One line: the verb and resource, and the rule that gives the right; ``part`` is that of a subresource (``/exec``)."""
    resource, _, _ = what.partition("/")
    plural, _, group = resource.partition(".")
    if not where:
        rule = f'{{apiGroups: ["{group}"], resources: ["{plural}"], verbs: ["{verb}"]}}'
        return f"no right to {verb} {resource} in the whole cluster: add to a ClusterRole: {rule}"
    rule = f'{{apiGroups: ["{group}"], resources: ["{plural}{part}"], verbs: ["{verb}"]}}'
    return f"no right to {verb} {resource}{part}{where}: add to the Role: {rule}"


def _after(message: str, mark: str) -> str:
    return message.partition(mark)[2] or message
