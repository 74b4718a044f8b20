"""Hostile output: what runs, records, classes and clusters say commands no terminal, and breaks no JSON and no CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from chaos.commands import Ended, control_characters, strict_json
from chaos.kinds import Kind, Part
from jobs import contract as c
from stores import Builder

PIECES = (
    "\x1b[2J", "\x1b[31m", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x07", "\x1bP+q\x1b\\", "\x9b2J", "\x9d0;x\x9c", "\x1b[6n",
    "\x1b[?1049h", "\x1bc", "\x07", "\x08", "\r",
    "\n", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\t", "\0", "\x7f", "\u202e", "\u2066", "\u200f", "\u200b",
    "\ufeff", "\ud800", "\udcff", "\U000e0001",
    "[bold red]", "[/]", "[/bold]", "[link=http://x]", "\\[", "{x}", "%s", "%(x)d", "$(id)", "`id`", "<b>", "&lt;", "=1+1",
    "@SUM(1)", '"', "'", ",", ";", '""', "\\",
    "e\u0301\u0301\u0301", "🚀", "Ａ", "名", "a", "evil", " ", "x" * 3000, "\x1b[" + "9" * 500, "\x1b]0;" + "x" * 900, "\x1b",
)  # fmt: skip
SPINNER = re.compile(r"\x1b\[(?:2K|1A|\?25[lh])|\r")
"""What rich draws a spinner with."""
OUR_COLOURS = re.compile(r"\x1b\[(?:0|2|31|32|33|36)m")
OF_LOGS = re.compile(r"\x1b\[[0-9;:]*[mK]|[\r\x08\t]")
"""What passes of the user's own output on a terminal."""
PLACES = (
    "reason", "host", "processor", "snapshot", "image", "status", "revision", "cancelled", "observed", "note", "member",
    "left out", "verdict", "log", "degraded", "epochs",
    "classes", "ids", "cluster", "folder", "key", "experiment file",
)  # fmt: skip


