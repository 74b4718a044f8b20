"""Damages of a store's files, with every reading command beside them, and `fsck` after them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from chaos.commands import NOBODY, Commands, control_characters, strict_json
from chaos.kinds import Kind, Part
from chaos.stand_in import write_experiment
from jobs import contract as c
from stores import Builder

OF_FILES = (
    "flip", "flip", "truncate", "truncate", "empty", "remove", "directory", "pipe", "socket", "device", "link outside",
    "dangling link", "loop",
    "another's bytes", "mode 000", "deep", "wrong type", "wrong type", "wrong type", "list", "not UTF-8", "huge", "large", "copy",
)  # fmt: skip
OF_FOLDERS = (
    "remove",
    "file",
    "pipe",
    "link outside",
    "dangling link",
    "mode 000",
    "empty",
    "foreign folder",
    "foreign file",
    "copy",
)
WRONG_VALUES: tuple[Any, ...] = (
    None, True, 7, -1, 1.5, 10**30, float("nan"), float("inf"), 1e308, "", "x", "../../outside", "/etc/passwd", "é" * 300,
    "\x1b[2J", "a\nb", [], {}, [[]],
    ["x"], {"a": 1}, {"a": {"b": None}}, "2026-13-45T99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "2026-11-27T00:00:00", "a" * 64,
)  # fmt: skip
FIRST_DAY, LAST_DAY = "2026-01-01", "2027-12-31"


class Template:
    """A store that real runs have written, with what else a store may hold; of it each case gets a copy."""

    def __init__(self, commands: Commands) -> None:
        self.folder = Path(commands.scratch.name) / "template"
        self.folder.mkdir()
        write_experiment(self.folder, pause=0.0)
        for arguments in (["run"], ["rerun", "today"]):
            ended = commands.run_process(self.folder, *arguments)
            assert ended.status in (0, 2), ended
        self._add_older_runs()
        (self.folder / "outside").mkdir()
        (self.folder / "outside" / "file.json").write_text('{"outside": true}\n')
        self.paths = sorted(
            path.relative_to(self.folder) for path in (self.folder / "store").rglob("*") if ".index" not in path.parts
        )
        self.shapes = sorted({shape(path) for path in self.paths})
        self.rows = history_rows(commands.run(self.folder, "history", "--limit", "0", "--json").out)
        assert len(self.rows) >= 8, self.rows
        ended = commands.run(self.folder, "fsck")
        assert ended.status == 0, ended.out

    def _add_older_runs(self) -> None:
        builder = Builder(self.folder / "store")
        builder.revise("2026-03-01T00:00", {"train-a": {"schedule": "0 1 1 * *"}})
        builder.note("2026-03-02T01:00", "skipped", task="train-a", minute=29_540_220, reason="no room")
        builder.store.ledger.take_ownership("e", {"engine": "host:here"})
        builder.run("train-a", "2026-03-01T01:00", "failed", reason="out of memory", files={c.LOG: b"said\n"})
        cancelled = builder.run(
            "train-b", "2026-03-01T01:00", "interrupted", reason="x", files={c.PROGRESS: b'{"event": "epoch"}\n'}
        )
        builder.store.cancel(cancelled, {"schema": 1, "reason": "cancelled by me", "by": "me", "time": "2026-03-01T01:01:00Z"})
        observed = builder.run("train-b", "2026-03-02T01:00", "interrupted", reason="x")
        builder.store.record_observation(
            observed, {"status": "failed", "what": "memory", "reason": "killed", "by": "me", "time": "2026-03-02T01:01:00Z"}
        )

    def find(self, wanted: str, number: int) -> Path:
        """The path of a shape, by its number among those of this shape."""
        matches = [path for path in self.paths if shape(path) == wanted] or self.paths
        return matches[number % len(matches)]


def shape(path: Path) -> str:
    """A path without what differs from one template to the next: times and hashes."""
    return re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "#", path.as_posix())


def history_rows(text: str) -> dict[str, dict[str, Any]]:
    """The rows of runs by their ids, as `history --json` prints them."""
    rows: Any = strict_json(text)
    return {row["run"]: row for row in rows if row["run"]}


class Damages(Kind):
    """Stores; a part of a case is one damage: how, of a path of which shape, the number among those, a seed."""

    name = "damages"
    counted_in_tests = 60

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._template: Template | None = None

    @property
    def template(self) -> Template:
        """The store that is copied, made when it is first needed."""
        self._template = self._template or Template(self.commands)
        return self._template

    def case(self, random: Random) -> list[Part]:
        return [self._damage(random) for _ in range(random.choice((1, 1, 1, 2, 5)))]

    def _damage(self, random: Random) -> Part:
        wanted, number = random.choice(self.template.shapes), random.randrange(9)
        is_folder = (self.template.folder / self.template.find(wanted, number)).is_dir()
        return [random.choice(OF_FOLDERS if is_folder else OF_FILES), wanted, number, random.randrange(1 << 30)]

    def problem(self, parts: Sequence[Part], folder: Path) -> str:
        template, whole = self.template, folder / "whole"
        shutil.copytree(template.folder, whole, symlinks=True)
        damaged = []
        for way, wanted, number, seed in parts:
            path = whole / template.find(wanted, number)
            with suppress(FileNotFoundError, NotADirectoryError):
                if damage(path, way, Random(seed), whole):
                    damaged.append((copy_of(path) if way == "copy" else path, way))
        # Root reads everything.
        user = NOBODY if any(way == "mode 000" for _, way in damaged) and os.geteuid() == 0 else None
        before = listing(whole)
        found = self._read(whole, damaged, user, Random(json.dumps(parts))) or self._check(whole, damaged, user)
        if not found:
            after = listing(whole)
            changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
            found = f"changed by a reader: {changed[:5]}" if changed else ""
        for path, way in damaged:
            if way == "mode 000":
                with suppress(OSError):  # another damage has taken it away
                    path.chmod(0o755)
        return found and f"{found}\n{[(way, path.relative_to(whole).as_posix()) for path, way in damaged]}"

    def _read(self, whole: Path, damaged: Sequence[tuple[Path, str]], user: int | None, random: Random) -> str:
        """What a reading command did not hold to; empty if all did."""
        ended = self.commands.run(whole, "history", "--limit", "0", "--json", user=user)
        if ended.problem(statuses=(0,)):
            return ended.problem(statuses=(0,))
        try:
            rows = history_rows(ended.out)
        except ValueError as error:
            return f"not JSON: {ended.name}: {error}"
        for run, row in self.template.rows.items():
            # What it is compared by does not depend on the revisions and snapshots that may be damaged.
            fields = ("status", "accuracy", "reason", "attempt", "kind", "minute")
            is_damaged = any(run in path.parts or (whole / run_folder(row)).is_relative_to(path) for path, _ in damaged)
            if not is_damaged and [row[key] for key in fields] != [rows.get(run, {}).get(key) for key in fields]:
                return f"another row: {run}: {row}, now {rows.get(run)}"
        for arguments in random.sample(reading_commands(list(self.template.rows)), 6):
            ended = self.commands.run(whole, *arguments, user=user)
            found = ended.problem(statuses=(0, 1, 2))
            if not found and "--json" in arguments and ended.out:
                try:
                    strict_json(ended.out)
                except ValueError as error:
                    found = f"not JSON: {ended.name}: {error}"
            bad = control_characters(ended.out + ended.err) if arguments[0] != "logs" else ""
            if found or bad:
                return found or f"control characters: {ended.name}: {bad}"
        return ""

    def _check(self, whole: Path, damaged: Sequence[tuple[Path, str]], user: int | None) -> str:
        """The damage that `fsck` does not name; empty if it names all."""
        ended = self.commands.run(whole, "fsck", "--json", user=user)
        if ended.problem():
            return ended.problem()
        try:
            values: Any = strict_json(ended.out)
        except ValueError as error:
            return f"not JSON: {ended.name}: {error}: {ended.err}"
        findings = [Path(finding["path"]) for finding in values]
        for path, way in damaged:
            unseen = any(other is not path and path.is_relative_to(other) and path != other for other, _ in damaged)
            if unseen or may_go_unseen(path.relative_to(whole), way):
                continue
            # Of runs that are gone others show it: the archive, and the ensembles that took them.
            place = path.relative_to(whole).parts
            gone_runs = way in ("remove", "empty") and place[1] == "runs" and c.RESULT not in place
            if gone_runs and (findings or not self._has_results(path, whole)):
                continue
            if not any(finding.is_relative_to(path) or path.is_relative_to(finding) for finding in findings):
                return f"unnamed: fsck does not name {way} of {shape(path.relative_to(whole))}"
        return ""

    def _has_results(self, path: Path, whole: Path) -> bool:
        """Whether there were results below a folder of runs."""
        return any((self.template.folder / path.relative_to(whole)).rglob(c.RECORD))


def run_folder(row: dict[str, Any]) -> Path:
    """The folder of a row's run, below the configuration's."""
    return Path("store", "runs", "e", row["task"], row["slot"][:7], row["run"])


def reading_commands(runs: Sequence[str]) -> list[list[str]]:
    """Every command that only reads, over these runs."""
    commands = [
        ["history"], ["history", "--csv", "--limit", "0"], ["history", "--calendar"], ["history", "--revisions"], ["history",
        "--revisions", "--json"],
        ["history", "--since", FIRST_DAY, "--status", "missed"], ["next"], ["next", "--json"], ["check"], ["fsck", "--quick"],
        ["logs"], ["logs", "--tail", "3"],
        ["gc", "--dry-run"], ["gc", "--dry-run", "--older-than", "0s", "--keep", "1", "--json", *_what("models", "data",
        "snapshots", "runs", "archive")],
        ["rerun", "2026-01-01..2027-12-31", "--dry-run"], ["rerun", "2026-01-01..2027-12-31", "--dry-run", "--json",
        "--reuse-models"],
        ["rerun", "2026-01-01..2027-12-31", "--dry-run", "--task", "train-a"], ["backfill", "2026-03-01..2026-03-09",
        "--dry-run", "--json"],
    ]  # fmt: skip
    for run in runs:
        commands += [["show", run], ["show", run, "--json"], ["history", run], ["history", run, "--json"], ["logs", run]]
    pairs = list(zip(runs, runs[1:], strict=False))
    commands += [["compare", *pair] for pair in pairs] + [["compare", *pair, "--json"] for pair in pairs[:1]]
    return commands + [["get", "--to", "../got"], ["get", "--members", "--to", "../got"], ["get", "today", "--to", "../got"]]


def _what(*kinds: str) -> Iterator[str]:
    for kind in kinds:
        yield from ("--what", kind)


def listing(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every file and folder below a folder but the index, with what would change if somebody wrote it."""
    found: dict[str, tuple[int, ...]] = {}
    for place, folders, files in os.walk(folder):
        if ".index" in folders:
            folders.remove(".index")
        for name in (*folders, *files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            # A folder's own time changes with the index.
            time = status.st_mtime_ns if not stat.S_ISDIR(status.st_mode) else 0
            found[os.path.relpath(path, folder)] = (status.st_mode, status.st_size if time else 0, time)
    return found


def copy_of(path: Path) -> Path:
    """The name of a copy of a file or folder."""
    return path.with_name(path.stem + "-copy" + path.suffix)


def damage(path: Path, way: str, random: Random, whole: Path) -> bool:
    """Damage a file or folder of a store; whether there was anything to damage. ``whole``: what the store lies in."""
    path.lstat()
    outside = whole / "outside"
    if path.is_dir():
        return _damage_folder(path, way, random, outside)
    data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    changed = _changed(data, way, random, whole)
    if changed is not None:
        if changed == data:
            return False
        # A file that shares its inode with the archive is damaged alone.
        path.unlink()
        path.write_bytes(changed)
        return True
    if way == "mode 000":
        path.chmod(0)
        return True
    if way == "copy":
        shutil.copy(path, copy_of(path))
        return True
    path.unlink()
    match way:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                place = os.getcwd()
                os.chdir(path.parent)  # a socket's whole path may be too long for its address
                try:
                    server.bind(path.name[:90])
                finally:
                    os.chdir(place)
        case "device" if os.geteuid() == 0:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        case "link outside":
            path.symlink_to(outside / "file.json")
        case "dangling link":
            path.symlink_to(outside / "absent")
        case "loop":
            path.symlink_to(path.name)
        case "huge":
            with open(path, "wb") as file:
                file.truncate(5 << 30)
    return True


def _changed(data: bytes, way: str, random: Random, whole: Path) -> bytes | None:
    """The bytes of a damaged file; None where the damage is not one of bytes."""
    at = random.randrange(len(data)) if data else 0
    match way:
        case "flip":
            return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :] if data else b"\0"
        case "truncate":
            return data[:at]
        case "empty":
            return b""
        case "another's bytes":
            others = sorted(path for path in (whole / "store").rglob("*") if path.is_file() and not path.is_symlink())
            return random.choice(others).read_bytes()
        case "deep":
            depth = random.choice((900, 1100, 100_000))
            return random.choice(
                (
                    b"[" * depth + b"]" * depth,
                    b'{"a":' * depth + b"1" + b"}" * depth,
                    data[:-2] + b',"x":' + b"[" * depth + b"]" * depth + b"}\n",
                )
            )
        case "wrong type":
            return _wrongly_typed(data, random)
        case "list":
            return random.choice(
                (
                    b"[]",
                    b"[1]",
                    b"null",
                    b"7",
                    b'"x"',
                    b"{}",
                    b"true",
                    b"NaN",
                    b"1e999",
                    b"1" * 5000,
                    b"{}\n{}",
                    b'{"a":1,"a":2}',
                    b"\xef\xbb\xbf{}",
                )
            )
        case "not UTF-8":
            return data[:at] + random.choice((b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\0", b'"\\ud800"')) + data[at:]
        case "large":
            return b" " * (40 << 20) + data
    return None


def _wrongly_typed(data: bytes, random: Random) -> bytes:
    """A JSON object (or lines of them) with another value at one place, or without it."""
    from chaos.configurations import places

    try:
        value = json.loads(data)
    except ValueError:
        return random.choice((b"{}", b"[]", data + data))
    chosen = places(value)
    if not chosen:
        return b"[]"
    holder, key = random.choice(chosen)
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random.choice(WRONG_VALUES)
    return json.dumps(value).encode()


def _damage_folder(path: Path, way: str, random: Random, outside: Path) -> bool:
    match way:
        case "mode 000":
            path.chmod(0)
            return True
        case "foreign folder":
            path.joinpath(
                random.choice(("2026-13", "mine", "0000-00", "try-", "e-train-a-1", "result", "e-ensemble-99999999999", "..x"))
            ).mkdir(exist_ok=True)
            return True
        case "foreign file":
            path.joinpath(
                random.choice(("2026-11", "mine.txt", "2026-11-27T0600Z.csv", "x.json", "train-c", "claim.json"))
            ).write_bytes(b"{}")
            return True
        case "copy":
            shutil.copytree(path, copy_of(path), symlinks=True)
            return True
    shutil.rmtree(path)
    match way:
        case "file":
            path.write_bytes(random.choice((b"", b"{}", b"x" * 9999)))
        case "pipe":
            os.mkfifo(path)
        case "link outside":
            path.symlink_to(outside)
        case "dangling link":
            path.symlink_to(outside / "absent")
        case "empty":
            path.mkdir()
    return True


MARKS = re.compile(r"claim\.json|observed\.json|cancelled\.json|verdict\.json|removed\.json|end\.json|alive-.*|.*\.jsonl")
"""What need not be there: that it has gone cannot show."""


def may_go_unseen(path: Path, way: str) -> bool:
    """Whether docs/commands.md says of this damage that `fsck` cannot know it. ``path`` begins with the store's folder."""
    place, name = path.parts[1], path.name
    if way in ("copy", "foreign folder", "foreign file") and len(path.parts) <= (3 if way == "copy" else 2):
        return True  # it may be another experiment's
    if way in ("copy", "foreign folder", "foreign file") and any(part.startswith(c.TRY_PREFIX) for part in path.parts):
        return True  # a step works in it
    gone = way in ("remove", "empty") or (way == "truncate" and name.endswith(".jsonl"))
    if name.startswith("."):
        return gone or way == "copy"
    if path.parent.name.startswith(c.TRY_PREFIX) and name not in (c.START, c.END):
        return True  # logs and the like of a try without a result
    if gone and place == "experiments":
        return True  # an owner, revisions and notes
    return gone and (MARKS.fullmatch(name) is not None or name.startswith(c.TRY_PREFIX))
