"""The checks of `notify:`, and its values: no secret may stand in the file, and none of what is given is quoted in a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cronjobs.notify import Channel, MailSettings, Notify, SecretValue, Value
from scheduler.config.document import Document
from scheduler.config.functions import misplaced
from scheduler.config.keys import ChannelKeys, NotifyKeys, SecretReferenceKeys
from scheduler.times import parse_duration

CHANNEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
"""What a channel's name looks like: it is a folder's in the store, too."""

KINDS = ("webhook", "slack", "mail", "alertmanager", "command", "apprise")
LINK_FIELDS = ("experiment", "task", "run", "slot", "date")
LONGEST_TIMEOUT = 120
"""Seconds of one delivery: another process takes over a delivery that has been under way for five minutes."""
_KINDS_WITH = {
    "headers": ("webhook", "slack", "alertmanager"),
    "ca_file": ("webhook", "slack", "alertmanager", "mail"),
}
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_ALWAYS_SECRET = {"slack": "SLACK_URL", "apprise": "APPRISE_URL"}
"""Kinds whose address lets anybody who knows it write, and a name for its key."""
_SECRET_HOSTS = re.compile(
    r"(^|\.)(hooks\.slack\.com|discord(app)?\.com|webhook\.office\.com|logic\.azure\.com|api\.telegram\.org|hooks\.zapier\.com"
    r"|chat\.googleapis\.com|hc-ping\.com|ntfy\.sh|events\.pagerduty\.com|api\.opsgenie\.com|maker\.ifttt\.com)$"
)
_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_.~+-]{16,}|[0-9a-f-]{20,}|[A-Za-z0-9_-]{24,}")
"""What a part of a path looks like that nobody could guess."""
_SECRET_HEADER = re.compile(r"auth|token|key|secret|cookie|password|signature", re.IGNORECASE)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAIL = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
_LARGEST_CA = 1_000_000
Path_ = tuple[Any, ...]


def check(document: Document, value: dict[str, Any], folder: Path) -> None:
    """Add every problem of `notify:` to the document; values of a wrong type are left to the keys' model."""
    notify = value.get("notify")
    if not isinstance(notify, dict):
        return
    channels = notify.get("channels")
    secrets: dict[str, str] = {}
    for name, channel in channels.items() if isinstance(channels, dict) else ():
        path: Path_ = ("notify", "channels", name)
        if not isinstance(name, str) or not CHANNEL_NAME.fullmatch(name):
            document.problem(path, "use at most 40 lower-case letters, digits and -", at_key=True)
        if isinstance(channel, dict):
            _channel(document, path, channel, folder, isinstance(value.get("store"), dict))
            for place, reference in _references(path, channel):
                _reference(document, place, reference, secrets)
    if isinstance(notify.get("link"), str):
        _link(document, ("notify", "link"), notify["link"])


def _channel(document: Document, path: Path_, channel: dict[str, Any], folder: Path, is_cluster: bool) -> None:
    given = [kind for kind in KINDS if channel.get(kind) is not None]
    if len(given) != 1:
        what = f"{' and '.join(given)} are given, and one is meant" if given else "it does not say where to"
        document.problem(path, f"{what}: type one of {', '.join(KINDS)}", at_key=True)
    for kind in given:
        if kind in _ALWAYS_SECRET and not isinstance(channel[kind], dict):
            _refuse(document, (*path, kind), "whoever knows this address can write there", _ALWAYS_SECRET[kind])
        elif isinstance(channel[kind], str) and kind != "command" and (problem := address_problem(channel[kind])):
            _refuse(document, (*path, kind), problem, f"{kind.upper()}_URL")
    if channel.get("command") is not None:
        _command(document, (*path, "command"), channel["command"], is_cluster)
    if isinstance(channel.get("mail"), dict):
        _mail(document, (*path, "mail"), channel["mail"])
    for key, kinds in _KINDS_WITH.items():
        if channel.get(key) and given and given[0] not in kinds:
            document.problem((*path, key), f"{given[0]} takes none: it is for {', '.join(kinds)}", at_key=True)
    headers = channel.get("headers")
    for name, text in headers.items() if isinstance(headers, dict) else ():
        _header(document, (*path, "headers", name), str(name), text)
    ca_file, timeout = channel.get("ca_file"), channel.get("timeout")
    if isinstance(ca_file, str) and (problem := misplaced(ca_file, folder) or _ca_problem(folder / ca_file)):
        document.problem((*path, "ca_file"), problem)
    if isinstance(timeout, str) and _seconds(timeout) > LONGEST_TIMEOUT:
        document.problem((*path, "timeout"), f"{timeout} is given: at most {LONGEST_TIMEOUT}s")


