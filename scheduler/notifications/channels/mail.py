"""Mail over SMTP: with TLS from the first byte or by STARTTLS, certificates verified; without either only without a password."""

from __future__ import annotations

import smtplib
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from cronjobs.notify import Channel, MailSettings
from jobs.contract import parse_time
from jobs.text import one_line
from scheduler.notifications.channels.errors import DeliveryError
from scheduler.notifications.channels.http import tls_context
from scheduler.notifications.channels.secrets import resolve
from scheduler.notifications.messages import Message


def send_mail(channel: Channel, message: Message, environment: Mapping[str, str]) -> str:
    """Hand the message to the server for all who are to have it; raises DeliveryError."""
    mail = channel.mail
    assert mail is not None
    password = None if mail.password is None else resolve(mail.password, environment)
    place = f"{mail.host}:{mail.port}"
    guard = _Guard(channel.timeout)
    try:
        with guard, _connect(mail, channel, guard) as server:
            if mail.user is not None and password is not None:
                server.login(mail.user, password)
            refused = server.send_message(letter(mail, message), mail.sender, list(mail.to))
    except smtplib.SMTPResponseException as error:
        raise DeliveryError(f"{place} answers {error.smtp_code} {_text(error.smtp_error)}") from None
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()), (550, b""))
        raise DeliveryError(f"{place} takes mail for none of them: {code} {_text(text)}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        if guard.has_passed:
            raise DeliveryError(f"{place} gave no answer within {channel.timeout}s") from None
        raise DeliveryError(f"{place}: {_why(error)}") from None
    return f"taken by {place}" + (f", but for {len(refused)} of {len(mail.to)} receivers" if refused else "")


def letter(mail: MailSettings, message: Message) -> EmailMessage:
    """The message as a mail; its Message-ID is the same whenever it is sent again."""
    from datetime import UTC, datetime

    letter = EmailMessage()
    letter["Subject"] = message.subject
    letter["From"] = mail.sender
    letter["To"] = ", ".join(mail.to)
    letter["Date"] = format_datetime(datetime.fromtimestamp(parse_time(message.document["time"]) or 0, UTC))
    letter["Message-ID"] = f"<{message.id}.{message.document['experiment']}@cronsemble.invalid>"
    letter["Auto-Submitted"] = "auto-generated"
    letter["X-Cronsemble-Message"] = message.id
    letter.set_content(message.text)
    return letter


def _connect(mail: MailSettings, channel: Channel, guard: _Guard) -> smtplib.SMTP:
    context = None if mail.security == "none" else tls_context(channel.ca)
    if mail.security == "tls":
        assert context is not None
        server: smtplib.SMTP = smtplib.SMTP_SSL(timeout=channel.timeout, context=context)
    else:
        server = smtplib.SMTP(timeout=channel.timeout)
    guard.server = server
    # smtplib verifies this name, which its constructor takes only together with the connection.
    server._host = mail.host  # type: ignore[attr-defined]
    try:
        code, text = server.connect(mail.host, mail.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        if mail.security == "starttls":
            assert context is not None
            server.ehlo()
            server.starttls(context=context)
            server.ehlo()
    except BaseException:
        server.close()
        raise
    return server


def _why(error: BaseException) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {one_line(error.verify_message, 160)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {one_line(str(error.reason or 'no connection'), 160)}"
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it offers no STARTTLS, or no way to log in: see security"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror, 160)
    return f"the connection ended ({type(error).__name__})"


def _text(answer: Any) -> str:
    return one_line(answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer), 160)


class _Guard:
    """Ends the conversation when its time is over, however slowly the server goes on."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self.server: smtplib.SMTP | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    @property
    def has_passed(self) -> bool:
        """Whether its time is over, also where the socket's own limit was first to say so."""
        return time.monotonic() >= self._ends

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        sock = getattr(self.server, "sock", None)
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
