"""The docs say what is so: commands that they type exist with these options, YAML can be read, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import yaml

from scheduler.cli import COMMANDS, load_command

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def typed(page: Path) -> Iterator[list[str]]:
    """What follows `cronsemble` wherever it is typed: inside a code block, or between backticks."""
    yield from typed_in(page.read_text())


def typed_in(text: str) -> Iterator[list[str]]:
    """The same of a text."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for part in [*(line for block in blocks for line in block.splitlines()), *spans]:
        for match in re.findall(r"^(?:\.venv/bin/)?cronsemble ([a-z][^|#]*)", part.strip()):
            yield shlex.split(match)


def test_every_command_in_the_docs_exists_with_its_options() -> None:
    commands = {name: load_command(name) for name in COMMANDS}
    wrong = []
    seen = 0
    for page in PAGES:
        for name, *words in typed(page):
            seen += 1
            known = {option for each in commands[name].params for option in each.opts} if name in commands else None
            if known is None:
                wrong.append(f"{page.name}: cronsemble {name}")
            else:
                given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
                wrong += [f"{page.name}: cronsemble {name} {word}" for word in sorted(given - known - {"--help"})]
    assert seen > 40
    assert wrong == []


def test_a_command_says_the_same_in_the_list_as_in_its_own_help() -> None:
    for name, summary in COMMANDS.items():
        assert load_command(name).help.startswith(summary + " Example: cronsemble ")


def test_every_directory_of_code_has_its_rule() -> None:
    """A line in the table of docs/architecture.md for each package, and none for what is not there."""
    table = set(re.findall(r"^\| `([^`]+)/` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE))
    packages = {
        path.parent.relative_to(ROOT).as_posix()
        for top in ("cronsemble", "scheduler", "cronjobs", "jobs")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert table - {"tests"} == packages


def test_every_yaml_in_the_docs_can_be_read() -> None:
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            list(yaml.safe_load_all(block))


def test_every_link_between_the_docs_leads_somewhere() -> None:
    dead = []
    for page in [*PAGES, ROOT / "examples" / "README.md"]:
        for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in headings(target)):
                dead.append(f"{page.name}: {path}#{anchor}")
    assert dead == []


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}
