"""The docs say what is so: commands that they type exist with these options, configurations that they show are without errors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from scheduler.cli import app
from scheduler.config import load
from scheduler.manifests import desired

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def typed(page: Path) -> Iterator[list[str]]:
    """What follows `cronsemble` wherever it is typed: inside a code block, or between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for part in [*(line for block in blocks for line in block.splitlines()), *spans]:
        for match in re.findall(r"^(?:\.venv/bin/)?cronsemble ([a-z][^|#]*)", part.strip()):
            yield shlex.split(match)


def test_every_command_in_the_docs_exists_with_its_options() -> None:
    commands = typer.main.get_group(app).commands
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


@pytest.mark.parametrize("page", [page for page in PAGES if "\nexperiment:" in page.read_text()], ids=lambda page: page.name)
def test_every_configuration_in_the_docs_is_without_errors(page: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    whole = [block for block in blocks if block.startswith("experiment:")]
    assert whole
    for n, block in enumerate(whole):
        path = tmp_path / f"{n}.yaml"
        path.write_text(block)
        experiment = load(path)
        if not isinstance(experiment.store, str | Path):
            assert [each["kind"] for each in desired([experiment])].count("CronJob") == len(experiment.members) + 1


def test_every_yaml_in_the_docs_can_be_read() -> None:
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            list(yaml.safe_load_all(block))