def _seconds(duration: str) -> int:
    """The seconds of a duration; 0 for what is none, which the keys' model reports."""
    try:
        return parse_duration(duration)
    except ValueError:
        return 0


def _refuse(document: Document, path: Path_, why: str, key: str) -> None:
    """That a value may not stand in the file: it is not quoted."""
    document.problem(path, f"{why}: take it from a Secret or your environment, e.g. {{secret: cronsemble-notify, key: {key}}}")
    document.traps.add(path)


def address_problem(address: str) -> str:
    """Why an address may not stand in a file, in a few words without the address; empty if it may."""
    from urllib.parse import urlsplit  # late: most files have none

    try:
        split = urlsplit(address)
        host, _ = split.hostname, split.port
    except ValueError:
        return "this is no address"
    if split.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", address):
        return "it must be an http:// or https:// address, and one with secrets in it must not stand in the file"
    if split.username is not None or split.password is not None:
        return "this address holds a name or a password"
    if split.query or split.fragment:
        return "this address has parameters, which are secrets more often than not"
    if _SECRET_HOSTS.search(host):
        return "whoever knows this address can write there"
    if any(_TOKEN.fullmatch(part) for part in split.path.split("/")):
        return "a part of this address looks like a secret"
    return ""


def _command(document: Document, path: Path_, command: Any, is_cluster: bool) -> None:
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        return
    if not command or not command[0].strip():
        document.problem(path, "name a program, e.g. command: [notify-send, Cronsemble]")
    elif any("\0" in word for word in command):
        document.problem(path, "a zero byte is in it")
    elif is_cluster:
        document.problem(path, "a command is for this machine alone, and the store is a cluster's volume: use another kind")


def _mail(document: Document, path: Path_, mail: dict[str, Any]) -> None:
    password = mail.get("password")
    if password is not None and not isinstance(password, dict):
        _refuse(document, (*path, "password"), "a password must not stand in the file", "SMTP_PASSWORD")
    if (mail.get("user") is None) != (password is None):
        document.problem(path, "user and password go together: give both or neither", at_key=True)
    if mail.get("security") == "none" and password is not None:
        document.problem((*path, "security"), "a password is given, and it would be sent in the clear: type starttls or tls")
    if isinstance(mail.get("host"), str) and not re.fullmatch(r"[A-Za-z0-9._:-]+", mail["host"]):
        document.problem((*path, "host"), "it must be a host's name or address alone")
    receivers = mail.get("to")
    addresses = [((*path, "sender"), mail.get("sender"))]
    addresses += [((*path, "to", n), address) for n, address in enumerate(receivers if isinstance(receivers, list) else [])]
    for place, address in addresses:
        if isinstance(address, str) and not _MAIL.fullmatch(address):
            document.problem(place, "it must be a mail address alone, e.g. lab@example.org")


def _header(document: Document, path: Path_, name: str, text: Any) -> None:
    if not _HEADER.fullmatch(name):
        document.problem(path, "this is no header's name", at_key=True)
    if not isinstance(text, str):
        return
    if _SECRET_HEADER.search(name):
        _refuse(document, path, "this header holds a secret", "WEBHOOK_TOKEN")
    elif not text.isprintable() or not text.isascii():
        document.problem(path, "a header has printable ASCII characters alone")


def _link(document: Document, path: Path_, link: str) -> None:
    from urllib.parse import urlsplit

    fields = re.findall(r"\{([^{}]*)\}", link)
    unknown = [name for name in fields if name not in LINK_FIELDS]
    try:
        split = urlsplit(re.sub(r"[{}]", "", link))
        is_address = split.scheme in ("http", "https") and bool(split.hostname)
        has_login = split.username is not None or split.password is not None
    except ValueError:
        is_address, has_login = False, False
    if unknown:
        names = ", ".join(f"{{{name}}}" for name in LINK_FIELDS)
        document.problem(path, f"{{{unknown[0]}}} is given: there are {names}")
    elif has_login:
        document.problem(path, "this address holds a name or a password: everybody who is told would see it")
        document.traps.add(path)
    elif not is_address or re.sub(r"\{[a-z]+\}", "", link).count("{"):
        document.problem(path, "it must be an http:// or https:// address, e.g. https://reports.example.org/{experiment}#{run}")


