"""The auth-provider ``oidc`` of a kubeconfig: an ID token, renewed by a refresh token when it ends, as kubectl does.

kube_config has this too; but it switches verification off where no certificate authority is named, needs a refresh token in every
answer, writes the kubeconfig in place, and imports half a second of libraries to send two requests.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from scheduler.kube import kubeconfig_schema, proxy, tls
from scheduler.kube.errors import KubeError

_SKEW = timedelta(seconds=10)
_TIMEOUT = 30.0


@dataclass(frozen=True)
class IdToken:
    """A JSON Web Token, and when it must be renewed: 10 s before it ends."""

    text: str
    refresh_at: datetime


def id_token(
    config: Mapping[str, str], where: str, force: bool, keep: Callable[[Mapping[str, str]], None]
) -> tuple[IdToken, dict[str, str]]:
    """The ID token of an auth-provider's ``config``, and what of it has changed.

    Where it has ended, or ``force``, the provider is asked for another and ``keep`` is called with what it gave, before that is
    used: a refresh token may be good only once. Raises KubeError, beginning with ``where``.
    """
    issuer, client = config.get("idp-issuer-url") or "", config.get("client-id") or ""
    for key, value in (("idp-issuer-url", issuer), ("client-id", client)):
        if not value:
            raise KubeError(f"{where}: {key} is missing")
    current = config.get("id-token")
    if current:
        token = _parse(current, where)
        if not (force and config.get("refresh-token")) and token.refresh_at > datetime.now(UTC):
            return token, {key: config[key] for key in ("id-token", "refresh-token") if config.get(key)}
    if not config.get("refresh-token"):
        raise KubeError(f"{where}: its id-token has ended, and there is no refresh-token: log in again")
    try:
        answer = _refresh(config, issuer, client, where)
    except KubeError:
        if current and token.refresh_at > datetime.now(UTC):
            return token, {"id-token": current, "refresh-token": config["refresh-token"]}
        raise
    tokens = {"id-token": answer["id_token"], "refresh-token": answer.get("refresh_token") or config["refresh-token"]}
    keep(tokens)
    return _parse(tokens["id-token"], where), tokens


def _parse(text: str, where: str) -> IdToken:
    parts = text.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("it has not three parts")
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise KubeError(f"{where}: its id-token is no JSON Web Token that ends: {error}") from error
    return IdToken(text, end - _SKEW)


def _refresh(config: Mapping[str, str], issuer: str, client: str, where: str) -> dict[str, Any]:
    manager = _pool_manager(config, issuer, where)
    discovery = _ask(manager, "GET", issuer.rstrip("/") + "/.well-known/openid-configuration", where)
    endpoint = discovery.get("token_endpoint")
    if not endpoint:
        raise KubeError(f"{where}: {issuer} names no token_endpoint")
    secret = config.get("client-secret") or ""
    form = {"grant_type": "refresh_token", "refresh_token": config["refresh-token"]}
    # In the header first, as RFC 6749, 2.3.1 would have it, then in the body for the providers that know only that.
    login = base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()
    try:
        answer = _ask(manager, "POST", endpoint, where, form, {"Authorization": f"Basic {login}"})
    except _RefusedLogin:
        answer = _ask(
            manager, "POST", endpoint, where, {**form, "client_id": client, **({"client_secret": secret} if secret else {})}
        )
    if not isinstance(answer.get("id_token"), str):
        raise KubeError(f"{where}: {endpoint} answered without an id_token: log in again, with the scope openid")
    return answer


class _RefusedLogin(KubeError):
    """The provider answered a POST with an error."""


def _pool_manager(config: Mapping[str, str], issuer: str, where: str) -> Any:
    from scheduler.kube.pools import manager_for

    authority: bytes | None = None
    if data := config.get("idp-certificate-authority-data"):
        try:
            authority = kubeconfig_schema.decode(data)
        except ValueError as error:
            raise KubeError(f"{where}: idp-certificate-authority-data is not base64") from error
    elif path := config.get("idp-certificate-authority"):
        try:
            authority = Path(path).read_bytes()
        except OSError as error:
            raise KubeError(f"{where}: idp-certificate-authority {path}: {error.strerror}") from error
    try:
        address = urlsplit(issuer)
    except ValueError as error:
        raise KubeError(f"{where}: idp-issuer-url {issuer} is not an address") from error
    return manager_for(issuer, tls.make_context(authority, False, None, where), proxy.choose(address, None, os.environ))


def _ask(
    manager: Any,
    method: str,
    url: str,
    where: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    from urllib3.exceptions import HTTPError

    from scheduler.kube.pools import cause

    content = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    body = urlencode(form) if form else None
    try:
        answer = manager.request(
            method,
            url,
            body=body,
            headers={"Accept": "application/json", **content, **(headers or {})},
            retries=False,
            timeout=_TIMEOUT,
        )
    except HTTPError as error:
        raise KubeError(f"{where}: {url}: {cause(error)}") from error
    try:
        value = json.loads(answer.data)
    except ValueError:
        value = None
    if answer.status != 200 or not isinstance(value, dict):
        reason = (value.get("error_description") or value.get("error")) if isinstance(value, dict) else None
        fault = f"{where}: {url} answered {answer.status}" + (
            f": {reason}" if reason else "" if answer.status != 200 else ", but no JSON"
        )
        raise (_RefusedLogin if method == "POST" else KubeError)(f"{fault}: log in again")
    return value


def write_tokens(path: str | None, user: str, tokens: Mapping[str, str]) -> None:
    """Put a user's tokens into its kubeconfig, whole or not at all: the next command, and kubectl, need the new refresh token.

    ``PATH.lock`` is there meanwhile, which kubectl heeds too. Raises KubeError.
    """
    import yaml

    if path is None:
        return
    target = os.path.realpath(path)
    lock = f"{path}.lock"
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0))
    except OSError as error:
        raise KubeError(f"{path}: the renewed OIDC login cannot be kept: {lock}: {error.strerror}") from error
    try:
        with open(target, "rb") as file:
            content = yaml.load(file, yaml.SafeLoader)
            mode = os.fstat(file.fileno()).st_mode & 0o777
        entry = next(entry for entry in content["users"] if entry["name"] == user)
        entry["user"]["auth-provider"]["config"].update(tokens)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(target), prefix=".kubeconfig-", delete=False) as scratch:
            try:
                os.fchmod(scratch.fileno(), mode)
                yaml.safe_dump(content, scratch, sort_keys=False)
                scratch.flush()
                os.replace(scratch.name, target)
            except BaseException:
                os.unlink(scratch.name)
                raise
    except (OSError, yaml.YAMLError, StopIteration, KeyError, TypeError) as error:
        raise KubeError(f"{path}: the renewed OIDC login cannot be kept: {error}") from error
    finally:
        os.unlink(lock)