class Outputs(Kind):
    """Texts in a store, a dataset or a cluster's answers; a part of a case is where, and what."""

    name = "outputs"
    counted_in_tests = 40

    def case(self, random: Random) -> list[Part]:
        return [
            [random.choice(PLACES), [random.choice(PIECES) for _ in range(random.randrange(1, 9))]]
            for _ in range(random.choice((1, 2, 4)))
        ]

    def finer(self, parts: list[Part]) -> list[Part] | None:
        """Each piece of a text by itself: those of a place are joined again."""
        return [[place, [piece]] for place, pieces in parts for piece in pieces]

    def problem(self, parts: Sequence[Part], folder: Path) -> str:
        texts: dict[str, str] = {}
        for place, pieces in parts:
            texts[place] = texts.get(place, "") + "".join(pieces)
        random = Random(json.dumps(parts))
        found = ""
        if "classes" in texts or "ids" in texts:
            found = self._combine(folder, texts)
        if not found and "cluster" in texts:
            found = self._ask_cluster(folder, texts["cluster"], random)
        return found or self._read_store(folder, texts, random)

    def _read_store(self, folder: Path, texts: dict[str, str], random: Random) -> str:
        write_store(folder, texts)
        runs = ["e-train-a-29918940", "e-train-a-29921820", "e-train-a-29923260", "e-ensemble-29922120"]
        for run in runs:
            assert any(folder.glob(f"store/runs/e/*/*/{run}")), run
        commands = [
            ["history"], ["history", "--calendar"], ["history", "--revisions"], ["fsck"], ["gc", "--dry-run"], ["logs"],
            ["next"], ["check"], ["get", "--to", "got"],
            ["rerun", "2026-11-01..2026-11-30", "--dry-run"], ["backfill", "2026-11-01..2026-11-24", "--dry-run"], ["cancel",
            "train-a"],
            ["compare", runs[0], runs[1]], ["compare", runs[3], runs[2], "--json"],
            *([command, run] for run in runs for command in ("show", "history", "logs")),
        ]  # fmt: skip
        for arguments in random.sample(commands, 5):
            printed, _ = self._on_terminal(folder, arguments)
            if "Traceback" in printed and arguments[0] != "logs":
                return f"traceback: {' '.join(arguments)}: {printed[-900:]}"
            shown = SPINNER.sub("", printed) if arguments[0] != "logs" else OF_LOGS.sub("", printed)
            bad = control_characters(OUR_COLOURS.sub("", shown))
            if bad:
                return f"control characters: {' '.join(arguments)}: {bad}"
        for arguments in (["history", "--limit", "0", "--json"], ["show", random.choice(runs), "--json"], ["fsck", "--json"]):
            ended = self.commands.run(folder, *arguments)
            found = ended.problem() or _json_problem(ended)
            if found:
                return found
        rows: Any = json.loads(self.commands.run(folder, "history", "--limit", "0", "--json").out)
        return _csv_problem(self.commands.run(folder, "history", "--limit", "0", "--csv").out, len(rows))

    def _on_terminal(self, folder: Path, arguments: Sequence[str]) -> tuple[str, Ended]:
        """What a command prints on a terminal, and what became of it."""
        with terminal() as (path, printed):
            ended = self.commands.run(folder, *arguments, terminal=path)
        return b"".join(printed).decode(errors="backslashreplace").replace("\r\n", "\n"), ended

    def _combine(self, folder: Path, texts: dict[str, str]) -> str:
        """Combine two members' predictions of items and classes with such names, and read the archive's CSV strictly."""
        # Lone surrogates are in no array of text, and an array loses the zeros at a text's end.
        names = [texts.get("classes", "one").replace("\ud800", "").replace("\udcff", "").rstrip("\0") or "one", "two"]
        ids = [texts.get("ids", "item").replace("\ud800", "").replace("\udcff", "").rstrip("\0") or "item", "other"]
        if len(set(names)) < 2 or len(set(ids)) < 2:
            return ""
        np.save(folder / "p.npy", np.array([[0.25, 0.75], [1.0, 0.0]], dtype="float32"))
        np.savez(folder / "data.npz", ids=np.array(ids))
        members = [
            {"member": name, "class_names": names, "accuracy": 0.5, "probabilities": str(folder / "p.npy")} for name in "ab"
        ]
        (folder / "plan.json").write_text(
            json.dumps({"method": "accuracy", "members": members, "data": str(folder / "data.npz")})
        )
        ended = self.commands.run(folder, "--plan", "plan.json", "--out", "out", program="combine")
        if ended.problem(statuses=(0, 3)) or ended.status == 3:
            return ended.problem(statuses=(0, 3))
        for path in (folder / "out" / "predictions.csv", folder / "out" / "members" / "a.csv"):
            text = path.read_bytes().decode()
            rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
            if [len(row) for row in rows] != [5, 5, 5]:
                return f"not CSV: {text[:500]!r}"
            if rows[0][3:] != names or [row[0] for row in rows[1:]] != ids:
                return f"other names: {path.name}: {rows[0]} {[row[0] for row in rows[1:]]}, not {names} {ids}"
            quoted = re.sub(r'"(?:[^"]|"")*"', "", text)
            if "\r" in quoted:
                return f"a bare return: {path.name}: {text[:500]!r}"
        return ""

    def _ask_cluster(self, folder: Path, text: str, random: Random) -> str:
        """Ask a server that answers so."""
        (folder / "config.yaml").write_text(
            "experiment: e\nstore: {claim: e}\nbackends: {jax: {schedule: '0 1 * * *'}}\n"
            "cluster: {namespace: e, images: {keras3: 'registry.example/keras3:1'}}\n"
        )
        with hostile_cluster(folder / "kubeconfig", text, random.randrange(99)):
            for name in random.sample(ASKING, 3):
                arguments = [*name.split(), "--kubeconfig", "kubeconfig"]
                printed, ended = self._on_terminal(folder, arguments)
                found = ended.problem(statuses=(0, 1, 2))
                if found or "Traceback" in printed or "a bug in cronsemble" in printed:
                    return f"{found or 'traceback: ' + ' '.join(arguments)}: {printed[-1500:]}"
                bad = control_characters(OUR_COLOURS.sub("", SPINNER.sub("", printed)))
                if bad:
                    return f"control characters: {' '.join(arguments)}: {bad}"
        return ""


ASKING = ("status", "status --json", "plan", "sync --yes", "next --cluster", "history", "history --revisions --cluster",
"suspend", "delete --yes", "cancel train-jax --cluster", "logs --cluster", "show e-train-jax-1")  # fmt: skip


