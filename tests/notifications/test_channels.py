"""Each kind of channel against a real receiver: what arrives, what is said when it does not, and no secret in any of it."""

from __future__ import annotations

import base64
import email
import json
import logging
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message as Letter
from pathlib import Path
from typing import Any

import pytest
import trustme

from cronjobs.notify import Channel, MailSettings, SecretValue
from notifications.receivers import Receiver, receiving
from scheduler.history.slots import LocalClock
from scheduler.notifications.channels.errors import DeliveryError
from scheduler.notifications.channels.secrets import hide
from scheduler.notifications.channels.send import send
from scheduler.notifications.messages import Message, Sender, sample
from scheduler.runtimes.environment import step_environment

SECRET = "q8w7e6r5t4y3u2"
URL = SecretValue("n", "URL")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def message() -> Message:
    return sample(Sender("e", "Europe/Berlin"), "c", 1_790_000_000.0, LocalClock("Europe/Berlin"))


def why(channel: Channel, message: Message, **environment: str) -> str:
    with pytest.raises(DeliveryError) as caught:
        send(channel, message, environment)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# -- webhooks


def test_a_webhook_gets_the_document_and_headers_from_secrets(receiver: Receiver, message: Message) -> None:
    channel = Channel(name="c", kind="webhook", address=URL, headers={"Authorization": SecretValue("n", "TOKEN"), "X-Lab": "one"})
    answer = send(channel, message, {"URL": receiver.url(f"/{SECRET}"), "TOKEN": f"Bearer {SECRET}"})
    (request,) = receiver.requests
    assert answer == "200 OK" and request.path == f"/{SECRET}" and request.document == message.document
    assert request.headers["Authorization"] == f"Bearer {SECRET}" and request.headers["X-Lab"] == "one"
    assert request.headers["Idempotency-Key"] == message.id
    assert request.headers["Content-Type"] == "application/json"


def test_slack_gets_a_text_without_markup_of_ours_in_it(receiver: Receiver, message: Message) -> None:
    send(Channel(name="c", kind="slack", address=URL), message, {"URL": receiver.url("/services/x")})
    text = receiver.requests[0].document["text"]
    assert list(receiver.requests[0].document) == ["text"]
    assert text.startswith("*[e] test of the channel c*\n```\n") and text.endswith("\n```")


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (500, "down", "answers 500 Internal Server Error: down"),
        (404, f"no_service at /{SECRET}", "answers 404 Not Found: no_service at ***"),
        (302, "", "answers 302, a redirect to nowhere, and none is followed: give the address that it leads to"),
        (400, "\x1b[31m<b>\n\nx", "answers 400 Bad Request: <b> x"),
    ],
)
def test_what_a_receiver_says_is_one_line_without_the_address(
    receiver: Receiver, message: Message, status: int, text: str, expected: str
) -> None:
    receiver.status, receiver.text = status, text
    channel = Channel(name="c", kind="webhook", address=URL)
    assert why(channel, message, URL=receiver.url(f"/{SECRET}")) == f"127.0.0.1:{receiver.port} {expected}"


@pytest.mark.holds("author-channels")
def test_a_redirect_is_not_followed(receiver: Receiver, message: Message) -> None:
    with receiving() as other:

        def redirect(handler: Any, body: bytes) -> None:
            handler.answer(307, "", Location=other.url(f"/{SECRET}"))

        receiver.behaviour = redirect
        assert "a redirect to 127.0.0.1, and none is followed" in why(
            Channel(name="c", kind="webhook", address=receiver.url()), message
        )
        assert other.requests == []


def test_retry_after_is_kept(receiver: Receiver, message: Message) -> None:
    receiver.behaviour = lambda handler, body: handler.answer(429, "slow down", Retry_After="90")
    with pytest.raises(DeliveryError) as caught:
        send(Channel(name="c", kind="webhook", address=receiver.url()), message, {})
    assert caught.value.retry_after == 90


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"file:///{SECRET}", "its address is no http:// or https:// address"),
        (f"ftp://127.0.0.1/{SECRET}", "its address is no http:// or https:// address"),
        (f"http://127.0.0.1:port/{SECRET}", "its address is no http:// or https:// address"),
        (f"http://127.0.0.1/a b{SECRET}", "its address is no http:// or https:// address"),
        (f"http://127.0.0.1/\n{SECRET}", "its address is no http:// or https:// address"),
        (f"http://127.0.0.1:1/{SECRET}", "127.0.0.1:1: Connection refused"),
        (f"http://nothing.invalid/{SECRET}", "nothing.invalid: there is no such host"),
    ],
)
def test_an_address_that_cannot_be_used_is_not_quoted(message: Message, address: str, expected: str) -> None:
    assert why(Channel(name="c", kind="webhook", address=URL), message, URL=address) == expected


