"""Looks after an experiment from its store alone: tells what is new, and keeps the report page and the metrics there."""
