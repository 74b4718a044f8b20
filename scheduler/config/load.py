"""Reads configuration files into experiments; every problem of every file is reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.config.document import parse
from scheduler.config.errors import ConfigErrors, Problem
from scheduler.config.namespace import name_clashes


def load(path: Path) -> Experiment:
    """The experiment that a file declares; raises ConfigErrors with every problem of the file."""
    try:
        with open(path, "rb") as file:
            data = file.read(16_000_000)
    except OSError as error:
        hint = ": `cronsemble init` writes a starter" if isinstance(error, FileNotFoundError) else ""
        problem = Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}{hint}")
        raise ConfigErrors([problem]) from error
    try:
        return _load(path, data)
    except ConfigErrors as errors:
        errors.text = data.decode(errors="replace")
        raise


def _load(path: Path, data: bytes) -> Experiment:
    document = parse(str(path), data)
    folder = path.resolve().parent
    # Late: a text that is not YAML needs no model of the keys.
    from scheduler.config.checks import validate
    from scheduler.config.resolve import resolve

    keys = validate(document, folder)
    # With problems some of the keys are INVALID.
    if document.problems or keys is None:
        raise ConfigErrors(document.problems)
    return resolve(keys, path)


def problem_at(path: Path, key: tuple[str, ...], message: str) -> Problem:
    """A problem that was found in what a file declares, at the place of a key, or of the nearest around it that the file has."""
    document = parse(str(path), path.read_bytes())
    document.problem(key, message)
    return document.problems[-1]


def load_all(paths: Iterable[Path]) -> list[Experiment]:
    """The experiments of several files; a folder stands for its .yaml and .yml files, by name.

    Raises ConfigErrors with every problem of every file, and with the names that two files share.
    """
    experiments: list[Experiment] = []
    files, problems = _chosen(paths)
    for file in files:
        try:
            experiments.append(load(file))
        except ConfigErrors as error:
            problems += error.problems
    problems += name_clashes(experiments)
    if problems:
        raise ConfigErrors(problems)
    return experiments


def configuration_files(paths: Iterable[Path]) -> list[Path]:
    """The files that paths stand for, each once: a folder for its .yaml and .yml files, by name.

    Raises ConfigErrors with every folder that holds none.
    """
    files, problems = _chosen(paths)
    if problems:
        raise ConfigErrors(problems)
    return files


def _chosen(paths: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    problems: list[Problem] = []
    files: dict[Path, Path] = {}
    for path in paths:
        chosen = _files(path) if path.is_dir() else [path]
        if not chosen:
            problems.append(Problem(str(path), 0, 0, "", "this folder holds no .yaml or .yml file: `cronsemble init` writes one"))
        for file in chosen:
            files.setdefault(file.resolve(), file)
    return list(files.values()), problems


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())
