"""`notify:` in a file: channels as values, and no secret in the file or in the message that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronjobs.notify import Channel, MailSettings, SecretValue
from scheduler.config import ConfigErrors, load
from scheduler.config.notify import address_problem

BASE = "experiment: e\nbackends: {jax: {schedule: '0 1 * * *'}}\n"


def read(folder: Path, notify: str, base: str = BASE) -> tuple[Channel, ...]:
    (folder / "config.yaml").write_text(base + "notify:\n" + notify)
    notify_values = load(folder / "config.yaml").notify
    assert notify_values is not None
    return notify_values.channels


def problems(folder: Path, notify: str, base: str = BASE) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(folder, notify, base)
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_every_kind_of_channel(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    channels = read(
        tmp_path,
        """
  link: https://reports.example.org/{experiment}#{run}
  channels:
    hook: {webhook: "https://ci.example.org/hooks/e", headers: {Authorization: {secret: n, key: TOKEN}}, ca_file: ca.pem}
    team: {slack: {secret: n, key: SLACK_URL}, events: [failed, well], timeout: 5s}
    mail:
      mail: {host: smtp.example.org, sender: lab@example.org, to: [me@example.org], user: lab, password: {secret: n, key: SMTP}}
    relay: {mail: {host: localhost, security: none, sender: a@b, to: [c@d]}}
    am: {alertmanager: "http://alertmanager:9093"}
    desk: {command: [notify-send, Cronsemble]}
    any: {apprise: {secret: n, key: APPRISE}}
