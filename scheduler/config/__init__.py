"""The configuration: one file that declares an experiment, read, checked and resolved."""

from scheduler.config.errors import ConfigErrors, Problem
from scheduler.config.load import load, load_all

__all__ = ["ConfigErrors", "Problem", "load", "load_all"]