def _references(path: Path_, channel: dict[str, Any]) -> Iterator[tuple[Path_, dict[str, Any]]]:
    values: list[tuple[Path_, Any]] = [((*path, kind), channel.get(kind)) for kind in KINDS if kind not in ("mail", "command")]
    if isinstance(channel.get("mail"), dict):
        values.append(((*path, "mail", "password"), channel["mail"].get("password")))
    if isinstance(channel.get("headers"), dict):
        values += [((*path, "headers", name), text) for name, text in channel["headers"].items()]
    for place, value in values:
        if isinstance(value, dict):
            yield place, value


def _reference(document: Document, path: Path_, reference: dict[str, Any], secrets: dict[str, str]) -> None:
    secret, key = reference.get("secret"), reference.get("key")
    if isinstance(secret, str) and not _SUBDOMAIN.fullmatch(secret):
        document.problem((*path, "secret"), "use lower-case letters, digits, - and ., as Kubernetes names a Secret")
    if not isinstance(key, str):
        return
    if not _VARIABLE.fullmatch(key) or key.startswith("CRONSEMBLE_"):
        document.problem((*path, "key"), "it is a variable's name too: use letters, digits and _, e.g. SLACK_URL")
    elif isinstance(secret, str) and secrets.setdefault(key, secret) != secret:
        message = f"another channel has the key {key} of another Secret, and both would be one variable: use different keys"
        document.problem((*path, "key"), message)


def _ca_problem(path: Path) -> str:
    try:
        text = read_ca(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "it holds no certificate (-----BEGIN CERTIFICATE-----)"
    return "" if "-----BEGIN CERTIFICATE-----" in text else "it holds no certificate (-----BEGIN CERTIFICATE-----)"


def read_ca(path: Path) -> str:
    """The certificates in a file; raises OSError, and ValueError for what is no text."""
    with open(path, "rb") as file:
        return file.read(_LARGEST_CA).decode("ascii")


def resolve_notify(keys: NotifyKeys, folder: Path, others: Iterable[str] = ()) -> Notify:
    """The values of checked keys; what `ca_file` names is read, for a cluster has no such file.

    ``others``: the variables with secrets that the rest of the configuration names.
    """
    channels = tuple(_resolve_channel(name, channel, folder) for name, channel in keys.channels.items())
    has_command = any(channel.kind == "command" for channel in channels)
    own = (secret.key for channel in channels for secret in channel.secrets())
    return Notify(channels=channels, link=keys.link or "", withheld=tuple(dict.fromkeys([*own, *others])) if has_command else ())


def _resolve_channel(name: str, keys: ChannelKeys, folder: Path) -> Channel:
    kind = next(kind for kind in KINDS if getattr(keys, kind) is not None)
    mail = None
    if keys.mail is not None:
        mail = MailSettings(
            host=keys.mail.host,
            port=keys.mail.port or _PORTS[keys.mail.security],
            security=keys.mail.security,
            sender=keys.mail.sender,
            to=tuple(keys.mail.to),
            user=keys.mail.user,
            password=_secret(keys.mail.password),
        )
    return Channel(
        name=name,
        kind=kind,
        address=None if kind in ("mail", "command") else _value(getattr(keys, kind)),
        mail=mail,
        command=tuple(keys.command or ()),
        headers={header: _value(text) for header, text in keys.headers.items()},
        ca=read_ca(folder / keys.ca_file) if keys.ca_file else "",
        events=tuple(keys.events),
        timeout=int(keys.timeout),
    )


def _value(value: str | SecretReferenceKeys) -> Value:
    return value if isinstance(value, str) else SecretValue(value.secret, value.key)


def _secret(value: str | SecretReferenceKeys | None) -> SecretValue | None:
    return SecretValue(value.secret, value.key) if isinstance(value, SecretReferenceKeys) else None