""",
    )
    by_name = {channel.name: channel for channel in channels}
    assert [channel.kind for channel in channels] == ["webhook", "slack", "mail", "mail", "alertmanager", "command", "apprise"]
    assert by_name["hook"].headers == {"Authorization": SecretValue("n", "TOKEN")}
    assert by_name["hook"].ca.startswith("-----BEGIN")
    assert (by_name["team"].events, by_name["team"].timeout) == (("failed", "well"), 5)
    password = SecretValue("n", "SMTP")
    assert by_name["mail"].mail == MailSettings(
        host="smtp.example.org", port=587, security="starttls", sender="lab@example.org", to=("me@example.org",), user="lab",
        password=password,
    )  # fmt: skip
    assert by_name["relay"].mail is not None and by_name["relay"].mail.port == 25
    assert by_name["desk"].command == ("notify-send", "Cronsemble")


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.slack.com/services/T000/B000/XXXX",
        "https://me:pass@ci.example.org/hook",
        "https://ci.example.org/hook?token=abc",
        "https://ci.example.org/hook#abc",
        "https://chat.example.org/hooks/k3j4h5k3j4h5k3j4h5abcd",
        "https://outlook.webhook.office.com/x",
        "https://discord.com/api/webhooks/1/x",
        "ftp://example.org/x",
        "example.org/hook",
        "https://[::1/x",
        "https://exa mple.org/x",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused_and_not_quoted(tmp_path: Path, address: str) -> None:
    (line,) = problems(tmp_path, f'  channels: {{c: {{webhook: "{address}"}}}}\n')
    assert line.startswith("notify.channels.c.webhook: ")
    assert line.endswith("e.g. {secret: cronsemble-notify, key: WEBHOOK_URL}")
    assert address not in line and "token" not in line and "XXXX" not in line


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080/", "https://ci.example.org/api/v1/experiments", "http://[::1]:9093"])
def test_an_address_without_a_secret_may_stand_in_the_file(address: str) -> None:
    assert address_problem(address) == ""


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (
            "{slack: https://hooks.slack.com/services/SECRET}",
            "notify.channels.c.slack: whoever knows this address can write there",
        ),
        ("{apprise: 'slack://SECRET'}", "notify.channels.c.apprise: whoever knows this address can write there"),
        (
            "{mail: {host: h, sender: a@b, to: [c@d], user: u, password: SECRET}}",
            "notify.channels.c.mail.password: a password must not stand in the file",
        ),
        (
            "{webhook: 'http://h/x', headers: {X-Api-Key: SECRET}}",
            "notify.channels.c.headers.X-Api-Key: this header holds a secret",
        ),
    ],
)
@pytest.mark.holds("author-notify")
def test_a_secret_in_the_file_is_refused_and_not_quoted(tmp_path: Path, channel: str, expected: str) -> None:
    (line,) = problems(tmp_path, f"  channels: {{c: {channel}}}\n")
    assert line.startswith(expected + ": take it from a Secret or your environment, e.g. {secret: cronsemble-notify, key: ")
    assert "SECRET}" not in line and "SECRET'" not in line and "services" not in line


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        ("  channels: {}\n", "notify.channels: {} is given: at least 1 must be named"),
        ("  channels: {A_b: {command: [x]}}\n", "notify.channels.A_b: use at most 40 lower-case letters, digits and -"),
        ("  channels: {c: {}}\n", "notify.channels.c: it does not say where to: type one of webhook, slack, mail, "),
        (
            "  channels: {c: {command: [x], alertmanager: 'http://h'}}\n",
            "notify.channels.c: alertmanager and command are given, and one is meant",
        ),
        ("  channels: {c: {webhook: {secret: n, key: a.b}}}\n", "notify.channels.c.webhook.key: it is a variable's name too"),
        ("  channels: {c: {webhook: {secret: N, key: A}}}\n", "notify.channels.c.webhook.secret: use lower-case letters"),
        (
            "  channels: {c: {webhook: {secret: n, key: A}}, d: {slack: {secret: m, key: A}}}\n",
            "notify.channels.d.slack.key: another channel has the key A of another Secret",
        ),
        ("  channels: {c: {command: []}}\n", "notify.channels.c.command: name a program"),
        ("  channels: {c: {command: [x], timeout: 5m}}\n", "notify.channels.c.timeout: 5m is given: at most 120s"),
        ("  channels: {c: {command: [x], headers: {A: b}}}\n", "notify.channels.c.headers: command takes none"),
        (
            "  channels: {c: {webhook: 'http://h', ca_file: gone.pem}}\n",
            "notify.channels.c.ca_file: cannot be read: No such file",
        ),
        ("  channels: {c: {webhook: 'http://h', events: [faild]}}\n", "notify.channels.c.events.0: 'faild' is given: it must be"),
        (
            "  channels: {c: {mail: {host: h, sender: a@b, to: [c@d], user: u}}}\n",
            "notify.channels.c.mail: user and password go together",
        ),
        (
            "  channels: {c: {mail: {host: h, sender: a@b, to: [c@d], user: u, security: none, password: {secret: n, key: P}}}}",
            "notify.channels.c.mail.security: a password is given, and it would be sent in the clear",
        ),
        (
            "  channels: {c: {mail: {host: h, sender: me, to: [c@d]}}}\n",
            "notify.channels.c.mail.sender: it must be a mail address",
        ),
        ("  channels: {c: {command: [x]}}\n  link: 'https://h/{rnu}'\n", "notify.link: {rnu} is given: there are {experiment}, "),
        ("  channels: {c: {command: [x]}}\n  link: 'h/{run}'\n", "notify.link: it must be an http:// or https:// address"),
        (
            "  channels: {c: {command: [x]}}\n  link: 'https://a:b@h/{run}'\n",
            "notify.link: this address holds a name or a password",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, notify: str, expected: str) -> None:
    (line,) = problems(tmp_path, notify)
    assert line.startswith(expected)


def test_a_command_is_for_this_machine_alone(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "  channels: {c: {command: [x]}}\n", BASE + "store: {claim: volume}\n")
    assert line.startswith("notify.channels.c.command: a command is for this machine alone, and the store is a cluster's volume")


def test_an_edit_of_notify_changes_no_task(tmp_path: Path) -> None:
    from io import StringIO

    from cronjobs.tasks import resolve_tasks
    from scheduler.engines.local import CpuBudget, LocalEngine
    from scheduler.engines.manual_run import store_context
    from scheduler.server.journal import Journal
    from scheduler.stores.location import local_store

    hashes = []
    for notify in ("", "notify: {channels: {c: {command: [x]}}}\n"):
        (tmp_path / "config.yaml").write_text(BASE + notify)
        experiment = load(tmp_path / "config.yaml")
        engine = LocalEngine(local_store(experiment), Journal(False, StringIO()).of("e"), CpuBudget(1))
        hashes.append({name: resolved for name, (_, resolved) in resolve_tasks(store_context(engine, experiment)).items()})
    assert hashes[0] == hashes[1]


def test_a_command_is_denied_every_variable_with_a_secret_that_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        """
experiment: e
defaults: {env: {MODE: fast, TOKEN: {secret: s, key: t}}}
backends: {jax: {schedule: '0 1 * * *'}}
heartbeat: {server: "https://hc.example.org", ping_key: {secret: hc, key: PING_KEY}}
notify: {channels: {hook: {webhook: {secret: n, key: URL}}, desk: {command: [x]}}}
"""
    )
    notify = load(tmp_path / "config.yaml").notify
    assert notify is not None and notify.withheld == ("URL", "TOKEN", "PING_KEY", "HEALTHCHECKS_API_KEY")