@pytest.mark.holds("author-channels")
def test_a_certificate_is_verified_by_the_authorities_that_are_named(message: Message) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = authority.cert_pem.bytes().decode()
    with receiving(context) as receiver:
        address = receiver.url()
        assert send(Channel(name="c", kind="webhook", address=address, ca=ca), message, {}) == "200 OK"
        assert "its certificate is not trusted" in why(Channel(name="c", kind="webhook", address=address), message)
        other = trustme.CA().cert_pem.bytes().decode()
        assert "its certificate is not trusted" in why(Channel(name="c", kind="webhook", address=address, ca=other), message)
    wrong_name = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(wrong_name)
    with receiving(wrong_name) as receiver:
        channel = Channel(name="c", kind="webhook", address=receiver.url(), ca=ca)
        assert "its certificate is not trusted" in why(channel, message)


def test_a_proxy_of_the_environment_is_used(receiver: Receiver, message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", receiver.url(""))
    monkeypatch.setenv("no_proxy", "")
    assert send(Channel(name="c", kind="webhook", address="http://hooks.example/x"), message, {}) == "200 OK"
    assert receiver.requests[0].path == "http://hooks.example/x"


def test_hiding_takes_an_address_to_pieces() -> None:
    environment = {"URL": "https://user:pa%40ssword@host.example/services/T0000/abcdefgh?token=longtoken"}
    text = "user:pa@ssword at host.example/services/T0000/abcdefgh with longtoken and T0000"
    assert hide(text, [URL], environment) == "user:*** at host.example*** with *** and T0000"


# -- mail


class MailServer(socketserver.ThreadingTCPServer):
    """An SMTP server with as much of RFC 5321, 3207 and 4954 as `smtplib` speaks; keeps what it is given."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, context: ssl.SSLContext | None, is_tls: bool) -> None:
        self.context, self.is_tls = context, is_tls
        self.letters: list[tuple[str, list[str], Letter]] = []
        self.logins: list[str] = []
        self.refuses = ""
        super().__init__(("127.0.0.1", 0), Conversation)

    def handle_error(self, *_: Any) -> None:
        pass


class Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def setup(self) -> None:
        if self.server.is_tls and self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.request.close()

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self) -> None:
        is_secure, sender, receivers = self.server.is_tls, "", []
        self.say("220 mail.example")
        while line := self.rfile.readline():
            word, _, rest = line.decode().strip().partition(" ")
            match word.upper():
                case "EHLO":
                    offers = ["mail.example"]
                    offers += [] if is_secure or self.server.context is None else ["STARTTLS"]
                    offers += ["AUTH PLAIN"] if is_secure else []
                    for n, offer in enumerate(offers):
                        self.say(f"250{' ' if n == len(offers) - 1 else '-'}{offer}")
                case "STARTTLS":
                    assert self.server.context is not None
                    self.say("220 go ahead")
                    self.request = self.server.context.wrap_socket(self.request, server_side=True)
                    self.rfile, self.wfile = self.request.makefile("rb"), socketserver._SocketWriter(self.request)
                    is_secure = True
                case "AUTH":
                    login = base64.b64decode(rest.split()[1]).decode().replace("\0", " ").strip()
                    self.server.logins.append(login)
                    self.say("535 wrong password: " + login if "wrong" in login else "235 welcome")
                case "MAIL":
                    sender, receivers = rest.partition("<")[2].partition(">")[0], []
                    self.say("250 ok")
                case "RCPT":
                    receiver = rest.partition("<")[2].partition(">")[0]
                    if self.server.refuses and self.server.refuses in receiver:
                        self.say("550 nobody here")
                    else:
                        receivers.append(receiver)
                        self.say("250 ok")
                case "DATA":
                    self.say("354 go on")
                    data = b""
                    while not data.endswith(b"\r\n.\r\n"):
                        data += self.rfile.readline()
                    self.server.letters.append((sender, receivers, email.message_from_bytes(data[:-3])))
                    self.say("250 taken")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")


@contextmanager
def mail_server(context: ssl.SSLContext | None, is_tls: bool = False) -> Iterator[MailServer]:
    server = MailServer(context, is_tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def mail(server: MailServer, security: str, ca: str = "", **more: Any) -> Channel:
    settings: dict[str, Any] = {"sender": "lab@example.org", "to": ("me@example.org", "you@example.org"), **more}
    address = MailSettings(host="127.0.0.1", port=server.server_address[1], security=security, **settings)
    return Channel(name="c", kind="mail", mail=address, ca=ca, timeout=5)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_goes_over_tls_with_a_login(security: str, authority: trustme.CA, context: ssl.SSLContext, message: Message) -> None:
    ca = authority.cert_pem.bytes().decode()
    with mail_server(context, security == "tls") as server:
        login = {"user": "lab", "password": SecretValue("n", "SMTP")}
        answer = send(mail(server, security, ca, **login), message, {"SMTP": SECRET})
        assert answer == f"taken by 127.0.0.1:{server.server_address[1]}"
        assert server.logins == [f"lab {SECRET}"]
        ((sender, receivers, letter),) = server.letters
        assert (sender, receivers) == ("lab@example.org", ["me@example.org", "you@example.org"])
        assert letter["Subject"] == message.subject and letter["Auto-Submitted"] == "auto-generated"
        assert letter["Message-ID"] == f"<{message.id}.e@cronsemble.invalid>"
        assert letter.get_payload(decode=True).decode().replace("\r\n", "\n") == message.text
        assert why(mail(server, security, ca, **login), message, SMTP=f"wrong{SECRET}").endswith(
            "answers 535 wrong password: lab ***"
        )
        assert "its certificate is not trusted" in why(mail(server, security, **login), message, SMTP=SECRET)
    assert len(server.letters) == 1


@pytest.mark.holds("author-channels")
def test_without_starttls_nothing_is_sent_in_the_clear(message: Message) -> None:
    with mail_server(None) as server:
        channel = mail(server, "starttls", user="lab", password=SecretValue("n", "SMTP"))
        assert "it offers no STARTTLS" in why(channel, message, SMTP=SECRET)
        assert server.logins == [] and server.letters == []
        assert send(mail(server, "none"), message, {}).startswith("taken by ")
        server.refuses = "you@"
        assert send(mail(server, "none"), message, {}).endswith(", but for 1 of 2 receivers")
        server.refuses = "@"
        assert "takes mail for none of them: 550 nobody here" in why(mail(server, "none"), message)


def test_a_mail_server_that_says_nothing_costs_its_time_limit(message: Message) -> None:
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = MailSettings(host="127.0.0.1", port=silent.getsockname()[1], security="starttls", sender="a@b", to=("c@d",))
        began = time.monotonic()
        text = why(Channel(name="c", kind="mail", mail=settings, timeout=1), message)
        assert time.monotonic() - began < 5
        assert text.startswith("127.0.0.1:") and ("no answer" in text)


# -- a command


def test_a_command_has_no_shell_and_ends_in_time(tmp_path: Path, message: Message) -> None:
    words = [
        sys.executable,
        "-c",
        "import sys; open('got', 'w').write(repr(sys.argv[1:]) + sys.stdin.read())",
        "$HOME; rm -rf *",
        "a b",
    ]
    channel = Channel(name="c", kind="command", command=tuple(words), timeout=20)
    assert send(channel, message, {}, tmp_path) == "ended with status 0"
    got = (tmp_path / "got").read_text()
    assert got.startswith("['$HOME; rm -rf *', 'a b']") and json.loads(got[got.index("{") :]) == message.document
    fails = Channel(name="c", kind="command", command=("sh", "-c", "echo one; echo two >&2; exit 3"))
    assert why(fails, message, PATH="/usr/bin:/bin") == "sh ended with status 3: two"
    assert (
        why(Channel(name="c", kind="command", command=("/no/such",)), message)
        == "/no/such cannot be started: No such file or directory"
    )


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path, message: Message) -> None:
    script = "echo $$ > pid; sleep 600 & wait"
    channel = Channel(name="c", kind="command", command=("sh", "-c", script), timeout=1)
    with pytest.raises(DeliveryError, match="sh has not ended within 1s, and was killed"):
        send(channel, message, {"PATH": "/usr/bin:/bin"}, tmp_path)
    group = (tmp_path / "pid").read_text().strip()
    done = subprocess.run(["ps", "-o", "stat=", "-g", group], capture_output=True, text=True, check=False)
    assert [state for state in done.stdout.split() if not state.startswith("Z")] == []


@pytest.mark.holds("author-channels")
def test_a_command_gets_no_secret_of_another_channel(tmp_path: Path, message: Message) -> None:
    channel = Channel(name="c", kind="command", command=("sh", "-c", "env > env.txt"))
    send(channel, message, {"PATH": "/usr/bin:/bin", "URL": SECRET, "OTHER": "x"}, tmp_path, ["URL"])
    text = (tmp_path / "env.txt").read_text()
    assert SECRET not in text and "OTHER=x" in text and f"CRONSEMBLE_MESSAGE={message.id}" in text


# -- Apprise


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # a plugin of Apprise imports it
def test_apprise_delivers_what_it_knows(receiver: Receiver, message: Message, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("apprise", reason="the extra cronsemble[apprise] is not installed")
    channel = Channel(name="c", kind="apprise", address=URL)
    address = f"json://127.0.0.1:{receiver.port}/{SECRET}"
    assert send(channel, message, {"URL": address}) == "delivered by Apprise to 1 service"
    assert receiver.requests[0].document["title"] == message.subject
    receiver.status = 500
    assert why(channel, message, URL=address) == "Apprise could not deliver it"
    assert why(channel, message, URL=f"nonsense://{SECRET}") == "Apprise does not know an address like that"
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err
    assert logging.getLogger("apprise").propagate is False


def test_without_apprise_it_says_what_to_install(message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    text = why(Channel(name="c", kind="apprise", address=URL), message, URL=f"json://{SECRET}")
    assert text == "Apprise is not installed: pip install 'cronsemble[apprise]'"


@pytest.mark.holds("author-notify")
def test_no_step_gets_the_variables_of_channels() -> None:
    shell = {"PATH": "/bin", "URL": SECRET, "TOKEN": SECRET}
    assert SECRET not in step_environment(shell, ["OTHER"]).values()