def write_store(folder: Path, texts: dict[str, str]) -> None:
    """A store whose free texts are these, wherever it has one."""
    (folder / "config.yaml").write_text(
        "experiment: e\nstore: ./store\nbackends: {a: {backend: jax, schedule: '0 1 * * *'}}\nensemble: {schedule: '0 6 * * *'}\n"
    )
    # What a store holds is UTF-8; a lone surrogate comes in by JSON's escapes alone, which the store's own writer never makes.
    clean = {place: text.encode(errors="replace").decode() for place, text in texts.items()}

    def text(place: str) -> str:
        return clean.get(place, place)

    builder = Builder(folder / "store")
    builder.revise(
        "2026-11-01T00:00", {"train-a": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}}, what=text("revision")
    )
    process = {"host": text("host"), "boot": text("host"), "pid": 1, "start": 1}
    log = texts.get("log", "log\n").encode(errors="surrogatepass")
    builder.run("train-a", "2026-11-20T01:00", "failed", reason=text("reason"), process=process, files={c.LOG: log})
    builder.run("train-a", "2026-11-21T01:00", "running", process=process)
    epochs = f"epoch,val_loss,val_accuracy\n1,{clean.get('epochs', '0.5')},0.9\n".encode()
    builder.run(
        "train-a", "2026-11-22T01:00", files={c.EPOCHS: epochs, c.LOG: log}, host=text("host"), processor=text("processor"),
        degraded=clean.get("degraded"),
        snapshot={"task": text("snapshot")}, image={"reference": text("image"), "identity": {text("key"): text("key")}},
    )  # fmt: skip
    builder.run("train-a", "2026-11-23T01:00", text("status"), reason=text("reason"))
    cancelled = builder.run("train-a", "2026-11-23T02:00", "failed", reason="x")
    said = text("cancelled")
    builder.store.cancel(cancelled, {"schema": 1, "reason": said, "by": said, "time": "2026-11-23T02:00:00Z", "kind": said})
    observed, said = builder.run("train-a", "2026-11-24T01:00", "interrupted", reason="x"), text("observed")
    builder.store.record_observation(observed, {"status": "failed", "what": said, "reason": said, "by": said, "time": said})
    members = [{"member": text("member"), "left_out": text("left out")}, {"member": "a", "run": text("member"), "accuracy": 0.5}]
    ensemble = builder.run("ensemble", "2026-11-22T06:00", members=members, ensemble={"accuracy": 0.5})
    said = text("verdict")
    builder.store.record_verdict(
        ensemble, {"repeats": said, "status": said, "members": {said: {"repeats": said, "status": said}}}
    )
    builder.note("2026-11-23T03:00", "missed", task="train-a", minute=29_923_380, reason=text("note"))
    name = clean.get("folder", "").replace("/", "").replace("\0", "")[:60].strip(".")
    if name:
        (folder / "store" / "runs" / "e" / name).mkdir()
    if "experiment file" in clean:
        builder.store.ledger.take_ownership("e", {"engine": clean["experiment file"], "host": clean["experiment file"]})


@contextmanager
def terminal() -> Iterator[tuple[str, list[bytes]]]:
    """The path of a terminal, and what is printed on it, whole when it is closed."""
    ours, theirs = pty.openpty()
    printed: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # EIO: the other side has been closed
                return
            printed.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield os.ttyname(theirs), printed
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)


def _json_problem(ended: Ended) -> str:
    try:
        strict_json(ended.out)
    except ValueError as error:
        return f"not JSON: {ended.name}: {error}: {ended.out[:300]}"
    bad = control_characters(ended.out)
    return f"control characters: {ended.name}: {bad}" if bad else ""


def _csv_problem(text: str, count: int) -> str:
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len(rows) != count + 1 or len({len(row) for row in rows}) != 1:
        return f"not CSV: history --csv: {len(rows)} rows of {sorted({len(row) for row in rows})} columns, of JSON {count}"
    bad = control_characters(text.replace("\r\n", "\n"))
    return f"control characters: history --csv: {bad}" if bad else ""


@contextmanager
def hostile_cluster(kubeconfig: Path, text: str, number: int) -> Iterator[None]:
    """A stand-in for an API server that means harm, which no real one does on demand; and the kubeconfig that names it."""
    quoted = json.dumps(text)
    metadata = f'{{"name": {quoted}, "namespace": {quoted}, "labels": {{{quoted}: {quoted}}}, "resourceVersion": {quoted}}}'
    named = f'{{"metadata": {metadata}, "status": {quoted}}}'
    status = f'{{"kind": "Status", "status": "Failure", "message": {quoted}, "reason": {quoted}, "code": 403}}'
    # No status of 500: those are asked again for a minute.
    answers = [
        (403, status),
        (200, f'{{"kind": "List", "items": [{named}]}}'),
        (200, f'{{"items": {quoted}}}'),
        (200, text),
        (200, quoted),
        (404, text),
        (200, "[" * 50_000),
        (200, f'{{"items": [{quoted}, null, 7, []], "metadata": 7}}'),
        (401, f"<html>{text}</html>"),
        (200, '{"items": null, "metadata": null}'),
        (200, f'{{"items": [], "metadata": {{"resourceVersion": {quoted}}}, "major": {quoted}, "minor": {quoted}}}'),
        (409, status),
    ]
    code, body = answers[number % len(answers)]

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            data = body.encode(errors="surrogatepass")
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(OSError):  # the client has read enough
                self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
