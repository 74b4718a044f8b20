"""Configurations by mutation: `check` says what is wrong with each, and what it accepts the other commands accept too."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from chaos.commands import ROOT, Ended, control_characters, strict_json
from chaos.kinds import Kind, Part
from scheduler.config.document import MOST_PROBLEMS
from scheduler.config.schema import schema

MAX_LINES, MAX_LINE = MOST_PROBLEMS + 50, 2000
"""How many problems and warnings, and how long a line."""
PROCESS_EVERY = 40
"""Of so many cases one is tried by whole processes too."""

Place = tuple[Any, Any]
"""A mapping or list, and a key or an index of it."""


@cache
def base_texts() -> tuple[str, ...]:
    """The configurations of the repository and of its documentation, each a whole one."""
    files = [ROOT / "config.yaml", *sorted((ROOT / "examples").rglob("*.yaml"))]
    files += sorted((ROOT / "tests" / "cronjobs" / "configurations").glob("*.yaml"))
    texts = [file.read_text() for file in files]
    start = 'experiment: digits\nbackends: {jax: {schedule: "0 1 * * *"}, tensorflow: {}}\n'
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL):
            tree = next(iter(yaml.safe_load_all(block)), None)
            if isinstance(tree, dict) and set(tree) <= set(known_keys()):
                texts.append(block if "experiment" in tree else yaml.safe_dump({**yaml.safe_load(start), **tree}))
    return tuple(text for text in texts if "experiment" in (yaml.safe_load(text) or {}))


@cache
def known_keys() -> tuple[str, ...]:
    """Every key that a configuration may have, at whatever place."""

    def names(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from node.get("properties", {})
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from names(part)

    return tuple(sorted(set(names(schema()))))


class Raw(str):
    """Text that is written into the YAML as it is."""


yaml.SafeDumper.add_representer(Raw, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", f"@@{text}@@"))

STRANGE_TEXTS = (
    "", " ", "\0", "\x1b[2J", "\x1b]0;title\x07", "a\nb", "a\rb", "\u2028", "\u202egnp.exe", "\ufeff", "\ud800", "é", "Ａ", "ß",
    "🚀", "e\u0301",
    "a" * 64, "a" * 254, "a" * 5000, "x" * 200_000, "-", "--help", "../x", "/etc/passwd", "a/../../b", "~", "$(id)", "`id`",
    "{date}", "{{}}",
    "%s%n", "[bold]x[/bold]", "[/]", "*", "&a", "!!python/object:os.system", "null", "no", "1:30", "0o17", "1e999", "__proto__",
    "file.npz",
    "x.py:f", "x.py:", ":f", "a.npz/b", "* * * * *", "*/7 * * * *", "60 * * * *", "@every 1s", "@every -1h", "@reboot",
    "0 0 30 2 *", "0 0 * * 7",
    "TZ=UTC 0 1 * * *", "Europe/Nowhere", "UTC", "../../etc/localtime", "America/New_York", "10Gi", "-1Gi", "1e9", "0.1m",
    "9" * 40 + "Gi",
    "36h", "-1h", "1h" * 500, "99999999999d", "0s", "localhost/cronsemble-keras3", "x" * 300 + ":1", "UPPER/case", "a@sha256:0",
)  # fmt: skip
STRANGE_NUMBERS = (
    0, -0.0, -1, 1, 2, 7, 0.5, 1e-320, 1e308, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 10**300, float("inf"), float("-inf"),
    float("nan")
)  # fmt: skip
STRANGE_RAW = (
    ".nan", ".inf", "0x" + "f" * 40, "1_000", "0o7777777777777777777777777", "1" * 5000, "2026-11-27", "2026-13-45", "12:30:45",
    "!!binary aGk=",
    "!!set {a, b}", "!!omap [a: 1]", "!!timestamp 9999-12-31", "!!int x", "!!python/name:os.system", "!x y", "*none", "&a [*a]",
    "? a", "<<: 1",
    "~", "=", "%", "@", "`", "'", '"', "{", "[", "}", "]", "|\n", ">-\n", "- -", "? ? ?",
)  # fmt: skip


def strange_value(random: Random) -> Any:
    """A value that few would write."""
    choice = random.randrange(8)
    if choice < 3:
        return random.choice(STRANGE_TEXTS)
    if choice == 3:
        return random.choice(STRANGE_NUMBERS)
    if choice == 4:
        return Raw(random.choice(STRANGE_RAW))
    if choice == 5:
        return random.choice((None, True, False, [], {}, [[]], [None], {"a": None}, {None: 1}, {1: 2}, {True: {}}, [{}] * 20))
    if choice == 6:
        depth = random.choice((3, 30, 300, 3000, 30_000))
        return Raw(random.choice(("[" * depth + "]" * depth, "{a: " * depth + "}" * depth, "[" * depth)))
    return {random.choice(known_keys()): strange_value(random) for _ in range(random.randrange(1, 4))}


def places(tree: Any) -> list[Place]:
    """Every value of a tree, by what holds it and where."""
    found: list[Place] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys: Any = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def mutate_tree(tree: dict[Any, Any], random: Random) -> None:
    """Change one thing of what a configuration says."""
    if not tree:  # all of it is gone by now
        tree["experiment"] = "e"
    holder, key = random.choice(places(tree))
    choice = random.randrange(9)
    if choice < 3:
        holder[key] = strange_value(random)
    elif choice == 3:
        del holder[key]
    elif choice == 4 and isinstance(holder, dict):
        value = holder.pop(key)
        wrong = [str(key) + "s", str(key).upper(), str(key)[:-1], strange_value(random), random.choice(known_keys())]
        name = random.choice(wrong)
        holder[name if isinstance(name, str | int | float | bool | None) else str(name)] = value
    elif choice == 5:
        other = yaml.safe_load(random.choice(base_texts()))
        graft, name = random.choice(places(other))
        holder[key] = copy.deepcopy(graft[name])
    elif choice == 6:
        target = random.choice([node[name] for node, name in places(tree) if isinstance(node[name], dict)] or [tree])
        other = yaml.safe_load(random.choice(base_texts()))
        sample = [node[name] for node, name in places(other)]
        target[random.choice(known_keys())] = (
            copy.deepcopy(random.choice(sample)) if random.random() < 0.6 else strange_value(random)
        )
    elif choice == 7 and isinstance(holder, dict):
        # Many of one thing: members, hyperparameters, variables.
        value, count = holder[key], random.choice((2, 20, 200, 2000, 9000))
        holder.update({f"{str(key)[:20]}-{n}": copy.copy(value) for n in range(count)})
    else:
        holder[key] = random.choice(
            ([holder[key]], {"a": holder[key]}, [holder[key]] * 3, str(holder[key]), {str(holder[key])[:60]: None})
        )


PIECES = (
    "\t", "\0", "\x07", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\r", "\r\n", ":", ": ", "- ", "#", "'", '"', "&a ", "*a", "!",
    "|", ">", "%YAML 9.9\n",
    "---\n", "...\n", "{", "}", "[", "]", ",", "<<: *a\n", "? ", "\\", "\udcff", "\udc80", "\U0010ffff", "\ud800", " " * 9000,
    "\n" * 9000,
)  # fmt: skip


def mutate_text(text: str, random: Random) -> str:
    """Change one thing of how a configuration is written."""
    at = random.randrange(len(text) + 1)
    end = min(len(text), at + random.choice((1, 1, 2, 5, 20, 200)))
    choice = random.randrange(9)
    if choice < 3:
        return text[:at] + random.choice(PIECES) + text[at:]
    if choice == 3:
        return text[:at] + text[end:]
    if choice == 4:
        return text[:at] + text[at:end] * random.choice((2, 3, 50)) + text[end:]
    if choice == 5:
        return text[:at]
    if choice == 6:
        lines = text.splitlines(keepends=True)
        line = random.choice(lines or [""])
        lines.insert(random.randrange(len(lines) + 1), line)
        return "".join(lines)
    if choice == 7:
        return random.choice(
            (text.replace("\n", "\r\n"), text.replace("  ", "\t"), text + text, "---\n" + text + "---\n" + text, "\ufeff" + text)
        )
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    return text + "a0: &a0 [x, x]\n" + laughs


class Configurations(Kind):
    """Files that `check` reads; the parts of a case are pieces of its text."""

    name = "configurations"
    counted_in_tests = 200

    def case(self, random: Random) -> list[Part]:
        text = random.choice(base_texts())
        if random.random() < 0.8:
            tree = yaml.safe_load(text)
            for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
                mutate_tree(tree, random)
            style = random.choice((None, True, False))
            text = yaml.dump(
                tree, None, yaml.SafeDumper, sort_keys=False, allow_unicode=random.random() < 0.7, default_flow_style=style
            )
            text = re.sub(r"""(?s)(['"]?)@@(.*?)@@\1""", lambda match: match[2], text)
        for _ in range(random.choice((0, 0, 0, 1, 1, 2, 5)) if "@@" not in text else 0):
            text = mutate_text(text, random)
        return text.splitlines(keepends=True)

    def finer(self, parts: list[Part]) -> list[Part] | None:
        text = "".join(parts)
        return list(text) if len(text) < 1500 else None

    def files(self, parts: Sequence[Part]) -> dict[str, bytes]:
        return {"config.yaml": "".join(parts).encode(errors="surrogatepass" if "\ud800" in "".join(parts) else "surrogateescape")}

    def problem(self, parts: Sequence[Part], folder: Path) -> str:
        for file in [
            ROOT / "examples" / "functions" / "rings.py",
            ROOT / "tests" / "cronjobs" / "configurations" / "functions.py",
        ]:
            (folder / file.name).write_bytes(file.read_bytes())
        for name, data in self.files(parts).items():
            (folder / name).write_bytes(data)
        ended = self.commands.run(folder, "check")
        found = _problem_of_check(ended)
        if not found and sum(map(len, parts)) % PROCESS_EVERY == 0:
            whole = self.commands.run_process(folder, "check")
            found = _problem_of_check(whole)
            if not found and (whole.status, whole.err) != (ended.status, ended.err):
                found = f"differs: check as a process of its own: {whole.err[-500:]}"
        if found or ended.status != 0:
            return found
        return _problem_of_render(self.commands.run(folder, "render")) or _problem_of_next(
            self.commands.run(folder, "next", "--json")
        )


def _problem_of_check(ended: Ended) -> str:
    if ended.problem():
        return ended.problem()
    bad = control_characters(ended.out + ended.err)
    if bad:
        return f"control characters: {ended.name}: {bad}"
    lines = ended.err.splitlines()
    if ended.status == 1 and not (lines and all(line.startswith("config.yaml:") for line in lines)):
        return f"no place: {ended.name}: {ended.err[-500:]!r}"
    if len(lines) > MAX_LINES:
        return f"many lines: {ended.name}: {len(lines)} lines"
    if max(map(len, lines), default=0) > MAX_LINE:
        return f"long line: {ended.name}: {max(lines, key=len)[:300]}"
    return ""


def _problem_of_render(ended: Ended) -> str:
    if ended.problem():
        return ended.problem()
    if ended.status == 1:
        # What only a cluster needs is said there: a volume as the store, images of the runtimes.
        lines = ended.err.splitlines()
        return (
            ""
            if lines and all(line.startswith("config.yaml: ") for line in lines)
            else f"refused: {ended.name}: {ended.err[-500:]}"
        )
    try:
        objects = list(yaml.load_all(ended.out, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        return f"not YAML: {ended.name}: {error}"
    if not objects:
        return "" if "no schedule, so no CronJob" in ended.err else f"no objects, and no reason: {ended.name}"
    whole = all(isinstance(each, dict) and each.get("kind") and each["metadata"]["name"] for each in objects)
    return "" if whole else f"no objects: {ended.name}: {ended.out[:500]}"


def _problem_of_next(ended: Ended) -> str:
    if ended.problem(statuses=(0,)):
        return ended.problem(statuses=(0,))
    try:
        strict_json(ended.out)
    except ValueError as error:
        return f"not JSON: {ended.name}: {error}"
    return ""
