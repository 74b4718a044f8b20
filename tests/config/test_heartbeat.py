"""`heartbeat:` in a configuration: what it resolves to, what is refused, and that no key is quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cronjobs.experiment import HeartbeatSettings, SecretKey
from scheduler.config import ConfigErrors, load

HEAD = "experiment: e\nbackends: {jax: {schedule: '0 1 * * *'}}\n"


def heartbeat(folder: Path, text: str, more: str = "") -> HeartbeatSettings | None:
    path = folder / "config.yaml"
    path.write_text(f"{HEAD}{more}heartbeat: {text}\n")
    return load(path).heartbeat


def refusal(folder: Path, text: str, more: str = "") -> str:
    with pytest.raises(ConfigErrors) as refused:
        heartbeat(folder, text, more)
    return str(refused.value)


def test_what_it_resolves_to(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HEAD)
    assert load(tmp_path / "config.yaml").heartbeat is None
    assert heartbeat(tmp_path, "{server: https://hc.example.org/}") == HeartbeatSettings(
        "https://hc.example.org", "https://hc.example.org/ping"
    )
    assert heartbeat(tmp_path, "{server: 'https://healthchecks.io', ping_key: {secret: s, key: k}}") == HeartbeatSettings(
        "https://healthchecks.io", "https://hc-ping.com", SecretKey("s", "k")
    )
    settings = heartbeat(tmp_path, "{server: 'http://hc:8000/a', ping_url: 'http://hc:8000/p/'}")
    assert settings == HeartbeatSettings("http://hc:8000/a", "http://hc:8000/p")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "heartbeat.server: this key is missing"),
        ("https://hc.example.org", "it must be keys"),
        ("{server: hc.example.org}", "type the address of a server"),
        ("{server: 'ftp://hc.example.org'}", "type the address of a server"),
        ("{server: 'https://hc.example.org:99999'}", "it is not an address"),
        ("{server: 'https://hc.example.org', ping_url: 'https://a b'}", "heartbeat.ping_url"),
        ("{server: 'https://hc.example.org', ping_key: {secret: A_B, key: k}}", "heartbeat.ping_key.secret: 'A_B' is given"),
        ("{server: 'https://hc.example.org', ping_key: {secret: s}}", "heartbeat.ping_key.key: this key is missing"),
        ("{server: 'https://hc.example.org', ping_keys: 1}", "ping_keys: unknown key"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_no_key_in_the_file_is_quoted(tmp_path: Path) -> None:
    for text in (
        "{server: 'https://hc.example.org', ping_key: abcdef0123}",
        "{server: 'https://hc.example.org', api_key: abcdef0123}",
        "{server: 'https://user:abcdef0123@hc.example.org'}",
        "{server: 'https://hc.example.org', ping_url: 'https://hc.example.org/ping?key=abcdef0123'}",
    ):
        error = refusal(tmp_path, text)
        assert error.count("config.yaml") == 1 and "abcdef" not in error


def test_pods_need_a_key_and_a_server_waits_a_year_at_most(tmp_path: Path) -> None:
    server = "{server: 'https://hc.example.org'}"
    assert "pods need a ping key" in refusal(tmp_path, server, "store: {claim: store}\n")
    assert "longer than a year" in refusal(tmp_path, server, "defaults: {deadline: 365d}\n")
    assert heartbeat(tmp_path, server, "defaults: {deadline: 300d}\n")
