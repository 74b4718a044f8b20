"""`logs`: as much of a run's output as is asked for, in little memory, whatever its size; a pod's across broken connections."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from commands import CLI
from jobs import contract as c
from jobs.store.log_files import later_file
from scheduler.kube.client import KubeClient
from scheduler.kube.kubeconfig import Access
from scheduler.observe.pod_logs import read_log
from stores import Builder


def print_logs(folder: Path, *options: str) -> tuple[bytes, int]:
    """What `logs` prints, and the bytes of memory that it took."""
    command = [*CLI, "logs", "--store", "store", "--experiment", "e", "train-a", *options]
    with open(folder / "printed", "wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return (folder / "printed").read_bytes(), usage.ru_maxrss << 10


@pytest.mark.parametrize(("options", "shown"), [((), None), (("--tail", "2"), b"49999998\n49999999\n"), (("--tail", "0"), b"")])
def test_a_log_is_printed_in_little_memory(tmp_path: Path, options: tuple[str, ...], shown: bytes | None) -> None:
    log = b"".join(b"%d\n" % number for number in range(49_000_000, 50_000_000)) * 5
    Builder(tmp_path / "store").run("train-a", "2026-11-20T01:00", files={c.LOG: b"small\n"})
    _, small = print_logs(tmp_path)
    (path,) = (tmp_path / "store").rglob(c.LOG)
    path.write_bytes(log)
    printed, large = print_logs(tmp_path, *options)
    assert printed == (log if shown is None else shown)
    assert large - small < 8e6


def test_the_missing_middle_is_named_and_the_newest_try_is_the_tail(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    run = builder.run("train-a", "2026-11-20T01:00", "failed", reason="x", files={c.LOG: b"of the first\n"})
    builder.store.begin_try(run, "b", {"schema": 1, "run": str(run), "try": "b", "time": "2026-11-20T02:00:00Z"})
    folder = builder.store.try_folder(run, "b")
    (folder / c.LOG).write_bytes(b"one\ntwo\n")
    later_file(folder, 1008).write_bytes(b"eight\nnine\n")
    (folder / c.END).write_bytes(b'{"status": "failed", "reason": "y", "time": "2026-11-20T02:01:00Z"}')
    printed, _ = print_logs(tmp_path)
    lines = printed.decode().splitlines()
    assert [line for line in lines if line and not line.startswith("---")] == [
        "of the first", "one", "two", "… 1,000 bytes of output left out (log_limit) …", "eight", "nine", "failed: y",
    ]  # fmt: skip
    printed, _ = print_logs(tmp_path, "--tail", "3")
    assert printed.decode().splitlines()[1:] == [
        "two",
        "",
        "… 1,000 bytes of output left out (log_limit) …",
        "eight",
        "nine",
        "failed: y",
    ]


@contextmanager
def log_server(answers: list[list[bytes]], queries: list[dict[str, list[str]]]) -> Iterator[KubeClient]:
    """An API server that answers each request for a log with the next of these, and breaks off all but the last."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            queries.append(parse_qs(urlsplit(self.path).query))
            lines = answers[len(queries) - 1]
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            is_last = len(queries) == len(answers)
            self.send_header("Content-Length", str(sum(map(len, lines)) + (0 if is_last else 10)))
            self.end_headers()
            for line in lines:
                self.wfile.write(line)

        def log_message(self, *_: object) -> None:
            """Nothing: the test prints what counts."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield KubeClient(Access(f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def line(stamp: str, text: str) -> bytes:
    return f"2026-11-20T01:00:0{stamp}Z {text}\n".encode()


def test_a_pods_log_goes_on_behind_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    first = [line("1.5", "a"), line("1.500000001", "b"), line("1.500000001", "c"), line("1.5", "of another stream")]
    again = [line("1.1", "0"), *first, line("1.500000001", "d"), line("2", "e")]
    queries: list[dict[str, list[str]]] = []
    with log_server([first, again], queries) as api:
        assert list(read_log(api, "n", "p", "train", last_lines=7)) == [b"a", b"b", b"c", b"of another stream", b"d", b"e"]
    assert queries[0]["tailLines"] == ["7"] and "sinceTime" not in queries[0]
    assert queries[1]["sinceTime"] == ["2026-11-20T01:00:01Z"] and "tailLines" not in queries[1]


def test_a_pods_line_without_an_end_is_cut() -> None:
    with log_server([[line("1", "x" * 1_000_000)[:-1]]], []) as api:
        (text,) = read_log(api, "n", "p", "train")
    assert len(text) < 66_000 and text.endswith(b"bytes of this line left out]")
